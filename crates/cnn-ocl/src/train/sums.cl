// Adds up what work-items found apart.

// y[first + i] = the sum of `count` numbers, x[from + i], x[from + i + stride], ..
kernel void gather(const global float *restrict x, global float *restrict y, int length, int count, int stride, int from,
                   int first) {
  const int i = get_global_id(0);
  if (i >= length) return;
  float sum = 0.0f;
  for (int s = 0; s < count; s++) sum += x[from + s * stride + i];
  y[first + i] = sum;
}
