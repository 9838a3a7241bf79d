// Layers that look across the channels of a pixel, over planar values.

kernel void softmax(const global float *restrict input, global float *restrict output, int channels, int plane) {
  const int pixel = get_global_id(0), sample = get_global_id(1);
  if (pixel >= plane) return;
  input += sample * channels * plane + pixel;
  output += sample * channels * plane + pixel;
  float largest = -INFINITY;
  for (int c = 0; c < channels; c++) largest = fmax(largest, input[c * plane]);
  float sum = 0.0f;
  for (int c = 0; c < channels; c++) {
    const float value = exp(input[c * plane] - largest);
    output[c * plane] = value;
    sum += value;
  }
  const float factor = 1.0f / sum;
  for (int c = 0; c < channels; c++) output[c * plane] *= factor;
}

// Divides by (k + alpha / size * the sum of the squares of `size` neighbours)^beta.
kernel void local_response_norm(const global float *restrict input, global float *restrict output, int channels, int plane,
                                int below, int above, float alpha, float beta, float k) {
  const int pixel = get_global_id(0), sample = get_global_id(1), channel = get_global_id(2);
  if (pixel >= plane) return;
  input += sample * channels * plane + pixel;
  const int first = max(channel - below, 0), last = min(channel + above, channels - 1);
  float sum = 0.0f;
  for (int c = first; c <= last; c++) sum = fma(input[c * plane], input[c * plane], sum);
  output[(sample * channels + channel) * plane + pixel] = input[channel * plane] * powr(fma(alpha, sum, k), -beta);
}
