// Products over the channels of a pixel, for groups of samples that are one vector: a work-item has copies of its pixels' channels side by
// side. Where planes lie, the channels of a pixel are a plane apart, which caches find hard to hold.

#ifdef COLUMNS
// y[output][pixel] (+)= f(bias + sum over depth of weight * x[depth][pixel]) for COLUMNS pixels of a row, OUTPUTS at a time. `weights`
// holds the first one's place, that of the first bias or -1, and the distances from output to output and from depth to depth.
kernel void pointwise(const global float *restrict x, const global float *restrict w, global float *restrict y,
                      const global float *restrict seen, int4 from, int4 to, int4 seen_at, int4 extents, int4 weights,
                      float parameter) {
  local float near[DEPTH * COLUMNS * LANES];
  const int rows = extents.x, columns = extents.y, outputs = extents.z;
  const int across = (columns + COLUMNS - 1) / COLUMNS, tile = get_global_id(1), group = get_global_id(2);
  if (tile >= rows * across) return;
  // The last tiles lie a little over the ones before them, and leave those alone.
  const int row = tile / across, own_column = tile % across * COLUMNS, column = min(own_column, columns - COLUMNS);
  x += at(from, group, 0, row, column);
  for (int d = 0; d < DEPTH; d++) {
    _Pragma("unroll") for (int c = 0; c < COLUMNS; c++) {
      VSTORE(VLOAD(x + (d * from.z + c) * LANES), near + (d * COLUMNS + c) * LANES);
    }
  }
  for (int own_output = 0; own_output < outputs; own_output += OUTPUTS) {
    const int output = min(own_output, outputs - OUTPUTS);
    const global float *filters = w + weights.x + output * weights.z;
    vec sums[OUTPUTS][COLUMNS];
    _Pragma("unroll") for (int o = 0; o < OUTPUTS; o++) {
      const vec begin = SPLAT(weights.y < 0 ? 0.0f : w[weights.y + output + o]);
      _Pragma("unroll") for (int c = 0; c < COLUMNS; c++) sums[o][c] = begin;
    }
    for (int d = 0; d < DEPTH; d++) {
      vec numbers[COLUMNS];
      _Pragma("unroll") for (int c = 0; c < COLUMNS; c++) numbers[c] = VLOAD(near + (d * COLUMNS + c) * LANES);
      _Pragma("unroll") for (int o = 0; o < OUTPUTS; o++) {
        const vec weight = SPLAT(filters[o * weights.z + d * weights.w]);
        _Pragma("unroll") for (int c = 0; c < COLUMNS; c++) sums[o][c] = fma(numbers[c], weight, sums[o][c]);
      }
    }
    _Pragma("unroll") for (int o = 0; o < OUTPUTS; o++) {
      _Pragma("unroll") for (int c = 0; c < COLUMNS; c++) {
        if (output + o < own_output || column + c < own_column) continue;
        vec sum = activate(sums[o][c], parameter);
#if DERIVATIVE
        const vec value = VLOAD(seen + at(seen_at, group, output + o, row, column + c));
        sum *= derivative(value, value, parameter);
#endif
        PUT(sum, y + at(to, group, output + o, row, column + c));
      }
    }
  }
}
#else
// Gradients of the weights and biases, of BLOCK outputs: a work-item goes through its share of the rows of all samples, PIXELS at a time.
// `shares` are (rows of all groups, rows of a share, whether there are biases, floats from share to share).
kernel void pointwise_weights(const global float *restrict x, const global float *restrict dy, global float *restrict sums,
                              int4 from, int4 dy_at, int4 extents, int4 shares) {
  local float near[DEPTH * PIXELS * LANES], slopes[BLOCK * PIXELS * LANES], found[BLOCK * (DEPTH + 1)];
  const int rows = extents.x, columns = extents.y, outputs = extents.z, share = get_global_id(2);
  const int own_first = get_global_id(1) * BLOCK, first = min(own_first, outputs - BLOCK);
  if (own_first >= outputs) return;
  for (int i = 0; i < BLOCK * (DEPTH + 1); i++) found[i] = 0.0f;
  const int last = min((share + 1) * shares.y, shares.x);
  for (int line = share * shares.y; line < last; line++) {
    for (int begin = 0; begin < columns; begin += PIXELS) {
      const int count = min(PIXELS, columns - begin);
      const global float *numbers = x + at(from, line / rows, 0, line % rows, begin);
      for (int d = 0; d < DEPTH; d++) {
        for (int p = 0; p < count; p++) VSTORE(VLOAD(numbers + (d * from.z + p) * LANES), near + (d * PIXELS + p) * LANES);
      }
      const global float *gradients = dy + at(dy_at, line / rows, first, line % rows, begin);
      for (int o = 0; o < BLOCK; o++) {
        vec sum = SPLAT(0);
        for (int p = 0; p < count; p++) {
          const vec gradient = VLOAD(gradients + (o * dy_at.z + p) * LANES);
          VSTORE(gradient, slopes + (o * PIXELS + p) * LANES);
          sum += gradient;
        }
        found[BLOCK * DEPTH + o] += total(sum);
      }
      for (int own_output = 0; own_output < BLOCK; own_output += TILE_OUTPUTS) {
        for (int own_depth = 0; own_depth < DEPTH; own_depth += TILE_DEPTH) {
          const int output = min(own_output, BLOCK - TILE_OUTPUTS), depth = min(own_depth, DEPTH - TILE_DEPTH);
          vec tile[TILE_OUTPUTS][TILE_DEPTH];
          _Pragma("unroll") for (int i = 0; i < TILE_OUTPUTS * TILE_DEPTH; i++) tile[i / TILE_DEPTH][i % TILE_DEPTH] = SPLAT(0);
          const local float *of_x = near + depth * PIXELS * LANES, *of_dy = slopes + output * PIXELS * LANES;
          for (int p = 0; p < count; p++, of_x += LANES, of_dy += LANES) {
            vec own[TILE_DEPTH];
            _Pragma("unroll") for (int d = 0; d < TILE_DEPTH; d++) own[d] = VLOAD(of_x + d * PIXELS * LANES);
            _Pragma("unroll") for (int o = 0; o < TILE_OUTPUTS; o++) {
              const vec gradient = VLOAD(of_dy + o * PIXELS * LANES);
              _Pragma("unroll") for (int d = 0; d < TILE_DEPTH; d++) tile[o][d] = fma(gradient, own[d], tile[o][d]);
            }
          }
          _Pragma("unroll") for (int i = 0; i < TILE_OUTPUTS * TILE_DEPTH; i++) {
            const int o = output + i / TILE_DEPTH, d = depth + i % TILE_DEPTH;
            if (o >= own_output && d >= own_depth) found[o * DEPTH + d] += total(tile[i / TILE_DEPTH][i % TILE_DEPTH]);
          }
        }
      }
    }
  }
  sums += share * shares.w;
  for (int o = own_first - first; o < BLOCK; o++) {
    for (int d = 0; d < DEPTH; d++) sums[(first + o) * DEPTH + d] = found[o * DEPTH + d];
    if (shares.z) sums[outputs * DEPTH + first + o] = found[BLOCK * DEPTH + o];
  }
}
#endif
