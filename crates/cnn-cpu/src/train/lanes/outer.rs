//! The gradient of a fully connected layer's weights: the product of the output's gradient and the input, summed over
//! samples. The input is turned over first, so that vectors hold neighbouring inputs of one sample.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop, unsafe_code)]

use crate::simd::{Instructions, Simd, Task, with_simd};

/// `weights[output][input] (+)= sum over samples of gradient[output] * value[input]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outer {
    pub(super) instructions: Instructions,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Outer {
    /// Floats of the inputs turned over: `[sample][input]`, rows of whole vectors.
    pub(super) fn scratch_length(&self) -> usize {
        let lanes = self.instructions.lanes();
        lanes * self.inputs.next_multiple_of(lanes)
    }

    /// Adds to the weights' gradients unless they are fresh. Panics where a slice is too short.
    pub(super) fn run(&self, values: &[f32], gradients: &[f32], weights: &mut [f32], fresh: bool, turned: &mut [f32]) {
        let lanes = self.instructions.lanes();
        let row = self.inputs.next_multiple_of(lanes);
        for (input, values) in values.chunks_exact(lanes).enumerate().take(self.inputs) {
            for (sample, &value) in values.iter().enumerate() {
                turned[sample * row + input] = value;
            }
        }
        let turned = &turned[..self.scratch_length()];
        with_simd!(self.instructions, s => s.vectorize(All { all: *self, turned, gradients, weights, fresh }));
    }
}

struct All<'a> {
    all: Outer,
    turned: &'a [f32],
    gradients: &'a [f32],
    weights: &'a mut [f32],
    fresh: bool,
}

/// Vectors of a tile, and its most outputs.
const VECTORS: usize = 2;
const OUTPUTS: usize = 5;

impl<S: Simd> Task<S> for All<'_> {
    #[inline(always)]
    fn run(mut self, s: S) {
        let Outer { inputs, outputs, .. } = self.all;
        assert!(self.turned.len() >= S::LANES * inputs.next_multiple_of(S::LANES));
        assert!(self.gradients.len() >= outputs * S::LANES && self.weights.len() >= outputs * inputs);
        let mut input = 0;
        while input < inputs {
            let wide = inputs - input >= VECTORS * S::LANES;
            let mut output = 0;
            while output < outputs {
                let rows = (outputs - output).min(OUTPUTS);
                // SAFETY: the slices were checked above, and the tile lies inside.
                unsafe {
                    match wide {
                        true => self.tile::<S, VECTORS>(s, input, output, rows),
                        false => self.tile::<S, 1>(s, input, output, rows),
                    }
                }
                output += rows;
            }
            input += if wide { VECTORS * S::LANES } else { S::LANES };
        }
    }
}

impl All<'_> {
    /// # Safety
    /// The tile's outputs and first input must be the product's, its vectors inside the turned rows, and two or more inside
    /// the inputs.
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize>(&mut self, s: S, input: usize, output: usize, rows: usize) {
        macro_rules! rows {
            ($($rows:literal)*) => {
                match rows {
                    // SAFETY: the caller's.
                    $($rows => unsafe { self.sums::<S, V, $rows>(s, input, output) },)*
                    rows => unreachable!("{rows} outputs"),
                }
            };
        }
        rows!(1 2 3 4 5)
    }

    /// # Safety
    /// As [`tile`](Self::tile).
    #[inline(always)]
    unsafe fn sums<S: Simd, const V: usize, const R: usize>(&mut self, s: S, input: usize, output: usize) {
        let Outer { inputs, .. } = self.all;
        let row = inputs.next_multiple_of(S::LANES);
        let mut sums = [[s.splat(0.0); V]; R];
        // SAFETY: the caller vouches for every offset.
        unsafe {
            let values = self.turned.as_ptr().add(input);
            let gradients = self.gradients.as_ptr().add(output * S::LANES);
            for sample in 0..S::LANES {
                let mut vectors = [s.splat(0.0); V];
                for v in 0..V {
                    vectors[v] = s.load_from(values.add(sample * row + v * S::LANES));
                }
                for r in 0..R {
                    let gradient = s.splat(*gradients.add(r * S::LANES + sample));
                    for v in 0..V {
                        sums[r][v] = s.mul_add(gradient, vectors[v], sums[r][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let first = input + v * S::LANES;
                let width = S::LANES.min(inputs - first);
                let weights = &mut self.weights[(output + r) * inputs + first..][..width];
                if width == S::LANES {
                    let sum = if self.fresh { sums[r][v] } else { s.add(s.load(weights), sums[r][v]) };
                    s.store(weights, sum);
                } else if self.fresh {
                    s.store_some(weights, sums[r][v]);
                } else {
                    let mut old = [0.0; 64];
                    old[..width].copy_from_slice(weights);
                    let sum = s.add(s.load(&old), sums[r][v]);
                    s.store_some(weights, sum);
                }
            }
        }
    }
}
