// A product of matrices by tiles of sums that stay in registers over the whole depth: each x is broadcast over vectors of
// weights. ROWS rows of x, X_ROW numbers apart, meet VECTORS vectors of w.

#define WIDTH (VECTORS * LANES)

// x and y lie between layers, but for Winograd's, which lie between its transforms, and parts of sums.
#if TRANSFORMED
typedef scalar x_type;
#define READ_X(p) (*(p))
#else
typedef value x_type;
#define READ_X(p) READ(p)
#endif
#if TRANSFORMED || PARTS > 1
typedef scalar y_type;
#define STORE_Y(v, p) VSTORE(v, p)
#define WRITE_Y(x, p) (*(p) = (x))
#else
typedef value y_type;
#define STORE_Y(v, p) STORE(v, p)
#define WRITE_Y(x, p) WRITE(x, p)
#endif

// Columns from `used` on have no weights.
// y[z][column / LANES][row][column % LANES] = activation(bias + sum over k of x[z][row][k] * w[z][column / WIDTH][k][..])
kernel void product(const global x_type *restrict x, const global weight *restrict w, const global float *restrict bias,
                    global y_type *restrict y, int rows, int depth, int x_matrix, int w_panel, int w_matrix, int y_row,
                    int y_block, int y_matrix, int columns, int used, float parameter) {
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
  wide sums[ROWS][VECTORS];
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
#if PARTS > 1 || !BIAS
    const wide start = (wide)(0.0f);
#else
    const wide start = VLOAD(bias + panel * WIDTH + v * LANES);
#endif
#pragma unroll
    for (int r = 0; r < ROWS; r++) sums[r][v] = start;
  }
  for (int k = 0; k < steps;) {
    BEGIN_PART
    const int end = min(k + PART, steps);
    for (; k < end; k++, w += WIDTH) {
      vec weights[VECTORS];
#pragma unroll
      for (int v = 0; v < VECTORS; v++) weights[v] = LOAD_WEIGHTS(w + v * LANES);
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const vec number = (vec)(READ_X(x + r * X_ROW + k));
#pragma unroll
        for (int v = 0; v < VECTORS; v++) part[r][v] = fma(number, weights[v], part[r][v]);
      }
    }
    END_PART
  }
  y += z * y_matrix + first * y_row;
  if ((panel + 1) * WIDTH <= columns) {
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const vec result = clear_idle(activate(NARROW(sums[r][v]), parameter), used - (panel * VECTORS + v) * LANES);
        STORE_Y(result, y + (panel * VECTORS + v) * y_block + r * y_row);
      }
    }
    return;
  }
  // The last columns do not fill the tile.
  for (int v = 0; v < VECTORS; v++) {
    const int column = (panel * VECTORS + v) * LANES;
    for (int r = 0; r < ROWS; r++) {
      scalar lanes[LANES];
      VSTORE(clear_idle(activate(NARROW(sums[r][v]), parameter), used - column), lanes);
      global y_type *to = y + (panel * VECTORS + v) * y_block + r * y_row;
      for (int lane = 0; lane < LANES && column + lane < columns; lane++) WRITE_Y(lanes[lane], to + lane);
    }
  }
}

// Adds up the parts of each column's sum.
kernel void sum_parts(const global scalar *restrict parts, const global float *restrict bias, global value *restrict y,
                      int count, int columns, int stride, float parameter) {
  const int i = get_global_id(0) * LANES;
  if (i >= columns) return;
  wide sum = VLOAD(bias + i);
  for (int p = 0; p < count; p++) sum += WIDEN(VLOAD(parts + p * stride + i));
  scalar lanes[LANES];
  VSTORE(activate(NARROW(sum), parameter), lanes);
  for (int lane = 0; lane < LANES && i + lane < columns; lane++) WRITE(lanes[lane], y + i + lane);
}
