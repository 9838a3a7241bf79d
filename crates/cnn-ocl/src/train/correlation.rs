//! Convolutions and fully connected layers, forward and backward: correlations along lines of taps. The gradient of a
//! convolution's input is one too, over its output's gradient with the filter turned round; where the stride is larger than 1, one
//! for each remainder of the input's rows and columns by it (Dumoulin and Visin 2016, section 4, without their zeros in between).

use cnn_core::Result;
use cnn_core::layers::Activation;
use cnn_core::window::{Axis, Plane};

use super::layer::{Site, Work};
use super::place::{Held, Place};
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Ints4, Workspace};
use crate::kernel::{Argument, Launch};
use crate::ops::activation_code;
use crate::ops::tiles::even;
use crate::program::Source;

const CORRELATE: Source =
    Source { name: "train/correlate", text: concat!(include_str!("samples.cl"), include_str!("correlate.cl")) };
const WEIGHTS: Source =
    Source { name: "train/weights", text: concat!(include_str!("samples.cl"), include_str!("weights.cl")) };

/// How a layer with filters runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Method {
    /// Windows that slide over a plane.
    Windows(Plane),
    /// One sum over the whole input an output. Groups of samples take the place of columns.
    Linear,
}

/// Along one axis, which inputs each output sums, tap by tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lines {
    outputs: usize,
    /// The input of output 0 and tap 0.
    first: isize,
    /// From output to output.
    step: usize,
    taps: usize,
    /// From tap to tap.
    dilation: usize,
    /// Where output 0 goes, and how far on the next.
    to: [usize; 2],
    /// The filter's element of tap 0, and how far on the next.
    filter: [isize; 2],
}

impl Lines {
    pub(super) fn forward(axis: &Axis) -> Self {
        Lines {
            outputs: axis.output,
            first: -(axis.before as isize),
            step: axis.stride,
            taps: axis.kernel,
            dilation: axis.dilation,
            to: [0, 1],
            filter: [0, 1],
        }
    }

    /// Those of the gradient of the input: one for each remainder of its places by the stride.
    pub(super) fn backward(axis: &Axis) -> Vec<Self> {
        (0..axis.stride.min(axis.input)).map(|remainder| Self::of_remainder(axis, remainder)).collect()
    }

    fn of_remainder(axis: &Axis, remainder: usize) -> Self {
        let stride = axis.stride as isize;
        // How far the window whose tap sees the place is from the beginning, in inputs.
        let start = |tap: usize| (remainder + axis.before) as isize - (tap * axis.dilation) as isize;
        let seeing: Vec<usize> = (0..axis.kernel).filter(|&tap| start(tap) % stride == 0).collect();
        let last = seeing.last().copied().unwrap_or(0);
        let between = if let [first, second, ..] = seeing[..] { second - first } else { 1 };
        Lines {
            outputs: (axis.input - remainder).div_ceil(axis.stride),
            first: start(last) / stride,
            step: 1,
            taps: seeing.len(),
            dilation: (between * axis.dilation / axis.stride).max(1),
            to: [remainder, axis.stride],
            filter: [last as isize, -(between as isize)],
        }
    }

    /// Inputs that are read before the first and after the last of so many.
    pub(super) fn margin(&self, length: usize) -> [usize; 2] {
        if self.taps == 0 {
            return [0, 0];
        }
        let last = self.first + ((self.outputs - 1) * self.step + (self.taps - 1) * self.dilation) as isize;
        [-self.first, last + 1 - length as isize].map(|beyond| usize::try_from(beyond).unwrap_or(0))
    }
}

/// The filters of a layer: `[bands * outputs][depth][rows][columns]`.
#[derive(Debug, Clone, Copy)]
struct Filters {
    bands: usize,
    outputs: usize,
    depth: usize,
    taps: [usize; 2],
}

impl Filters {
    fn of(site: &Site<'_>, method: Method) -> Self {
        let shape = &site.learner.learned[site.node][0].parameter.shape;
        match method {
            Method::Linear => {
                let depth = shape[1..].iter().product();
                Filters { bands: 1, outputs: shape[0], depth, taps: [1, 1] }
            }
            Method::Windows(_) => {
                let bands = site.inputs[0].place.channels / shape[1];
                Filters { bands, outputs: shape[0] / bands, depth: shape[1], taps: [shape[2], shape[3]] }
            }
        }
    }

    fn length(&self) -> usize {
        self.bands * self.outputs * self.depth * self.taps[0] * self.taps[1]
    }
}

/// One launch of the kernel `correlate`: the geometry of what it reads and writes.
struct Correlation<'a> {
    lines: [Lines; 2],
    /// Outputs and depth of a band.
    extents: [usize; 2],
    /// From output to output and from depth to depth in the filters.
    filter: [usize; 2],
    bands: usize,
    filters: Filters,
    from: &'a Held,
    to: &'a Held,
    /// The value that the sums' activation made, for its derivative.
    seen: &'a Held,
    bias: Option<usize>,
    activation: Option<Activation>,
    through: Option<Activation>,
    accumulate: bool,
}

impl Correlation<'_> {
    fn launch(&self, site: &Site<'_>, method: Method) -> Result<Launch> {
        let [rows, columns] = self.lines;
        let [outputs, depth] = self.extents;
        let is_linear = method == Method::Linear;
        // Fully connected: groups of samples stand in for columns, features for planes.
        let (width, groups) = if is_linear { (site.groups, 1) } else { (columns.outputs, site.groups) };
        let [tile_outputs, tile_columns] = tile(site.driver, outputs, width);
        let steps = match is_linear {
            true => [self.from.place.group(), self.to.place.group()],
            false => [columns.step, columns.to[1]],
        };
        let ragged = outputs % tile_outputs != 0 || width % tile_columns != 0;
        let (activation, parameter) = activation_code(self.activation.or(self.through));
        let program = site.program(
            CORRELATE,
            &[
                ("OUTPUTS", tile_outputs as i64),
                ("COLUMNS", tile_columns as i64),
                ("TAPS_X", columns.taps as i64),
                ("DILATION_X", columns.dilation as i64),
                ("X_STEP", steps[0] as i64),
                ("Y_STEP", steps[1] as i64),
                ("RAGGED", i64::from(ragged)),
                ("BIAS", i64::from(self.bias.is_some())),
                ("ACTIVATION", if self.activation.is_some() { activation } else { 0 }),
                ("DERIVATIVE", if self.through.is_some() { activation } else { 0 }),
                ("ACCUMULATE", i64::from(self.accumulate)),
            ],
        )?;
        let goes = |held: &Held| match is_linear {
            true => along_features(),
            false => {
                let Place { margin, .. } = held.place;
                let first = margin[0] + rows.to[0] * held.place.row() + columns.to[0];
                ints([first, held.place.row() * rows.to[1], held.place.plane(), held.place.group()])
            }
        };
        let from = if is_linear { along_features() } else { self.from.place.from(columns.first) };
        let [_, taps_x] = self.filters.taps;
        let first = site.offset(0) as isize + rows.filter[0] * taps_x as isize + columns.filter[0];
        let band = self.filters.outputs * self.filters.depth * self.filters.taps.iter().product::<usize>();
        let tiles = outputs.div_ceil(tile_outputs);
        let items = [site.sides.vectors(), rows.outputs * width.div_ceil(tile_columns), tiles * self.bands * groups];
        Ok(Launch::new(&program, "correlate", items)
            .group(site.sides.work_group())
            .with([self.from.memory(), site.weights(), self.to.memory(), self.seen.memory()])
            .with([from, goes(self.to), goes(self.seen)])
            .with([ints([rows.outputs, width, outputs, depth])])
            .with([Ints4([
                rows_of(&self.from.place, is_linear),
                rows.first as i32,
                rows.step as i32,
                rows.dilation as i32,
            ])])
            .with([ints([first as usize, band, self.filter[0], self.filter[1]])])
            .with([Ints4([(rows.filter[1] * taps_x as isize) as i32, columns.filter[1] as i32, rows.taps as i32, 0])])
            .ints([self.bands, self.bias.unwrap_or(0)])
            .with([Float(parameter)]))
    }
}

fn ints(numbers: [usize; 4]) -> Argument {
    Ints4(numbers.map(|number| number as i32))
}

/// The place of any value whose features lie one after the other, and whose groups are its columns.
fn along_features() -> Argument {
    ints([0, 0, 1, 0])
}

fn rows_of(place: &Place, is_linear: bool) -> i32 {
    if is_linear { 1 } else { place.rows as i32 }
}

/// A line of one tap, for what does not slide.
const POINT: Lines = Lines { outputs: 1, first: 0, step: 1, taps: 1, dilation: 1, to: [0, 1], filter: [0, 1] };

pub(super) fn forward(site: &Site<'_>, method: Method) -> Result<Work> {
    let filters = Filters::of(site, method);
    let lines = match method {
        Method::Linear => [POINT; 2],
        Method::Windows(plane) => [Lines::forward(&plane.rows), Lines::forward(&plane.columns)],
    };
    let taps: usize = filters.taps.iter().product();
    let correlation = Correlation {
        lines,
        extents: [filters.outputs, filters.depth],
        filter: [filters.depth * taps, taps],
        bands: filters.bands,
        filters,
        from: &site.inputs[0],
        to: &site.output,
        seen: &site.output,
        bias: site.has_bias().then(|| site.offset(1)),
        activation: site.activation,
        through: None,
        accumulate: false,
    };
    Ok(Work::of(vec![correlation.launch(site, method)?]))
}

pub(super) fn backward(site: &Site<'_>, method: Method) -> Result<Work> {
    let mut work = weights(site, method)?;
    let (Some(flow), Some(to)) = (site.flows[0], &site.input_gradients[0]) else { return Ok(work) };
    let filters = Filters::of(site, method);
    let taps: usize = filters.taps.iter().product();
    let (rows, columns) = match method {
        Method::Linear => (vec![POINT], vec![POINT]),
        Method::Windows(plane) => (Lines::backward(&plane.rows), Lines::backward(&plane.columns)),
    };
    for (&rows, &columns) in rows.iter().flat_map(|rows| columns.iter().map(move |columns| (rows, columns))) {
        let correlation = Correlation {
            lines: [rows, columns],
            extents: [filters.depth, filters.outputs],
            filter: [taps, filters.depth * taps],
            bands: filters.bands,
            filters,
            from: &site.gradient,
            to,
            seen: &site.inputs[0],
            bias: None,
            activation: None,
            through: flow.through,
            accumulate: flow.accumulate,
        };
        work.launches.push(correlation.launch(site, method)?);
    }
    Ok(work)
}

/// The gradients of filters and biases: each work-item sums over a share of the groups of samples, and the shares are added.
fn weights(site: &Site<'_>, method: Method) -> Result<Work> {
    let filters = Filters::of(site, method);
    let Filters { bands, outputs, depth, taps } = filters;
    let is_linear = method == Method::Linear;
    let [rows, columns] = match method {
        Method::Linear => [POINT; 2],
        Method::Windows(plane) => [Lines::forward(&plane.rows), Lines::forward(&plane.columns)],
    };
    let (width, groups) = if is_linear { (site.groups, 1) } else { (columns.outputs, site.groups) };
    let tile = weights_tile(site.driver, [outputs, depth, taps[1]]);
    let ragged = outputs % tile[0] != 0 || depth % tile[1] != 0 || taps[1] % tile[2] != 0;
    let steps = match is_linear {
        true => [site.inputs[0].place.group(), site.gradient.place.group()],
        false => [columns.step, 1],
    };
    let program = site.program(
        WEIGHTS,
        &[
            ("OUTPUTS", tile[0] as i64),
            ("DEPTH", tile[1] as i64),
            ("TAPS", tile[2] as i64),
            ("TAPS_X", taps[1] as i64),
            ("DILATION_X", columns.dilation as i64),
            ("X_STEP", steps[0] as i64),
            ("Y_STEP", steps[1] as i64),
            ("RAGGED", i64::from(ragged)),
        ],
    )?;
    let blocks = [outputs.div_ceil(tile[0]) * bands, depth.div_ceil(tile[1]) * taps[0] * taps[1].div_ceil(tile[2])];
    let shares = shares(site, groups, blocks[0] * blocks[1], filters.length());
    let length = groups.div_ceil(shares);
    let shares = groups.div_ceil(length);
    let vectors = site.sides.vectors();
    let (from, to) = match is_linear {
        true => (along_features(), along_features()),
        false => (site.inputs[0].place.from(columns.first), site.gradient.place.argument()),
    };
    let biases = if site.has_bias() { bands * outputs } else { 0 };
    let total = filters.length() + biases;
    let height = rows_of(&site.inputs[0].place, is_linear);
    let mut launches = vec![
        Launch::new(&program, "correlate_weights", [vectors, blocks[1], blocks[0] * shares])
            .group(site.sides.work_group())
            .with([site.inputs[0].memory(), site.gradient.memory(), Workspace(0), from, to.clone()])
            .with([ints([rows.outputs, width, outputs, depth])])
            .with([Ints4([height, rows.first as i32, rows.step as i32, rows.dilation as i32])])
            .with([ints([groups, length, bands, taps[0]])])
            .ints([0, total]),
    ];
    if biases > 0 {
        launches.push(
            Launch::new(&program, "sum_planes", [vectors, biases, shares])
                .group(site.sides.work_group())
                .with([site.gradient.memory(), Workspace(0), to])
                .with([ints([rows.outputs, width, biases, 0]), ints([groups, length, 0, 0])])
                .ints([filters.length(), total]),
        );
    }
    launches.push(site.gather(total, shares * vectors)?);
    Ok(Work { launches, workspace: shares * vectors * total })
}

/// Shares of the groups of samples that sum apart: as many as keep the device busy, while what they found fits the caches.
fn shares(site: &Site<'_>, groups: usize, blocks: usize, weights: usize) -> usize {
    /// Work-items for each of the device's units.
    const ITEMS: usize = 32;
    /// Floats of all sums.
    const MOST: usize = 1 << 20;
    let wanted = (ITEMS * site.driver.found.info.threads).div_ceil(blocks);
    wanted.min(MOST / (weights * site.sides.vectors()).max(1)).clamp(1, groups)
}

/// Registers of vectors: those that the tile of products fills, and what goes with them.
fn registers(driver: &Driver) -> usize {
    driver.tuning.rows * driver.tuning.vectors + driver.tuning.vectors + 2
}

/// What loads cost beside multiply-adds.
const LOAD: f64 = 0.35;

/// Outputs and columns of a tile of sums: those that take the least time.
fn tile(driver: &Driver, outputs: usize, columns: usize) -> [usize; 2] {
    let registers = registers(driver);
    let sizes = (1..=outputs.min(registers)).flat_map(|o| (1..=columns.min(registers)).map(move |c| [o, c]));
    let cost = |&[o, c]: &[usize; 2]| {
        let tiles = outputs.div_ceil(o) * columns.div_ceil(c);
        tiles as f64 * ((o * c) as f64 + LOAD * (o + c) as f64)
    };
    let fitting = sizes.filter(|[o, c]| o * c + c + 2 <= registers || o * c == 1);
    let [o, c] = fitting.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or([1, 1]);
    [even(outputs, o), even(columns, c)]
}

/// Outputs, depth and taps of a tile of gradients.
fn weights_tile(driver: &Driver, extents: [usize; 3]) -> [usize; 3] {
    let registers = registers(driver);
    let upto = |i: usize| 1..=extents[i].min(registers);
    let sizes = upto(0).flat_map(|o| upto(1).flat_map(move |d| upto(2).map(move |t| [o, d, t])));
    let cost = |&[o, d, t]: &[usize; 3]| {
        let tiles = extents[0].div_ceil(o) * extents[1].div_ceil(d) * extents[2].div_ceil(t);
        tiles as f64 * ((o * d * t) as f64 + LOAD * (o + d * t) as f64)
    };
    let fitting = sizes.filter(|[o, d, t]| o * d * t + d * t + 2 <= registers || o * d * t == 1);
    let tile = fitting.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or([1, 1, 1]);
    std::array::from_fn(|i| even(extents[i], tile[i]))
}

#[cfg(test)]
mod tests {
    use cnn_core::window::{Rounding, Window};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every tap of every window is found again from the side of the input, exactly once.
        #[test]
        fn backward_lines_turn_windows_round(
            input in 1usize..12, kernel in 1usize..6, stride in 1usize..5, dilation in 1usize..4, padding in 0usize..6,
        ) {
            let window = Window {
                stride: [stride; 2], padding: padding.into(), dilation: [dilation; 2], ..Window::new(kernel)
            };
            let Ok(plane) = window.resolve([input; 2], Rounding::Floor) else { return Ok(()) };
            let axis = plane.rows;
            let mut want = Vec::new();
            for output in 0..axis.output {
                want.extend(axis.taps(output).map(|tap| (axis.input_index(output, tap), output as isize, tap as isize)));
            }
            let mut got = Vec::new();
            for lines in Lines::backward(&axis) {
                let margin = lines.margin(axis.output);
                for (i, tap) in (0..lines.outputs).flat_map(|i| (0..lines.taps).map(move |tap| (i, tap))) {
                    let output = lines.first + (i * lines.step + tap * lines.dilation) as isize;
                    prop_assert!(output >= -(margin[0] as isize) && output < (axis.output + margin[1]) as isize);
                    if (0..axis.output as isize).contains(&output) {
                        let tap = lines.filter[0] + tap as isize * lines.filter[1];
                        got.push((lines.to[0] + i * lines.to[1], output, tap));
                    }
                }
            }
            got.sort_unstable();
            want.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }
}
