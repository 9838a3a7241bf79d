// Softmax cross-entropy of each sample: its gradient, and (loss, whether the label's output was the largest) a sample.
kernel void loss(const global float *restrict logits, const global int *restrict labels, global float *restrict gradient,
                 global float *restrict found, int4 from, int4 to, int classes, int batch, int all) {
  const int sample = get_global_id(0);
  if (sample >= all) return;
  const int group = sample / GROUP, lane = sample % GROUP;
  logits += at(from, group, 0, 0, 0) + lane;
  gradient += at(to, group, 0, 0, 0) + lane;
  const int step = from.z * GROUP, gradient_step = to.z * GROUP;
  if (sample >= batch) {
    for (int c = 0; c < classes; c++) gradient[c * gradient_step] = 0.0f;
    return;
  }
  const int label = labels[sample];
  const float own = logits[label * step];
  float largest = -INFINITY, sum = 0.0f;
  int right = 1;
  for (int c = 0; c < classes; c++) {
    const float logit = logits[c * step];
    largest = fmax(largest, logit);
    right &= c == label || logit < own;
  }
  for (int c = 0; c < classes; c++) sum += exp(logits[c * step] - largest);
  for (int c = 0; c < classes; c++) {
    const float probability = exp(logits[c * step] - largest) / sum;
    gradient[c * gradient_step] = (probability - (c == label ? 1.0f : 0.0f)) / (float)batch;
  }
  found[sample * 2] = log(sum) + (largest - own);
  found[sample * 2 + 1] = (float)right;
}
