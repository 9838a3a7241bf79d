//! Training: samples in the lanes of vectors unless a network is too large for that, else layer by layer over the whole batch.

mod lanes;
mod layers;

use std::sync::Arc;

use cnn_core::backend::{Recipe, Trainer};
use cnn_core::layers::Role;
use cnn_core::{Error, Layer, Network, Result, Weights};

use crate::machine::Machine;
use lanes::convolution::lines_length;
use lanes::{AsynchronousTrainer, LaneTrainer};

/// The trainer that suits the network.
pub(crate) fn trainer(
    network: &Network,
    weights: &Weights,
    recipe: &Recipe,
    (pool, machine): (Arc<rayon::ThreadPool>, Machine),
) -> Result<Box<dyn Trainer>> {
    let place = (pool, machine);
    match (refuse_lanes(network, &machine), recipe.asynchronous) {
        (None, None) => Ok(Box::new(LaneTrainer::new(network, weights, recipe, place)?)),
        (None, Some(samples)) => Ok(Box::new(AsynchronousTrainer::new(network, weights, recipe, samples, place)?)),
        (Some(reason), None) => Ok(Box::new(layers::CpuTrainer::new(network, weights, recipe, reason, place)?)),
        (Some(reason), Some(_)) => {
            let reason = format!("no asynchronous updates, as the network trains layer by layer: {reason}");
            Err(Error::Backend { backend: "cpu".to_string(), reason })
        }
    }
}

/// Why a network does not train with samples in lanes.
fn refuse_lanes(network: &Network, machine: &Machine) -> Option<String> {
    /// Bytes that a vector of samples takes at most, and the weights, of which several gradients are kept.
    const MOST_VALUES: usize = 1 << 30;
    const MOST_WEIGHTS: usize = 64 << 20;
    let couples = |layer: &Layer| layer.operation().couples_samples() && !matches!(layer, Layer::BatchNorm2d(_));
    if let Some(node) = network.nodes().iter().find(|node| couples(&node.layer)) {
        return Some(format!("layer `{}` couples the samples of a batch", node.name));
    }
    let observes = |node: &usize| network.parameters_of(*node).iter().any(|parameter| parameter.role == Role::State);
    let is_norm = |node: usize| matches!(network.nodes()[node].layer, Layer::BatchNorm2d(_));
    if let Some(node) = (0..network.nodes().len()).filter(|&node| !is_norm(node)).find(observes) {
        return Some(format!("layer `{}` observes whole batches", network.nodes()[node].name));
    }
    let reads_twice = |inputs: &[_]| (1..inputs.len()).any(|i| inputs[..i].contains(&inputs[i]));
    if let Some(node) = network.nodes().iter().find(|node| reads_twice(&node.inputs)) {
        return Some(format!("layer `{}` reads a value twice", node.name));
    }
    let lanes = machine.instructions().lanes();
    let values = network.values().map(|value| network.shape(value).elements()).fold(0, usize::saturating_add);
    // Padding and dilation can make lines far longer than the values are.
    let lines = network.nodes().iter().enumerate().map(|(node, n)| match &n.layer {
        Layer::Conv2d(conv) => conv
            .plane(network.input_shapes(node)[0])
            .map_or(usize::MAX, |plane| lines_length(&plane, [network.input_shapes(node)[0][0], conv.out_channels])),
        _ => 0,
    });
    let values = lines.fold(values, usize::max);
    let learned = network.parameters().map(|p| p.shape.elements()).fold(0, usize::saturating_add);
    let bytes = |floats: usize| floats.saturating_mul(size_of::<f32>());
    let (values, weights) = (bytes(values.saturating_mul(2 * lanes)), bytes(learned));
    let mib = |bytes: usize| bytes >> 20;
    (values > MOST_VALUES || weights > MOST_WEIGHTS).then(|| {
        let (values, most_values) = (mib(values), mib(MOST_VALUES));
        let (weights, most_weights) = (mib(weights), mib(MOST_WEIGHTS));
        format!(
            "{values} MiB of values for {lanes} samples, at most {most_values}; {weights} of weights, at most {most_weights}"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cnn_core::backend::{Backend, CompileOptions, DeviceInfo, Plan, Recipe, Trainer};
    use cnn_core::layers::{Conv2d, Flatten, GlobalAvgPool};
    use cnn_core::{Network, Result, Weights};
    use cnn_testkit::conformance;

    use super::layers::CpuTrainer;
    use crate::Cpu;

    /// Trains small networks layer by layer too.
    #[derive(Debug)]
    struct LayerByLayer(Cpu);

    impl Backend for LayerByLayer {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn device(&self) -> &DeviceInfo {
            self.0.device()
        }

        fn compile(&self, network: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>> {
            self.0.compile(network, weights, options)
        }

        fn compile_training(&self, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Box<dyn Trainer>> {
            Ok(Box::new(CpuTrainer::new(network, weights, recipe, "tried".to_string(), self.0.threads_and_machine())?))
        }
    }

    #[test]
    fn lines_that_padding_makes_long_are_no_work_for_lanes() {
        let machine = Cpu::with_threads(1).unwrap().threads_and_machine().1;
        let network = |padding: usize| {
            let mut net = Network::builder("padded", [8, 20, 20]);
            net.push("conv", Conv2d::new(4, 3).stride(padding.max(1)).padding(padding)).unwrap();
            net.push("mean", GlobalAvgPool).unwrap();
            net.push("flatten", Flatten).unwrap();
            net.finish().unwrap()
        };
        assert_eq!(super::refuse_lanes(&network(1), &machine), None);
        assert!(super::refuse_lanes(&network(60_000), &machine).unwrap().contains("of values"));
    }

    #[test]
    fn small_networks_train_layer_by_layer_as_well() {
        conformance::training(&LayerByLayer(Cpu::with_threads(2).unwrap()));
    }
}
