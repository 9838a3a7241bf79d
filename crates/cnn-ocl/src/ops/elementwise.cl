// Element by element, and channel by channel. A plane is the pixels of a block of channels.

kernel void apply(const global value *restrict input, global value *restrict output, int count, float parameter) {
  const int i = get_global_id(0);
  if (i >= count) return;
  STORE(activate(LOAD(input + i * LANES), parameter), output + i * LANES);
}

// The output may be an input.
kernel void add(const global value *a, const global value *b, global value *output, int count, float parameter) {
  const int i = get_global_id(0);
  if (i >= count) return;
  STORE(activate(LOAD(a + i * LANES) + LOAD(b + i * LANES), parameter), output + i * LANES);
}

kernel void scale(const global value *restrict input, global value *restrict output, const global float *restrict factors,
                  const global float *restrict offsets, int plane, float parameter) {
  const int pixel = get_global_id(0), block = get_global_id(1), sample = get_global_id(2);
  if (pixel >= plane) return;
  const int i = ((sample * get_global_size(1) + block) * plane + pixel) * LANES;
  // Factors and offsets may be beyond halves.
  const wide result = fma(WIDEN(LOAD(input + i)), VLOAD(factors + block * LANES), VLOAD(offsets + block * LANES));
  STORE(activate(NARROW(result), parameter), output + i);
}

kernel void prelu(const global value *restrict input, global value *restrict output, const global float *restrict slopes,
                  int plane) {
  const int pixel = get_global_id(0), block = get_global_id(1), sample = get_global_id(2);
  if (pixel >= plane) return;
  const int i = ((sample * get_global_size(1) + block) * plane + pixel) * LANES;
  const vec x = LOAD(input + i);
  STORE(choose(x, x * LOAD_FLOATS(slopes + block * LANES), x < SPLAT(0)), output + i);
}

// Adds an offset a channel where the values lie.
kernel void shift(global value *values, const global float *restrict offsets, int plane, float parameter) {
  const int pixel = get_global_id(0), block = get_global_id(1), sample = get_global_id(2);
  if (pixel >= plane) return;
  values += ((sample * get_global_size(1) + block) * plane + pixel) * LANES;
  STORE(activate(LOAD(values) + LOAD_FLOATS(offsets + block * LANES), parameter), values);
}

// A sample of `count` values into a longer one, from `first` on.
kernel void copy_into(const global value *restrict input, global value *restrict output, int count, int first, int longer) {
  const int i = get_global_id(0), sample = get_global_id(1);
  if (i >= count) return;
  WRITE(READ(input + sample * count + i), output + sample * longer + first + i);
}
