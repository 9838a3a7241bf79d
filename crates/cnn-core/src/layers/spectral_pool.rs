//! Spectral pooling (Rippel et al. 2015, section 3.2): pooling that keeps the low frequencies of a plane.

use std::fmt;
use std::sync::{Arc, OnceLock};

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::{Call, Gradients, Operation, image};
use crate::window::Extent;
use crate::{Misfit, Shape};

/// Crops the discrete Fourier transform of each plane to the frequencies that a smaller plane has, and transforms back. A constant
/// plane keeps its value; the paper's transforms, being unitary, would scale it by `sqrt(H W / (H' W'))`.
///
/// Rows are cropped, then columns, which is the crop in two dimensions. An output of even extent `n` has one coefficient for both of the
/// input's frequencies `n / 2` and `-n / 2`, and holds their mean: the output is real, and reflecting the input reflects it. It is
/// the real part of what a crop that keeps one of the two gives, except in the one coefficient where both axes are at `n / 2`: there
/// the mean is over four. The paper makes only the coefficients real that a real plane has real, which leaves the others at `n / 2`
/// without their conjugates. Outputs of odd extents have no such coefficients.
///
/// # Shapes
/// Input `[C, H, W]`, output `[C, H', W']` with the rows and columns of `output`, which are no more than the input's.
#[derive(Debug, Clone)]
pub struct SpectralPool2d {
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// For the planes that came first.
    crops: OnceLock<Arc<[Crop; 2]>>,
}

impl PartialEq for SpectralPool2d {
    fn eq(&self, other: &Self) -> bool {
        self.output == other.output
    }
}

impl SpectralPool2d {
    /// Pooling to so many rows and columns.
    pub fn new(output: impl Into<Extent>) -> Self {
        SpectralPool2d { output: output.into().0, crops: OnceLock::new() }
    }

    /// Of the rows and the columns. Made once; a layer that is used on planes of several sizes makes those of the others anew.
    fn crops(&self, plane: [usize; 2]) -> Arc<[Crop; 2]> {
        let make = || Arc::new([0, 1].map(|axis| Crop::new(plane[axis], self.output[axis])));
        let held = self.crops.get_or_init(make);
        match held.each_ref().map(Crop::extents) == [0, 1].map(|axis| [plane[axis], self.output[axis]]) {
            true => held.clone(),
            false => make(),
        }
    }
}

/// A transform forward and one back, of different lengths.
type Transforms = (Arc<dyn RealToComplex<f64>>, Arc<dyn ComplexToReal<f64>>);

/// The crop of one axis.
#[derive(Clone)]
struct Crop {
    long_to_short: Transforms,
    short_to_long: Transforms,
}

impl fmt::Debug for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [long, short] = self.extents();
        write!(f, "Crop({long} to {short})")
    }
}

impl Crop {
    fn new(long: usize, short: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        Crop {
            long_to_short: (planner.plan_fft_forward(long), planner.plan_fft_inverse(short)),
            short_to_long: (planner.plan_fft_forward(short), planner.plan_fft_inverse(long)),
        }
    }

    fn extents(&self) -> [usize; 2] {
        [self.short_to_long.1.len(), self.long_to_short.1.len()]
    }

    /// Crops the axis of values that lie `inner` apart.
    fn crop(&self, values: Vec<f64>, inner: usize) -> Vec<f64> {
        self.through(&self.long_to_short, 1.0, values, inner)
    }

    /// The transpose of [`crop`](Self::crop). Both frequencies of the last coefficient of an even extent get half of it.
    fn transpose(&self, values: Vec<f64>, inner: usize) -> Vec<f64> {
        self.through(&self.short_to_long, 0.5, values, inner)
    }

    /// Forward, to the other length, and back. `last` is the factor of the coefficient at half of an even short extent.
    fn through(&self, (forward, back): &Transforms, last: f64, values: Vec<f64>, inner: usize) -> Vec<f64> {
        let [long, short] = self.extents();
        if long == short {
            return values;
        }
        let (from, to) = (forward.len(), back.len());
        let (mut line, mut made) = (forward.make_input_vec(), back.make_output_vec());
        let mut spectrum = vec![Complex::default(); forward.complex_len().max(back.complex_len())];
        let mut scratch = vec![Complex::default(); forward.get_scratch_len().max(back.get_scratch_len())];
        let lines = values.len() / from;
        let mut output = vec![0.0; lines * to];
        for i in 0..lines {
            let (block, place) = (i / inner, i % inner);
            line.iter_mut().enumerate().for_each(|(p, v)| *v = values[(block * from + p) * inner + place]);
            let known = &mut spectrum[..forward.complex_len()];
            forward.process_with_scratch(&mut line, known, &mut scratch).expect("lengths agree");
            spectrum[forward.complex_len()..].fill(Complex::default());
            if short % 2 == 0 {
                spectrum[short / 2] = Complex::new(last * spectrum[short / 2].re, 0.0);
            }
            let kept = &mut spectrum[..back.complex_len()];
            back.process_with_scratch(kept, &mut made, &mut scratch).expect("lengths agree, the ends are real");
            made.iter().enumerate().for_each(|(p, v)| output[(block * to + p) * inner + place] = v / long as f64);
        }
        output
    }
}

impl Operation for SpectralPool2d {
    fn kind(&self) -> &str {
        "SpectralPool2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, h, w] = image(inputs)?;
        let [rows, columns] = self.output;
        if rows == 0 || columns == 0 {
            return Err(Misfit(format!("output {rows}x{columns} has an extent of 0")));
        }
        if rows > h || columns > w {
            return Err(Misfit(format!("output {rows}x{columns} is larger than the input {h}x{w}")));
        }
        Ok(Shape::from([c, rows, columns]))
    }

    /// A transform of `n` real values counts as `5/2 n log2(n)`.
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let of_line = |n: usize| 5 * n as u64 * u64::from(n.next_power_of_two().ilog2()) / 2;
        let of_crop = |lines: usize, from: usize, to: usize| match from == to {
            true => 0,
            false => (lines as u64).saturating_mul(of_line(from) + of_line(to)),
        };
        let (shape, [rows, columns]) = (inputs[0], self.output);
        of_crop(shape[0] * shape[1], shape[2], columns).saturating_add(of_crop(shape[0] * columns, shape[1], rows))
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (shape, pooled) = (call.inputs[0].shape, call.output_shape);
        let [rows, columns] = &*self.crops([shape[1], shape[2]]);
        let planes = call.inputs[0].data.chunks(shape[1] * shape[2]);
        for (plane, output) in planes.zip(output.chunks_mut(pooled[1] * pooled[2])) {
            let plane = plane.iter().map(|&x| f64::from(x)).collect();
            let kept = rows.crop(columns.crop(plane, 1), pooled[2]);
            output.iter_mut().zip(kept).for_each(|(y, v)| *y = v as f32);
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (shape, pooled) = (call.inputs[0].shape, call.output_shape);
        let [rows, columns] = &*self.crops([shape[1], shape[2]]);
        let planes = gradients.inputs[0].chunks_mut(shape[1] * shape[2]);
        for (plane, dy) in planes.zip(output_gradient.chunks(pooled[1] * pooled[2])) {
            let dy = dy.iter().map(|&dy| f64::from(dy)).collect();
            let spread = columns.transpose(rows.transpose(dy, pooled[2]), 1);
            plane.iter_mut().zip(spread).for_each(|(g, v)| *g += v as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;
    use crate::layers::{Mode, trial};

    fn pooled([h, w]: [usize; 2], output: [usize; 2], plane: &[f32]) -> Vec<f32> {
        trial::forward(&SpectralPool2d::new(output), Mode::Inference, &Shape::from([1, h, w]), plane, &[])
    }

    /// The frequencies that an output of extent `short` keeps, and the share of each.
    fn kept(long: usize, short: usize) -> Vec<(f64, f64)> {
        let half = (short / 2) as isize;
        let frequencies =
            if short % 2 == 0 && short < long { -half..=half } else { -half..=half - 1 + (short % 2) as isize };
        let share = |k: isize| if 2 * k.unsigned_abs() == short && short < long { 0.5 } else { 1.0 };
        frequencies.map(|k| (k as f64, share(k))).collect()
    }

    /// By the sums of the definition, with complex numbers: the output's real and imaginary parts.
    fn defined([h, w]: [usize; 2], [rows, columns]: [usize; 2], plane: &[f32]) -> Vec<[f64; 2]> {
        let mut output = vec![[0.0; 2]; rows * columns];
        for &(k, of_row) in &kept(h, rows) {
            for &(l, of_column) in &kept(w, columns) {
                let angle = |i: usize, [h, w]: [usize; 2]| {
                    TAU * (k * (i / w) as f64 / h as f64 + l * (i % w) as f64 / w as f64)
                };
                let places = || plane.iter().enumerate().map(|(i, &x)| (angle(i, [h, w]), f64::from(x)));
                let (re, im) =
                    (places().map(|(a, x)| x * a.cos()).sum::<f64>(), places().map(|(a, x)| -x * a.sin()).sum::<f64>());
                for (i, y) in output.iter_mut().enumerate() {
                    let (sin, cos) = angle(i, [rows, columns]).sin_cos();
                    let share = of_row * of_column / (h * w) as f64;
                    y[0] += share * (re * cos - im * sin);
                    y[1] += share * (re * sin + im * cos);
                }
            }
        }
        output
    }

    fn drawn(seed: u64, length: usize) -> Vec<f32> {
        (0..length as u64).map(|i| super::super::dropout::uniform(seed, i) - 0.5).collect()
    }

    /// Extents of an input and, no larger, of an output.
    fn extents() -> impl Strategy<Value = ([usize; 2], [usize; 2])> {
        let axis = || (1usize..14).prop_flat_map(|long| (Just(long), 1..=long));
        (axis(), axis()).prop_map(|((h, rows), (w, columns))| ([h, w], [rows, columns]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn it_is_the_definitions_sum_which_is_real((plane, output) in extents(), seed: u64) {
            let input = drawn(seed, plane[0] * plane[1]);
            for (got, [re, im]) in pooled(plane, output, &input).into_iter().zip(defined(plane, output, &input)) {
                prop_assert!((f64::from(got) - re).abs() < 1e-6 && im.abs() < 1e-12, "{got}, defined as {re} + {im}i");
            }
        }

        #[test]
        fn backward_is_the_transpose(([h, w], output) in extents(), seed: u64) {
            let (layer, shape) = (SpectralPool2d::new(output), Shape::from([2, h, w]));
            let (x, y) = (drawn(seed, 2 * h * w), drawn(!seed, 2 * output[0] * output[1]));
            let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let ax = trial::forward(&layer, Mode::Inference, &shape, &x, &[]);
            let aty = trial::backward(&layer, Mode::Inference, &shape, &x, &[], &y).0;
            prop_assert!((product(&ax, &y) - product(&x, &aty)).abs() < 1e-5);
        }
    }

    /// `numpy.fft`: `fft2`, the middle of its `fftshift`, `ifft2`, of which the real part.
    #[test]
    fn it_agrees_with_numpy() {
        let plane: Vec<f32> =
            (0..30).map(|n| [n / 6, n % 6]).map(|[i, j]| ((3 * i * i + 5 * j + i * j) % 11) as f32).collect();
        let odd = [2.2303277, 6.6303277, 6.6101651, 3.5081299, 6.9502547, 3.0042721, 2.7615424, 4.8194177, 5.7855628];
        let even = [
            1.9535797, 5.4453290, 7.8068046, 5.4220472, 2.7785521, 7.4953441, 4.7373967, 2.9389160, 3.1678682,
            3.4913777, 6.5557987, 4.6069860,
        ];
        for (output, want) in [([3, 3], &odd[..]), ([3, 4], &even)] {
            let got = pooled([5, 6], output, &plane);
            assert!(got.iter().zip(want).all(|(&y, want)| (f64::from(y) - want).abs() < 1e-6), "{got:?}");
        }
    }

    #[test]
    fn a_constant_stays_and_the_same_size_is_the_identity() {
        for output in [[1, 1], [2, 2], [3, 4], [4, 3], [7, 8], [7, 1]] {
            assert!(pooled([7, 8], output, &[3.0; 56]).iter().all(|y| (y - 3.0).abs() < 1e-6), "{output:?}");
        }
        let plane = drawn(1, 56);
        assert_eq!(pooled([7, 8], [7, 8], &plane), plane);
    }

    /// Frequencies below half of the output's extents come out as they would have been sampled, that at half at half its height,
    /// those above not at all.
    #[test]
    fn low_frequencies_pass() {
        let wave = |[h, w]: [usize; 2], [k, l]: [usize; 2]| -> Vec<f32> {
            let angle = |i: usize| TAU * ((k * (i / w)) as f64 / h as f64 + (l * (i % w)) as f64 / w as f64);
            (0..h * w).map(|i| angle(i).cos() as f32).collect()
        };
        for (frequencies, height) in
            [([1, 2], 1.0), ([0, 2], 1.0), ([3, 0], 0.5), ([3, 1], 0.5), ([4, 1], 0.0), ([1, 3], 0.0)]
        {
            let (got, want) = (pooled([12, 10], [6, 5], &wave([12, 10], frequencies)), wave([6, 5], frequencies));
            // At half of an extent a wave and its mirror image are one.
            let mirrored = wave([6, 5], [frequencies[0], 5 - frequencies[1]]);
            for (y, (a, b)) in got.iter().zip(want.iter().zip(&mirrored)) {
                let want = if height == 0.5 { 0.25 * (a + b) } else { height * a };
                assert!((y - want).abs() < 1e-6, "{frequencies:?}: {y} is not {want}");
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let refusal =
            |output: [usize; 2]| SpectralPool2d::new(output).output_shape(&[&Shape::from([3, 4, 8])]).unwrap_err().0;
        assert_eq!(refusal([5, 7]), "output 5x7 is larger than the input 4x8");
        assert_eq!(refusal([4, 9]), "output 4x9 is larger than the input 4x8");
        assert_eq!(refusal([0, 7]), "output 0x7 has an extent of 0");
        assert!(SpectralPool2d::new(2).output_shape(&[&Shape::from([4])]).is_err());
    }

    /// A layer that has met one plane takes another.
    #[test]
    fn one_layer_takes_planes_of_several_sizes() {
        let layer = SpectralPool2d::new([2, 3]);
        for [h, w] in [[5, 4], [4, 7], [5, 4]] {
            let (shape, plane) = (Shape::from([1, h, w]), drawn(3, h * w));
            let got = trial::forward(&layer.clone(), Mode::Inference, &shape, &plane, &[]);
            assert_eq!(trial::forward(&layer, Mode::Inference, &shape, &plane, &[]), got);
            assert_eq!(got, pooled([h, w], [2, 3], &plane));
        }
    }

    #[test]
    fn not_a_number_is_not_lost() {
        let mut plane = vec![1.0; 30];
        plane[7] = f32::NAN;
        assert!(pooled([5, 6], [4, 4], &plane).iter().all(|y| y.is_nan()));
        plane[7] = f32::INFINITY;
        assert!(pooled([5, 6], [4, 4], &plane).iter().all(|y| !y.is_finite()));
    }
}
