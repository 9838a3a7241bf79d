//! One network over several backends: each computes a part of every layer's output channels, in proportion to its speed, and
//! the parts meet on the host (the future work of Loukadakis et al. 2018: a Mali-T628 shows as two devices).

mod segment;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use cnn_core::backend::{Backend, CompileOptions, DeviceInfo, Plan, PlanReport, Recipe, Session, StepReport, Trainer};
use cnn_core::layers::Conv2d;
use cnn_core::{Error, Network, Result, Tensor, Weights};

use segment::{Segment, segments};
use session::SplitSession;

/// Several backends as one. Layers between which channels meet (convolution, fully connected) are cut by output channels
/// together with the channel-wise layers that follow them; what cannot be cut runs on the first backend, and layers of several
/// inputs on the host.
#[derive(Clone)]
pub struct Split {
    name: String,
    device: DeviceInfo,
    parts: Vec<Arc<dyn Backend>>,
    /// The part of the work that each gets; they add up to 1.
    shares: Vec<f64>,
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("name", &self.name).field("shares", &self.shares).finish()
    }
}

impl Split {
    /// Backends as one, each with work in proportion to how fast it runs a convolution now, by itself. At least one is needed.
    pub fn new(parts: Vec<Arc<dyn Backend>>) -> Result<Self> {
        let speeds = parts.iter().map(|part| speed(part.as_ref())).collect::<Result<Vec<_>>>()?;
        Self::with_speeds(parts, &speeds)
    }

    /// As [`new`](Self::new), in proportion to these speeds, one a backend, none of them negative and one at least positive.
    pub fn with_speeds(parts: Vec<Arc<dyn Backend>>, speeds: &[f64]) -> Result<Self> {
        let name = parts.iter().map(|part| part.name()).collect::<Vec<_>>().join("+");
        let total: f64 = speeds.iter().sum();
        let usable = speeds.len() == parts.len() && speeds.iter().all(|&speed| speed >= 0.0) && total.is_normal();
        if parts.is_empty() || !usable {
            let reason = format!("{} backends cannot be told their shares by the speeds {speeds:?}", parts.len());
            return Err(Error::Backend { backend: "split".to_string(), reason });
        }
        let mut device =
            DeviceInfo::named(parts.iter().map(|p| p.device().name.as_str()).collect::<Vec<_>>().join(" + "));
        device.driver = parts.iter().map(|p| p.device().driver.as_str()).collect::<Vec<_>>().join(" + ");
        device.threads = parts.iter().map(|p| p.device().threads).sum();
        device.memory = parts.iter().map(|p| p.device().memory).max().unwrap_or(0);
        Ok(Split { name, device, parts, shares: speeds.iter().map(|speed| speed / total).collect() })
    }

    /// The part of the work that each backend gets.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }
}

/// Runs of a convolution a second.
fn speed(backend: &dyn Backend) -> Result<f64> {
    const RUNS: usize = 5;
    let mut net = Network::builder("speed", [64, 56, 56]);
    net.push("conv", Conv2d::new(64, 3).padding(1))?;
    let network = net.finish()?;
    let plan = backend.compile(&network, &Weights::random(&network, 0)?, &CompileOptions::default())?;
    let (mut session, input) = (plan.session()?, Tensor::zeros([1, 64, 56, 56])?);
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(&input)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(1.0 / fastest.max(1e-9))
}

impl Backend for Split {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &DeviceInfo {
        &self.device
    }

    fn compile(&self, network: &Network, weights: &Weights, options: &CompileOptions) -> Result<Arc<dyn Plan>> {
        weights.check(network)?;
        let segments = segments(network)
            .into_iter()
            .map(|nodes| Segment::compile(network, weights, nodes, (&self.parts, &self.shares), options))
            .collect::<Result<Vec<_>>>()?;
        let mut report = PlanReport::new(network.name(), &self.name);
        for segment in &segments {
            report.steps.push(segment.report(network));
            for plan in segment.plans() {
                report.weight_bytes += plan.report().weight_bytes;
                report.arena_bytes += plan.report().arena_bytes;
                report.workspace_bytes += plan.report().workspace_bytes;
            }
        }
        Ok(Arc::new(SplitPlan { network: network.clone(), segments: Arc::new(segments), report }))
    }

    fn compile_training(&self, _network: &Network, _weights: &Weights, _recipe: &Recipe) -> Result<Box<dyn Trainer>> {
        let reason = "several backends as one do not train".to_string();
        Err(Error::Backend { backend: self.name.clone(), reason })
    }
}

struct SplitPlan {
    network: Network,
    segments: Arc<Vec<Segment>>,
    report: PlanReport,
}

impl Plan for SplitPlan {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(SplitSession::new(&self.network, &self.segments, &self.report)?))
    }

    fn report(&self) -> &PlanReport {
        &self.report
    }
}

/// The report of a segment: its leading layer, and who does how much of it.
fn step_report(network: &Network, nodes: &[usize], algorithm: String, plans: &[Arc<dyn Plan>]) -> StepReport {
    let (first, last) = (nodes[0], nodes[nodes.len() - 1]);
    let bytes = |shape: &cnn_core::Shape| (size_of::<f32>() * shape.elements()) as u64;
    let output = network.shape(network.output_of(last));
    let inputs: u64 = network.input_shapes(first).into_iter().map(bytes).sum();
    StepReport {
        layer: network.nodes()[first].name.clone(),
        kind: network.nodes()[first].layer.operation().kind().to_string(),
        fused: nodes[1..].iter().map(|&node| network.nodes()[node].name.clone()).collect(),
        output: output.clone(),
        algorithm,
        refused: Vec::new(),
        considered: Vec::new(),
        macs: plans.iter().flat_map(|plan| &plan.report().steps).map(|step| step.macs).sum(),
        flops: nodes.iter().map(|&node| network.flops_of(node)).fold(0, u64::saturating_add),
        weight_bytes: plans.iter().map(|plan| plan.report().weight_bytes as u64).sum(),
        value_bytes: inputs + bytes(output),
    }
}
