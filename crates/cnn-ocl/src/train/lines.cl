// What the kernels of correlations share: how lines of taps step through values.

#define NEXT_TAP (DILATION_X * GROUP)
#if LINEAR
// Features stand in for planes and groups of samples for columns, so that all of them lie in one row.
#undef X_STEP
#undef Y_STEP
#define X_STEP from.w
#define Y_STEP to.w
#endif

