// The input under each window as a row of a matrix: [pixel][channel, ky, kx], from planar values.

kernel void im2col(const global value *restrict input, global value *restrict patches, int in_channels, int in_height,
                   int in_width, int out_height, int out_width, int kernel_y, int stride_y, int dilation_y, int kernel_x,
                   int stride_x, int dilation_x, int top, int left) {
  const int x = get_global_id(0), y = get_global_id(1), plane = get_global_id(2);
  if (x >= out_width || y >= out_height) return;
  const int sample = plane / in_channels, channel = plane % in_channels;
  const int taps = kernel_y * kernel_x;
  patches += (((sample * out_height + y) * out_width + x) * in_channels + channel) * taps;
  input += plane * in_height * in_width;
  for (int ky = 0; ky < kernel_y; ky++) {
    const int row = y * stride_y + ky * dilation_y - top;
    for (int kx = 0; kx < kernel_x; kx++) {
      const int column = x * stride_x + kx * dilation_x - left;
      const bool inside = row >= 0 && row < in_height && column >= 0 && column < in_width;
      WRITE(inside ? READ(input + row * in_width + column) : (scalar)0, patches);
      patches++;
    }
  }
}
