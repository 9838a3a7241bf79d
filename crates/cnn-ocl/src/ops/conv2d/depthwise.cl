// Depthwise convolution over blocks of channels: a vector of pixels meets a vector of weights.

kernel void depthwise(const global value *restrict input, const global float *restrict weights,
                      const global float *restrict bias, global value *restrict output, int channels, int in_height,
                      int in_width, int out_height, int out_width, int kernel_y, int stride_y, int dilation_y,
                      int kernel_x, int stride_x, int dilation_x, int top, int left, float parameter) {
  const int x = get_global_id(0), y = get_global_id(1), plane = get_global_id(2);
  if (x >= out_width || y >= out_height) return;
  const int blocks = (channels + LANES - 1) / LANES, block = plane % blocks;
  input += plane * in_height * in_width * LANES;
  weights += block * kernel_y * kernel_x * LANES;
  vec sum = LOAD_FLOATS(bias + block * LANES);
  for (int ky = 0; ky < kernel_y; ky++) {
    const int row = y * stride_y + ky * dilation_y - top;
    if (row < 0 || row >= in_height) continue;
    for (int kx = 0; kx < kernel_x; kx++) {
      const int column = x * stride_x + kx * dilation_x - left;
      if (column < 0 || column >= in_width) continue;
      sum = fma(LOAD(input + (row * in_width + column) * LANES), LOAD_FLOATS(weights + (ky * kernel_x + kx) * LANES), sum);
    }
  }
  const vec result = clear_idle(activate(sum, parameter), channels - block * LANES);
  STORE(result, output + ((plane * out_height + y) * out_width + x) * LANES);
}
