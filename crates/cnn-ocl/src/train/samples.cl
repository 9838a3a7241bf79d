// What all kernels of training share. Samples lie side by side: a value is
// [groups][channels][rows][columns, with margins of zeros][GROUP samples], and a place is the distances (first, row, plane, group)
// in it, counted in GROUP floats. A work-item sees LANES samples of a group, the vector `v` of it.
#define VECTORS (GROUP / LANES)

inline int at(int4 place, int group, int channel, int row, int column) {
  return (place.x + group * place.w + channel * place.z + row * place.y + column) * GROUP;
}

// Results of a backward pass: the first of a value's readers writes its gradient, the others add theirs.
#if ACCUMULATE
#define PUT(x, p) VSTORE(VLOAD(p) + (x), p)
#else
#define PUT(x, p) VSTORE(x, p)
#endif

// The derivative of an activation, from its value `y` and from `x`, which has the sign of what it was taken of.
#ifndef DERIVATIVE
#define DERIVATIVE 0
#endif
inline vec derivative(vec x, vec y, float parameter) {
#if DERIVATIVE == 1
  return choose(SPLAT(0), SPLAT(1), x > SPLAT(0));
#elif DERIVATIVE == 2
  return choose(SPLAT(parameter), SPLAT(1), x > SPLAT(0));
#elif DERIVATIVE == 3
  return choose(y + SPLAT(parameter), SPLAT(1), x > SPLAT(0));
#elif DERIVATIVE == 4
  return y * (SPLAT(1) - y);
#elif DERIVATIVE == 5
  return SPLAT(1) - y * y;
#elif DERIVATIVE == 6
  return choose(SPLAT(0), SPLAT(1), (y > SPLAT(0)) & (y < SPLAT(6)));
#else
  return SPLAT(1);
#endif
}

inline float total(vec x) {
#if LANES == 1
  return x;
#else
#if LANES == 16
  const float8 x8 = x.lo + x.hi;
#elif LANES == 8
  const float8 x8 = x;
#endif
#if LANES >= 8
  const float4 x4 = x8.lo + x8.hi;
#elif LANES == 4
  const float4 x4 = x;
#endif
#if LANES >= 4
  const float2 x2 = x4.lo + x4.hi;
#else
  const float2 x2 = x;
#endif
  return x2.x + x2.y;
#endif
}

// 1 in the lanes that hold samples of the batch, 0 in those that only fill the last group.
inline vec inside(int group, int v, int batch) {
  float lanes[LANES];
  for (int i = 0; i < LANES; i++) lanes[i] = group * GROUP + v * LANES + i < batch ? 1.0f : 0.0f;
  return VLOAD(lanes);
}

// The taps of a window that lie inside: the first, and the end of them. `start` is where tap 0 lies.
inline int first_tap(int start, int dilation) { return start < 0 ? (dilation - 1 - start) / dilation : 0; }
inline int end_tap(int start, int dilation, int taps, int length) {
  return length > start ? min(taps, (length - start + dilation - 1) / dilation) : 0;
}

// A work-item of the kernels that look at each element by itself: a row of a plane. `extents` are (rows, columns, channels).
#define ROW_OR_RETURN                                                               \
  const int v = get_global_id(0), row = get_global_id(1), plane = get_global_id(2); \
  if (v >= VECTORS || row >= extents.x) return;                                     \
  const int columns = extents.y, channel = plane % extents.z, group = plane / extents.z;
