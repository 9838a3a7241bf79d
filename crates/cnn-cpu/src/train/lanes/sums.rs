//! The loop under forward passes and gradients of inputs: each output is a sum over runs of taps of a broadcast weight
//! times a vector, one sample a lane. A tile of channels and neighbouring pixels stays in registers over the whole sum.

// Indices into arrays of vectors: iterators' closures would not be inlined into the code for the instruction set.
#![allow(clippy::needless_range_loop, unsafe_code)]

use crate::simd::{Instructions, Simd, Task, with_simd};

/// Where a vector and its weight lie, in floats from those of another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) value: u32,
    pub(super) weight: u32,
}

impl Tap {
    pub(super) fn new(value: usize, weight: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).expect("networks with samples in lanes are small");
        Tap { value: narrow(value), weight: narrow(weight) }
    }

    /// The largest of each offset.
    fn furthest(taps: &[Tap]) -> [usize; 2] {
        let furthest = |offset: fn(&Tap) -> u32| taps.iter().map(offset).max().unwrap_or(0) as usize;
        [furthest(|tap| tap.value), furthest(|tap| tap.weight)]
    }
}

/// `out[channel][line][pixel] (+)= start + sum over the line's runs and over taps of value * weight`, a vector each.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    instructions: Instructions,
    /// The runs of each line of the output.
    lines: Vec<Vec<Tap>>,
    taps: Vec<Tap>,
    furthest: [usize; 2],
    /// Channels and pixels of a line.
    pub(super) channels: usize,
    pixels: usize,
    /// Floats from the weights of a channel to those of the next, and from the vectors of a pixel to those of the next.
    channel_step: usize,
    pixel_step: usize,
}

/// What a sum begins with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    Zero,
    /// A number a channel.
    Bias(&'a [f32]),
    /// What is in the output.
    Output,
}

impl Sums {
    pub(super) fn new(
        instructions: Instructions,
        (lines, taps): (Vec<Vec<Tap>>, Vec<Tap>),
        [channels, pixels]: [usize; 2],
        [channel_step, pixel_step]: [usize; 2],
    ) -> Self {
        let furthest = Tap::furthest(&taps);
        Sums { instructions, lines, taps, furthest, channels, pixels, channel_step, pixel_step }
    }

    /// Floats of the output.
    pub(super) fn output_length(&self) -> usize {
        self.channels * self.lines.len() * self.pixels * self.instructions.lanes()
    }

    /// Panics where a slice is too short.
    pub(super) fn run(&self, values: &[f32], weights: &[f32], start: Start<'_>, output: &mut [f32]) {
        with_simd!(self.instructions, s => s.vectorize(All { sums: self, values, weights, start, output }));
    }
}

struct All<'a> {
    sums: &'a Sums,
    values: &'a [f32],
    weights: &'a [f32],
    start: Start<'a>,
    output: &'a mut [f32],
}

/// The highest tiles: channels by pixels.
const fn tile<S: Simd>() -> [usize; 3] {
    match S::TILE_ROWS {
        // Thirty-two registers: 24 sums, four vectors and a weight; or 12 sums of one pixel.
        8.. => [6, 4, 12],
        _ => [5, 2, 10],
    }
}

impl<S: Simd> Task<S> for All<'_> {
    #[inline(always)]
    fn run(mut self, s: S) {
        let All { sums, values, weights, start, output } = &mut self;
        let [most_channels, most_pixels, alone] = tile::<S>();
        let (lanes, line) = (S::LANES, sums.pixels * S::LANES);
        assert!(output.len() >= sums.output_length());
        assert!(!matches!(start, Start::Bias(bias) if bias.len() < sums.channels));
        let most = if sums.pixels == 1 { alone } else { most_channels };
        let height = sums.channels.div_ceil(sums.channels.div_ceil(most));
        for y in 0..sums.lines.len() {
            let runs = &sums.lines[y];
            let [value, weight] = Tap::furthest(runs);
            assert!(value + sums.furthest[0] + (sums.pixels - 1) * sums.pixel_step + lanes <= values.len());
            assert!(weight + sums.furthest[1] + (sums.channels - 1) * sums.channel_step < weights.len());
            let mut channel = 0;
            while channel < sums.channels {
                let rows = height.min(sums.channels - channel);
                let mut pixel = 0;
                while pixel < sums.pixels {
                    let columns = match sums.pixels - pixel {
                        left if left >= most_pixels => most_pixels,
                        left if left >= 2 => 2,
                        _ => 1,
                    };
                    let spot = Spot {
                        runs,
                        taps: &sums.taps,
                        values: values.as_ptr().wrapping_add(pixel * sums.pixel_step),
                        weights: weights.as_ptr().wrapping_add(channel * sums.channel_step),
                        steps: [sums.channel_step, sums.pixel_step],
                        start: *start,
                        channel,
                        output: output
                            .as_mut_ptr()
                            .wrapping_add((channel * sums.lines.len() + y) * line + pixel * lanes),
                        plane: sums.lines.len() * line,
                    };
                    // SAFETY: the furthest value and weight of the line, the output and the bias were checked above; the
                    // tile's channels and pixels are the output's.
                    unsafe { spot.tile(s, rows, columns) };
                    pixel += columns;
                }
                channel += rows;
            }
        }
    }
}

/// A tile of the output.
struct Spot<'a> {
    runs: &'a [Tap],
    taps: &'a [Tap],
    values: *const f32,
    weights: *const f32,
    steps: [usize; 2],
    start: Start<'a>,
    channel: usize,
    output: *mut f32,
    /// Floats from channel to channel of the output.
    plane: usize,
}

impl Spot<'_> {
    /// # Safety
    /// Every value, weight, bias and output of the tile must lie inside its slice.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, s: S, rows: usize, columns: usize) {
        macro_rules! tiles {
            ($columns:literal: $($rows:literal)*) => {
                match rows {
                    // SAFETY: the caller's.
                    $($rows => unsafe { self.sums::<S, $rows, $columns>(s) },)*
                    rows => unreachable!("{rows} channels by {columns} pixels do not fit the registers"),
                }
            };
        }
        match columns {
            4 => tiles!(4: 1 2 3 4 5 6),
            2 => tiles!(2: 1 2 3 4 5 6),
            _ => tiles!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
        }
    }

    /// # Safety
    /// As [`tile`](Self::tile).
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const P: usize>(&self, s: S) {
        let [channel_step, pixel_step] = self.steps;
        let mut sums = [[s.splat(0.0); P]; R];
        // SAFETY: the caller vouches for every offset.
        unsafe {
            for r in 0..R {
                if let Start::Bias(bias) = self.start {
                    sums[r] = [s.splat(*bias.get_unchecked(self.channel + r)); P];
                }
            }
            for run in self.runs {
                let (values, weights) = (self.values.add(run.value as usize), self.weights.add(run.weight as usize));
                for tap in self.taps {
                    let (values, weights) = (values.add(tap.value as usize), weights.add(tap.weight as usize));
                    let mut pixels = [s.splat(0.0); P];
                    for p in 0..P {
                        pixels[p] = s.load_from(values.add(p * pixel_step));
                    }
                    for r in 0..R {
                        let weight = s.splat(*weights.add(r * channel_step));
                        for p in 0..P {
                            sums[r][p] = s.mul_add(weight, pixels[p], sums[r][p]);
                        }
                    }
                }
            }
            for r in 0..R {
                for p in 0..P {
                    let to = self.output.add(r * self.plane + p * S::LANES);
                    let sum = match self.start {
                        Start::Output => s.add(s.load_from(to), sums[r][p]),
                        _ => sums[r][p],
                    };
                    s.store_to(to, sum);
                }
            }
        }
    }
}
