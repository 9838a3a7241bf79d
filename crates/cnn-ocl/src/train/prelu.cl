// PReLU, with learned slopes: a work-item has a row of a plane.

// SLOPES: 1 where each channel has its own, else 0.
kernel void prelu(const global float *restrict x, const global float *restrict slopes, global float *restrict y, int4 from,
                  int4 to, int4 extents, int first) {
  ROW_OR_RETURN
  x += at(from, group, channel, row, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  const vec slope = SPLAT(slopes[first + channel * SLOPES]);
  for (int c = 0; c < columns; c++) {
    const vec value = VLOAD(x + c * GROUP);
    VSTORE(choose(value, value * slope, value < SPLAT(0)), y + c * GROUP);
  }
}

kernel void prelu_backward(const global float *restrict x, const global float *restrict slopes,
                           const global float *restrict dy, global float *restrict dx, int4 from, int4 dy_at, int4 dx_at,
                           int4 extents, int first) {
  ROW_OR_RETURN
  x += at(from, group, channel, row, 0) + v * LANES;
  dy += at(dy_at, group, channel, row, 0) + v * LANES;
  dx += at(dx_at, group, channel, row, 0) + v * LANES;
  const vec slope = SPLAT(slopes[first + channel * SLOPES]);
  for (int c = 0; c < columns; c++) {
    const vec gradient = VLOAD(dy + c * GROUP);
    PUT(choose(gradient, gradient * slope, VLOAD(x + c * GROUP) <= SPLAT(0)), dx + c * GROUP);
  }
}

// Gradients of slopes: the sum over a plane of dy * x where x is not above 0, apart for each group and vector.
kernel void prelu_slopes(const global float *restrict x, const global float *restrict dy, global float *restrict sums,
                         int4 from, int4 dy_at, int4 extents) {
  const int v = get_global_id(0), channel = get_global_id(1), group = get_global_id(2);
  if (v >= VECTORS || channel >= extents.z) return;
  vec sum = SPLAT(0);
  for (int row = 0; row < extents.x; row++) {
    for (int c = 0; c < extents.y; c++) {
      const vec value = VLOAD(x + at(from, group, channel, row, c) + v * LANES);
      const vec gradient = VLOAD(dy + at(dy_at, group, channel, row, c) + v * LANES);
      sum += choose(SPLAT(0), value * gradient, value <= SPLAT(0));
    }
  }
  sums[(group * VECTORS + v) * extents.z + channel] = total(sum);
}
