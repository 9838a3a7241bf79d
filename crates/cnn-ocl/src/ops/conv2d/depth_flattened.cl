// Direct convolution over blocks of channels ("flattened by depth": Loukadakis et al. 2018, section 4.3), a tile of ROWS pixels
// of a row by VECTORS vectors of output channels a work-item, in registers. A pixel of the input is IN_LANES floats, of which
// CHANNELS are used; planes are blocks of channels. The input has its padding written out.

kernel void pad(const global value *restrict input, global value *restrict output, int in_height, int in_width,
                int out_height, int out_width, int top, int left) {
  const int x = get_global_id(0), y = get_global_id(1), plane = get_global_id(2);
  if (x >= out_width * IN_LANES || y >= out_height) return;
  const int row = y - top, column = x / IN_LANES - left;
  const bool inside = row >= 0 && row < in_height && column >= 0 && column < in_width;
  WRITE(inside ? READ(input + ((plane * in_height + row) * in_width - left) * IN_LANES + x) : (scalar)0,
        output + (plane * out_height + y) * out_width * IN_LANES + x);
}

kernel void depth_flattened(const global value *restrict input, const global weight *restrict weights,
                            const global float *restrict bias, global value *restrict output, int planes, int in_plane,
                            int row_step, int kernel_y, int kernel_x, int dilation_y, int dilation_x,
                            int out_height, int out_width, int groups, int group_panels, int group_out,
                            float parameter) {
  const int tile = get_global_id(0), y = get_global_id(1), z = get_global_id(2);
  if (tile * ROWS >= out_width || y >= out_height) return;
  const int panel = z % group_panels, group = z / group_panels % groups, sample = z / group_panels / groups;
  // The last tile lies a little over the one before it.
  const int first = min(tile * ROWS, out_width - ROWS);
  input += (sample * groups + group) * planes * in_plane + y * row_step + first * (STRIDE * IN_LANES);
  const int width = VECTORS * LANES;
  weights += (group * group_panels + panel) * planes * kernel_y * kernel_x * CHANNELS * width;
  wide sums[ROWS][VECTORS];
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const wide start = VLOAD(bias + (group * group_panels + panel) * width + v * LANES);
#pragma unroll
    for (int r = 0; r < ROWS; r++) sums[r][v] = start;
  }
  for (int plane = 0; plane < planes; plane++) {
    for (int ky = 0; ky < kernel_y; ky++) {
      BEGIN_PART
      for (int kx = 0; kx < kernel_x; kx++) {
        const global value *x = input + plane * in_plane + ky * dilation_y + kx * dilation_x;
        for (int c = 0; c < CHANNELS; c++, weights += width) {
          vec w[VECTORS];
#pragma unroll
          for (int v = 0; v < VECTORS; v++) w[v] = LOAD_WEIGHTS(weights + v * LANES);
#pragma unroll
          for (int r = 0; r < ROWS; r++) {
            const vec number = (vec)(READ(x + r * (STRIDE * IN_LANES) + c));
#pragma unroll
            for (int v = 0; v < VECTORS; v++) part[r][v] = fma(number, w[v], part[r][v]);
          }
        }
      }
      END_PART
    }
  }
  const int group_blocks = (group_out + LANES - 1) / LANES, block = panel * VECTORS;
  const int plane = out_height * out_width * LANES;
  output += ((sample * groups + group) * group_blocks + block) * plane + (y * out_width + first) * LANES;
  if (block + VECTORS <= group_blocks) {
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const vec result = clear_idle(activate(NARROW(sums[r][v]), parameter), group_out - (block + v) * LANES);
        STORE(result, output + v * plane + r * LANES);
      }
    }
    return;
  }
  for (int v = 0; block + v < group_blocks; v++) {
    for (int r = 0; r < ROWS; r++) {
      const vec result = clear_idle(activate(NARROW(sums[r][v]), parameter), group_out - (block + v) * LANES);
      STORE(result, output + v * plane + r * LANES);
    }
  }
}
