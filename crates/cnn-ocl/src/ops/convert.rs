//! Copies a value from one layout into another.

use cnn_core::lowering::Layout;
use cnn_core::{Result, Shape};

use crate::driver::Driver;
use crate::kernel::Argument::{Input, Output};
use crate::kernel::{Kernel, Launch};
use crate::program::Source;

const SOURCE: Source = Source { name: "convert", text: include_str!("convert.cl") };

/// To or from blocks of `lanes` channels.
pub(crate) struct Convert {
    channels: usize,
    plane: usize,
    lanes: usize,
    to_blocked: bool,
}

impl Convert {
    pub(crate) fn new(shape: &Shape, from: Layout, to: Layout) -> Self {
        let (channels, [h, w]) = shape.channels_and_plane().unwrap_or((shape.elements(), [1, 1]));
        let (to_blocked, lanes) = match (from, to) {
            (_, Layout::Blocked { lanes }) => (true, lanes),
            (Layout::Blocked { lanes }, _) => (false, lanes),
            (Layout::Planar, Layout::Planar) => (false, 1),
        };
        Convert { channels, plane: h * w, lanes, to_blocked }
    }
}

impl Kernel for Convert {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let program = driver.program(SOURCE, &[("LANES", self.lanes as i64)])?;
        let (function, planes) = match self.to_blocked {
            true => ("to_blocked", self.channels.div_ceil(self.lanes)),
            false => ("to_planar", self.channels),
        };
        let launch = Launch::new(&program, function, [self.plane, planes, batch]).group(driver.tuning.line_group());
        Ok(vec![launch.with([Input(0), Output]).ints([self.channels, self.plane])])
    }
}
