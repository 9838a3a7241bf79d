//! The backend of plain loops: every layer by its own definition, one thread, nothing fused. What the others are
//! checked against.

use std::sync::Arc;
use std::time::Instant;

use crate::backend::{
    Backend, CompileOptions, DeviceInfo, Plan, PlanReport, Profile, Recipe, Session, StepProfile, StepReport, Trainer,
};
use crate::error::grow;
use crate::layers::{Call, Mode, View};
use crate::training::{GraphTrainer, PlainLoops};
use crate::{Error, Network, Result, Tensor, Weights};

/// Runs every layer by the plain loops that define it.
#[derive(Debug, Clone)]
pub struct Reference {
    device: DeviceInfo,
}

impl Default for Reference {
    fn default() -> Self {
        let mut device = DeviceInfo::named("host processor");
        device.driver = format!("cnn-core {}", env!("CARGO_PKG_VERSION"));
        Reference { device }
    }
}

impl Reference {
    /// The backend.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The name of the only algorithm here.
const PLAIN_LOOPS: &str = "plain";

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn device(&self) -> &DeviceInfo {
        &self.device
    }

    fn compile(&self, network: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>> {
        if let Some(name) = options.algorithm.as_deref().filter(|&name| name != PLAIN_LOOPS) {
            return Err(Error::UnknownAlgorithm { name: name.to_string(), known: PLAIN_LOOPS.to_string() });
        }
        options.check_single(self.name())?;
        weights.check(network)?;
        let parameters = (0..network.nodes().len())
            .map(|node| Ok(weights.of_node(network, node)?.into_iter().map(Vec::from).collect()))
            .collect::<Result<_>>()?;
        let report = report(network);
        Ok(Arc::new(ReferencePlan { shared: Arc::new(Shared { network: network.clone(), parameters, report }) }))
    }

    fn compile_training(&self, network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Box<dyn Trainer>> {
        Ok(Box::new(GraphTrainer::new(network, weights, recipe, PlainLoops)?))
    }
}

struct ReferencePlan {
    shared: Arc<Shared>,
}

struct Shared {
    network: Network,
    /// By node, then in the layer's order.
    parameters: Vec<Vec<Vec<f32>>>,
    report: PlanReport,
}

impl Plan for ReferencePlan {
    fn session(&self) -> Result<Box<dyn Session>> {
        let values = vec![Vec::new(); self.shared.network.value_count()];
        Ok(Box::new(ReferenceSession { shared: self.shared.clone(), values }))
    }

    fn report(&self) -> &PlanReport {
        &self.shared.report
    }
}

struct ReferenceSession {
    shared: Arc<Shared>,
    values: Vec<Vec<f32>>,
}

impl Session for ReferenceSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor> {
        self.profile(input).map(|profile| profile.output)
    }

    fn profile(&mut self, input: &Tensor) -> Result<Profile> {
        let start = Instant::now();
        let Shared { network, parameters, .. } = &*self.shared;
        let (batch, data) = network.check_input(input)?;
        self.values[0].clear();
        self.values[0].extend_from_slice(data);
        let mut steps = Vec::with_capacity(network.nodes().len());
        for (node, n) in network.nodes().iter().enumerate() {
            let begun = Instant::now();
            let value = network.output_of(node);
            let mut output = std::mem::take(&mut self.values[value.index()]);
            let output_shape = network.shape(value);
            let length = batch * output_shape.elements();
            grow(&n.name, &mut output, length)?;
            let view = |&v: &crate::ValueId| {
                let shape = network.shape(v);
                View { shape, data: &self.values[v.index()][..batch * shape.elements()] }
            };
            let inputs: Vec<View<'_>> = n.inputs.iter().map(view).collect();
            let parameters: Vec<&[f32]> = parameters[node].iter().map(Vec::as_slice).collect();
            let (inputs, parameters) = (&inputs[..], &parameters[..]);
            let call = Call { batch, inputs, output_shape, parameters, mode: Mode::Inference };
            n.layer.operation().forward(&call, &mut output[..length]);
            self.values[value.index()] = output;
            let flops = network.flops_of(node).saturating_mul(batch as u64);
            let (layer, algorithm) = (n.name.clone(), PLAIN_LOOPS.to_string());
            steps.push(StepProfile { layer, algorithm, time: begun.elapsed(), flops });
        }
        let shape = network.output_shape().with_batch(batch);
        let result = self.values[network.output().index()][..shape.elements()].to_vec();
        Ok(Profile { output: Tensor::new(shape, result)?, steps, total: start.elapsed() })
    }
}

fn report(network: &Network) -> PlanReport {
    let mut report = PlanReport::new(network.name(), "reference");
    let value_bytes = |v| 4 * network.shape(v).elements();
    for (node, n) in network.nodes().iter().enumerate() {
        let parameter_bytes: usize = network.parameters_of(node).iter().map(|p| 4 * p.shape.elements()).sum();
        let read: usize = n.inputs.iter().map(|&v| value_bytes(v)).sum();
        report.weight_bytes += parameter_bytes;
        report.arena_bytes += value_bytes(network.output_of(node));
        report.steps.push(StepReport {
            layer: n.name.clone(),
            kind: n.layer.operation().kind().to_string(),
            fused: Vec::new(),
            output: network.shape(network.output_of(node)).clone(),
            algorithm: PLAIN_LOOPS.to_string(),
            refused: Vec::new(),
            considered: Vec::new(),
            macs: 0,
            flops: network.flops_of(node),
            weight_bytes: parameter_bytes as u64,
            value_bytes: (read + value_bytes(network.output_of(node))) as u64,
        });
    }
    report.arena_bytes += value_bytes(crate::ValueId::INPUT);
    report
}
