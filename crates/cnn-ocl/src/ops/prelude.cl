// What every kernel file begins with. A vector has LANES numbers; 1 stands for planar values.
#ifndef LANES
#define LANES 1
#endif

// Numbers in registers, and between the kernels of one algorithm, are scalars; those between layers are values. HALF_VALUES
// makes values halves, which takes no extension to read and write; HALF_ARITHMETIC makes all of them halves.
#if HALF_ARITHMETIC
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define SCALAR half
#else
#define SCALAR float
#endif
typedef SCALAR scalar;
#if HALF_VALUES
typedef half value;
#else
typedef float value;
#endif

#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)

// `vec` is a vector of scalars, `wide` one of floats, for sums of many.
#if LANES == 1
typedef scalar vec;
typedef float wide;
typedef int mask;
#define WIDEN(v) ((float)(v))
#define NARROW(v) ((scalar)(v))
#define VLOAD(p) (*(p))
#define VSTORE(v, p) (*(p) = (v))
#define VLOAD_HALF(p) vload_half(0, p)
#define VSTORE_HALF(v, p) vstore_half(v, 0, p)
#else
typedef GLUE(SCALAR, LANES) vec;
typedef GLUE(float, LANES) wide;
#if HALF_ARITHMETIC
typedef short lane_number;
typedef GLUE(short, LANES) mask;
#define WIDEN(v) GLUE(convert_float, LANES)(v)
#define NARROW(v) GLUE(convert_half, LANES)(v)
#else
typedef int lane_number;
typedef GLUE(int, LANES) mask;
#define WIDEN(v) (v)
#define NARROW(v) (v)
#endif
#define VLOAD(p) GLUE(vload, LANES)(0, p)
#define VSTORE(v, p) GLUE(vstore, LANES)(v, 0, p)
#define VLOAD_HALF(p) GLUE(vload_half, LANES)(0, p)
#define VSTORE_HALF(v, p) GLUE(vstore_half, LANES)(v, 0, p)
#endif

// Vectors from and to memory of values, and from memory of floats and of halves.
#define LOAD_FLOATS(p) NARROW(VLOAD(p))
#if HALF_ARITHMETIC
#define LOAD_HALVES(p) VLOAD(p)
#else
#define LOAD_HALVES(p) VLOAD_HALF(p)
#endif
#if HALF_VALUES && !HALF_ARITHMETIC
#define LOAD(p) VLOAD_HALF(p)
#define STORE(v, p) VSTORE_HALF(v, p)
#define READ(p) vload_half(0, p)
#define WRITE(x, p) vstore_half(x, 0, p)
#else
#define LOAD(p) VLOAD(p)
#define STORE(v, p) VSTORE(v, p)
#define READ(p) (*(p))
#define WRITE(x, p) (*(p) = (scalar)(x))
#endif

// What weights in panels are stored as.
#if HALF_WEIGHTS
typedef half weight;
#define LOAD_WEIGHTS(p) LOAD_HALVES(p)
#else
typedef float weight;
#define LOAD_WEIGHTS(p) LOAD_FLOATS(p)
#endif

// A tile's `sums` are floats. Sums of halves lose digits as they grow, so that only a part of each is summed in halves: in
// `part`, which is `sums` itself where all are floats.
#if HALF_ARITHMETIC
#define PART 32
#define BEGIN_PART                                                                \
  vec part[ROWS][VECTORS];                                                        \
  _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                              \
    _Pragma("unroll") for (int v = 0; v < VECTORS; v++) part[r][v] = SPLAT(0);    \
  }
#define END_PART                                                                            \
  _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                        \
    _Pragma("unroll") for (int v = 0; v < VECTORS; v++) sums[r][v] += WIDEN(part[r][v]);    \
  }
#else
#define PART (1 << 30)
#define part sums
#define BEGIN_PART
#define END_PART
#endif

#define SPLAT(x) ((vec)((scalar)(x)))

// Where a mask is set `b`, else `a`.
inline vec choose(vec a, vec b, mask set) {
#if LANES == 1
  return set ? b : a;
#elif HALF_ARITHMETIC
  // As integers: not every driver that computes with halves can select them.
  return GLUE(as_half, LANES)(select(GLUE(as_short, LANES)(a), GLUE(as_short, LANES)(b), set));
#else
  return select(a, b, set);
#endif
}

// The larger; NaN where either is.
inline vec larger(vec a, vec b) { return choose(a, b, (b > a) | (b != b)); }

// Zeros in the lanes from `used` on, which hold no channel. Their weights are zeros, and a zero times infinity is NaN, which
// whoever reads the block would spread to all its sums.
#if LANES == 1
inline vec clear_idle(vec x, int used) { return x; }
#else
constant lane_number LANE_NUMBERS[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
inline vec clear_idle(vec x, int used) {
  return choose(SPLAT(0), x, VLOAD(LANE_NUMBERS) < (mask)((lane_number)min(used, LANES)));
}
#endif

// ACTIVATION: 0 none, 1 ReLU, 2 leaky ReLU, 3 ELU, 4 sigmoid, 5 hyperbolic tangent, 6 ReLU6.
#ifndef ACTIVATION
#define ACTIVATION 0
#endif

inline vec activate(vec x, float parameter) {
#if ACTIVATION == 1
  return choose(x, SPLAT(0), x < SPLAT(0));
#elif ACTIVATION == 2
  return choose(x, x * SPLAT(parameter), x < SPLAT(0));
#elif ACTIVATION == 3
  return choose(x, SPLAT(parameter) * NARROW(expm1(WIDEN(x))), x < SPLAT(0));
#elif ACTIVATION == 4
  return NARROW((wide)(1.0f) / ((wide)(1.0f) + exp(-WIDEN(x))));
#elif ACTIVATION == 5
  return NARROW(tanh(WIDEN(x)));
#elif ACTIVATION == 6
  return choose(choose(x, SPLAT(0), x < SPLAT(0)), SPLAT(6), x > SPLAT(6));
#else
  return x;
#endif
}
