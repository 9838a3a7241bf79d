// A vertical filter and the horizontal one behind it, one of each a channel: a work-item goes along a part of a row, with the
// vertical sums of the columns that its window sees in registers.

kernel void flattened(const global value *restrict input, const global float *restrict weights,
                      const global float *restrict biases, global value *restrict output, int channels, int height,
                      int width, int top, int left, int run, float parameter) {
  const int begin = get_global_id(0) * run, y = get_global_id(1), plane = get_global_id(2);
  if (begin >= width || y >= height) return;
  const int blocks = (channels + LANES - 1) / LANES, block = plane % blocks;
  const int end = min(begin + run, width), right = KERNEL_X - 1 - left;
  input += plane * height * width * LANES;
  output += (plane * height + y) * width * LANES;
  weights += block * (KERNEL_Y + KERNEL_X) * LANES;
  const vec down = LOAD_FLOATS(biases + 2 * block * LANES), along = LOAD_FLOATS(biases + (2 * block + 1) * LANES);
  vec filter[KERNEL_X], columns[KERNEL_X];
  _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) {
    filter[k] = LOAD_FLOATS(weights + (KERNEL_Y + k) * LANES);
    columns[k] = SPLAT(0);
  }
  for (int x = begin - left; x < end + right; x++) {
    _Pragma("unroll") for (int k = 0; k + 1 < KERNEL_X; k++) columns[k] = columns[k + 1];
    vec sum = SPLAT(0);
    if (x >= 0 && x < width) {
      sum = down;
      for (int ky = 0; ky < KERNEL_Y; ky++) {
        const int row = y + ky - top;
        if (row < 0 || row >= height) continue;
        sum = fma(LOAD(input + (row * width + x) * LANES), LOAD_FLOATS(weights + ky * LANES), sum);
      }
    }
    columns[KERNEL_X - 1] = sum;
    if (x - right < begin) continue;
    vec all = along;
    _Pragma("unroll") for (int k = 0; k < KERNEL_X; k++) all = fma(columns[k], filter[k], all);
    STORE(clear_idle(activate(all, parameter), channels - block * LANES), output + (x - right) * LANES);
  }
}
