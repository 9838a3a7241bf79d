//! Convolution through the Fourier transform, for large windows: tiles that overlap by the window are transformed (overlap
//! and save; Mathieu et al. 2014, with tiles as in NNPACK), for each frequency a complex matrix product runs over channels,
//! and the tiles are transformed back. Its cost hardly grows with the window.
//!
//! A complex product of C by O is a real one of 2 C by 2 O, so the tile of every other product serves. In memory: V
//! `[frequency][tile][C][re, im]`, weights `[frequency][panel][2 C][2 lanes]`, M `[frequency][block of 2 O][tile][lanes]`.

use std::sync::Arc;

use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;
use num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

use super::{Algorithm, Parameters, Problem};
use crate::memory::Buffer;
use crate::ops::elementwise::apply;
use crate::ops::{Io, Kernel, Prepared, Work};
use crate::simd::tile::{FREE_STRIDE_ROWS, Start, Tile};
use crate::simd::walk::RowMajor;
use crate::simd::{Instructions, Simd, with_simd};
use crate::threads::Workers;

/// The row of the table.
#[derive(Debug)]
pub struct FourierTransform;

/// The largest window.
const MOST_TAPS: usize = 64;

/// Bytes in a GiB.
const GIB: f64 = (1 << 30) as f64;

/// The most bytes of transformed weights: a filter takes as many values as a tile, however small the window.
const MOST_BYTES: f64 = 2.0 * GIB;

/// Relative error of single-precision transforms of the tiles below, measured with room to spare.
const ERROR: f32 = 3e-6;

impl Row<Problem> for FourierTransform {
    fn name(&self) -> &'static str {
        "fft"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let axes = [problem.plane.rows, problem.plane.columns];
        if axes.iter().any(|axis| axis.stride != 1 || axis.dilation != 1) {
            return Err("the window has a stride or a dilation".to_string());
        }
        match axes.iter().map(|axis| axis.kernel).max() {
            Some(taps) if taps < 4 => return Err("the window is small".to_string()),
            Some(taps) if taps > MOST_TAPS => return Err(format!("the window is over {MOST_TAPS} wide")),
            _ => {}
        }
        match (problem.conv.groups, problem.tolerance >= ERROR) {
            (1, true) => {}
            (1, false) => return Err(format!("an error of {ERROR:.0e} is not tolerated")),
            (groups, _) => return Err(format!("{groups} groups")),
        }
        match self.work(problem, 1).weight_bytes {
            bytes if bytes > MOST_BYTES => Err(format!("its weights would take {:.0} GiB", bytes / GIB)),
            _ => Ok(()),
        }
    }
}

/// Tiles of `size` x `size`, and how many of them cover the output.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    size: usize,
    /// Outputs of a tile down and across.
    step: [usize; 2],
    /// Tiles down and across.
    count: [usize; 2],
}

impl Tiling {
    fn new(size: usize, plane: Plane) -> Self {
        let axes = [plane.rows, plane.columns];
        let step = axes.map(|axis| size + 1 - axis.kernel);
        let count = [axes[0].output.div_ceil(step[0]), axes[1].output.div_ceil(step[1])];
        Tiling { size, step, count }
    }

    /// The size that costs least, where a byte of weights takes as long as four multiply-adds.
    fn best(problem: &Problem) -> Self {
        let taps = problem.plane.rows.kernel.max(problem.plane.columns.kernel);
        let sizes = [8, 16, 32, 64, 128].into_iter().filter(|&size| size > taps);
        let tilings = sizes.map(|size| Tiling::new(size, problem.plane));
        let cost = |tiling: &Tiling| tiling.macs(problem, 1).max(4.0 * tiling.weight_bytes(problem));
        tilings.min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("the largest is larger than any window that is taken")
    }

    /// Values that a real tile's transform has.
    fn frequencies(&self) -> usize {
        self.size * (self.size / 2 + 1)
    }

    fn tiles(&self) -> usize {
        self.count[0] * self.count[1]
    }

    /// Bytes of the transformed filters: four real numbers for each of their complex ones.
    fn weight_bytes(&self, problem: &Problem) -> f64 {
        16.0 * self.frequencies() as f64 * problem.in_channels as f64 * problem.conv.out_channels as f64
    }

    /// Multiply-adds of a batch. A transform's count more, as they do not run on whole vectors of channels, and each of its lines
    /// has to be fetched and put back: of 16 x 16 it takes 1.7 microseconds, of 32 x 32 2.1, of 64 x 64 11.
    fn macs(&self, problem: &Problem, batch: usize) -> f64 {
        const SCALAR: f64 = 8.0;
        const LINE: f64 = 5000.0;
        let (inputs, outputs) = (problem.in_channels as f64, problem.conv.out_channels as f64);
        let (tiles, frequencies) = ((batch * self.tiles()) as f64, self.frequencies() as f64);
        let lines = (self.size + self.size / 2 + 1) as f64;
        let transform = SCALAR * 4.0 * frequencies * (self.size as f64).log2() + LINE * lines;
        tiles * (4.0 * frequencies * inputs * outputs + transform * (inputs + outputs))
    }
}

impl Algorithm for FourierTransform {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let tiling = Tiling::best(problem);
        let (inputs, outputs) = (problem.in_channels as f64, problem.conv.out_channels as f64);
        let (tiles, frequencies) = ((batch * tiling.tiles()) as f64, tiling.frequencies() as f64);
        let (_, ends) = problem.blocked_bytes(batch);
        Work {
            macs: tiling.macs(problem, batch),
            weight_bytes: tiling.weight_bytes(problem),
            moved_bytes: 4.0 * 8.0 * frequencies * tiles * (inputs + outputs) + ends,
        }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        Ok(Prepared::planar(Box::new(FftKernel::new(problem, parameters))))
    }
}

struct FftKernel {
    instructions: Instructions,
    plane: Plane,
    channels: [usize; 2],
    tiling: Tiling,
    row_forward: Arc<dyn RealToComplex<f32>>,
    row_backward: Arc<dyn ComplexToReal<f32>>,
    column_forward: Arc<dyn Fft<f32>>,
    column_backward: Arc<dyn Fft<f32>>,
    weights: Buffer,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
}

impl FftKernel {
    fn new(problem: &Problem, parameters: Parameters<'_>) -> Self {
        let instructions = problem.machine.instructions();
        let tiling = Tiling::best(problem);
        let (mut real, mut complex) = (RealFftPlanner::<f32>::new(), FftPlanner::<f32>::new());
        FftKernel {
            instructions,
            plane: problem.plane,
            channels: [problem.in_channels, problem.conv.out_channels],
            tiling,
            row_forward: real.plan_fft_forward(tiling.size),
            row_backward: real.plan_fft_inverse(tiling.size),
            column_forward: complex.plan_fft_forward(tiling.size),
            column_backward: complex.plan_fft_inverse(tiling.size),
            weights: transform_weights(problem, tiling, parameters.weight),
            bias: parameters.bias.map(<[f32]>::to_vec),
            activation: parameters.activation,
        }
    }

    /// Columns of the product, filled up to whole panels.
    fn columns(&self) -> usize {
        (2 * self.channels[1]).next_multiple_of(2 * self.instructions.lanes())
    }
}

/// The conjugate spectra of the filters, computed in `f64` and packed: a step for the real and one for the imaginary part
/// of each input channel, a column for those of each output channel.
fn transform_weights(problem: &Problem, tiling: Tiling, weight: &[f32]) -> Buffer {
    let Tiling { size, .. } = tiling;
    let width = 2 * problem.machine.instructions().lanes();
    let (depth, columns) = (2 * problem.in_channels, (2 * problem.conv.out_channels).next_multiple_of(width));
    let (kh, kw) = (problem.plane.rows.kernel, problem.plane.columns.kernel);
    let mut packed = Buffer::zeroed(tiling.frequencies() * depth * columns);
    let (rows, bins) = (RealFftPlanner::<f64>::new().plan_fft_forward(size), size / 2 + 1);
    let column = FftPlanner::<f64>::new().plan_fft_forward(size);
    let mut spectrum = vec![Complex::new(0.0, 0.0); size * bins];
    let (mut line, mut down) = (rows.make_input_vec(), vec![Complex::new(0.0, 0.0); size]);
    for (i, filter) in weight.chunks(kh * kw).enumerate() {
        let (o, c) = (i / problem.in_channels, i % problem.in_channels);
        for (y, spectrum) in spectrum.chunks_mut(bins).enumerate() {
            line.fill(0.0);
            if y < kh {
                line.iter_mut().zip(&filter[y * kw..(y + 1) * kw]).for_each(|(l, &w)| *l = f64::from(w));
            }
            rows.process(&mut line, spectrum).expect("lengths agree");
        }
        for bin in 0..bins {
            down.iter_mut().zip(spectrum[bin..].iter().step_by(bins)).for_each(|(d, s)| *d = *s);
            column.process(&mut down);
            for (y, w) in down.iter().enumerate() {
                let (frequency, panel, lane) = (y * bins + bin, 2 * o / width, 2 * o % width);
                let start = (frequency * columns / width + panel) * depth * width + lane;
                // (x_re + i x_im) (re - i im): what x_re and x_im add to the real and to the imaginary part.
                let (re, im) = (w.re as f32, w.im as f32);
                packed[start + 2 * c * width..][..2].copy_from_slice(&[re, -im]);
                packed[start + (2 * c + 1) * width..][..2].copy_from_slice(&[im, re]);
            }
        }
    }
    packed
}

impl Kernel for FftKernel {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        with_simd!(self.instructions, s => self.convolve(s, io, workers));
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    fn scratch_length(&self) -> usize {
        // A tile, its spectrum, a column, and what the transforms need.
        let Tiling { size, .. } = self.tiling;
        let complex = self.tiling.frequencies() + size + self.transform_scratch();
        size * size + 2 * complex
    }

    fn workspace_length(&self, batch: usize, _threads: usize) -> usize {
        batch * self.tiling.tiles() * self.tiling.frequencies() * (2 * self.channels[0] + self.columns())
    }
}

/// The parts of a thread's scratch memory.
struct Scratch<'a> {
    tile: &'a mut [f32],
    spectrum: &'a mut [Complex<f32>],
    column: &'a mut [Complex<f32>],
    transform: &'a mut [Complex<f32>],
}

impl FftKernel {
    fn transform_scratch(&self) -> usize {
        let rows = self.row_forward.get_scratch_len().max(self.row_backward.get_scratch_len());
        let columns = self.column_forward.get_inplace_scratch_len().max(self.column_backward.get_inplace_scratch_len());
        rows.max(columns)
    }

    fn scratch<'a>(&self, scratch: &'a mut [f32]) -> Scratch<'a> {
        let size = self.tiling.size;
        let (tile, complex) = scratch.split_at_mut(size * size);
        let (spectrum, complex) = bytemuck::cast_slice_mut(complex).split_at_mut(self.tiling.frequencies());
        let (column, transform) = complex.split_at_mut(size);
        Scratch { tile, spectrum, column, transform }
    }

    fn convolve<S: Simd>(&self, s: S, io: Io<'_>, workers: Workers<'_>) {
        let [inputs, outputs] = self.channels;
        let (tiles, frequencies) = (self.tiling.tiles(), self.tiling.frequencies());
        let in_plane = self.plane.rows.input * self.plane.columns.input;
        let (depth, all, columns) = (2 * inputs, io.batch * tiles, self.columns());
        let (v, m) =
            io.workspace[..self.workspace_length(io.batch, workers.threads())].split_at_mut(frequencies * all * depth);
        let input = io.inputs[0];

        workers.for_each_block(v, [frequencies, all, depth], [frequencies, 1, 2], |mut out| {
            let (tile, channel) = (out.rows().start, out.columns().start / 2);
            let plane = &input[(tile / tiles * inputs + channel) * in_plane..][..in_plane];
            workers.scratch(self.scratch_length(), |scratch| {
                let mut scratch = self.scratch(scratch);
                self.forward(plane, tile % tiles, &mut scratch);
                for (frequency, value) in scratch.spectrum.iter().enumerate() {
                    out.line(frequency, 0).copy_from_slice(&[value.re, value.im]);
                }
            });
        });

        let (v, width) = (&*v, 2 * S::LANES);
        workers.for_each_block(m, [frequencies, 1, columns * all], [1, 1, width * all], |mut product| {
            let (frequency, panel) = (product.planes().start, product.columns().start / (width * all));
            let w = &self.weights[(frequency * columns / width + panel) * depth * width..][..depth * width];
            let (left, right) = product.line(0, 0).split_at_mut(all * S::LANES);
            let highest = FREE_STRIDE_ROWS.min(S::TILE_ROWS);
            for first in (0..all).step_by(highest) {
                let rows = highest.min(all - first);
                let x = &v[(frequency * all + first) * depth..];
                let (walk, next) = (RowMajor { length: depth, stride: depth }, w.as_ptr());
                let tile = Tile { x, walk, rows, w, start: Start::Zero, relu: false, next };
                let lanes = first * S::LANES..(first + rows) * S::LANES;
                tile.run(s, [&mut left[lanes.clone()], &mut right[lanes]], S::LANES);
            }
        });

        let m = &*m;
        let out_plane = self.plane.rows.output * self.plane.columns.output;
        workers.for_each_chunk(io.output, out_plane, |index, output| {
            let (n, o) = (index / outputs, index % outputs);
            let (block, lane) = (2 * o / S::LANES, 2 * o % S::LANES);
            workers.scratch(self.scratch_length(), |scratch| {
                let mut scratch = self.scratch(scratch);
                for tile in 0..tiles {
                    let at = (block * all + n * tiles + tile) * S::LANES + lane;
                    for (frequency, value) in scratch.spectrum.iter_mut().enumerate() {
                        let pair = &m[frequency * columns * all + at..][..2];
                        *value = Complex::new(pair[0], pair[1]);
                    }
                    self.backward(&mut scratch);
                    self.write(tile, scratch.tile, self.bias.as_ref().map_or(0.0, |bias| bias[o]), output);
                }
            });
            if let Some(activation) = self.activation {
                apply(s, activation, output);
            }
        });
    }

    /// The spectrum of one tile of a plane.
    fn forward(&self, plane: &[f32], tile: usize, scratch: &mut Scratch<'_>) {
        let Plane { rows, columns } = self.plane;
        let (size, bins) = (self.tiling.size, self.tiling.size / 2 + 1);
        let (y, x) =
            (tile / self.tiling.count[1] * self.tiling.step[0], tile % self.tiling.count[1] * self.tiling.step[1]);
        // The part of a line of the tile that lies inside the input.
        let (from, to) =
            (columns.before.saturating_sub(x).min(size), (columns.before + columns.input).saturating_sub(x).min(size));
        for (i, line) in scratch.tile.chunks_mut(size).enumerate() {
            line.fill(0.0);
            if let Some(row) = (y + i).checked_sub(rows.before).filter(|&row| row < rows.input) {
                if from < to {
                    let start = row * columns.input + x + from - columns.before;
                    line[from..to].copy_from_slice(&plane[start..start + to - from]);
                }
            }
            let spectrum = &mut scratch.spectrum[i * bins..(i + 1) * bins];
            let done = self.row_forward.process_with_scratch(line, spectrum, scratch.transform);
            done.expect("lengths agree");
        }
        self.transform_columns(self.column_forward.as_ref(), scratch);
    }

    /// The tile of a spectrum, times its area.
    fn backward(&self, scratch: &mut Scratch<'_>) {
        let (size, bins) = (self.tiling.size, self.tiling.size / 2 + 1);
        self.transform_columns(self.column_backward.as_ref(), scratch);
        for (line, spectrum) in scratch.tile.chunks_mut(size).zip(scratch.spectrum.chunks_mut(bins)) {
            // Rounding leaves imaginary parts where a real signal has none.
            spectrum[0].im = 0.0;
            spectrum[bins - 1].im = 0.0;
            let done = self.row_backward.process_with_scratch(spectrum, line, scratch.transform);
            done.expect("lengths agree");
        }
    }

    fn transform_columns(&self, transform: &dyn Fft<f32>, scratch: &mut Scratch<'_>) {
        let bins = self.tiling.size / 2 + 1;
        for bin in 0..bins {
            let column = scratch.spectrum[bin..].iter().step_by(bins);
            scratch.column.iter_mut().zip(column).for_each(|(c, s)| *c = *s);
            transform.process_with_scratch(scratch.column, scratch.transform);
            let column = scratch.spectrum[bin..].iter_mut().step_by(bins);
            scratch.column.iter().zip(column).for_each(|(c, s)| *s = *c);
        }
    }

    /// Writes the part of a tile that its overlap leaves.
    fn write(&self, tile: usize, values: &[f32], bias: f32, output: &mut [f32]) {
        let Plane { rows, columns } = self.plane;
        let Tiling { size, step, count } = self.tiling;
        let (y, x) = (tile / count[1] * step[0], tile % count[1] * step[1]);
        let scale = 1.0 / (size * size) as f32;
        for (i, line) in values.chunks(size).enumerate().take(step[0].min(rows.output - y)) {
            let output = &mut output[(y + i) * columns.output + x..][..step[1].min(columns.output - x)];
            output.iter_mut().zip(line).for_each(|(o, v)| *o = v * scale + bias);
        }
    }
}
