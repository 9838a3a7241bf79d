//! Gradients of a convolution as matrix products: `dW = dY patches^T`, and `patches' gradient = W^T dY`, added back
//! to the input. The batch is cut into a fixed number of groups, each with its own sum of `dW`; the sums are added in
//! order, so that the result does not depend on the number of threads.

use super::Problem;
use super::im2col::{Patches, add_patches};
use crate::gemm::{Gemm, Matrix};
use crate::threads::{Block, Workers};

/// Groups that a batch is cut into.
const GROUPS: usize = 8;

/// Output pixels whose patches are in memory at a time.
const PIXELS: usize = 512;

/// What the backward pass reads.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The convolution.
    pub problem: &'a Problem,
    /// Samples.
    pub batch: usize,
    /// The forward pass's input.
    pub input: &'a [f32],
    /// `[O, C / groups, kh, kw]`.
    pub weight: &'a [f32],
    /// Gradient of the output.
    pub dy: &'a [f32],
}

/// What it adds to.
#[derive(Debug)]
pub struct Sums<'a> {
    /// Gradient of the input.
    pub input: &'a mut [f32],
    /// Gradient of the weight.
    pub weight: &'a mut [f32],
    /// Gradient of the bias, where there is one.
    pub bias: Option<&'a mut [f32]>,
}

/// Adds the gradients of a batch to `sums`. `partial` is memory that is kept between calls.
pub fn backward(gemm: Gemm, pass: Pass<'_>, mut sums: Sums<'_>, partial: &mut Vec<f32>, workers: Workers<'_>) {
    let problem = pass.problem;
    let sample = problem.in_channels * problem.in_plane();
    let group = pass.batch.div_ceil(GROUPS);
    let length = pass.weight.len() + problem.conv.out_channels;
    partial.clear();
    partial.resize(pass.batch.div_ceil(group) * length, 0.0);
    workers.for_each_pair((sums.input, group * sample), (partial, length), |index, dx, partial| {
        let (dw, db) = partial.split_at_mut(pass.weight.len());
        workers.scratch(scratch_length(problem, gemm), |scratch| {
            for (n, dx) in dx.chunks_mut(sample).enumerate() {
                add_sample(gemm, pass, index * group + n, Sums { input: dx, weight: dw, bias: Some(db) }, scratch);
            }
        });
    });
    for partial in partial.chunks(length) {
        let (dw, db) = partial.split_at(pass.weight.len());
        sums.weight.iter_mut().zip(dw).for_each(|(sum, g)| *sum += g);
        if let Some(bias) = sums.bias.as_deref_mut() {
            bias.iter_mut().zip(db).for_each(|(sum, g)| *sum += g);
        }
    }
}

fn scratch_length(problem: &Problem, gemm: Gemm) -> usize {
    let pixels = problem.out_plane().min(PIXELS);
    let dw = gemm.multiply_length(problem.group_out(), problem.depth());
    let dx = gemm.multiply_length(problem.depth(), pixels);
    problem.depth() * pixels + dw.max(dx)
}

/// Adds the gradients of sample number `n`.
fn add_sample(gemm: Gemm, pass: Pass<'_>, n: usize, sums: Sums<'_>, scratch: &mut [f32]) {
    let problem = pass.problem;
    let (rows, depth, plane) = (problem.group_out(), problem.depth(), problem.out_plane());
    let group_input = problem.group_in() * problem.in_plane();
    let dy = &pass.dy[n * problem.conv.out_channels * plane..][..problem.conv.out_channels * plane];
    if let Some(bias) = sums.bias {
        bias.iter_mut().zip(dy.chunks(plane)).for_each(|(sum, dy)| *sum += dy.iter().sum::<f32>());
    }
    let input = &pass.input[n * problem.in_channels * problem.in_plane()..];
    for group in 0..problem.conv.groups {
        let patches = Patches { problem, input: &input[group * group_input..(group + 1) * group_input] };
        let dx = &mut sums.input[group * group_input..(group + 1) * group_input];
        let dw = &mut sums.weight[group * rows * depth..(group + 1) * rows * depth];
        let weight = Matrix::new(&pass.weight[group * rows * depth..(group + 1) * rows * depth], rows, depth);
        let dy = Matrix::new(&dy[group * rows * plane..(group + 1) * rows * plane], rows, plane);
        for start in (0..plane).step_by(PIXELS) {
            let pixels = start..(start + PIXELS).min(plane);
            let dy = dy.columns(pixels.clone());
            let (columns, scratch) = scratch.split_at_mut(depth * pixels.len());
            patches.pack(0..depth, pixels.clone(), pixels.len(), columns);
            let patches = Matrix::new(columns, depth, pixels.len());
            gemm.multiply(dy, patches.transposed(), &mut Block::whole(dw, [1, rows, depth]), true, scratch);
            let mut block = Block::whole(columns, [1, depth, pixels.len()]);
            gemm.multiply(weight.transposed(), dy, &mut block, false, scratch);
            add_patches(problem, pixels, columns, dx);
        }
    }
}
