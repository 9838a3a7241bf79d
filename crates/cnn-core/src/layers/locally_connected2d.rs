//! Convolution without shared weights, as in the locally connected layers of Taigman et al. 2014 (section 2.2).

use super::conv2d::Loops;
use super::{Call, Conv2d, Gradients, Init, Operation, Parameter};
use crate::window::{Extent, Window};
use crate::{Misfit, Shape};

/// A [`Conv2d`] in which each element of the output has a filter of its own, and a bias of its own.
///
/// # Shapes
/// Input `[C, H, W]`, output `[out_channels, H', W']`. Parameters: `weight` `[out_channels, H', W', C / groups, kh, kw]`, one
/// filter after the other in the order of the output, and, where there is one, `bias` `[out_channels, H', W']`.
#[derive(Debug, Clone, PartialEq)]
pub struct LocallyConnected2d {
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Groups that channels are split into; each output channel sees one group's inputs.
    pub groups: usize,
    /// Whether each element of the output has an offset.
    pub bias: bool,
}

impl LocallyConnected2d {
    /// Windows of stride 1 with a bias, without padding.
    pub fn new(out_channels: usize, kernel: impl Into<Extent>) -> Self {
        LocallyConnected2d { out_channels, window: Window::new(kernel), groups: 1, bias: true }
    }

    window_settings!();

    /// Sets the distance between taps.
    pub fn dilation(mut self, dilation: impl Into<Extent>) -> Self {
        self.window.dilation = dilation.into().0;
        self
    }

    /// Sets the number of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Leaves the bias out.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// The convolution that is this layer where all filters of a channel are the same.
    fn shared(&self) -> Conv2d {
        Conv2d { out_channels: self.out_channels, window: self.window, groups: self.groups, bias: self.bias }
    }
}

impl Operation for LocallyConnected2d {
    fn kind(&self) -> &str {
        "LocallyConnected2d"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        self.shared().output_shape(inputs)
    }

    fn parameters(&self, inputs: &[&Shape]) -> Vec<Parameter> {
        let output = self.shared().output_shape(inputs).expect("the network has checked the window");
        // Fans are those of the convolution: sharing weights changes neither.
        let shared = self.shared().parameters(inputs).swap_remove(0);
        let weight: Vec<usize> = output.iter().chain(&shared.shape[1..]).copied().collect();
        let mut parameters = vec![Parameter::learned("weight", weight, shared.init)];
        if self.bias {
            parameters.push(Parameter::learned("bias", output, Init::Constant(0.0)));
        }
        parameters
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        self.shared().flops(inputs, output)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (loops, filters) = (Loops::new(&self.shared(), call), call.output_shape.elements());
        let (input, weight) = (call.inputs[0].data, call.parameters[0]);
        for (place, value) in output.iter_mut().enumerate() {
            let filter = place % filters;
            let mut sum = call.parameters.get(1).map_or(0.0, |bias| f64::from(bias[filter]));
            loops.for_each_tap(&loops.output_place(place), filter, |i, w| {
                sum += f64::from(input[i]) * f64::from(weight[w]);
            });
            *value = sum as f32;
        }
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (loops, filters) = (Loops::new(&self.shared(), call), call.output_shape.elements());
        let (input, weight, elements) = (call.inputs[0].data, call.parameters[0], call.inputs[0].shape.elements());
        let mut input_gradient = vec![0f64; input.len()];
        for filter in 0..filters {
            let dy = |n: usize| f64::from(output_gradient[n * filters + filter]);
            loops.for_each_tap(&loops.output_place(filter), filter, |i, w| {
                let mut sum = 0.0;
                for n in 0..call.batch {
                    sum += dy(n) * f64::from(input[n * elements + i]);
                    input_gradient[n * elements + i] += dy(n) * f64::from(weight[w]);
                }
                gradients.parameters[0][w] += sum as f32;
            });
            if self.bias {
                gradients.parameters[1][filter] += (0..call.batch).map(dy).sum::<f64>() as f32;
            }
        }
        gradients.inputs[0].iter_mut().zip(input_gradient).for_each(|(g, sum)| *g += sum as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::layers::{Mode, trial};
    use proptest::prelude::*;

    /// Two windows on a row of three, each with its own two weights and offset.
    #[test]
    fn each_element_has_its_own_filter() {
        let (layer, shape) = (LocallyConnected2d::new(1, [1, 2]), Shape::from([1, 1, 3]));
        let parameters: [&[f32]; 2] = [&[1.0, 10.0, 100.0, 1000.0], &[0.5, 0.25]];
        let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let output = trial::forward(&layer, Mode::Inference, &shape, &input, &parameters);
        assert_eq!(output, [21.5, 3200.25, 54.5, 6500.25]);
        let (dx, of_parameters) =
            trial::backward(&layer, Mode::Inference, &shape, &input, &parameters, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(dx, [1.0, 210.0, 2000.0, 3.0, 430.0, 4000.0]);
        assert_eq!(of_parameters[0], [1.0 + 12.0, 2.0 + 15.0, 4.0 + 20.0, 6.0 + 24.0]);
        assert_eq!(of_parameters[1], [4.0, 6.0]);
    }

    #[test]
    fn parameters_and_flops_count_every_filter() {
        let mut net = Network::builder("n", [4, 7, 9]);
        net.push("local", LocallyConnected2d::new(6, 3).stride(2).groups(2)).unwrap();
        let net = net.finish().unwrap();
        let parameters: Vec<_> = net.parameters().collect();
        assert_eq!(parameters[0].shape[..], [6, 3, 4, 2, 3, 3]);
        assert_eq!(parameters[0].init, Init::Spread { fan_in: 18, fan_out: 27 });
        assert_eq!(parameters[1].shape[..], [6, 3, 4]);
        assert_eq!(net.flops(), 2 * 72 * 18);
    }

    #[test]
    fn absurd_sizes_are_errors() {
        let refusal = |shape: [usize; 3], layer: LocallyConnected2d| {
            Network::builder("n", shape).push("local", layer).unwrap_err().to_string()
        };
        let error = refusal([512; 3], LocallyConnected2d::new(512, 5).padding(2));
        assert!(error.contains("weight [512, 512, 512, 512, 5, 5]: more than"), "{error}");
        let largest = Window::MAX;
        let error = refusal([Shape::MAX_ELEMENTS, 1, 1], LocallyConnected2d::new(1, largest).padding(largest - 1));
        assert!(error.contains("more than"), "{error}");
        assert!(refusal([1, 4, 4], LocallyConnected2d::new(usize::MAX, 3)).contains("more than"));
        assert!(refusal([3, 4, 4], LocallyConnected2d::new(4, 3).groups(2)).contains("do not split"));
        assert!(refusal([3, 4, 4], LocallyConnected2d::new(4, 5)).contains("larger than"));
        assert!(refusal([3, 4, 4], LocallyConnected2d::new(0, 3)).contains("do not split"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// With the same filter everywhere it is a convolution; its weights' gradients summed over places are the convolution's.
        #[test]
        fn one_filter_everywhere_is_a_convolution(
            (group_in, group_out, groups) in (1usize..3, 1usize..3, 1usize..3),
            kernel in [1usize..4, 1..4], stride in [1usize..3, 1..3], dilation in [1usize..3, 1..3],
            padding in [0usize..3, 0..3, 0..3, 0..3], extent in [5usize..8, 5..8],
            (batch, bias) in (1usize..3, any::<bool>()), seed: u64,
        ) {
            let local = LocallyConnected2d { groups, bias, ..LocallyConnected2d::new(group_out * groups, kernel) };
            let local = local.stride(stride).padding(padding).dilation(dilation);
            let (conv, shape) = (local.shared(), Shape::from([group_in * groups, extent[0], extent[1]]));
            let drawn = |n: u64, length: usize| -> Vec<f32> {
                (0..length as u64).map(|i| super::super::dropout::uniform(seed ^ n, i) - 0.5).collect()
            };
            let shared: Vec<Vec<f32>> =
                (1..).zip(conv.parameters(&[&shape])).map(|(n, p)| drawn(n, p.shape.elements())).collect();
            let output_shape = local.output_shape(&[&shape]).unwrap();
            let (plane, outputs) = (output_shape[1..].iter().product::<usize>(), output_shape.elements());
            let everywhere = |of_channels: &Vec<f32>| -> Vec<f32> {
                let filters = of_channels.chunks(of_channels.len() / conv.out_channels);
                filters.flat_map(|filter| filter.repeat(plane)).collect()
            };
            let own: Vec<Vec<f32>> = shared.iter().map(everywhere).collect();
            let shared: Vec<&[f32]> = shared.iter().map(Vec::as_slice).collect();
            let own: Vec<&[f32]> = own.iter().map(Vec::as_slice).collect();
            let (input, dy) = (drawn(8, batch * shape.elements()), drawn(9, batch * outputs));
            let mode = Mode::Inference;
            prop_assert_eq!(
                trial::forward(&local, mode, &shape, &input, &own),
                trial::forward(&conv, mode, &shape, &input, &shared)
            );
            let (dx, of_own) = trial::backward(&local, mode, &shape, &input, &own, &dy);
            let (want_dx, of_shared) = trial::backward(&conv, mode, &shape, &input, &shared, &dy);
            prop_assert!(dx.iter().zip(&want_dx).all(|(a, b)| (a - b).abs() < 1e-5));
            for (of_own, want) in of_own.iter().zip(&of_shared) {
                let taps = want.len() / conv.out_channels;
                for (i, want) in want.iter().enumerate() {
                    let (channel, tap) = (i / taps, i % taps);
                    let sum: f32 = (0..plane).map(|place| of_own[(channel * plane + place) * taps + tap]).sum();
                    prop_assert!((sum - want).abs() < 1e-5, "{} is not {}", sum, want);
                }
            }
        }
    }
}
