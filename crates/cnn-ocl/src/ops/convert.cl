// Copies between [C, H, W] and [C / LANES, H, W, LANES]. Channels that fill the last block up become zeros.

kernel void to_blocked(const global value *restrict input, global value *restrict output, int channels, int plane) {
  const int pixel = get_global_id(0), block = get_global_id(1), sample = get_global_id(2);
  if (pixel >= plane) return;
  const int blocks = (channels + LANES - 1) / LANES;
  input += (sample * channels + block * LANES) * plane + pixel;
  output += ((sample * blocks + block) * plane + pixel) * LANES;
  for (int lane = 0; lane < LANES; lane++) {
    WRITE(block * LANES + lane < channels ? READ(input + lane * plane) : (scalar)0, output + lane);
  }
}

kernel void to_planar(const global value *restrict input, global value *restrict output, int channels, int plane) {
  const int pixel = get_global_id(0), channel = get_global_id(1), sample = get_global_id(2);
  if (pixel >= plane) return;
  const int blocks = (channels + LANES - 1) / LANES;
  WRITE(READ(input + ((sample * blocks + channel / LANES) * plane + pixel) * LANES + channel % LANES),
        output + (sample * channels + channel) * plane + pixel);
}
