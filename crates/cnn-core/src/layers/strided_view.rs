//! A value read in another order: transpose, slice, expand, and any reshape.

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// Reads its input in steps of its own: output element `(i, j, ..)` is input element `offset + i * strides[0] + j * strides[1] + ..`
/// of the flat sample. Transposes, slices (backwards too), repetitions (a stride of 0) and reshapes are all of this kind.
///
/// # Shapes
/// Input of any shape with `source` elements, output `shape`.
#[derive(Debug, Clone, PartialEq)]
pub struct StridedView {
    /// Elements of the input.
    pub source: usize,
    /// Shape of the output.
    pub shape: Shape,
    /// Where the first element lies.
    pub offset: usize,
    /// Distances along each axis of the output.
    pub strides: Vec<isize>,
}

impl StridedView {
    /// All elements in their order, as another shape.
    pub fn reshape(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        StridedView { source: shape.elements(), offset: 0, strides: strides(&shape), shape }
    }

    /// The axes of `input` in the order of `permutation`, which must hold each of them once.
    pub fn transpose(input: &[usize], permutation: &[usize]) -> Self {
        let distances = strides(input);
        let shape: Vec<usize> = permutation.iter().map(|&axis| input.get(axis).copied().unwrap_or(0)).collect();
        let strides = permutation.iter().map(|&axis| distances.get(axis).copied().unwrap_or(0)).collect();
        StridedView { source: Shape::from(input).elements(), shape: Shape::from(shape), offset: 0, strides }
    }

    /// Calls `visit` with the flat index of each output and of its input.
    pub fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        walk(&self.shape, [&self.strides], |place, [at]| visit(place, (self.offset as isize + at) as usize));
    }

    /// The first and last input elements that it reads.
    fn ends(&self) -> Option<[isize; 2]> {
        let offset = isize::try_from(self.offset).ok()?;
        self.shape.iter().zip(&self.strides).try_fold([offset; 2], |[low, high], (&extent, &stride)| {
            let way = stride.checked_mul(isize::try_from(extent).ok()?.checked_sub(1)?)?;
            Some([low.checked_add(way.min(0))?, high.checked_add(way.max(0))?])
        })
    }
}

/// Distances between neighbours along each axis of a contiguous array.
pub(super) fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis] as isize);
    }
    strides
}

/// Walks a contiguous array of this shape: calls `visit` with each flat index and where each of the strided ones stands.
pub(super) fn walk<const N: usize>(shape: &[usize], strides: [&[isize]; N], mut visit: impl FnMut(usize, [isize; N])) {
    let (mut index, mut at) = (vec![0usize; shape.len()], [0isize; N]);
    for place in 0..shape.iter().product::<usize>() {
        visit(place, at);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            let wraps = index[axis] == shape[axis];
            let steps = if wraps { 1 - shape[axis] as isize } else { 1 };
            (0..N).for_each(|n| at[n] += steps * strides[n][axis]);
            if !wraps {
                break;
            }
            index[axis] = 0;
        }
    }
}

impl Operation for StridedView {
    fn kind(&self) -> &str {
        "StridedView"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let input = only_input(inputs)?;
        if input.elements() != self.source || self.shape.len() != self.strides.len() {
            return Err(Misfit(format!("takes {} elements and as many strides as extents", self.source)));
        }
        match self.ends() {
            Some([low, high]) if low >= 0 && (high as usize) < self.source => Ok(self.shape.clone()),
            _ => Err("reads outside its input".into()),
        }
    }

    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let samples = call.inputs[0].data.chunks(self.source).zip(output.chunks_mut(self.shape.elements()));
        for (input, output) in samples {
            self.for_each(|place, from| output[place] = input[from]);
        }
    }

    fn backward(&self, _call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let samples = gradients.inputs[0].chunks_mut(self.source).zip(output_gradient.chunks(self.shape.elements()));
        for (gradient, dy) in samples {
            self.for_each(|place, from| gradient[from] += dy[place]);
        }
    }
}
