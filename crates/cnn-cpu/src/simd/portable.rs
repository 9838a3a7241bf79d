//! Plain loops, of which the compiler makes vectors where the target has them.

use std::array::from_fn;

use super::{Simd, Task};

/// Any processor.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

type Vector = [f32; 4];

impl Simd for Portable {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 4;
    type Vector = Vector;

    fn detect() -> Option<Self> {
        Some(Portable)
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) {
        task.run(self);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> Vector {
        // SAFETY: the caller vouches for four floats; the read asks for no more alignment than theirs.
        unsafe { from.cast::<Vector>().read() }
    }

    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32, vector: Vector) {
        // SAFETY: the caller vouches for four floats; the write asks for no more alignment than theirs.
        unsafe { to.cast::<Vector>().write(vector) }
    }

    #[inline(always)]
    unsafe fn load_half_from(self, from: *const u16) -> Vector {
        // SAFETY: the caller vouches for four half floats.
        let halves = unsafe { from.cast::<[u16; 4]>().read() };
        from_fn(|i| widen(halves[i]))
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        // `f32::mul_add` is a call into libm where the target has no such instruction.
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        from_fn(|i| if a[i] > b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn relu(self, a: Vector) -> Vector {
        from_fn(|i| if a[i] < 0.0 { 0.0 } else { a[i] })
    }

    #[inline(always)]
    fn max_of_pairs(self, a: Vector, b: Vector) -> Vector {
        self.max([a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]])
    }

    #[inline(always)]
    fn where_less(self, a: Vector, b: Vector, yes: Vector, no: Vector) -> Vector {
        std::array::from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn sum_of_lanes(self, a: Vector) -> f32 {
        (a[0] + a[1]) + (a[2] + a[3])
    }

    #[inline(always)]
    fn store_some(self, to: &mut [f32], vector: Vector) {
        to.copy_from_slice(&vector[..to.len()]);
    }
}

/// A finite half float: its exponent and fraction in the place of an `f32`'s, then scaled by the difference of the two
/// formats' biases, which makes denormals right too.
#[inline(always)]
fn widen(half: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}
