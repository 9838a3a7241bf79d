// What every kernel file begins with. LANES floats make a vector; 1 stands for planar values.
#ifndef LANES
#define LANES 1
#endif

#if LANES == 1
typedef float vec;
typedef int mask;
#define LOAD(p) (*(p))
#define STORE(v, p) (*(p) = (v))
#define EXTRACT(v, lane) (v)
#else
#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)
typedef GLUE(float, LANES) vec;
typedef GLUE(int, LANES) mask;
#define LOAD(p) GLUE(vload, LANES)(0, p)
#define STORE(v, p) GLUE(vstore, LANES)(v, 0, p)
#endif

// Where a mask is set `b`, else `a`.
inline vec choose(vec a, vec b, mask set) {
#if LANES == 1
  return set ? b : a;
#else
  return select(a, b, set);
#endif
}

// The larger; NaN where either is.
inline vec larger(vec a, vec b) { return choose(a, b, (b > a) | (b != b)); }

// ACTIVATION: 0 none, 1 ReLU, 2 leaky ReLU, 3 ELU, 4 sigmoid, 5 hyperbolic tangent.
#ifndef ACTIVATION
#define ACTIVATION 0
#endif

inline vec activate(vec x, float parameter) {
#if ACTIVATION == 1
  return choose(x, (vec)(0.0f), x < (vec)(0.0f));
#elif ACTIVATION == 2
  return choose(x, x * (vec)(parameter), x < (vec)(0.0f));
#elif ACTIVATION == 3
  return choose(x, (vec)(parameter) * expm1(x), x < (vec)(0.0f));
#elif ACTIVATION == 4
  return (vec)(1.0f) / ((vec)(1.0f) + exp(-x));
#elif ACTIVATION == 5
  return tanh(x);
#else
  return x;
#endif
}
