//! Layers that look across the channels of a pixel: softmax, local response norm. Planar.

use cnn_core::layers::LocalResponseNorm;
use cnn_core::{Result, Shape};

use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Output};
use crate::kernel::{Kernel, Launch};
use crate::program::Source;

const SOURCE: Source = Source { name: "channels", text: include_str!("channels.cl") };

fn channels_and_plane(shape: &Shape) -> (usize, usize) {
    let (channels, [h, w]) = shape.channels_and_plane().unwrap_or((shape.elements(), [1, 1]));
    (channels, h * w)
}

pub(crate) struct Softmax {
    channels: usize,
    plane: usize,
}

impl Softmax {
    pub(crate) fn new(shape: &Shape) -> Self {
        let (channels, plane) = channels_and_plane(shape);
        Softmax { channels, plane }
    }
}

impl Kernel for Softmax {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let program = driver.program(SOURCE, &[])?;
        let launch = Launch::new(&program, "softmax", [self.plane, batch, 1]).group([1, 1, 1]);
        Ok(vec![launch.with([Input(0), Output]).ints([self.channels, self.plane])])
    }
}

pub(crate) struct Lrn {
    channels: usize,
    plane: usize,
    norm: LocalResponseNorm,
}

impl Lrn {
    pub(crate) fn new(shape: &Shape, norm: &LocalResponseNorm) -> Self {
        let (channels, plane) = channels_and_plane(shape);
        Lrn { channels, plane, norm: norm.clone() }
    }
}

impl Kernel for Lrn {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let LocalResponseNorm { size, alpha, beta, k } = self.norm;
        let program = driver.program(SOURCE, &[])?;
        let items = [self.plane, batch, self.channels];
        let launch = Launch::new(&program, "local_response_norm", items).group(driver.tuning.line_group());
        let ints = [self.channels, self.plane, size / 2, (size - 1) / 2];
        Ok(vec![launch.with([Input(0), Output]).ints(ints).with([alpha / size as f32, beta, k].map(Float))])
    }
}
