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
    match lanes::refuse(network, &machine) {
        None => Ok(Box::new(lanes::LaneTrainer::new(network, weights, recipe, (pool, machine))?)),
        Some(reason) => Ok(Box::new(layers::CpuTrainer::new(network, weights, recipe, reason, (pool, machine))?)),
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
