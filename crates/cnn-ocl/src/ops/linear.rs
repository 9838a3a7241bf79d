//! Fully connected layers: a product of samples by panels of weights; a single sample's sums are shared out on devices with
//! many work-items. Flattening is folded into the order of the weights.

use std::ops::Range;

use cnn_core::backend::Precision;
use cnn_core::layers::Activation;
use cnn_core::lowering::{Layout, Slot};
use cnn_core::{Result, Shape};

use super::lanes_of;
use super::tiles::{self, Panels, Product};
use crate::driver::Driver;
use crate::kernel::Argument::{Input, Output};
use crate::kernel::{Kernel, Launch};

/// Name in reports.
pub(crate) const NAME: &str = "linear/product";

pub(crate) struct LinearKernel {
    panels: Panels,
    activation: Option<Activation>,
}

impl LinearKernel {
    /// `weight` is `[out, in]`, of which rows are `release`d as they are packed; `home` is how the input lies.
    pub(crate) fn new(
        driver: &Driver,
        home: &Slot,
        (weight, bias): (&[f32], Option<&[f32]>),
        (precision, activation): (Precision, Option<Activation>),
        release: &(dyn Fn(Range<usize>) + Sync),
    ) -> Result<Self> {
        let order = Order::new(&home.shape, home.layout);
        let inputs = home.shape.elements();
        let columns = weight.len() / inputs;
        let value = |_, column: usize, k: usize| order.element(k).map_or(0.0, |i| weight[column * inputs + i]);
        let panels = Panels::pack(
            driver,
            [1, columns, home.elements()],
            precision,
            |_, column| bias.map_or(0.0, |bias| bias[column]),
            value,
        )?;
        release(0..weight.len());
        Ok(LinearKernel { panels, activation })
    }
}

/// Which element of a flattened value lies at each place of its memory.
struct Order {
    lanes: usize,
    plane: usize,
    channels: usize,
}

impl Order {
    fn new(shape: &Shape, layout: Layout) -> Self {
        let (channels, [h, w]) = shape.channels_and_plane().unwrap_or((shape.elements(), [1, 1]));
        Order { lanes: lanes_of(layout), plane: h * w, channels }
    }

    /// Nothing where the place only fills a block up.
    #[inline]
    fn element(&self, place: usize) -> Option<usize> {
        if self.lanes == 1 {
            return Some(place);
        }
        let (pixel, lane) = (place / self.lanes, place % self.lanes);
        let channel = pixel / self.plane * self.lanes + lane;
        (channel < self.channels).then_some(channel * self.plane + pixel % self.plane)
    }
}

impl Kernel for LinearKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let parts = driver.tuning.linear_parts;
        if batch == 1 && parts > 1 {
            return tiles::product_in_parts(driver, &self.panels, parts, self.activation);
        }
        let product = Product {
            panels: &self.panels,
            x: Input(0),
            y: Output,
            rows: batch,
            matrices: [1, 0, 0],
            shared_weights: true,
            y_strides: [self.panels.columns, driver.tuning.lanes],
            columns: self.panels.columns,
            transformed: false,
            bias: true,
            activation: self.activation,
        };
        Ok(vec![product.launch(driver)?])
    }

    fn workspaces(&self, driver: &Driver, batch: usize) -> Vec<usize> {
        let parts = if batch == 1 { driver.tuning.linear_parts } else { 1 };
        let scalars = tiles::parts_length(&self.panels, parts);
        if parts > 1 { vec![driver.format.floats_of_scalars(scalars)] } else { Vec::new() }
    }

    fn weight_bytes(&self) -> usize {
        self.panels.bytes()
    }
}
