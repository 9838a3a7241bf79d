// Pooling. MEAN: 0 the maximum, 1 the mean over taps in the padded input, 2 over those in the input. With EXACT_Y and EXACT_X, the
// windows have that many taps, touch, and cover the input.

#if EXACT_Y
#define FIRST(start, window) 0
#define END_Y(start) EXACT_Y
#define END_X(start) EXACT_X
#define UNROLL _Pragma("unroll")
#else
#define FIRST(start, window) first_tap(start, (window).z)
#define END_Y(start) end_tap(start, window_y.z, window_y.x, in.x)
#define END_X(start) end_tap(start, window_x.z, window_x.x, in.y)
#define UNROLL
#endif

// What a sum over a window is multiplied by. Windows are (taps, stride, dilation, padding before).
inline float share(int y, int x, int4 window_y, int4 window_x, int4 in, int2 after) {
#if MEAN == 1
  const int count = end_tap(y, window_y.z, window_y.x, in.x + after.x) * end_tap(x, window_x.z, window_x.x, in.y + after.y);
#else
  const int count = (END_Y(y) - FIRST(y, window_y)) * (END_X(x) - FIRST(x, window_x));
#endif
  return 1.0f / (float)count;
}

// `in` and `out` are (rows, columns, channels, groups).
kernel void pool(const global float *restrict x, global float *restrict y, int4 from, int4 to, int4 in, int4 out,
                 int4 window_y, int4 window_x, int2 after) {
  const int v = get_global_id(0), row = get_global_id(1), plane = get_global_id(2);
  if (v >= VECTORS || row >= out.x) return;
  const int channel = plane % out.z, group = plane / out.z;
  const int start_y = row * window_y.y - window_y.w;
  for (int column = 0; column < out.y; column++) {
    const int start_x = column * window_x.y - window_x.w;
#if MEAN
    vec result = SPLAT(0);
#else
    vec result = SPLAT(-INFINITY);
#endif
    UNROLL for (int ty = FIRST(start_y, window_y); ty < END_Y(start_y); ty++) {
      UNROLL for (int tx = FIRST(start_x, window_x); tx < END_X(start_x); tx++) {
        const int place = at(from, group, channel, start_y + ty * window_y.z, start_x + tx * window_x.z);
        const vec pixel = VLOAD(x + place + v * LANES);
#if MEAN
        result += pixel;
#else
        result = larger(result, pixel);
#endif
      }
    }
#if MEAN
    result *= SPLAT(share(start_y, start_x, window_y, window_x, in, after));
#endif
    VSTORE(result, y + at(to, group, channel, row, column) + v * LANES);
  }
}

// The gradient goes to the first of the largest, or in equal shares to all. With DERIVATIVE, it goes on through the activation that
// made x. A work-item has a row of windows where they are exact, else a plane.
kernel void pool_backward(const global float *restrict x, const global float *restrict dy, global float *restrict dx, int4 from,
                          int4 dy_at, int4 dx_at, int4 in, int4 out, int4 window_y, int4 window_x, int2 after,
                          float parameter) {
  const int v = get_global_id(0), item = get_global_id(1), plane = get_global_id(2);
  const int channel = plane % out.z, group = plane / out.z;
#if EXACT_Y
  if (v >= VECTORS || item >= out.x) return;
  const int first_row = item, end_row = item + 1;
#else
  if (v >= VECTORS || item >= 1) return;
  const int first_row = 0, end_row = out.x;
#if !ACCUMULATE
  for (int row = 0; row < in.x; row++) {
    for (int c = 0; c < in.y; c++) VSTORE(SPLAT(0), dx + at(dx_at, group, channel, row, c) + v * LANES);
  }
#endif
#endif
  for (int row = first_row; row < end_row; row++) {
    const int start_y = row * window_y.y - window_y.w;
    for (int column = 0; column < out.y; column++) {
      const int start_x = column * window_x.y - window_x.w;
      vec gradient = VLOAD(dy + at(dy_at, group, channel, row, column) + v * LANES);
#if MEAN
      gradient *= SPLAT(share(start_y, start_x, window_y, window_x, in, after));
#else
      vec best = SPLAT(-INFINITY), best_tap = SPLAT(-1);
      UNROLL for (int ty = FIRST(start_y, window_y); ty < END_Y(start_y); ty++) {
        UNROLL for (int tx = FIRST(start_x, window_x); tx < END_X(start_x); tx++) {
          const int place = at(from, group, channel, start_y + ty * window_y.z, start_x + tx * window_x.z);
          const vec pixel = VLOAD(x + place + v * LANES);
          const mask better =
              (pixel > best) | ((pixel != pixel) & (best == best)) | (best_tap < SPLAT(0));
          best = choose(best, pixel, better);
          best_tap = choose(best_tap, SPLAT(ty * window_x.x + tx), better);
        }
      }
#endif
      UNROLL for (int ty = FIRST(start_y, window_y); ty < END_Y(start_y); ty++) {
        UNROLL for (int tx = FIRST(start_x, window_x); tx < END_X(start_x); tx++) {
          const int y_in = start_y + ty * window_y.z, x_in = start_x + tx * window_x.z;
#if MEAN
          vec passed = gradient;
#else
          vec passed = choose(SPLAT(0), gradient, best_tap == SPLAT(ty * window_x.x + tx));
#endif
#if DERIVATIVE
          const vec value = VLOAD(x + at(from, group, channel, y_in, x_in) + v * LANES);
          passed *= derivative(value, value, parameter);
#endif
          global float *place = dx + at(dx_at, group, channel, y_in, x_in) + v * LANES;
#if EXACT_Y
          PUT(passed, place);
#else
          VSTORE(VLOAD(place) + passed, place);
#endif
        }
      }
    }
  }
}
