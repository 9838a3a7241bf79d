// Layers that look at each element by itself: a work-item has a row of a plane.

// Planar images, of which the batch's last group may lack some, to samples side by side.
kernel void turn(const global float *restrict images, global float *restrict y, int4 to, int4 extents, int batch) {
  ROW_OR_RETURN
  global float *line = y + at(to, group, channel, row, 0) + v * LANES;
  const int sample = group * GROUP + v * LANES, length = extents.z * extents.x * columns;
  const global float *image = images + sample * length + (channel * extents.x + row) * columns;
  for (int c = 0; c < columns; c++) {
    float lanes[LANES];
    for (int i = 0; i < LANES; i++) lanes[i] = sample + i < batch ? image[i * length + c] : 0.0f;
    VSTORE(VLOAD(lanes), line + c * GROUP);
  }
}

kernel void copy(const global float *restrict x, global float *restrict y, int4 from, int4 to, int4 extents) {
  ROW_OR_RETURN
  x += at(from, group, channel, row, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  for (int c = 0; c < columns; c++) PUT(VLOAD(x + c * GROUP), y + c * GROUP);
}

kernel void apply(const global float *restrict x, global float *restrict y, int4 from, int4 to, int4 extents, float parameter) {
  ROW_OR_RETURN
  x += at(from, group, channel, row, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  for (int c = 0; c < columns; c++) VSTORE(activate(VLOAD(x + c * GROUP), parameter), y + c * GROUP);
}

// dx (+)= dy * f'(x).
kernel void apply_backward(const global float *restrict x, const global float *restrict y, const global float *restrict dy,
                           global float *restrict dx, int4 from, int4 to, int4 dy_at, int4 dx_at, int4 extents,
                           float parameter) {
  ROW_OR_RETURN
  x += at(from, group, channel, row, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  dy += at(dy_at, group, channel, row, 0) + v * LANES;
  dx += at(dx_at, group, channel, row, 0) + v * LANES;
  for (int c = 0; c < columns; c++) {
    const vec slope = derivative(VLOAD(x + c * GROUP), VLOAD(y + c * GROUP), parameter);
    PUT(VLOAD(dy + c * GROUP) * slope, dx + c * GROUP);
  }
}

// dy *= f'(y), where the layer itself made y with an activation behind it.
kernel void derive(const global float *restrict y, global float *restrict dy, int4 from, int4 dy_at, int4 extents,
                   float parameter) {
  ROW_OR_RETURN
  y += at(from, group, channel, row, 0) + v * LANES;
  dy += at(dy_at, group, channel, row, 0) + v * LANES;
  for (int c = 0; c < columns; c++) {
    const vec value = VLOAD(y + c * GROUP);
    VSTORE(VLOAD(dy + c * GROUP) * derivative(value, value, parameter), dy + c * GROUP);
  }
}

// A number in [0, 1) that depends on nothing but the seed and the index: the same as the definition's.
inline float uniform_number(ulong seed, ulong index) {
  ulong z = seed + (index + 1) * 0x9e3779b97f4a7c15UL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
  return (float)((z ^ (z >> 31)) >> 40) / 16777216.0f;
}

// Forward of values, backward of gradients.
kernel void dropout(const global float *restrict x, global float *restrict y, int4 from, int4 to, int4 extents,
                    float probability, ulong seed) {
  ROW_OR_RETURN
  x += at(from, group, channel, row, 0) + v * LANES;
  y += at(to, group, channel, row, 0) + v * LANES;
  const ulong length = (ulong)extents.z * extents.x * columns;
  const float scale = 1.0f / (1.0f - probability);
  for (int c = 0; c < columns; c++) {
    const ulong first = (channel * extents.x + row) * columns + c;
    float lanes[LANES];
    for (int i = 0; i < LANES; i++) {
      const ulong sample = group * GROUP + v * LANES + i;
      lanes[i] = uniform_number(seed, sample * length + first) >= probability ? scale : 0.0f;
    }
    PUT(VLOAD(x + c * GROUP) * VLOAD(lanes), y + c * GROUP);
  }
}
