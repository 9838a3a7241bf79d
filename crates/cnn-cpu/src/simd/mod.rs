//! Vectors of `f32`: one trait, an implementation for each instruction set. Kernels are written once over the trait
//! and compiled for each set; which of them runs is decided when the backend is made.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
mod avx512;
pub mod grid;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
pub mod tile;
pub mod walk;

use std::fmt::Debug;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;

/// Work to be compiled for an instruction set. `run` has to be marked `#[inline(always)]`, as has all that it calls with
/// vectors: only inside [`Simd::vectorize`] may the compiler use the instructions. (Hence no closures: nothing makes
/// the compiler inline those.)
pub trait Task<S: Simd> {
    /// Does the work.
    fn run(self, s: S);
}

/// An instruction set, as a proof that the processor has it: values come from `detect` alone.
pub trait Simd: Copy + Debug + Send + Sync + 'static {
    /// Floats of a vector.
    const LANES: usize;
    /// Rows of the largest tile that two vectors wide stays in registers.
    const TILE_ROWS: usize;
    /// A register.
    type Vector: Copy;

    /// The proof, where the processor has the instructions.
    fn detect() -> Option<Self>;

    /// Runs a task compiled for this instruction set.
    fn vectorize<T: Task<Self>>(self, task: T);

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Vector;

    /// Reads a vector.
    ///
    /// # Safety
    /// `LANES` floats at `from` must be readable.
    unsafe fn load_from(self, from: *const f32) -> Self::Vector;

    /// Writes a vector.
    ///
    /// # Safety
    /// `LANES` floats at `to` must be writable.
    unsafe fn store_to(self, to: *mut f32, vector: Self::Vector);

    /// Writes a vector past the caches, where the instruction set can.
    ///
    /// # Safety
    /// `LANES` floats at `to` must be writable, and `to` lie where a whole vector may.
    #[inline(always)]
    unsafe fn stream_to(self, to: *mut f32, vector: Self::Vector) {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.store_to(to, vector) }
    }

    /// Reads a vector of IEEE half precision.
    ///
    /// # Safety
    /// `LANES` half floats at `from` must be readable.
    unsafe fn load_half_from(self, from: *const u16) -> Self::Vector;

    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger; NaN where either is.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `max(a, 0)`; NaN stays NaN.
    fn relu(self, a: Self::Vector) -> Self::Vector;
    /// The larger of each two neighbours, those of `a` before those of `b`; NaN where either is.
    fn max_of_pairs(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `yes` where a lane of `a` is less than that of `b`, else `no`.
    fn where_less(self, a: Self::Vector, b: Self::Vector, yes: Self::Vector, no: Self::Vector) -> Self::Vector;

    /// The sum of all lanes.
    fn sum_of_lanes(self, a: Self::Vector) -> f32;

    /// Writes as many floats as the slice has. Panics where those are more than `LANES`.
    fn store_some(self, to: &mut [f32], vector: Self::Vector);

    /// Reads the first `LANES` floats of a slice. Panics where it is shorter.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the length is checked above.
        unsafe { self.load_from(from.as_ptr()) }
    }

    /// Writes the first `LANES` floats of a slice. Panics where it is shorter.
    #[inline(always)]
    fn store(self, to: &mut [f32], vector: Self::Vector) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the length is checked above.
        unsafe { self.store_to(to.as_mut_ptr(), vector) }
    }

    /// As [`store`](Self::store), past the caches; other threads see it after [`fence`]. Panics where the slice does not begin at a
    /// multiple of a vector's bytes.
    #[inline(always)]
    fn stream(self, to: &mut [f32], vector: Self::Vector) {
        assert!(to.len() >= Self::LANES && Self::may_stream(to));
        // SAFETY: the length and the place are checked above.
        unsafe { self.stream_to(to.as_mut_ptr(), vector) }
    }

    /// Whether a slice begins where [`stream`](Self::stream) can write.
    #[inline(always)]
    fn may_stream(to: &[f32]) -> bool {
        to.as_ptr() as usize % (Self::LANES * size_of::<f32>()) == 0
    }
}

/// Puts what this thread wrote by [`Simd::stream`] before whatever it writes next.
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Asks the processor to fetch the cache line at `address` into its second cache. Never faults, whatever the address.
#[inline(always)]
pub fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, and SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// As [`prefetch`], into the first cache.
#[inline(always)]
pub fn prefetch_near(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, and SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Calls `$body` with `$simd` bound to the proof of the instruction set `$set`.
macro_rules! with_simd {
    ($set:expr, $simd:ident => $body:expr) => {
        match $set {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            $crate::simd::Instructions::Avx512($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Instructions::Avx2($simd) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::simd::Instructions::Neon($simd) => $body,
            $crate::simd::Instructions::Portable($simd) => $body,
        }
    };
}
pub(crate) use with_simd;

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy)]
pub enum Instructions {
    /// AVX-512F: sixteen lanes.
    #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
    Avx512(Avx512),
    /// AVX2, FMA and F16C: eight lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Advanced SIMD of 64-bit Arm: four lanes.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// What the compiler makes of plain loops: four lanes.
    Portable(Portable),
}

impl Instructions {
    /// All that this processor has, the fastest first; the last is the portable one, which runs anywhere.
    pub fn supported() -> Vec<Instructions> {
        let mut found = Vec::new();
        #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
        found.extend(Avx512::detect().map(Instructions::Avx512));
        #[cfg(target_arch = "x86_64")]
        found.extend(Avx2::detect().map(Instructions::Avx2));
        #[cfg(target_arch = "aarch64")]
        found.extend(Neon::detect().map(Instructions::Neon));
        found.push(Instructions::Portable(Portable));
        found
    }

    /// The fastest that this processor has.
    pub fn detect() -> Instructions {
        Self::supported()[0]
    }

    /// `avx512`, `avx2`, `neon` or `portable`.
    pub fn name(&self) -> &'static str {
        match self {
            #[cfg(all(target_arch = "x86_64", avx512_intrinsics))]
            Instructions::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon(_) => "neon",
            Instructions::Portable(_) => "portable",
        }
    }

    /// Rows of the highest tile, two vectors wide.
    pub fn tile_rows(&self) -> usize {
        fn rows<S: Simd>(_: S) -> usize {
            S::TILE_ROWS
        }
        with_simd!(*self, s => rows(s))
    }

    /// Floats of a vector, and channels of a block of the blocked layout.
    pub fn lanes(&self) -> usize {
        fn lanes<S: Simd>(_: S) -> usize {
            S::LANES
        }
        with_simd!(*self, s => lanes(s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_operation<S: Simd>(s: S) {
        let a: Vec<f32> = (0..S::LANES).map(|i| i as f32 - 1.5).collect();
        let b: Vec<f32> = (0..S::LANES).map(|i| 0.25 - (i as f32)).collect();
        let run = |work: &dyn Fn(S::Vector, S::Vector) -> S::Vector| {
            let mut out = vec![0.0; S::LANES];
            s.store(&mut out, work(s.load(&a), s.load(&b)));
            out
        };
        let expect = |got: Vec<f32>, want: &dyn Fn(f32, f32) -> f32| {
            let want: Vec<f32> = a.iter().zip(&b).map(|(&a, &b)| want(a, b)).collect();
            assert_eq!(got, want);
        };
        expect(run(&|a, b| s.add(a, b)), &|a, b| a + b);
        expect(run(&|a, b| s.sub(a, b)), &|a, b| a - b);
        expect(run(&|a, b| s.mul(a, b)), &|a, b| a * b);
        expect(run(&|a, b| s.mul_add(a, b, s.splat(3.0))), &|a, b| a * b + 3.0);
        expect(run(&|a, b| s.max(a, b)), &|a, b| a.max(b));
        expect(run(&|a, _| s.relu(a)), &|a, _| a.max(0.0));
        let pairs: Vec<f32> = a.chunks(2).chain(b.chunks(2)).map(|pair| pair[0].max(pair[1])).collect();
        assert_eq!(run(&|a, b| s.max_of_pairs(a, b)), pairs);
        expect(run(&|a, b| s.where_less(a, b, s.splat(1.0), b)), &|a, b| if a < b { 1.0 } else { b });
        expect(run(&|a, b| s.where_less(s.splat(f32::NAN), b, b, a)), &|a, _| a);
        assert_eq!(s.sum_of_lanes(s.load(&a)), a.iter().sum());
        for count in 0..=S::LANES {
            let mut out = vec![7.0; S::LANES + 1];
            s.store_some(&mut out[..count], s.load(&a));
            assert_eq!(out[..count], a[..count]);
            assert!(out[count..].iter().all(|&v| v == 7.0));
        }
        for (x, y) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
            assert!(run(&|_, _| s.max(s.splat(x), s.splat(y))).iter().all(|v| v.is_nan()));
        }
        assert!(run(&|_, _| s.relu(s.splat(f32::NAN))).iter().all(|v| v.is_nan()));
        for value in [0.0, 1.0, -2.5, 65504.0, 6.1e-5, 5.96e-8, -3e-6] {
            let half = vec![half::f16::from_f32(value); S::LANES];
            // SAFETY: `half` holds a vector of half floats, which have the layout of `u16`.
            let got = run(&|_, _| unsafe { s.load_half_from(half.as_ptr().cast()) });
            assert!(got.iter().all(|&v| v == half[0].to_f32()), "{value}: {got:?}");
        }
    }

    #[test]
    fn operations_do_what_they_say() {
        for set in Instructions::supported() {
            with_simd!(set, s => every_operation(s));
        }
    }
}
