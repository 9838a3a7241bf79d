//! The innermost loops: one tile of C, held in registers, over the whole depth.
//!
//! Names are `<type>_<rows>x<columns>_<instruction set>`. Each is listed once, in [`Microkernel::ALL`]; dispatch,
//! tests and benches read that list.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
mod avx512;
mod scalar;

/// Most elements of a tile.
pub const MAX_TILE: usize = 8 * 48;

/// Computes a tile: `tile[r][c] = sum over k of a[k][r] * b[k][c]`.
///
/// # Safety
/// The processor must have the kernel's instructions. `a` must point to `depth * rows` floats, `b` to
/// `depth * columns`, `tile` to `rows * columns` that may be written.
type RunTile = unsafe fn(depth: usize, a: *const f32, b: *const f32, tile: *mut f32);

/// One tile of C, held in registers.
#[derive(Debug)]
pub struct Microkernel {
    /// `<type>_<rows>x<columns>_<instruction set>`.
    pub name: &'static str,
    /// Rows of the tile: the width of A's panels.
    pub rows: usize,
    /// Columns of the tile: the width of B's panels.
    pub columns: usize,
    supported: fn() -> bool,
    run: RunTile,
}

impl Microkernel {
    /// All of them, the fastest first. The last runs anywhere.
    pub const ALL: &'static [&'static Microkernel] = &[
        #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
        &avx512::F32_8X48_AVX512,
        #[cfg(target_arch = "x86_64")]
        &avx2::F32_6X16_AVX2,
        &scalar::F32_4X8_SCALAR,
    ];

    /// Whether this processor has the instructions.
    pub fn is_supported(&self) -> bool {
        (self.supported)()
    }

    /// The first that this processor supports.
    pub fn detect() -> &'static Microkernel {
        Self::ALL.iter().find(|kernel| kernel.is_supported()).unwrap_or(&&scalar::F32_4X8_SCALAR)
    }

    /// Computes a tile: `tile[r * columns + c] = sum over k of a[k * rows + r] * b[k * columns + c]`.
    ///
    /// # Panics
    /// Where a slice is too short, or the processor lacks the instructions.
    pub fn run(&self, depth: usize, a: &[f32], b: &[f32], tile: &mut [f32; MAX_TILE]) {
        assert!(a.len() >= depth * self.rows && b.len() >= depth * self.columns);
        assert!(self.rows * self.columns <= MAX_TILE);
        assert!(self.is_supported(), "{} needs instructions that this processor lacks", self.name);
        // SAFETY: lengths and instructions are checked above.
        unsafe { (self.run)(depth, a.as_ptr(), b.as_ptr(), tile.as_mut_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_agrees_with_sums_in_f64() {
        for kernel in Microkernel::ALL.iter().filter(|kernel| kernel.is_supported()) {
            for depth in [0, 1, 2, 7, 64, 513] {
                let value = |i: usize| ((i * 2654435761) % 1000) as f32 / 500.0 - 1.0;
                let a: Vec<f32> = (0..depth * kernel.rows).map(value).collect();
                let b: Vec<f32> = (0..depth * kernel.columns).map(|i| value(i + 77)).collect();
                let mut tile = [f32::NAN; MAX_TILE];
                kernel.run(depth, &a, &b, &mut tile);
                for r in 0..kernel.rows {
                    for c in 0..kernel.columns {
                        let product =
                            |k: usize| f64::from(a[k * kernel.rows + r]) * f64::from(b[k * kernel.columns + c]);
                        let expected: f64 = (0..depth).map(product).sum();
                        let got = f64::from(tile[r * kernel.columns + c]);
                        assert!((got - expected).abs() < 1e-4, "{} depth {depth}: {got} {expected}", kernel.name);
                    }
                }
            }
        }
    }
}
