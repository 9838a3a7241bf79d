//! Maximum and average pooling, in either layout.

use cnn_core::lowering::Layout;
use cnn_core::window::{Plane, Rounding, Window};
use cnn_core::{Layer, Misfit, Result, Shape};

use super::lanes_of;
use crate::driver::Driver;
use crate::kernel::Argument::{Input, Output};
use crate::kernel::{Kernel, Launch};
use crate::program::Source;

const SOURCE: Source = Source { name: "pool", text: include_str!("pool.cl") };

pub(crate) struct Pool {
    plane: Plane,
    mean: Mean,
    planes: usize,
    lanes: usize,
}

/// As in the source.
#[derive(Debug, Clone, Copy)]
enum Mean {
    Maximum = 0,
    WithPadding = 1,
    WithoutPadding = 2,
}

impl Pool {
    /// The kernel of a pooling layer on an input of `[C, H, W]`; nothing for other layers.
    pub(crate) fn new(layer: &Layer, input: &Shape, layout: Layout) -> Option<Result<Self, Misfit>> {
        let (channels, [h, w]) = input.channels_and_plane()?;
        let (plane, mean) = match layer {
            Layer::MaxPool2d(pool) => (pool.plane(input), Mean::Maximum),
            Layer::AvgPool2d(pool) if pool.count_padding => (pool.plane(input), Mean::WithPadding),
            Layer::AvgPool2d(pool) => (pool.plane(input), Mean::WithoutPadding),
            Layer::GlobalAvgPool(_) => (Window::new([h, w]).resolve([h, w], Rounding::Floor), Mean::WithoutPadding),
            _ => return None,
        };
        let lanes = lanes_of(layout);
        Some(plane.map(|plane| Pool { plane, mean, planes: channels.div_ceil(lanes), lanes }))
    }
}

impl Kernel for Pool {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let Plane { rows, columns } = self.plane;
        let program = driver.program(SOURCE, &[("LANES", self.lanes as i64), ("MEAN", self.mean as i64)])?;
        let items = [columns.output, rows.output, self.planes * batch];
        let launch = Launch::new(&program, "pool", items).group(driver.tuning.line_group());
        Ok(vec![launch.with([Input(0), Output]).ints([
            rows.input,
            columns.input,
            rows.output,
            columns.output,
            rows.kernel,
            columns.kernel,
            rows.stride,
            columns.stride,
            rows.dilation,
            columns.dilation,
            rows.before,
            columns.before,
            rows.after,
            columns.after,
        ])])
    }
}
