// Gradients of the filters and biases of convolutions and fully connected layers.

// Gradients of filters: sums[filter][depth][tap] = the sum over rows, columns and samples of dy * x, in tiles of OUTPUTS, DEPTH
// and TAPS that stay in registers. Each share of the groups of samples, and each vector of a group, has sums of its own:
// `total_length` floats from one to the next.
kernel void correlate_weights(const global float *restrict x, const global float *restrict dy, global float *restrict sums,
                              int4 from, int4 to, int4 extents, int4 taps_y, int4 shares, int first_sum, int total_length) {
  const int rows = extents.x, columns = extents.y, outputs = extents.z, depth = extents.w;
  const int groups = shares.x, share_length = shares.y, bands = shares.z, all_taps_y = shares.w;
  const int along = (TAPS_X + TAPS - 1) / TAPS, down = (depth + DEPTH - 1) / DEPTH, tiles = (outputs + OUTPUTS - 1) / OUTPUTS;
  const int v = get_global_id(0), tile = get_global_id(1), z = get_global_id(2);
  if (v >= VECTORS || tile >= along * all_taps_y * down) return;
  const int own_tap = tile % along * TAPS, ty = tile / along % all_taps_y, own_depth = tile / along / all_taps_y * DEPTH;
  const int own_output = z % tiles * OUTPUTS, band = z / tiles % bands, share = z / tiles / bands;
  const int tap = min(own_tap, TAPS_X - TAPS), k = min(own_depth, depth - DEPTH), output = min(own_output, outputs - OUTPUTS);
  // Rows of dy whose tap lies inside x.
  const int shift = taps_y.y + ty * taps_y.w, step_y = taps_y.z;
  const int first = first_tap(shift, step_y), end = end_tap(shift, step_y, rows, taps_y.x);

  vec tile_sums[OUTPUTS][DEPTH][TAPS];
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
#pragma unroll
    for (int i = 0; i < DEPTH * TAPS; i++) tile_sums[o][i / TAPS][i % TAPS] = SPLAT(0);
  }
  const int last = min((share + 1) * share_length, groups);
  for (int group = share * share_length; group < last; group++) {
    for (int row = first; row < end; row++) {
      const global float *gradients = dy + at(to, group, band * outputs + output, row, 0) + v * LANES;
      const global float *numbers =
          x + at(from, group, band * depth + k, shift + row * step_y, tap * DILATION_X) + v * LANES;
      for (int c = 0; c < columns; c++, gradients += Y_STEP * GROUP, numbers += X_STEP * GROUP) {
        vec own[DEPTH][TAPS];
#pragma unroll
        for (int i = 0; i < DEPTH * TAPS; i++) {
          own[i / TAPS][i % TAPS] = VLOAD(numbers + i / TAPS * from.z * GROUP + i % TAPS * NEXT_TAP);
        }
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++) {
          const vec gradient = VLOAD(gradients + o * to.z * GROUP);
#pragma unroll
          for (int i = 0; i < DEPTH * TAPS; i++) {
            tile_sums[o][i / TAPS][i % TAPS] = fma(gradient, own[i / TAPS][i % TAPS], tile_sums[o][i / TAPS][i % TAPS]);
          }
        }
      }
    }
  }
  sums += first_sum + (share * VECTORS + v) * total_length;
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
#pragma unroll
    for (int i = 0; i < DEPTH * TAPS; i++) {
#if RAGGED
      if (output + o < own_output || k + i / TAPS < own_depth || tap + i % TAPS < own_tap) continue;
#endif
      const int filter = (band * outputs + output + o) * depth + k + i / TAPS;
      sums[(filter * all_taps_y + ty) * TAPS_X + tap + i % TAPS] = total(tile_sums[o][i / TAPS][i % TAPS]);
    }
  }
}

// Gradients of biases: the sum of dy over rows, columns and samples, in shares as above.
kernel void sum_planes(const global float *restrict dy, global float *restrict sums, int4 to, int4 extents, int4 shares,
                       int first_sum, int total_length) {
  const int v = get_global_id(0), channel = get_global_id(1), share = get_global_id(2);
  if (v >= VECTORS || channel >= extents.z) return;
  vec sum = SPLAT(0);
  const int last = min((share + 1) * shares.y, shares.x);
  for (int group = share * shares.y; group < last; group++) {
    for (int row = 0; row < extents.x; row++) {
      const global float *line = dy + at(to, group, channel, row, 0) + v * LANES;
      for (int c = 0; c < extents.y; c++) sum += VLOAD(line + c * Y_STEP * GROUP);
    }
  }
  sums[first_sum + (share * VECTORS + v) * total_length + channel] = total(sum);
}
