// A product of matrices by tiles of sums that stay in registers over the whole depth: each x is broadcast over vectors of
// weights. ROWS rows of x, X_ROW floats apart, meet VECTORS vectors of w.

#define WIDTH (VECTORS * LANES)

// What weights are stored as; reading half precision takes no extension.
#if !HALF_WEIGHTS
typedef float weight;
#define LOAD_WEIGHTS(p) LOAD(p)
#elif LANES == 1
typedef half weight;
#define LOAD_WEIGHTS(p) vload_half(0, p)
#else
typedef half weight;
#define LOAD_WEIGHTS(p) GLUE(vload_half, LANES)(0, p)
#endif

// y[z][column / LANES][row][column % LANES] = activation(bias + sum over k of x[z][row][k] * w[z][column / WIDTH][k][..])
kernel void product(const global float *restrict x, const global weight *restrict w, const global float *restrict bias,
                    global float *restrict y, int rows, int depth, int x_matrix, int w_panel, int w_matrix, int y_row,
                    int y_block, int y_matrix, int columns, float parameter) {
  const int tile = get_global_id(0), panel = get_global_id(1), z = get_global_id(2);
  if (tile * ROWS >= rows || panel * WIDTH >= columns) return;
  // The last tile lies a little over the one before it.
  const int first = min(tile * ROWS, rows - ROWS);
#if PARTS > 1
  // Each z sums a part of the depth.
  w += panel * w_panel + z * depth * WIDTH;
  x += first * X_ROW + z * depth;
  const int steps = min(depth, x_matrix - z * depth);
#else
  w += panel * w_panel + z * w_matrix;
  x += z * x_matrix + first * X_ROW;
  const int steps = depth;
#endif
  vec sums[ROWS][VECTORS];
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
#if PARTS > 1 || !BIAS
    const vec start = (vec)(0.0f);
#else
    const vec start = LOAD(bias + panel * WIDTH + v * LANES);
#endif
#pragma unroll
    for (int r = 0; r < ROWS; r++) sums[r][v] = start;
  }
  for (int k = 0; k < steps; k++, w += WIDTH) {
    vec weights[VECTORS];
#pragma unroll
    for (int v = 0; v < VECTORS; v++) weights[v] = LOAD_WEIGHTS(w + v * LANES);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const vec value = (vec)(x[r * X_ROW + k]);
#pragma unroll
      for (int v = 0; v < VECTORS; v++) sums[r][v] = fma(value, weights[v], sums[r][v]);
    }
  }
  y += z * y_matrix + first * y_row;
  if ((panel + 1) * WIDTH <= columns) {
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        STORE(activate(sums[r][v], parameter), y + (panel * VECTORS + v) * y_block + r * y_row);
      }
    }
    return;
  }
  // The last columns do not fill the tile.
  for (int v = 0; v < VECTORS; v++) {
    const int column = (panel * VECTORS + v) * LANES;
    for (int r = 0; r < ROWS; r++) {
      float lanes[LANES];
      STORE(activate(sums[r][v], parameter), lanes);
      global float *to = y + (panel * VECTORS + v) * y_block + r * y_row;
      for (int lane = 0; lane < LANES && column + lane < columns; lane++) to[lane] = lanes[lane];
    }
  }
}

// Adds the parts of each column's sum.
kernel void sum_parts(const global float *restrict parts, const global float *restrict bias, global float *restrict y,
                      int count, int columns, int stride, float parameter) {
  const int i = get_global_id(0) * LANES;
  if (i >= columns) return;
  vec sum = LOAD(bias + i);
  for (int part = 0; part < count; part++) sum += LOAD(parts + part * stride + i);
  sum = activate(sum, parameter);
  float lanes[LANES];
  STORE(sum, lanes);
  for (int lane = 0; lane < LANES && i + lane < columns; lane++) y[i + lane] = lanes[lane];
}
