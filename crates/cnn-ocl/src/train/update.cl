// The optimiser's step over all learned parameters at once. OPTIMIZER: 0 SGD, 1 Nesterov, 2 AdaGrad, 3 RMSProp, 4 AdaDelta, 5 Adam and
// AdamW. `bounds` is what gradients are multiplied by and the largest that then counts.

// found[i] = a part of the sum of all squared gradients.
kernel void squares(const global float *restrict gradient, global float *restrict found, int length, int count) {
  const int i = get_global_id(0);
  if (i >= count) return;
  float sum = 0.0f;
  for (int j = i; j < length; j += count) sum = fma(gradient[j], gradient[j], sum);
  found[i] = sum;
}

// Gradients of a norm above `most` are scaled down to it.
kernel void bound(const global float *restrict found, global float *restrict bounds, int count, float most) {
  float sum = 0.0f;
  for (int i = 0; i < count; i++) sum += found[i];
  const float norm = sqrt(sum);
  bounds[0] = norm > most ? most / norm : 1.0f;
}

kernel void multiply(global float *restrict gradient, int length, float factor) {
  const int i = get_global_id(0) * LANES;
  if (i >= length) return;
  VSTORE(VLOAD(gradient + i) * SPLAT(factor), gradient + i);
}

// `settings` are (momentum, decay or beta1; beta2; epsilon; weight decay), `corrections` what Adam's means are multiplied by.
kernel void update(global float *restrict weights, const global float *restrict gradient, global float *restrict first,
                   global float *restrict second, const global float *restrict bounds, int length, float4 settings, float rate,
                   float2 corrections, float shrink) {
  const int i = get_global_id(0) * LANES;
  if (i >= length) return;
  const vec w = VLOAD(weights + i), most = SPLAT(bounds[1]), raw = VLOAD(gradient + i) * SPLAT(bounds[0]);
  // Comparisons with NaN are false: NaN stays.
  const vec clipped = choose(choose(raw, most, raw > most), -most, raw < -most);
  const vec g = fma(SPLAT(settings.w), w, clipped), r = SPLAT(rate), decay = SPLAT(settings.x);
  const vec a = VLOAD(first + i);
#if OPTIMIZER <= 1
  const vec velocity = fma(decay, a, g);
  VSTORE(velocity, first + i);
#if OPTIMIZER == 0
  VSTORE(w - r * velocity, weights + i);
#else
  VSTORE(w - r * fma(decay, velocity, g), weights + i);
#endif
#elif OPTIMIZER <= 3
#if OPTIMIZER == 2
  const vec mean = fma(g, g, a);
#else
  const vec mean = fma(decay, a, (SPLAT(1) - decay) * g * g);
#endif
  VSTORE(mean, first + i);
  VSTORE(w - r * g / (sqrt(mean) + SPLAT(settings.z)), weights + i);
#else
  const vec b = VLOAD(second + i);
#if OPTIMIZER == 4
  const vec epsilon = SPLAT(settings.z);
  const vec mean = fma(decay, a, (SPLAT(1) - decay) * g * g);
  const vec change = g * (sqrt(b + epsilon) / sqrt(mean + epsilon));
  VSTORE(mean, first + i);
  VSTORE(fma(decay, b, (SPLAT(1) - decay) * change * change), second + i);
  VSTORE(w - r * change, weights + i);
#else
  const vec of_squares = SPLAT(settings.y);
  const vec mean = fma(decay, a, (SPLAT(1) - decay) * g);
  const vec deviation = fma(of_squares, b, (SPLAT(1) - of_squares) * g * g);
  VSTORE(mean, first + i);
  VSTORE(deviation, second + i);
  const vec change = mean * SPLAT(corrections.x) / (sqrt(deviation * SPLAT(corrections.y)) + SPLAT(settings.z));
  VSTORE(w * SPLAT(shrink) - r * change, weights + i);
#endif
#endif
}
