//! Two-dimensional convolution (cross-correlation, as in every framework).

use super::{Call, Gradients, Init, Operation, Parameter, image};
use crate::window::{Axis, Extent, Plane, Rounding, Window};
use crate::{Misfit, Shape};

/// Two-dimensional convolution with stride, zero padding, dilation and groups.
///
/// # Shapes
/// Input `[C, H, W]`, output `[out_channels, H', W']`. Parameters: `weight` `[out_channels, C / groups, kh, kw]` and,
/// where there is one, `bias` `[out_channels]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Groups that channels are split into; each output channel sees one group's inputs.
    pub groups: usize,
    /// Whether each output channel has an offset.
    pub bias: bool,
}

impl Conv2d {
    /// A convolution of stride 1 with a bias, without padding.
    pub fn new(out_channels: usize, kernel: impl Into<Extent>) -> Self {
        Conv2d { out_channels, window: Window::new(kernel), groups: 1, bias: true }
    }

    window_settings!();
    dilation_setting!();

    /// Sets the number of groups; as many as input channels makes a depthwise convolution.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Leaves the bias out.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// The window on an input of `[C, H, W]`, or why it does not fit.
    pub fn plane(&self, input: &Shape) -> Result<Plane, Misfit> {
        let [_, h, w] = image(&[input])?;
        self.window.resolve([h, w], Rounding::Floor)
    }

    fn weight_shape(&self, in_channels: usize) -> Shape {
        let [kh, kw] = self.window.kernel;
        Shape::from([self.out_channels, in_channels / self.groups.max(1), kh, kw])
    }

    /// Weights of one filter.
    pub(super) fn taps(&self, in_channels: usize) -> usize {
        Shape::from(&self.weight_shape(in_channels)[1..]).elements()
    }
}

impl Operation for Conv2d {
    fn kind(&self) -> &str {
        "Conv2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let [c, h, w] = image(inputs)?;
        let (o, g) = (self.out_channels, self.groups);
        if o == 0 || g == 0 || c % g != 0 || o % g != 0 {
            return Err(Misfit(format!("{c} input and {o} output channels do not split into {g} groups")));
        }
        let [h, w] = self.window.resolve([h, w], Rounding::Floor)?.output();
        Ok(Shape::from([o, h, w]))
    }

    fn parameters(&self, inputs: &[&Shape]) -> Vec<Parameter> {
        let weight = self.weight_shape(inputs[0][0]);
        let [kh, kw] = self.window.kernel;
        let fan_in = self.taps(inputs[0][0]);
        let fan_out = Shape::from([self.out_channels / self.groups.max(1), kh, kw]).elements();
        let mut parameters = vec![Parameter::learned("weight", weight, Init::Spread { fan_in, fan_out })];
        if self.bias {
            parameters.push(Parameter::learned("bias", [self.out_channels], Init::Constant(0.0)));
        }
        parameters
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (output.elements() as u64).saturating_mul(self.taps(inputs[0][0]) as u64).saturating_mul(2)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let loops = Loops::new(self, call);
        let (input, weight) = (call.inputs[0].data, call.parameters[0]);
        for (place, value) in output.iter_mut().enumerate() {
            let at = loops.output_place(place);
            let mut sum = call.parameters.get(1).map_or(0.0, |bias| f64::from(bias[at.channel]));
            loops.for_each_tap(&at, at.channel, |i, w| sum += f64::from(input[i]) * f64::from(weight[w]));
            *value = sum as f32;
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let loops = Loops::new(self, call);
        let (input, weight) = (call.inputs[0].data, call.parameters[0]);
        let input_gradient = &mut gradients.inputs[0];
        let mut weight_gradient = vec![0f64; weight.len()];
        let mut bias_gradient = vec![0f64; self.out_channels];
        for (place, &dy) in output_gradient.iter().enumerate() {
            let at = loops.output_place(place);
            bias_gradient[at.channel] += f64::from(dy);
            loops.for_each_tap(&at, at.channel, |i, w| {
                weight_gradient[w] += f64::from(dy) * f64::from(input[i]);
                input_gradient[i] += dy * weight[w];
            });
        }
        for (sums, gradient) in [weight_gradient, bias_gradient].iter().zip(&mut *gradients.parameters) {
            gradient.iter_mut().zip(sums).for_each(|(g, &sum)| *g += sum as f32);
        }
    }
}

/// The loop nest that forward and backward share.
pub(super) struct Loops {
    rows: Axis,
    columns: Axis,
    /// Input channels of one group, output channels of one group, all output channels.
    group_in: usize,
    group_out: usize,
    out_channels: usize,
    in_channels: usize,
}

/// One element of the output.
pub(super) struct Place {
    sample: usize,
    channel: usize,
    row: usize,
    column: usize,
}

impl Loops {
    pub(super) fn new(conv: &Conv2d, call: &Call<'_>) -> Self {
        let shape = call.inputs[0].shape;
        let Plane { rows, columns } = conv.plane(shape).expect("the network has checked the window");
        let (group_in, group_out) = (shape[0] / conv.groups, conv.out_channels / conv.groups);
        Loops { rows, columns, group_in, group_out, out_channels: conv.out_channels, in_channels: shape[0] }
    }

    pub(super) fn output_place(&self, place: usize) -> Place {
        let (rest, column) = (place / self.columns.output, place % self.columns.output);
        let (rest, row) = (rest / self.rows.output, rest % self.rows.output);
        Place { sample: rest / self.out_channels, channel: rest % self.out_channels, row, column }
    }

    /// Calls `tap` with the flat indices into input and weight of each tap of filter number `filter` that lies inside the input.
    pub(super) fn for_each_tap(&self, at: &Place, filter: usize, mut tap: impl FnMut(usize, usize)) {
        let group = at.channel / self.group_out;
        for c in 0..self.group_in {
            let in_channel = at.sample * self.in_channels + group * self.group_in + c;
            let kernel = filter * self.group_in + c;
            for ky in self.rows.taps(at.row) {
                let row = in_channel * self.rows.input + self.rows.input_index(at.row, ky);
                for kx in self.columns.taps(at.column) {
                    let i = row * self.columns.input + self.columns.input_index(at.column, kx);
                    tap(i, (kernel * self.rows.kernel + ky) * self.columns.kernel + kx);
                }
            }
        }
    }
}
