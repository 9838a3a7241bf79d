//! Weighted sums along one axis: resizing, padding, gathering, means and sums.

use super::{Call, Gradients, Operation, only_input};
use crate::{Misfit, Shape};

/// Along one axis, each place of the output is a weighted sum of places of the input. Interpolation of images, axis by axis, is
/// of this kind; so are padding, gathering by fixed indices, and means and sums along an axis.
///
/// # Shapes
/// Input of any shape that has the axis, output with the extent `taps.len()` there.
#[derive(Debug, Clone, PartialEq)]
pub struct Resample {
    /// The axis, the channels' being 0.
    pub axis: usize,
    /// For each place of the output: places of the input and their weights.
    pub taps: Vec<Vec<(usize, f32)>>,
    /// What stands where there are no taps.
    pub fill: f32,
}

impl Resample {
    /// Sums without a border.
    pub fn new(axis: usize, taps: Vec<Vec<(usize, f32)>>) -> Self {
        Resample { axis, taps, fill: 0.0 }
    }

    /// The mean along an axis of so many places.
    pub fn mean(axis: usize, extent: usize) -> Self {
        let weight = 1.0 / extent as f32;
        Resample::new(axis, vec![(0..extent).map(|place| (place, weight)).collect()])
    }

    /// Places before the axis, on it, and after it.
    fn extents(&self, shape: &Shape) -> [usize; 3] {
        [shape[..self.axis].iter().product(), shape[self.axis], shape[self.axis + 1..].iter().product()]
    }

    /// Calls `visit` with the start of each row of the output, the taps that make it, and the start of the rows that they count.
    fn for_each_row(&self, call: &Call<'_>, mut visit: impl FnMut(usize, &[(usize, f32)], usize)) {
        let [outer, extent, inner] = self.extents(call.inputs[0].shape);
        for block in 0..call.batch * outer {
            for (place, taps) in self.taps.iter().enumerate() {
                visit((block * self.taps.len() + place) * inner, taps, block * extent * inner);
            }
        }
    }
}

impl Operation for Resample {
    fn kind(&self) -> &str {
        "Resample"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let mut shape = only_input(inputs)?.to_vec();
        let Some(extent) = shape.get_mut(self.axis) else {
            return Err(Misfit(format!("there is no axis {}", self.axis)));
        };
        if self.taps.iter().flatten().any(|&(place, weight)| place >= *extent || !weight.is_finite()) {
            return Err("a tap lies outside the input, or its weight is not finite".into());
        }
        *extent = self.taps.len();
        Ok(Shape::from(shape))
    }

    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let [outer, _, inner] = self.extents(inputs[0]);
        let taps: usize = self.taps.iter().map(Vec::len).sum();
        2 * (outer as u64).saturating_mul(inner as u64).saturating_mul(taps as u64)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (input, [.., inner]) = (call.inputs[0].data, self.extents(call.inputs[0].shape));
        self.for_each_row(call, |start, taps, block| {
            for (i, y) in output[start..start + inner].iter_mut().enumerate() {
                *y = match taps {
                    [] => self.fill,
                    [(place, 1.0)] => input[block + place * inner + i],
                    _ => {
                        let terms = taps.iter().map(|&(p, w)| f64::from(w) * f64::from(input[block + p * inner + i]));
                        terms.sum::<f64>() as f32
                    }
                };
            }
        });
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let [.., inner] = self.extents(call.inputs[0].shape);
        self.for_each_row(call, |start, taps, block| {
            for (&(place, weight), i) in taps.iter().flat_map(|tap| (0..inner).map(move |i| (tap, i))) {
                gradients.inputs[0][block + place * inner + i] += weight * output_gradient[start + i];
            }
        });
    }
}
