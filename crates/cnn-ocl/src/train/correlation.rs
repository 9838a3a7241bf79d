//! Convolutions and fully connected layers, forward and backward: correlations along [lines](Lines) of taps.

use cnn_core::Result;
use cnn_core::layers::Activation;
use cnn_core::window::Plane;

use super::layer::{Site, Work};
use super::lines::Lines;
use super::place::Held;
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Int, Ints4, Workspace};
use crate::kernel::{Argument, Launch};
use crate::ops::activation_code;
use crate::ops::tiles::even;
use crate::program::Source;

const CORRELATE: Source = Source {
    name: "train/correlate",
    text: concat!(include_str!("samples.cl"), include_str!("lines.cl"), include_str!("correlate.cl")),
};
const WEIGHTS: Source = Source {
    name: "train/weights",
    text: concat!(include_str!("samples.cl"), include_str!("lines.cl"), include_str!("weights.cl")),
};

/// How a layer with filters runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Method {
    /// Windows that slide over a plane.
    Windows(Plane),
    /// One sum over the whole input an output. Groups of samples take the place of columns.
    Linear,
}

impl Method {
    /// The forward pass's, along rows and columns.
    fn lines(&self) -> [Lines; 2] {
        match self {
            Method::Windows(plane) => [Lines::forward(&plane.rows), Lines::forward(&plane.columns)],
            Method::Linear => [Lines::POINT; 2],
        }
    }

    /// Outputs of a row, and groups of samples that are apart.
    fn width_and_groups(&self, site: &Site<'_>, columns: usize) -> (usize, usize) {
        match self {
            Method::Windows(_) => (columns, site.groups),
            Method::Linear => (site.groups, 1),
        }
    }

    /// What the kernels know of a row's lines when they are compiled.
    fn defines(&self, columns: &Lines) -> [(&'static str, i64); 5] {
        [
            ("LINEAR", i64::from(*self == Method::Linear)),
            ("TAPS_X", columns.taps as i64),
            ("DILATION_X", columns.dilation as i64),
            ("X_STEP", columns.step as i64),
            ("Y_STEP", columns.to[1] as i64),
        ]
    }

    /// Where the lines of a value's rows begin that are read.
    fn reads(&self, held: &Held, columns: &Lines) -> Argument {
        match self {
            Method::Windows(_) => held.place.from(columns.first),
            Method::Linear => ints([0, 0, 1, held.place.group()]),
        }
    }

    /// Where outputs go.
    fn writes(&self, held: &Held, [rows, columns]: &[Lines; 2]) -> Argument {
        let place = &held.place;
        let first = place.margin[0] + rows.to[0] * place.row() + columns.to[0];
        match self {
            Method::Windows(_) => ints([first, place.row() * rows.to[1], place.plane(), place.group()]),
            Method::Linear => ints([0, 0, 1, place.group()]),
        }
    }

    /// Rows of a value that is read, and of it those that outputs see: (rows, first, step, from tap to tap).
    fn rows(&self, held: &Held, rows: &Lines) -> Argument {
        let all = if *self == Method::Linear { 1 } else { held.place.rows };
        Ints4([all as i32, rows.first as i32, rows.step as i32, rows.dilation as i32])
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

    /// Numbers of a band's.
    fn band(&self) -> usize {
        self.outputs * self.depth * self.taps[0] * self.taps[1]
    }

    fn length(&self) -> usize {
        self.bands * self.band()
    }
}

/// One launch of the kernel `correlate`: the geometry of what it reads and writes.
struct Correlation<'a> {
    lines: [Lines; 2],
    /// Outputs and depth of a band.
    extents: [usize; 2],
    /// From output to output and from depth to depth in the filters.
    filter: [usize; 2],
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
        let (width, groups) = method.width_and_groups(site, columns.outputs);
        let [tile_outputs, tile_columns] = tile(site.driver, outputs, width);
        let ragged = outputs % tile_outputs != 0 || width % tile_columns != 0;
        let (activation, parameter) = activation_code(self.activation.or(self.through));
        let defines = [
            ("OUTPUTS", tile_outputs as i64),
            ("COLUMNS", tile_columns as i64),
            ("RAGGED", i64::from(ragged)),
            ("ACTIVATION", if self.activation.is_some() { activation } else { 0 }),
            ("DERIVATIVE", if self.through.is_some() { activation } else { 0 }),
            ("ACCUMULATE", i64::from(self.accumulate)),
        ];
        let lines = method.defines(&columns);
        let program = site.program(CORRELATE, &[&defines[..], &lines[..]].concat())?;
        let taps_x = self.filters.taps[1] as isize;
        let first = site.offset(0) as isize + rows.filter[0] * taps_x + columns.filter[0];
        let tiles = [width.div_ceil(tile_columns), outputs.div_ceil(tile_outputs)];
        Ok(site
            .launch(&program, "correlate", [rows.outputs * tiles[0], tiles[1] * self.filters.bands * groups])
            .with([self.from.memory(), site.weights(), self.to.memory(), self.seen.memory()])
            .with([method.reads(self.from, &columns), method.writes(self.to, &self.lines)])
            .with([method.writes(self.seen, &self.lines), ints([rows.outputs, width, outputs, depth])])
            .with([method.rows(self.from, &rows)])
            .with([ints([first as usize, self.filters.band(), self.filter[0], self.filter[1]])])
            .with([Ints4([(rows.filter[1] * taps_x) as i32, columns.filter[1] as i32, rows.taps as i32, 0])])
            .with([Int(self.filters.bands as i32), Int(self.bias.map_or(-1, |bias| bias as i32)), Float(parameter)]))
    }
}

fn ints(numbers: [usize; 4]) -> Argument {
    Ints4(numbers.map(|number| number as i32))
}

pub(super) fn forward(site: &Site<'_>, method: Method) -> Result<Work> {
    let filters = Filters::of(site, method);
    let taps: usize = filters.taps.iter().product();
    let correlation = Correlation {
        lines: method.lines(),
        extents: [filters.outputs, filters.depth],
        filter: [filters.depth * taps, taps],
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
        Method::Linear => (vec![Lines::POINT], vec![Lines::POINT]),
        Method::Windows(plane) => (Lines::backward(&plane.rows), Lines::backward(&plane.columns)),
    };
    for (&rows, &columns) in rows.iter().flat_map(|rows| columns.iter().map(move |columns| (rows, columns))) {
        let correlation = Correlation {
            lines: [rows, columns],
            extents: [filters.depth, filters.outputs],
            filter: [taps, filters.depth * taps],
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
    let [rows, columns] = method.lines();
    let (width, groups) = method.width_and_groups(site, columns.outputs);
    let tile = weights_tile(site.driver, [outputs, depth, taps[1]]);
    let ragged = outputs % tile[0] != 0 || depth % tile[1] != 0 || taps[1] % tile[2] != 0;
    let defines = [
        ("OUTPUTS", tile[0] as i64),
        ("DEPTH", tile[1] as i64),
        ("TAPS", tile[2] as i64),
        ("RAGGED", i64::from(ragged)),
    ];
    let lines = method.defines(&columns);
    let program = site.program(WEIGHTS, &[&defines[..], &lines[..]].concat())?;
    let blocks = [outputs.div_ceil(tile[0]) * bands, depth.div_ceil(tile[1]) * taps[0] * taps[1].div_ceil(tile[2])];
    let shares = shares(groups, filters.length() * site.sides.vectors());
    let length = groups.div_ceil(shares);
    let shares = groups.div_ceil(length);
    let vectors = site.sides.vectors();
    let (from, to) = (method.reads(&site.inputs[0], &columns), method.writes(&site.gradient, &[rows, columns]));
    let biases = if site.has_bias() { bands * outputs } else { 0 };
    let total = filters.length() + biases;
    let mut launches = vec![
        Launch::new(&program, "correlate_weights", [vectors, blocks[1], blocks[0] * shares])
            .group(site.sides.work_group())
            .with([site.inputs[0].memory(), site.gradient.memory(), Workspace(0), from, to.clone()])
            .with([ints([rows.outputs, width, outputs, depth])])
            .with([method.rows(&site.inputs[0], &rows)])
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

/// Shares of the groups of samples that sum apart: as many as keep all sums in a cache. Work-items that look at the same few groups
/// find them there, too.
pub(super) fn shares(groups: usize, sums: usize) -> usize {
    /// Floats of all sums.
    const MOST: usize = 1 << 18;
    (MOST / sums.max(1)).clamp(1, groups)
}

/// Registers of vectors: those that the tile of products fills, and what goes with them.
fn registers(driver: &Driver) -> usize {
    driver.tuning.rows * driver.tuning.vectors + driver.tuning.vectors + 2
}

/// What loads cost beside multiply-adds.
const LOAD: f64 = 0.35;

/// Outputs and columns of a tile of sums: those that take the least time.
pub(super) fn tile(driver: &Driver, outputs: usize, columns: usize) -> [usize; 2] {
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
pub(super) fn weights_tile(driver: &Driver, extents: [usize; 3]) -> [usize; 3] {
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
