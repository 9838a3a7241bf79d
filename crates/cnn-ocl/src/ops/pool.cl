// Pooling over vectors of channels. MEAN: 0 the maximum, 1 the mean over taps in the padded input, 2 over those in the input.

kernel void pool(const global value *restrict input, global value *restrict output, int in_height, int in_width,
                 int out_height, int out_width, int kernel_y, int kernel_x, int stride_y, int stride_x, int dilation_y,
                 int dilation_x, int top, int left, int bottom, int right) {
  const int x = get_global_id(0), y = get_global_id(1), plane = get_global_id(2);
  if (x >= out_width || y >= out_height) return;
  input += plane * in_height * in_width * LANES;
#if MEAN
  wide result = (wide)(0.0f);
#else
  vec result = SPLAT(-INFINITY);
#endif
  int count = 0;
  for (int ky = 0; ky < kernel_y; ky++) {
    const int row = y * stride_y + ky * dilation_y - top;
    for (int kx = 0; kx < kernel_x; kx++) {
      const int column = x * stride_x + kx * dilation_x - left;
#if MEAN == 1
      count += row < in_height + bottom && column < in_width + right;
#endif
      if (row < 0 || row >= in_height || column < 0 || column >= in_width) continue;
      const vec pixel = LOAD(input + (row * in_width + column) * LANES);
#if MEAN
      result += WIDEN(pixel);
#else
      result = larger(result, pixel);
#endif
#if MEAN == 2
      count++;
#endif
    }
  }
#if MEAN
  result *= (wide)(1.0f / (float)count);
#endif
  STORE(NARROW(result), output + ((plane * out_height + y) * out_width + x) * LANES);
}
