//! Winograd convolution of 3 x 3 windows, F(2 x 2) and F(4 x 4): a transform of the input, a product of matrices a frequency,
//! a transform back with bias, activation and 2 x 2 maxima (Lavin and Gray 2016; points as in docs/numerics.md). Filters are
//! transformed in f64. As many tiles are worked on at a time as keep the transformed values in the device's cache.

use std::ops::Range;

use cnn_core::Result;
use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::window::{Axis, Plane};
use rayon::prelude::*;

use super::{Algorithm, Parameters, Prepared, Problem, Work};
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Memory, Output, Workspace};
use crate::kernel::{Kernel, Launch};
use crate::ops::activation_code;
use crate::ops::tiles::{Panels, Product};
use crate::program::Source;

const SOURCE: Source = Source { name: "conv2d/winograd", text: include_str!("winograd.cl") };

/// A row of the table: tiles of `outputs` x `outputs`.
#[derive(Debug)]
pub struct Winograd {
    name: &'static str,
    outputs: usize,
    /// The relative error that it may add, as docs/numerics.md has it.
    error: f32,
    /// The three-row matrix that filters are transformed by.
    filter: &'static [[f64; 3]],
}

const ROOT: f64 = std::f64::consts::SQRT_2;

impl Winograd {
    /// F(2 x 2, 3 x 3).
    pub const F2: Winograd = Winograd {
        name: "winograd_f2",
        outputs: 2,
        error: 2e-6,
        filter: &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
    };
    /// F(4 x 4, 3 x 3).
    pub const F4: Winograd = Winograd {
        name: "winograd_f4",
        outputs: 4,
        error: 5e-6,
        filter: &[
            [1.0, 0.0, 0.0],
            [-2.0 / 3.0, -ROOT / 3.0, -1.0 / 3.0],
            [-2.0 / 3.0, ROOT / 3.0, -1.0 / 3.0],
            [1.0 / 6.0, ROOT / 6.0, 1.0 / 3.0],
            [1.0 / 6.0, -ROOT / 6.0, 1.0 / 3.0],
            [0.0, 0.0, 1.0],
        ],
    };

    /// Frequencies of a tile.
    fn frequencies(&self) -> usize {
        (self.outputs + 2) * (self.outputs + 2)
    }

    /// Tiles of a sample, down and across.
    fn tiles(&self, problem: &Problem) -> [usize; 2] {
        [problem.plane.rows, problem.plane.columns].map(|axis| axis.output.div_ceil(self.outputs))
    }
}

impl Row<Problem> for Winograd {
    fn name(&self) -> &'static str {
        self.name
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let axes = [problem.plane.rows, problem.plane.columns];
        if axes.iter().any(|axis: &Axis| axis.kernel != 3) {
            return Err("the window is not 3x3".to_string());
        }
        if axes.iter().any(|axis| axis.stride != 1 || axis.dilation != 1) {
            return Err("the window has a stride or a dilation".to_string());
        }
        match problem.conv.groups {
            1 if problem.tolerance >= self.error => Ok(()),
            1 => Err(format!("an error of {:.0e} is not tolerated", self.error)),
            groups => Err(format!("{groups} groups")),
        }
    }
}

#[allow(private_interfaces)]
impl Algorithm for Winograd {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (inputs, outputs) = (problem.full(problem.in_channels), problem.full(problem.conv.out_channels));
        let tiles = (batch * self.tiles(problem).iter().product::<usize>()) as f64;
        let frequencies = self.frequencies() as f64;
        let products = frequencies * tiles * (inputs * outputs) as f64;
        // A transform is some eight operations a value, on its way through the caches twice.
        let transforms = 2.0 * frequencies * tiles * (inputs + outputs) as f64;
        let weights = frequencies * (inputs * outputs) as f64;
        Work { macs: products + 4.0 * transforms, floats: problem.floats(batch) + 0.5 * transforms + weights }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        let (outputs, inputs) = (problem.conv.out_channels, problem.in_channels);
        let filters = self.transform_filters(parameters.weight);
        let depth = problem.full(inputs);
        let value = |frequency: usize, column: usize, k: usize| {
            if k < inputs { filters[(column * inputs + k) * self.frequencies() + frequency] } else { 0.0 }
        };
        let bias = |_, column| parameters.bias_of(column);
        let kernel = WinogradKernel {
            outputs: self.outputs,
            tiles: self.tiles(problem),
            plane: problem.plane,
            panels: Panels::pack(driver, [self.frequencies(), outputs, depth], driver.format.values, bias, value)?,
            pooled: problem.pool,
            activation: parameters.activation,
        };
        Ok(Prepared { pooled: problem.pool, ..Prepared::alike(Box::new(kernel), problem.blocked()) })
    }
}

impl Winograd {
    /// `[filter][frequency]`, each transformed in f64 and rounded once.
    fn transform_filters(&self, weight: &[f32]) -> Vec<f32> {
        let size = self.outputs + 2;
        let mut transformed = vec![0.0; weight.len() / 9 * size * size];
        transformed.par_chunks_mut(size * size).zip(weight.par_chunks(9)).for_each(|(out, filter)| {
            for (frequency, out) in out.iter_mut().enumerate() {
                let (down, across) = (self.filter[frequency / size], self.filter[frequency % size]);
                let sum: f64 = (0..9).map(|tap| down[tap / 3] * across[tap % 3] * f64::from(filter[tap])).sum();
                *out = sum as f32;
            }
        });
        transformed
    }
}

struct WinogradKernel {
    outputs: usize,
    tiles: [usize; 2],
    plane: Plane,
    panels: Panels,
    pooled: bool,
    activation: Option<Activation>,
}

/// Scalars from one frequency to the next: an odd number of cache lines of floats, so that a tile's frequencies, which are worked on
/// together, do not meet in the same set of a cache.
fn step(tiles: usize, channels: usize) -> usize {
    const LINE: usize = 16;
    ((tiles * channels).div_ceil(LINE) | 1) * LINE
}

impl WinogradKernel {
    fn frequencies(&self) -> usize {
        (self.outputs + 2) * (self.outputs + 2)
    }

    /// Output channels with those that fill the last block up.
    fn columns(&self, driver: &Driver) -> usize {
        self.panels.columns.next_multiple_of(driver.tuning.lanes)
    }

    /// Tiles that are worked on at a time: runs of nearly the same length, in whole tiles of the product.
    fn run(&self, driver: &Driver, batch: usize) -> usize {
        let total = batch * self.tiles[0] * self.tiles[1];
        let bytes = size_of::<f32>() * self.frequencies() * (self.panels.depth + self.columns(driver));
        let most = (driver.tuning.winograd_bytes / bytes).max(driver.tuning.rows);
        total.div_ceil(total.div_ceil(most)).next_multiple_of(driver.tuning.rows).min(total)
    }

    /// The three steps of some of the tiles.
    fn launches_of(&self, driver: &Driver, tiles: Range<usize>) -> Result<[Launch; 3]> {
        let (lanes, columns) = (driver.tuning.lanes, self.columns(driver));
        let (code, parameter) = activation_code(self.activation);
        let defines = [
            ("LANES", lanes as i64),
            ("M", self.outputs as i64),
            ("POOL", i64::from(self.pooled)),
            ("ACTIVATION", code),
        ];
        let program = driver.program(SOURCE, &defines)?;
        let Plane { rows, columns: across } = &self.plane;
        let count = tiles.len();
        let [inputs, outputs] = [self.panels.depth / lanes, columns / lanes];
        let at = [tiles.start, count];
        let steps = [self.panels.depth, columns].map(|channels| step(count, channels));
        let group = driver.tuning.transform_group();
        let input = Launch::new(&program, "transform_input", [count, inputs, 1])
            .group(group)
            .with([Input(0), Workspace(0)])
            .ints([steps[0]])
            .ints(at)
            .ints([inputs, rows.input, across.input, rows.before, across.before])
            .ints(self.tiles);
        let product = Product {
            panels: &self.panels,
            x: Workspace(0),
            y: Workspace(1),
            rows: count,
            matrices: [self.frequencies(), steps[0], steps[1]],
            shared_weights: false,
            y_strides: [lanes, count * lanes],
            columns,
            transformed: true,
            bias: false,
            activation: None,
        };
        let divisor = if self.pooled { 2 } else { 1 };
        let output = Launch::new(&program, "transform_output", [count, outputs, 1])
            .group(group)
            .with([Workspace(1), Memory(self.panels.bias.clone()), Output])
            .ints([steps[1]])
            .ints(at)
            .ints([outputs, rows.output / divisor, across.output / divisor])
            .ints(self.tiles)
            .with([Float(parameter)]);
        Ok([input, product.launch(driver)?, output])
    }
}

impl Kernel for WinogradKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let total = batch * self.tiles[0] * self.tiles[1];
        let run = self.run(driver, batch);
        let mut launches = Vec::new();
        for start in (0..total).step_by(run) {
            launches.extend(self.launches_of(driver, start..(start + run).min(total))?);
        }
        Ok(launches)
    }

    fn workspaces(&self, driver: &Driver, batch: usize) -> Vec<usize> {
        let run = self.run(driver, batch);
        let scalars = |channels| self.frequencies() * step(run, channels);
        [self.panels.depth, self.columns(driver)].map(|c| driver.format.floats_of_scalars(scalars(c))).to_vec()
    }

    fn weight_bytes(&self) -> usize {
        self.panels.bytes()
    }
}
