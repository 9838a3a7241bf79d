// Winograd convolution F(M x M, 3 x 3) over blocks of channels (Lavin and Gray 2016): the transforms before and after the
// products. M is 2 or 4, with the points 0, +-1 or 0, +-1/sqrt(2), +-sqrt(2), and infinity.

#define N (M + 2)

// Overwrites N values, `s` apart, with their transform.
inline void to_frequencies(vec *d, const int s) {
#if M == 2
  const vec t0 = d[0] - d[2 * s], t1 = d[s] + d[2 * s], t2 = d[2 * s] - d[s], t3 = d[s] - d[3 * s];
  d[0] = t0;
  d[s] = t1;
  d[2 * s] = t2;
  d[3 * s] = t3;
#else
  const vec t0 = fma(SPLAT(-2.5f), d[2 * s], d[0] + d[4 * s]);
  const vec t5 = fma(SPLAT(-2.5f), d[3 * s], d[s] + d[5 * s]);
  const vec even1 = fma(SPLAT(-2.0f), d[2 * s], d[4 * s]);
  const vec odd1 = fma(SPLAT(-2.0f), d[s], d[3 * s]) * SPLAT(M_SQRT1_2_F);
  const vec even2 = fma(SPLAT(-0.5f), d[2 * s], d[4 * s]);
  const vec odd2 = fma(SPLAT(-0.5f), d[s], d[3 * s]) * SPLAT(M_SQRT2_F);
  d[0] = t0;
  d[s] = even1 + odd1;
  d[2 * s] = even1 - odd1;
  d[3 * s] = even2 + odd2;
  d[4 * s] = even2 - odd2;
  d[5 * s] = t5;
#endif
}

// Overwrites the first M of N values, `s` apart, with their transform back.
inline void from_frequencies(vec *d, const int s) {
#if M == 2
  const vec y0 = d[0] + d[s] + d[2 * s], y1 = d[s] - d[2 * s] - d[3 * s];
  d[0] = y0;
  d[s] = y1;
#else
  const vec sum1 = d[s] + d[2 * s], apart1 = (d[s] - d[2 * s]) * SPLAT(M_SQRT1_2_F);
  const vec sum2 = d[3 * s] + d[4 * s], apart2 = (d[3 * s] - d[4 * s]) * SPLAT(M_SQRT2_F);
  d[0] = d[0] + sum1 + sum2;
  d[s] = apart1 + apart2;
  d[2 * s] = fma(SPLAT(0.5f), sum1, SPLAT(2.0f) * sum2);
  d[3 * s] = fma(SPLAT(0.5f), apart1, fma(SPLAT(2.0f), apart2, d[5 * s]));
#endif
}

// Tiles are counted over the whole batch, `first` is the first of those at hand.
// frequencies: [N * N][tiles at hand][blocks * LANES], `step` scalars from one to the next
kernel void transform_input(const global value *restrict input, global scalar *restrict frequencies, int step, int first, int count,
                            int blocks, int height, int width, int top, int left, int tiles_y, int tiles_x) {
  const int tile = get_global_id(0), block = get_global_id(1);
  if (tile >= count || block >= blocks) return;
  const int x = (first + tile) % tiles_x, y = (first + tile) / tiles_x % tiles_y, sample = (first + tile) / tiles_x / tiles_y;
  input += (sample * blocks + block) * height * width * LANES;
  vec d[N * N];
  const int row = y * M - top, column = x * M - left;
  if (row >= 0 && row + N <= height && column >= 0 && column + N <= width) {
#pragma unroll
    for (int i = 0; i < N; i++) {
#pragma unroll
      for (int j = 0; j < N; j++) d[i * N + j] = LOAD(input + ((row + i) * width + column + j) * LANES);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) {
#pragma unroll
      for (int j = 0; j < N; j++) {
        const bool inside = row + i >= 0 && row + i < height && column + j >= 0 && column + j < width;
        d[i * N + j] = SPLAT(0);
        if (inside) d[i * N + j] = LOAD(input + ((row + i) * width + column + j) * LANES);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < N; i++) to_frequencies(d + i * N, 1);
#pragma unroll
  for (int i = 0; i < N; i++) to_frequencies(d + i, N);
  frequencies += (tile * blocks + block) * LANES;
#pragma unroll
  for (int i = 0; i < N * N; i++) VSTORE(d[i], frequencies + i * step);
}

// frequencies: [N * N][blocks][tiles at hand][LANES], `step` scalars from one to the next. With POOL, 2 x 2 maxima are written instead of outputs.
kernel void transform_output(const global scalar *restrict frequencies, const global float *restrict bias,
                             global value *restrict output, int step, int first, int count, int blocks, int height,
                             int width, int tiles_y, int tiles_x, float parameter) {
  const int tile = get_global_id(0), block = get_global_id(1);
  if (tile >= count || block >= blocks) return;
  const int x = (first + tile) % tiles_x, y = (first + tile) / tiles_x % tiles_y, sample = (first + tile) / tiles_x / tiles_y;
  vec d[N * N];
  frequencies += (block * count + tile) * LANES;
#pragma unroll
  for (int i = 0; i < N * N; i++) d[i] = VLOAD(frequencies + i * step);
#pragma unroll
  for (int i = 0; i < N; i++) from_frequencies(d + i * N, 1);
#pragma unroll
  for (int j = 0; j < M; j++) from_frequencies(d + j, N);
  const vec offset = LOAD_FLOATS(bias + block * LANES);
#if POOL
  const int size = M / 2;
#else
  const int size = M;
#endif
  output += (sample * blocks + block) * height * width * LANES;
#pragma unroll
  for (int i = 0; i < size; i++) {
#pragma unroll
    for (int j = 0; j < size; j++) {
#if POOL
      const vec *corner = d + 2 * i * N + 2 * j;
      const vec result = larger(larger(corner[0], corner[1]), larger(corner[N], corner[N + 1]));
#else
      const vec result = d[i * N + j];
#endif
      if (y * size + i < height && x * size + j < width) {
        STORE(activate(result + offset, parameter), output + ((y * size + i) * width + x * size + j) * LANES);
      }
    }
  }
}
