// Eight-bit codes of floats. A work-group has a block of BLOCK numbers, and keeps the table in local memory.

// The bits of each block's largest magnitude; those of NaN are larger than those of infinity.
kernel void largest_magnitudes(const global float *restrict numbers, global uint *restrict largest, int count) {
  local uint most[ITEMS];
  const int item = get_local_id(0), block = get_group_id(0);
  numbers += block * BLOCK;
  count = min(count - block * BLOCK, BLOCK);
  uint mine = 0;
  for (int i = item; i < count; i += ITEMS) mine = max(mine, as_uint(numbers[i]) & 0x7fffffff);
  most[item] = mine;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int others = ITEMS / 2; others > 0; others /= 2) {
    if (item < others) most[item] = max(most[item], most[item + others]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (item == 0) largest[block] = most[0];
}

// A magnitude times both factors. Subnormal numbers are put together from their bits, since devices may take them for 0: their
// product with a reciprocal is none where it matters.
float scaled(uint magnitude, float2 by) {
  return magnitude < 0x00800000 ? convert_float(magnitude) * 0x1p-23f * (by.y * 0x1p-126f)
                                : as_float(magnitude) * by.x * by.y;
}

// The number of thresholds below a magnitude, by binary search; those past the last are infinite.
int rank_of(float magnitude, const local float *thresholds) {
  int rank = 0;
  for (int step = 64; step > 0; step /= 2) {
    if (magnitude > thresholds[rank + step - 1]) rank += step;
  }
  return rank;
}

// Codes of numbers times `factors`: of their block's, or of the first where a block is no step. Four codes are a word, the first
// in its lowest byte.
kernel void encode(const global float *restrict numbers, const global float2 *restrict factors,
                   const global float *restrict thresholds, const global uint *restrict code_of_rank,
                   global uint *restrict codes, int count, int step) {
  local float bounds[128];
  local uint ranked[128];
  const int item = get_local_id(0), block = get_group_id(0);
  for (int i = item; i < 128; i += ITEMS) {
    bounds[i] = thresholds[i];
    ranked[i] = code_of_rank[i];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const float2 by = factors[block * step];
  numbers += block * BLOCK;
  codes += block * BLOCK / 4;
  count = min(count - block * BLOCK, BLOCK);
  for (int first = 4 * item; first < count; first += 4 * ITEMS) {
    uint word = 0;
    for (int i = 0; i < min(4, count - first); i++) {
      const uint bits = as_uint(numbers[first + i]);
      const uint code = ranked[rank_of(scaled(bits & 0x7fffffff, by), bounds)] | (bits >> 31) << 7;
      word |= code << (8 * i);
    }
    codes[first / 4] = word;
  }
}

// What codes stand for, times the scale of their block, or the first where a block is no step.
kernel void decode(const global uint *restrict codes, const global float *restrict scales,
                   const global float *restrict table, global float *restrict numbers, int count, int step) {
  local float values[256];
  const int item = get_local_id(0), block = get_group_id(0);
  for (int i = item; i < 256; i += ITEMS) values[i] = table[i] * scales[block * step];
  barrier(CLK_LOCAL_MEM_FENCE);
  codes += block * BLOCK / 4;
  numbers += block * BLOCK;
  count = min(count - block * BLOCK, BLOCK);
  for (int first = 4 * item; first < count; first += 4 * ITEMS) {
    const uint word = codes[first / 4];
    for (int i = 0; i < min(4, count - first); i++) numbers[first + i] = values[word >> (8 * i) & 0xff];
  }
}
