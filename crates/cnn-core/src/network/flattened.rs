//! Flattened convolution (Jin, Dundar and Culurciello 2015, "Flattened convolutional neural networks for feedforward
//! acceleration"): a convolution as stages of one-dimensional ones, across channels (lateral), down columns (vertical) and along
//! rows (horizontal), without anything between them that is not linear.

use super::NetworkBuilder;
use crate::layers::{Conv2d, Operation};
use crate::window::{Extent, Padding, Window};
use crate::{Error, Result, ValueId};

/// What comes first in each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FilterOrder {
    /// Across channels, then down and along each of the new channels (the paper's figure 2). For C to F channels and
    /// two stages of Y x X, without biases, F (F + C + 2X + 2Y) parameters (its section 4.3): 31,232 from 96 to 128 channels and
    /// 103,424 from 128 to 256 by 5x5.
    #[default]
    LateralFirst,
    /// Down and along each of the old channels, then across them: the first stage's one-dimensional filters are those of the
    /// input's channels, so that there are F (F + C) + (F + C)(X + Y) parameters. These are the numbers of the paper's table 1, which
    /// are not those of its formula: 30,912 and 102,144.
    LateralLast,
}

/// A convolution in stages of one-dimensional ones, to be put into a network by [`NetworkBuilder::flattened_conv`].
///
/// # Shapes
/// Those of the [`Conv2d`] that it stands for. The layers are named `<name>.<stage>.lateral`, `.vertical` and `.horizontal`: a
/// `Conv2d` of 1x1, and two with a filter a channel, of Yx1 and 1xX. Stride and padding are the first stage's; the others keep the
/// size. A one-dimensional filter sees zeros beyond the border of what it reads, which is what the paper's `full` mode
/// comes to where its result is cropped to the convolution's size.
#[derive(Debug, Clone, PartialEq)]
pub struct FlattenedConv {
    /// Channels of the output of every stage.
    pub out_channels: usize,
    /// Rows and columns that a stage's filters see, and the distance between those; stride and padding of the first stage.
    pub window: Window,
    /// How often lateral, vertical and horizontal filters follow each other.
    pub stages: usize,
    /// What comes first in each stage.
    pub order: FilterOrder,
    /// Whether every one-dimensional filter has an offset; the paper found learning very slow without.
    pub bias: bool,
}

impl FlattenedConv {
    /// The paper's: two stages, lateral filters first, biases, stride 1, and an output of the input's size.
    pub fn new(out_channels: usize, kernel: impl Into<Extent>) -> Self {
        let mut window = Window::new(kernel);
        window.padding = same(&window);
        FlattenedConv { out_channels, window, stages: 2, order: FilterOrder::default(), bias: true }
    }

    /// Sets the number of stages, at least 1.
    pub fn stages(mut self, stages: usize) -> Self {
        self.stages = stages;
        self
    }

    /// Sets what comes first in each stage.
    pub fn order(mut self, order: FilterOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the first stage's steps between windows.
    pub fn stride(mut self, stride: impl Into<Extent>) -> Self {
        self.window.stride = stride.into().0;
        self
    }

    /// Sets the first stage's border around the input.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.window.padding = padding.into();
        self
    }

    /// Sets the distance between the filters' taps.
    pub fn dilation(mut self, dilation: impl Into<Extent>) -> Self {
        self.window.dilation = dilation.into().0;
        self
    }

    /// Leaves the biases out.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// The layers of a stage that meets so many channels, with the last part of their names, in their order.
    pub fn stage(&self, stage: usize, in_channels: usize) -> [(&'static str, Conv2d); 3] {
        let [rows, columns] = self.window.kernel;
        let (Padding { top, left, bottom, right }, stride) = match stage {
            0 => (self.window.padding, self.window.stride),
            _ => (same(&self.window), [1, 1]),
        };
        let filtered = match self.order {
            FilterOrder::LateralFirst => self.out_channels,
            FilterOrder::LateralLast => in_channels,
        };
        let filter = |kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]| {
            let conv = Conv2d::new(filtered, kernel).stride(stride).padding(padding).groups(filtered);
            conv.dilation(self.window.dilation)
        };
        let lateral = ("lateral", Conv2d::new(self.out_channels, 1));
        let vertical = ("vertical", filter([rows, 1], [stride[0], 1], [top, 0, bottom, 0]));
        let horizontal = ("horizontal", filter([1, columns], [1, stride[1]], [0, left, 0, right]));
        let layers = match self.order {
            FilterOrder::LateralFirst => [lateral, vertical, horizontal],
            FilterOrder::LateralLast => [vertical, horizontal, lateral],
        };
        layers.map(|(name, conv)| (name, Conv2d { bias: self.bias, ..conv }))
    }
}

/// The padding that keeps a size at stride 1; where it is odd, there is one more below and to the right.
fn same(window: &Window) -> Padding {
    let [rows, columns] =
        [0, 1].map(|axis| window.dilation[axis].saturating_mul(window.kernel[axis].saturating_sub(1)));
    Padding { top: rows / 2, left: columns / 2, bottom: rows - rows / 2, right: columns - columns / 2 }
}

impl NetworkBuilder {
    /// Adds the layers of a flattened convolution that reads the last layer's output, or the network's input where it is
    /// the first. Errors as [`push`](Self::push) does, and where there is no stage.
    ///
    /// ```
    /// use cnn_core::{Network, network::FlattenedConv};
    ///
    /// let mut net = Network::builder("n", [96, 15, 15]);
    /// net.flattened_conv("conv2", &FlattenedConv::new(128, 5).without_bias())?;
    /// assert_eq!(net.finish()?.parameter_count(), 31_232);
    /// # Ok::<(), cnn_core::Error>(())
    /// ```
    pub fn flattened_conv(&mut self, name: &str, conv: &FlattenedConv) -> Result<ValueId> {
        // What does not fit the convolution is told in its own name.
        let dense = Conv2d { window: conv.window, ..Conv2d::new(conv.out_channels, 1) };
        let input = self.output_shape();
        dense.output_shape(&[input]).map_err(|misfit| Error::layer(name, &dense.clone().into(), &[input], misfit))?;
        let mut output = None;
        for stage in 0..conv.stages {
            let channels = self.output_shape()[0];
            for (part, layer) in conv.stage(stage, channels) {
                output = Some(self.push(format!("{name}.{stage}.{part}"), layer)?);
            }
        }
        output.ok_or_else(|| self.error(format!("flattened convolution `{name}` has no stages")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Network, Shape};

    fn network(input: [usize; 3], conv: &FlattenedConv) -> Result<Network> {
        let mut net = Network::builder("n", input);
        net.flattened_conv("conv", conv)?;
        net.finish()
    }

    #[test]
    fn both_orders_have_the_papers_parameters() {
        for (order, channels, expected) in [
            (FilterOrder::LateralFirst, [96, 128], 31_232),
            (FilterOrder::LateralFirst, [128, 256], 103_424),
            (FilterOrder::LateralLast, [96, 128], 30_912),
            (FilterOrder::LateralLast, [128, 256], 102_144),
        ] {
            let conv = FlattenedConv::new(channels[1], 5).order(order).without_bias();
            assert_eq!(network([channels[0], 15, 15], &conv).unwrap().parameter_count(), expected, "{order:?}");
        }
    }

    #[test]
    fn the_output_is_that_of_the_dense_layer() {
        for order in [FilterOrder::LateralFirst, FilterOrder::LateralLast] {
            for (kernel, stride, padding) in
                [([5, 5], [1, 1], 2), ([3, 5], [2, 1], 1), ([4, 2], [1, 3], 0), ([1, 7], [1, 1], 3)]
            {
                let dense = Conv2d::new(6, kernel).stride(stride).padding(padding);
                let want = dense.output_shape(&[&Shape::from([4, 11, 9])]).unwrap();
                let conv = FlattenedConv::new(6, kernel).stride(stride).padding(padding).order(order).stages(3);
                assert_eq!(network([4, 11, 9], &conv).unwrap().output_shape(), &want);
            }
            let same = FlattenedConv::new(6, [4, 5]).order(order);
            assert_eq!(network([4, 11, 9], &same).unwrap().output_shape()[..], [6, 11, 9]);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = |input, conv: &FlattenedConv| network(input, conv).unwrap_err().to_string();
        assert_eq!(
            error([3, 8, 8], &FlattenedConv::new(6, 3).stages(0)),
            "network `n`: flattened convolution `conv` has no stages"
        );
        assert!(error([3, 8, 8], &FlattenedConv::new(0, 3)).contains("`conv`"));
        assert!(error([3, 8, 8], &FlattenedConv::new(6, 0)).contains("kernel is 0"));
        assert!(error([3, 8, 8], &FlattenedConv::new(6, 9).padding(0)).contains("larger than the padded input"));
    }
}
