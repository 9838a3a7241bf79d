// Layers that look across the channels of a pixel, over planar values, in floats.

kernel void softmax(const global value *restrict input, global value *restrict output, int channels, int plane) {
  const int pixel = get_global_id(0), sample = get_global_id(1);
  if (pixel >= plane) return;
  input += sample * channels * plane + pixel;
  output += sample * channels * plane + pixel;
  float largest = -INFINITY;
  for (int c = 0; c < channels; c++) largest = fmax(largest, (float)READ(input + c * plane));
  float sum = 0.0f;
  for (int c = 0; c < channels; c++) sum += exp((float)READ(input + c * plane) - largest);
  const float factor = 1.0f / sum;
  for (int c = 0; c < channels; c++) {
    WRITE(exp((float)READ(input + c * plane) - largest) * factor, output + c * plane);
  }
}

// Divides by (k + alpha / size * the sum of the squares of `size` neighbours)^beta.
kernel void local_response_norm(const global value *restrict input, global value *restrict output, int channels, int plane,
                                int below, int above, float alpha, float beta, float k) {
  const int pixel = get_global_id(0), sample = get_global_id(1), channel = get_global_id(2);
  if (pixel >= plane) return;
  input += sample * channels * plane + pixel;
  const int first = max(channel - below, 0), last = min(channel + above, channels - 1);
  float sum = 0.0f;
  for (int c = first; c <= last; c++) {
    const float neighbour = READ(input + c * plane);
    sum = fma(neighbour, neighbour, sum);
  }
  const float own = READ(input + channel * plane);
  WRITE(own * powr(fma(alpha, sum, k), -beta), output + (sample * channels + channel) * plane + pixel);
}
