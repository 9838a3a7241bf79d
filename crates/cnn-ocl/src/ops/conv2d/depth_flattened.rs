//! Direct convolution over blocks of channels: pixels of equal place and different depth lie side by side and fill vectors
//! (Loukadakis et al. 2018, section 4.3), here with tiles of sums in registers. A planar input of few channels is read as it is.

use cnn_core::Result;
use cnn_core::backend::Precision;
use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::lowering::Layout;
use cnn_core::window::Axis;

use super::{Algorithm, Parameters, Prepared, Problem, Work};
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Memory, Output, Workspace};
use crate::kernel::{Kernel, Launch};
use crate::ops::activation_code;
use crate::ops::tiles::{Panels, even};
use crate::program::Source;

const SOURCE: Source = Source { name: "conv2d/depth_flattened", text: include_str!("depth_flattened.cl") };

/// The row of the table.
#[derive(Debug)]
pub struct DepthFlattened;

impl Row<Problem> for DepthFlattened {
    fn name(&self) -> &'static str {
        "depth_flattened"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let (lanes, groups) = (problem.tuning.lanes, problem.conv.groups);
        match groups == 1 || (problem.group_in() % lanes == 0 && problem.group_out() % lanes == 0) {
            true => Ok(()),
            false => Err(format!("{groups} groups do not fill blocks of {lanes} channels")),
        }
    }
}

#[allow(private_interfaces)]
impl Algorithm for DepthFlattened {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let [_, columns] = lines(problem);
        let waste = problem.full(problem.group_out()) as f64 / problem.group_out() as f64;
        let rows = even(columns.output, problem.tuning.rows);
        let padding = if is_padded(&lines(problem)) {
            2 * batch * problem.full(problem.in_channels) * problem.in_plane()
        } else {
            0
        };
        Work {
            macs: waste * problem.macs(batch) / problem.tile_efficiency(rows),
            floats: problem.floats(batch) + padding as f64,
        }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        let few = problem.conv.groups == 1 && problem.in_channels < problem.tuning.lanes;
        let input = if few && problem.layout == Layout::Planar { Layout::Planar } else { problem.blocked() };
        let kernel = DepthFlattenedKernel::new(driver, problem, input, parameters)?;
        Ok(Prepared { kernel: Box::new(kernel), input, output: problem.blocked(), pooled: false })
    }
}

/// The rows and columns that tiles are cut from: all rows as one line where the window is one pixel of stride 1.
fn lines(problem: &Problem) -> [Axis; 2] {
    let (rows, columns) = (problem.plane.rows, problem.plane.columns);
    let one_pixel = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.before + axis.after == 0;
    if one_pixel(&rows) && one_pixel(&columns) {
        let line = Axis { input: rows.input * columns.input, output: rows.output * columns.output, ..columns };
        return [Axis { input: 1, output: 1, ..rows }, line];
    }
    [rows, columns]
}

fn is_padded(lines: &[Axis; 2]) -> bool {
    lines.iter().any(|axis| axis.before + axis.after > 0)
}

struct DepthFlattenedKernel {
    lines: [Axis; 2],
    groups: usize,
    /// Blocks of a group's input channels, or its channels.
    planes: usize,
    /// Floats of a pixel of the input, and those that are used.
    pixel: [usize; 2],
    panels: Panels,
    activation: Option<Activation>,
}

impl DepthFlattenedKernel {
    fn new(driver: &Driver, problem: &Problem, input: Layout, parameters: Parameters<'_>) -> Result<Self> {
        let lanes = if input == Layout::Planar { 1 } else { problem.tuning.lanes };
        let (group_in, group_out, groups) = (problem.group_in(), problem.group_out(), problem.conv.groups);
        let (planes, channels) = (group_in.div_ceil(lanes), lanes.min(group_in));
        let taps = problem.plane.rows.kernel * problem.plane.columns.kernel;
        // Steps run over planes, taps, channels of a plane.
        let value = |group: usize, column: usize, k: usize| {
            let (plane, tap, channel) = (k / channels / taps, k / channels % taps, k % channels);
            let channel = plane * lanes + channel;
            let filter = (group * group_out + column) * group_in;
            if channel < group_in { parameters.weight[(filter + channel) * taps + tap] } else { 0.0 }
        };
        let bias = |group: usize, column: usize| parameters.bias_of(group * group_out + column);
        let panels =
            Panels::pack(driver, [groups, group_out, planes * taps * channels], driver.format.values, bias, value)?;
        Ok(DepthFlattenedKernel {
            lines: lines(problem),
            groups,
            planes,
            pixel: [lanes, channels],
            panels,
            activation: parameters.activation,
        })
    }

    /// Rows and pixels of a row of the input with its padding.
    fn padded(&self) -> [usize; 2] {
        self.lines.map(|axis| axis.before + axis.input + axis.after)
    }
}

impl Kernel for DepthFlattenedKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let ([rows, columns], [lanes, channels]) = (&self.lines, self.pixel);
        let (code, parameter) = activation_code(self.activation);
        let tile = even(columns.output, driver.tuning.rows);
        let defines = [
            ("LANES", driver.tuning.lanes),
            ("IN_LANES", lanes),
            ("CHANNELS", channels),
            ("STRIDE", columns.stride),
            ("ROWS", tile),
            ("VECTORS", self.panels.vectors),
            ("HALF_WEIGHTS", usize::from(driver.format.values == Precision::Half)),
            ("ACTIVATION", code as usize),
        ];
        let program = driver.program(SOURCE, &defines.map(|(name, value)| (name, value as i64)))?;
        let [height, width] = self.padded();
        let mut launches = Vec::new();
        let mut input = Input(0);
        if is_padded(&self.lines) {
            let items = [width * lanes, height, self.planes * self.groups * batch];
            let pad = Launch::new(&program, "pad", items).group(driver.tuning.line_group());
            let sizes = [rows.input, columns.input, height, width, rows.before, columns.before];
            launches.push(pad.with([input, Workspace(0)]).ints(sizes));
            input = Workspace(0);
        }
        let panels = self.panels.count();
        let [along, across] = driver.tuning.tile_group;
        let items = [columns.output.div_ceil(tile), rows.output, panels * self.groups * batch];
        let row = width * lanes;
        launches.push(
            Launch::new(&program, "depth_flattened", items)
                .group([along, across, 1])
                .with([input, Memory(self.panels.buffer.clone()), Memory(self.panels.bias.clone()), Output])
                .ints([self.planes, height * row, rows.stride * row, rows.kernel, columns.kernel])
                .ints([rows.dilation * row, columns.dilation * lanes, rows.output, columns.output])
                .ints([self.groups, panels, self.panels.columns])
                .with([Float(parameter)]),
        );
        Ok(launches)
    }

    fn workspaces(&self, driver: &Driver, batch: usize) -> Vec<usize> {
        let [height, width] = self.padded();
        match is_padded(&self.lines) {
            true => {
                let values = batch * self.groups * self.planes * height * width * self.pixel[0];
                vec![driver.format.floats_of_values(values)]
            }
            false => Vec::new(),
        }
    }

    fn weight_bytes(&self) -> usize {
        self.panels.bytes()
    }
}
