//! Training: samples in the lanes of vectors where a network is small, layer by layer over the whole batch otherwise.

mod lanes;
mod layers;

use std::sync::Arc;

use cnn_core::backend::{Recipe, Trainer};
use cnn_core::{Network, Result, Weights};

use crate::machine::Machine;

/// The trainer that suits the network.
pub(crate) fn trainer(
    network: &Network,
    weights: &Weights,
    recipe: &Recipe,
    (pool, machine): (Arc<rayon::ThreadPool>, Machine),
) -> Result<Box<dyn Trainer>> {
    match refuse_lanes(network, &machine) {
        None => Ok(Box::new(lanes::LaneTrainer::new(network, weights, recipe, (pool, machine))?)),
        Some(reason) => Ok(Box::new(layers::CpuTrainer::new(network, weights, recipe, reason, (pool, machine))?)),
    }
}

/// Why a network trains better layer by layer than with samples in lanes.
fn refuse_lanes(network: &Network, machine: &Machine) -> Option<String> {
    /// Second caches that a thread's values may fill.
    const CACHES: usize = 4;
    let coupled = network.nodes().iter().find(|node| node.layer.operation().couples_samples());
    if let Some(node) = coupled {
        return Some(format!("layer `{}` couples the samples of a batch", node.name));
    }
    let reads_twice = |inputs: &[_]| (1..inputs.len()).any(|i| inputs[..i].contains(&inputs[i]));
    if let Some(node) = network.nodes().iter().find(|node| reads_twice(&node.inputs)) {
        return Some(format!("layer `{}` reads a value twice", node.name));
    }
    let lanes = machine.instructions().lanes();
    let values = network.values().map(|value| network.shape(value).elements()).fold(0, usize::saturating_add);
    let learned = network.parameters().map(|p| p.shape.elements()).fold(0, usize::saturating_add);
    let limit = CACHES * machine.caches.l2;
    let bytes = |floats: usize| floats.saturating_mul(size_of::<f32>());
    let (values, weights) = (bytes(values.saturating_mul(2 * lanes)), bytes(learned));
    let kib = |bytes: usize| bytes >> 10;
    match values.max(weights) > limit {
        true => Some(format!(
            "{} KiB of values for {lanes} samples and {} of weights are over {} KiB",
            kib(values),
            kib(weights),
            kib(limit)
        )),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cnn_core::backend::{Backend, CompileOptions, DeviceInfo, Plan, Recipe, Trainer};
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
    fn small_networks_train_layer_by_layer_as_well() {
        conformance::training(&LayerByLayer(Cpu::with_threads(2).unwrap()));
    }
}
