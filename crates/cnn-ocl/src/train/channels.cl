// Layers that look across the channels of a pixel: a work-item has a row of pixels. `extents` are (rows, columns, channels).

#define PIXELS_OR_RETURN                                                            \
  const int v = get_global_id(0), row = get_global_id(1), group = get_global_id(2); \
  if (v >= VECTORS || row >= extents.x) return;                                     \
  const int columns = extents.y, channels = extents.z;

kernel void softmax(const global float *restrict x, global float *restrict y, int4 from, int4 to, int4 extents) {
  PIXELS_OR_RETURN
  for (int c = 0; c < columns; c++) {
    const global float *in = x + at(from, group, 0, row, c) + v * LANES;
    global float *out = y + at(to, group, 0, row, c) + v * LANES;
    vec largest = SPLAT(-INFINITY), sum = SPLAT(0);
    for (int i = 0; i < channels; i++) largest = larger(largest, VLOAD(in + i * from.z * GROUP));
    for (int i = 0; i < channels; i++) sum += exp(VLOAD(in + i * from.z * GROUP) - largest);
    for (int i = 0; i < channels; i++) {
      VSTORE(exp(VLOAD(in + i * from.z * GROUP) - largest) / sum, out + i * to.z * GROUP);
    }
  }
}

kernel void softmax_backward(const global float *restrict y, const global float *restrict dy, global float *restrict dx,
                             int4 to, int4 dy_at, int4 dx_at, int4 extents) {
  PIXELS_OR_RETURN
  for (int c = 0; c < columns; c++) {
    const global float *out = y + at(to, group, 0, row, c) + v * LANES;
    const global float *gradient = dy + at(dy_at, group, 0, row, c) + v * LANES;
    global float *result = dx + at(dx_at, group, 0, row, c) + v * LANES;
    vec dot_product = SPLAT(0);
    for (int i = 0; i < channels; i++) {
      dot_product = fma(VLOAD(out + i * to.z * GROUP), VLOAD(gradient + i * dy_at.z * GROUP), dot_product);
    }
    for (int i = 0; i < channels; i++) {
      const vec own = VLOAD(gradient + i * dy_at.z * GROUP) - dot_product;
      PUT(VLOAD(out + i * to.z * GROUP) * own, result + i * dx_at.z * GROUP);
    }
  }
}

// k + alpha * the sum of the squares of the channels around; `reach` are those below and above.
inline vec base_of(const global float *x, int4 from, int channel, int channels, int2 reach, float alpha, float k) {
  vec sum = SPLAT(0);
  for (int i = max(channel - reach.x, 0); i <= min(channel + reach.y, channels - 1); i++) {
    const vec neighbour = VLOAD(x + i * from.z * GROUP);
    sum = fma(neighbour, neighbour, sum);
  }
  return fma(SPLAT(alpha), sum, SPLAT(k));
}

kernel void local_response_norm(const global float *restrict x, global float *restrict y, int4 from, int4 to, int4 extents,
                                int2 reach, float alpha, float beta, float k) {
  PIXELS_OR_RETURN
  for (int c = 0; c < columns; c++) {
    const global float *in = x + at(from, group, 0, row, c) + v * LANES;
    global float *out = y + at(to, group, 0, row, c) + v * LANES;
    for (int i = 0; i < channels; i++) {
      const vec base = base_of(in, from, i, channels, reach, alpha, k);
      VSTORE(VLOAD(in + i * from.z * GROUP) * powr(base, SPLAT(-beta)), out + i * to.z * GROUP);
    }
  }
}

kernel void local_response_norm_backward(const global float *restrict x, const global float *restrict dy,
                                         global float *restrict dx, int4 from, int4 dy_at, int4 dx_at, int4 extents,
                                         int2 reach, float alpha, float beta, float k) {
  PIXELS_OR_RETURN
  for (int c = 0; c < columns; c++) {
    const global float *in = x + at(from, group, 0, row, c) + v * LANES;
    const global float *gradient = dy + at(dy_at, group, 0, row, c) + v * LANES;
    global float *result = dx + at(dx_at, group, 0, row, c) + v * LANES;
    for (int i = 0; i < channels; i++) {
      vec through = SPLAT(0);
      // The channels whose sums hold this one.
      for (int j = max(i - reach.y, 0); j <= min(i + reach.x, channels - 1); j++) {
        const vec power = powr(base_of(in, from, j, channels, reach, alpha, k), SPLAT(-beta - 1.0f));
        through += VLOAD(gradient + j * dy_at.z * GROUP) * VLOAD(in + j * from.z * GROUP) * power;
      }
      const vec direct = VLOAD(gradient + i * dy_at.z * GROUP) *
                         powr(base_of(in, from, i, channels, reach, alpha, k), SPLAT(-beta));
      const vec own = VLOAD(in + i * from.z * GROUP) * SPLAT(2.0f * alpha * beta);
      PUT(direct - own * through, result + i * dx_at.z * GROUP);
    }
  }
}
