// A vertical filter and the horizontal one behind it (Jin et al. 2015), one of each a channel, forward and backward: what lies between
// them, and its gradient, never reach memory. `filters` says where their weights and biases begin: (vertical, its bias,
// horizontal, its bias), -1 where there is no bias.

#define RIGHT (KERNEL_X - 1 - LEFT)

#define FILTERS                                                                            \
  float down[KERNEL_Y], along[KERNEL_X];                                                   \
  _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) down[k] = w[filters.x + channel * KERNEL_Y + k];  \
  _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) along[k] = w[filters.z + channel * KERNEL_X + k]; \
  const vec between_bias = SPLAT(filters.y < 0 ? 0.0f : w[filters.y + channel]);

// A work-item goes along a row, with the vertical sums that the horizontal filter sees in registers.
kernel void flattened(const global float *restrict x, const global float *restrict w, global float *restrict y, int4 from,
                      int4 to, int4 extents, int4 filters, float parameter) {
  ROW_OR_RETURN
  FILTERS
  const vec bias = SPLAT(filters.w < 0 ? 0.0f : w[filters.w + channel]);
  const int first = max(TOP - row, 0), end = min(KERNEL_Y, extents.x + TOP - row);
  x += at(from, group, channel, row - TOP, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  vec seen[KERNEL_X];
  _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) seen[k] = SPLAT(0);
  for (int c = 0; c < columns + RIGHT; c++) {
    _Pragma("unroll") for (int k = 0; k + 1 < KERNEL_X; k++) seen[k] = seen[k + 1];
    vec sum = SPLAT(0);
    if (c < columns) {
      sum = between_bias;
      _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) {
        if (k >= first && k < end) sum = fma(VLOAD(x + (k * from.y + c) * GROUP), SPLAT(down[k]), sum);
      }
    }
    seen[KERNEL_X - 1] = sum;
    if (c < RIGHT) continue;
    vec all = bias;
    _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) all = fma(seen[k], SPLAT(along[k]), all);
    VSTORE(activate(all, parameter), y + (c - RIGHT) * GROUP);
  }
}

#ifdef WIDTH
// All gradients, from the input and the output's gradient: a work-item goes down WIDTH columns of a plane. What lies between the
// filters is computed again where its gradient is; the gradients of the last KERNEL_Y rows of it wait in a band until the input's
// have seen them. Columns of zeros surround dy. Each work-item's sums for the parameters have a place of their own: `lengths` are
// floats of the vertical filters' and the horizontal ones' (biases last), the latter behind all of the former.
kernel void flattened_backward(const global float *restrict x, const global float *restrict w, const global float *restrict dy,
                               global float *restrict dx, global float *restrict sums, int4 from, int4 dy_at, int4 dx_at,
                               int4 extents, int4 filters, int2 lengths, float parameter) {
#if WANT_DX
  local float band[KERNEL_Y * WIDTH * GROUP];
#endif
  const int v = get_global_id(0), tile = get_global_id(1), plane = get_global_id(2);
  if (v >= VECTORS || tile * WIDTH >= extents.y) return;
  const int rows = extents.x, channels = extents.z, channel = plane % channels, group = plane / channels;
  const int begin = tile * WIDTH, width = min(WIDTH, extents.y - begin);
  FILTERS
  x += at(from, group, channel, 0, begin) + v * LANES;
  dy += at(dy_at, group, channel, 0, begin) + v * LANES;
  vec of_down[KERNEL_Y], of_along[KERNEL_X], of_between_bias = SPLAT(0), of_bias = SPLAT(0);
  _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) of_down[k] = SPLAT(0);
  _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) of_along[k] = SPLAT(0);
#if WANT_DX
  dx += at(dx_at, group, channel, 0, begin) + v * LANES;
  for (int row = 0; row < rows + TOP; row++) {
#else
  for (int row = 0; row < rows; row++) {
#endif
    const int first = max(TOP - row, 0), end = min(KERNEL_Y, rows + TOP - row);
    for (int c = 0; c < width && row < rows; c++) {
      vec numbers[KERNEL_Y], between = between_bias, slope = SPLAT(0);
      _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) {
        numbers[k] = SPLAT(0);
        if (k >= first && k < end) numbers[k] = VLOAD(x + ((row + k - TOP) * from.y + c) * GROUP);
        between = fma(numbers[k], SPLAT(down[k]), between);
      }
      _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) {
        const vec gradient = VLOAD(dy + (row * dy_at.y + c + LEFT - k) * GROUP);
        slope = fma(gradient, SPLAT(along[k]), slope);
        of_along[k] = fma(gradient, between, of_along[k]);
        if (k == LEFT) of_bias += gradient;
      }
      _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) of_down[k] = fma(numbers[k], slope, of_down[k]);
      of_between_bias += slope;
#if WANT_DX
      VSTORE(slope, band + (row % KERNEL_Y * WIDTH + c) * GROUP + v * LANES);
#endif
    }
#if WANT_DX
    // The row that all its gradients are known of.
    const int own = row - TOP;
    int slots[KERNEL_Y];
    _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) slots[k] = (row - k + KERNEL_Y) % KERNEL_Y * WIDTH * GROUP + v * LANES;
    for (int c = 0; c < width && own >= 0; c++) {
      vec sum = SPLAT(0);
      _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) {
        if (row - k >= 0 && row - k < rows) sum = fma(VLOAD(band + slots[k] + c * GROUP), SPLAT(down[k]), sum);
      }
#if DERIVATIVE
      const vec value = VLOAD(x + (own * from.y + c) * GROUP);
      sum *= derivative(value, value, parameter);
#endif
      PUT(sum, dx + (own * dx_at.y + c) * GROUP);
    }
#endif
  }
  const int tiles = (extents.y + WIDTH - 1) / WIDTH, share = (group * tiles + tile) * VECTORS + v;
  global float *vertical = sums + share * lengths.x;
  global float *horizontal = sums + (int)(get_global_size(2) / channels) * tiles * VECTORS * lengths.x + share * lengths.y;
  _Pragma("unroll") for (int k = 0; k < KERNEL_Y; k++) vertical[channel * KERNEL_Y + k] = total(of_down[k]);
  _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) horizontal[channel * KERNEL_X + k] = total(of_along[k]);
  if (filters.y >= 0) vertical[channels * KERNEL_Y + channel] = total(of_between_bias);
  if (filters.w >= 0) horizontal[channels * KERNEL_X + channel] = total(of_bias);
}
#endif
