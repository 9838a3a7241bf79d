//! Convolution as a product of matrices: the windows' inputs are copied into the rows of one (im2col; Chellapilla et al.
//! 2006), on the device, and meet panels of weights.

use cnn_core::Result;
use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::lowering::Layout;

use super::{Algorithm, Parameters, Prepared, Problem, Work, window};
use crate::driver::Driver;
use crate::kernel::Argument::{Input, Output, Workspace};
use crate::kernel::{Kernel, Launch};
use crate::ops::tiles::{Panels, Product, even};
use crate::program::Source;

const SOURCE: Source = Source { name: "conv2d/im2col", text: include_str!("im2col.cl") };

/// The row of the table.
#[derive(Debug)]
pub struct Im2col;

impl Row<Problem> for Im2col {
    fn name(&self) -> &'static str {
        "im2col"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match problem.conv.groups {
            1 => Ok(()),
            groups => Err(format!("{groups} groups")),
        }
    }
}

#[allow(private_interfaces)]
impl Algorithm for Im2col {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let waste = problem.full(problem.conv.out_channels) as f64 / problem.conv.out_channels as f64;
        let rows = even(problem.out_plane(), problem.tuning.rows);
        let patches = 2 * batch * problem.out_plane() * problem.depth();
        Work {
            macs: waste * problem.macs(batch) / problem.tile_efficiency(rows),
            floats: problem.floats(batch) + patches as f64,
        }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        let depth = problem.depth();
        let value = |_, column: usize, k: usize| parameters.weight[column * depth + k];
        let bias = |_, column| parameters.bias_of(column);
        let panels = Panels::pack(driver, [1, problem.conv.out_channels, depth], driver.format.values, bias, value)?;
        let kernel = Im2colKernel { problem: problem.clone(), panels, activation: parameters.activation };
        let output = problem.blocked();
        Ok(Prepared { kernel: Box::new(kernel), input: Layout::Planar, output, pooled: false })
    }
}

struct Im2colKernel {
    problem: Problem,
    panels: Panels,
    activation: Option<Activation>,
}

/// Copies the windows of a planar input into workspace 0, `[sample][pixel][channel, ky, kx]`.
pub(super) fn copy_windows(driver: &Driver, problem: &Problem, batch: usize) -> Result<Launch> {
    let (rows, columns) = (&problem.plane.rows, &problem.plane.columns);
    let program = driver.program(SOURCE, &[])?;
    let items = [columns.output, rows.output, problem.in_channels * batch];
    Ok(Launch::new(&program, "im2col", items)
        .group(driver.tuning.line_group())
        .with([Input(0), Workspace(0)])
        .ints([problem.in_channels, rows.input, columns.input, rows.output, columns.output])
        .ints(window(rows))
        .ints(window(columns))
        .ints([rows.before, columns.before]))
}

impl Kernel for Im2colKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let problem = &self.problem;
        let copy = copy_windows(driver, problem, batch)?;
        let (pixels, lanes) = (problem.out_plane(), driver.tuning.lanes);
        let product = Product {
            panels: &self.panels,
            x: Workspace(0),
            y: Output,
            rows: pixels,
            matrices: [batch, pixels * problem.depth(), problem.full(problem.conv.out_channels) * pixels],
            shared_weights: true,
            y_strides: [lanes, pixels * lanes],
            columns: problem.full(problem.conv.out_channels),
            transformed: false,
            bias: true,
            activation: self.activation,
        };
        Ok(vec![copy, product.launch(driver)?])
    }

    fn workspaces(&self, driver: &Driver, batch: usize) -> Vec<usize> {
        vec![driver.format.floats_of_values(batch * self.problem.out_plane() * self.problem.depth())]
    }

    fn weight_bytes(&self) -> usize {
        self.panels.bytes()
    }
}
