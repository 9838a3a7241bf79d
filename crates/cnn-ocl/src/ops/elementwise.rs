//! Layers that work element by element or channel by channel, in either layout: activations, sums, batch norm, PReLU; and
//! concatenation, which copies.

use std::sync::Arc;

use cnn_core::layers::{Activation, BatchNorm2d};
use cnn_core::lowering::Layout;
use cnn_core::{Result, Shape};

use super::{activation_code, lanes_of};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{Float, Input, Int, Memory, Output};
use crate::kernel::{Kernel, Launch};
use crate::program::{Program, Source};

const SOURCE: Source = Source { name: "elementwise", text: include_str!("elementwise.cl") };

/// How a value is walked: vectors of a plane, planes of a sample.
#[derive(Debug, Clone, Copy)]
struct Extents {
    lanes: usize,
    plane: usize,
    blocks: usize,
}

impl Extents {
    fn new(shape: &Shape, layout: Layout) -> Self {
        let (channels, [h, w]) = shape.channels_and_plane().unwrap_or((shape.elements(), [1, 1]));
        let lanes = lanes_of(layout);
        Extents { lanes, plane: h * w, blocks: channels.div_ceil(lanes) }
    }

    fn program(&self, driver: &Driver, activation: Option<Activation>) -> Result<(Arc<Program>, f32)> {
        let (code, parameter) = activation_code(activation);
        Ok((driver.program(SOURCE, &[("LANES", self.lanes as i64), ("ACTIVATION", code)])?, parameter))
    }

    /// A launch over every vector of a batch, counted in one number.
    fn flat(&self, driver: &Driver, program: &Arc<Program>, function: &'static str, batch: usize) -> (Launch, usize) {
        let count = batch * self.blocks * self.plane;
        (Launch::new(program, function, [count, 1, 1]).group(driver.tuning.line_group()), count)
    }

    /// A launch over the pixels of each plane of a batch.
    fn by_plane(&self, driver: &Driver, program: &Arc<Program>, function: &'static str, batch: usize) -> Launch {
        Launch::new(program, function, [self.plane, self.blocks, batch]).group(driver.tuning.line_group())
    }
}

/// An activation on its own.
pub(crate) struct Apply {
    extents: Extents,
    activation: Activation,
}

impl Apply {
    pub(crate) fn new(shape: &Shape, layout: Layout, activation: Activation) -> Self {
        Apply { extents: Extents::new(shape, layout), activation }
    }
}

impl Kernel for Apply {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let (program, parameter) = self.extents.program(driver, Some(self.activation))?;
        let (launch, count) = self.extents.flat(driver, &program, "apply", batch);
        Ok(vec![launch.with([Input(0), Output, Int(count as i32), Float(parameter)])])
    }
}

/// The sum of two values or more, with an activation behind it.
pub(crate) struct Add {
    extents: Extents,
    inputs: usize,
    activation: Option<Activation>,
}

impl Add {
    pub(crate) fn new(inputs: &[&Shape], layout: Layout, activation: Option<Activation>) -> Self {
        Add { extents: Extents::new(inputs[0], layout), inputs: inputs.len(), activation }
    }
}

impl Kernel for Add {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let sum = |next: usize| {
            let last = next + 1 == self.inputs;
            let (program, parameter) = self.extents.program(driver, self.activation.filter(|_| last))?;
            let (launch, count) = self.extents.flat(driver, &program, "add", batch);
            let first = if next == 1 { Input(0) } else { Output };
            Ok(launch.with([first, Input(next), Output, Int(count as i32), Float(parameter)]))
        };
        (1..self.inputs).map(sum).collect()
    }
}

/// Batch norm that is folded into nothing: a factor and an offset a channel.
pub(crate) struct Scale {
    extents: Extents,
    factors: Arc<Buffer>,
    offsets: Arc<Buffer>,
    activation: Option<Activation>,
}

impl Scale {
    pub(crate) fn new(
        driver: &Driver,
        norm: &BatchNorm2d,
        (shape, layout): (&Shape, Layout),
        parameters: [&[f32]; 4],
        activation: Option<Activation>,
    ) -> Result<Self> {
        let [weight, bias, mean, variance] = parameters.map(|values| values.iter().map(|&v| f64::from(v)));
        let deviations = variance.map(|variance| (variance + f64::from(norm.epsilon)).sqrt());
        let factors: Vec<f64> = weight.zip(deviations).map(|(weight, deviation)| weight / deviation).collect();
        let offsets = bias.zip(mean).zip(&factors).map(|((bias, mean), factor)| bias - mean * factor);
        let extents = Extents::new(shape, layout);
        let offsets = per_channel(driver, &extents, offsets)?;
        Ok(Scale { extents, factors: per_channel(driver, &extents, factors.into_iter())?, offsets, activation })
    }
}

impl Kernel for Scale {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let (program, parameter) = self.extents.program(driver, self.activation)?;
        let launch = self.extents.by_plane(driver, &program, "scale", batch);
        let weights = [Memory(self.factors.clone()), Memory(self.offsets.clone())];
        let numbers = [Int(self.extents.plane as i32), Float(parameter)];
        Ok(vec![launch.with([Input(0), Output]).with(weights).with(numbers)])
    }

    fn weight_bytes(&self) -> usize {
        2 * size_of::<f32>() * self.factors.length()
    }
}

/// PReLU, with a slope a channel or one for all.
pub(crate) struct Prelu {
    extents: Extents,
    slopes: Arc<Buffer>,
}

impl Prelu {
    pub(crate) fn new(driver: &Driver, (shape, layout): (&Shape, Layout), slopes: &[f32]) -> Result<Self> {
        let extents = Extents::new(shape, layout);
        let channels = extents.blocks * extents.lanes;
        let slope = |channel: usize| f64::from(slopes[channel.min(slopes.len() - 1)]);
        Ok(Prelu { extents, slopes: per_channel(driver, &extents, (0..channels).map(slope))? })
    }
}

impl Kernel for Prelu {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let (program, _) = self.extents.program(driver, None)?;
        let launch = self.extents.by_plane(driver, &program, "prelu", batch);
        Ok(vec![launch.with([Input(0), Output, Memory(self.slopes.clone())]).ints([self.extents.plane])])
    }

    fn weight_bytes(&self) -> usize {
        size_of::<f32>() * self.slopes.length()
    }
}

/// Channels of several planar values one after the other.
pub(crate) struct Concat {
    counts: Vec<usize>,
}

impl Concat {
    pub(crate) fn new(inputs: &[&Shape]) -> Self {
        Concat { counts: inputs.iter().map(|shape| shape.elements()).collect() }
    }
}

impl Kernel for Concat {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let program = driver.program(SOURCE, &[("LANES", 1), ("ACTIVATION", 0)])?;
        let total: usize = self.counts.iter().sum();
        let mut first = 0;
        let mut launches = Vec::new();
        for (i, &count) in self.counts.iter().enumerate() {
            let launch = Launch::new(&program, "copy_into", [count, batch, 1]).group(driver.tuning.line_group());
            launches.push(launch.with([Input(i), Output]).ints([count, first, total]));
            first += count;
        }
        Ok(launches)
    }
}

/// A number a channel, and zeros for those that fill the last block up.
fn per_channel(driver: &Driver, extents: &Extents, values: impl Iterator<Item = f64>) -> Result<Arc<Buffer>> {
    let buffer = Buffer::filled(driver, "a channel's parameters", extents.blocks * extents.lanes, |out| {
        out.fill(0.0);
        out.iter_mut().zip(values).for_each(|(out, value)| *out = value as f32);
    })?;
    Ok(Arc::new(buffer))
}
