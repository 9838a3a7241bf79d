//! What `scripts/golden` and `scripts/golden-training` make their numbers by.

/// Numbers of tensor `tensor` in [-scale, scale), as `numbers` of the script makes them.
pub(crate) fn numbers(tensor: u64, count: usize, scale: f32) -> Vec<f32> {
    let number = |i: u64| {
        let mut z = i.wrapping_add((tensor << 32) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
    };
    (0..count as u64).map(number).collect()
}
