// Correlations of planes with filters, which convolutions and fully connected layers are made of, forward and backward.

// y[output][position] (+)= f(bias + sum over depth and taps of weight * x[depth][position and tap]), in tiles of OUTPUTS and COLUMNS
// that stay in registers. From column to column it is X_STEP in x and Y_STEP in y. `weights` holds the distances of the first
// tap, and from band to band (a group of a convolution in groups), output to output and depth to depth; `taps_w` those along rows and
// columns. With DERIVATIVE, the sums are multiplied by that of the activation whose value is `seen`.
kernel void correlate(const global float *restrict x, const global float *restrict w, global float *restrict y,
                      const global float *restrict seen, int4 from, int4 to, int4 seen_at, int4 extents, int4 taps_y,
                      int4 weights, int4 taps_w, int bands, int bias, float parameter) {
  const int rows = extents.x, columns = extents.y, outputs = extents.z, depth = extents.w;
  const int across = (columns + COLUMNS - 1) / COLUMNS, tiles = (outputs + OUTPUTS - 1) / OUTPUTS;
  const int v = get_global_id(0), tile = get_global_id(1), z = get_global_id(2);
  if (v >= VECTORS || tile >= rows * across) return;
  const int row = tile / across, band = z / tiles % bands, group = z / tiles / bands;
  // The last tiles lie a little over the ones before them, and leave those alone.
  const int own_column = tile % across * COLUMNS, own_output = z % tiles * OUTPUTS;
  const int column = min(own_column, columns - COLUMNS), output = min(own_output, outputs - OUTPUTS);
  const int start = row * taps_y.z + taps_y.y, dilation_y = taps_y.w;
  const int first = first_tap(start, dilation_y), end = end_tap(start, dilation_y, taps_w.z, taps_y.x);

  x += at(from, group, band * depth, start, column * X_STEP) + v * LANES;
  const global float *filters = w + weights.x + band * weights.y + output * weights.z;
  vec sums[OUTPUTS][COLUMNS];
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
    const vec begin = SPLAT(bias < 0 ? 0.0f : w[bias + band * outputs + output + o]);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) sums[o][c] = begin;
  }
  for (int d = 0; d < depth; d++) {
    for (int ty = first; ty < end; ty++) {
      const global float *line = x + (d * from.z + ty * dilation_y * from.y) * GROUP;
      const global float *filter = filters + d * weights.w + ty * taps_w.x;
#if TAPS_X <= 16
#pragma unroll
#endif
      for (int tx = 0; tx < TAPS_X; tx++) {
        vec numbers[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) numbers[c] = VLOAD(line + c * X_STEP * GROUP + tx * NEXT_TAP);
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++) {
          const vec weight = SPLAT(filter[o * weights.z + tx * taps_w.y]);
#pragma unroll
          for (int c = 0; c < COLUMNS; c++) sums[o][c] = fma(numbers[c], weight, sums[o][c]);
        }
      }
    }
  }
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
#if RAGGED
      if (output + o < own_output || column + c < own_column) continue;
#endif
      const int channel = band * outputs + output + o, place = (column + c) * Y_STEP;
      vec sum = activate(sums[o][c], parameter);
#if DERIVATIVE
      const vec value = VLOAD(seen + at(seen_at, group, channel, row, place) + v * LANES);
      sum *= derivative(value, value, parameter);
#endif
      global float *to_y = y + at(to, group, channel, row, place) + v * LANES;
      PUT(sum, to_y);
    }
  }
}
