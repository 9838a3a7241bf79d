// Direct convolution over planar values, a work-item an output: the baseline of Loukadakis et al. 2018, section 4.1.

kernel void direct(const global value *restrict input, const global float *restrict weights,
                   const global float *restrict bias, global value *restrict output, int in_channels, int in_height,
                   int in_width, int out_channels, int out_height, int out_width, int groups, int kernel_y, int stride_y,
                   int dilation_y, int kernel_x, int stride_x, int dilation_x, int top, int left, float parameter) {
  const int x = get_global_id(0), y = get_global_id(1), plane = get_global_id(2);
  if (x >= out_width || y >= out_height) return;
  const int sample = plane / out_channels, channel = plane % out_channels;
  const int group_in = in_channels / groups;
  const int first = sample * in_channels + channel / (out_channels / groups) * group_in;
  const global float *filter = weights + channel * group_in * kernel_y * kernel_x;
  float sum = bias[channel];
  for (int c = 0; c < group_in; c++) {
    for (int ky = 0; ky < kernel_y; ky++) {
      const int row = y * stride_y + ky * dilation_y - top;
      for (int kx = 0; kx < kernel_x; kx++) {
        const int column = x * stride_x + kx * dilation_x - left;
        if (row >= 0 && row < in_height && column >= 0 && column < in_width) {
          sum = fma((float)READ(input + ((first + c) * in_height + row) * in_width + column), *filter, sum);
        }
        filter++;
      }
    }
  }
  WRITE(activate(NARROW(sum), parameter), output + (plane * out_height + y) * out_width + x);
}
