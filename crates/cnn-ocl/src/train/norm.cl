// Batch normalisation: statistics of each channel over the batch, first of each group's plane, then of all.

// sums[group and vector][channel] = (count, mean, sum of squared differences from it).
kernel void moments(const global float *restrict x, global float *restrict sums, int4 from, int4 extents, int batch) {
  const int v = get_global_id(0), channel = get_global_id(1), group = get_global_id(2);
  if (v >= VECTORS || channel >= extents.z) return;
  const vec counted = inside(group, v, batch);
  vec sum = SPLAT(0);
  for (int row = 0; row < extents.x; row++) {
    for (int c = 0; c < extents.y; c++) sum += VLOAD(x + at(from, group, channel, row, c) + v * LANES);
  }
  const float count = total(counted) * extents.x * extents.y;
  const float mean = count > 0.0f ? total(sum * counted) / count : 0.0f;
  vec squares = SPLAT(0);
  for (int row = 0; row < extents.x; row++) {
    for (int c = 0; c < extents.y; c++) {
      const vec difference = VLOAD(x + at(from, group, channel, row, c) + v * LANES) - SPLAT(mean);
      squares = fma(difference, difference, squares);
    }
  }
  sums += ((group * VECTORS + v) * extents.z + channel) * 3;
  sums[0] = count;
  sums[1] = mean;
  sums[2] = total(squares * counted);
}

// statistics[channel] = (mean, 1 / deviation), and the running ones move towards the batch's. Moments are added up as by Chan et
// al. 1979.
kernel void combine(const global float *restrict sums, global float *restrict statistics, global float *restrict weights,
                    int channels, int count, int running_mean, int running_variance, float epsilon, float momentum) {
  const int channel = get_global_id(0);
  if (channel >= channels) return;
  float n = 0.0f, mean = 0.0f, squares = 0.0f;
  for (int i = 0; i < count; i++) {
    const global float *own = sums + (i * channels + channel) * 3;
    if (own[0] == 0.0f) continue;
    const float both = n + own[0], difference = own[1] - mean;
    mean += difference * own[0] / both;
    squares += own[2] + difference * difference * n * own[0] / both;
    n = both;
  }
  statistics[channel * 2] = mean;
  statistics[channel * 2 + 1] = 1.0f / sqrt(squares / n + epsilon);
  global float *of_mean = weights + running_mean + channel, *of_variance = weights + running_variance + channel;
  *of_mean = (1.0f - momentum) * *of_mean + momentum * mean;
  *of_variance = (1.0f - momentum) * *of_variance + momentum * squares / fmax(n - 1.0f, 1.0f);
}

kernel void normalise(const global float *restrict x, const global float *restrict statistics,
                      const global float *restrict weights, global float *restrict y, int4 from, int4 to, int4 extents,
                      int weight, int bias, float parameter) {
  ROW_OR_RETURN
  const vec mean = SPLAT(statistics[channel * 2]), offset = SPLAT(weights[bias + channel]);
  const vec scale = SPLAT(weights[weight + channel] * statistics[channel * 2 + 1]);
  x += at(from, group, channel, row, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  for (int c = 0; c < columns; c++) {
    VSTORE(activate(fma(VLOAD(x + c * GROUP) - mean, scale, offset), parameter), y + c * GROUP);
  }
}

// sums[group and vector][channel] = (sum of dy, sum of dy * normalised x).
kernel void backward_sums(const global float *restrict x, const global float *restrict dy,
                          const global float *restrict statistics, global float *restrict sums, int4 from, int4 dy_at,
                          int4 extents) {
  const int v = get_global_id(0), channel = get_global_id(1), group = get_global_id(2);
  if (v >= VECTORS || channel >= extents.z) return;
  const vec mean = SPLAT(statistics[channel * 2]);
  vec sum = SPLAT(0), products = SPLAT(0);
  for (int row = 0; row < extents.x; row++) {
    for (int c = 0; c < extents.y; c++) {
      const vec gradient = VLOAD(dy + at(dy_at, group, channel, row, c) + v * LANES);
      sum += gradient;
      products = fma(gradient, VLOAD(x + at(from, group, channel, row, c) + v * LANES) - mean, products);
    }
  }
  sums += ((group * VECTORS + v) * extents.z + channel) * 2;
  sums[0] = total(sum);
  sums[1] = total(products) * statistics[channel * 2 + 1];
}

// The gradients of bias and weight, which are the sums over all.
kernel void backward_combine(const global float *restrict sums, global float *restrict gradient, int channels, int count,
                             int weight, int bias) {
  const int channel = get_global_id(0);
  if (channel >= channels) return;
  float sum = 0.0f, products = 0.0f;
  for (int i = 0; i < count; i++) {
    sum += sums[(i * channels + channel) * 2];
    products += sums[(i * channels + channel) * 2 + 1];
  }
  gradient[bias + channel] = sum;
  gradient[weight + channel] = products;
}

kernel void normalise_backward(const global float *restrict x, const global float *restrict dy,
                               const global float *restrict statistics, const global float *restrict weights,
                               const global float *restrict gradient, global float *restrict dx, int4 from, int4 dy_at,
                               int4 dx_at, int4 extents, int weight, int bias, int batch) {
  ROW_OR_RETURN
  const float mean = statistics[channel * 2], inverse = statistics[channel * 2 + 1];
  const float share = 1.0f / ((float)batch * extents.x * extents.y);
  // Lanes that hold no sample keep a gradient of 0.
  const vec scale = SPLAT(weights[weight + channel] * inverse) * inside(group, v, batch);
  const vec along = SPLAT(gradient[weight + channel] * inverse * share), shift = SPLAT(gradient[bias + channel] * share);
  x += at(from, group, channel, row, 0) + v * LANES;
  dy += at(dy_at, group, channel, row, 0) + v * LANES;
  dx += at(dx_at, group, channel, row, 0) + v * LANES;
  for (int c = 0; c < columns; c++) {
    const vec through = fma(VLOAD(x + c * GROUP) - SPLAT(mean), along, shift);
    PUT(scale * (VLOAD(dy + c * GROUP) - through), dx + c * GROUP);
  }
}
