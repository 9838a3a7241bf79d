//! Inputs of tests, from a seed.

/// A generator good enough for test inputs: SplitMix64 (Steele et al. 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `count` numbers in [-1, 1).
pub fn uniform(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    (0..count).map(|_| (next(&mut state) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// `count` numbers evenly spread over [-2, 2] in random order, none of them 0: no two are closer than `4 / count`, so
/// that a small step of one neither meets another (maximum) nor a kink at 0 (ReLU).
pub fn spread(seed: u64, count: usize) -> Vec<f32> {
    let even = count.next_multiple_of(2) as f32;
    let mut values: Vec<f32> = (0..count).map(|i| ((i as f32 + 0.5) / even - 0.5) * 4.0).collect();
    let mut state = seed;
    for i in (1..count).rev() {
        values.swap(i, (next(&mut state) % (i as u64 + 1)) as usize);
    }
    values
}
