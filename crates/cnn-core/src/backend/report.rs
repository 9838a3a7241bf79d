//! What a plan says of itself, and what a profiled run measured.

use std::fmt;
use std::time::Duration;

use crate::choose::Refusal;
use crate::{Shape, Tensor};

/// What was decided at compile time.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct PlanReport {
    /// The network's name.
    pub network: String,
    /// The backend's name.
    pub backend: String,
    /// In the order in which they run.
    pub steps: Vec<StepReport>,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// Bytes that all values of one sample share.
    pub arena_bytes: usize,
    /// Bytes of scratch memory of one session.
    pub workspace_bytes: usize,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepReport {
    /// The layer's name.
    pub layer: String,
    /// Its operation.
    pub kind: String,
    /// Names of the layers that run inside this step.
    pub fused: Vec<String>,
    /// Shape of one sample of the output.
    pub output: Shape,
    /// The row of the backend's table, such as `conv2d/im2col`.
    pub algorithm: String,
    /// Rows that did not take the layer, with their reasons.
    pub refused: Vec<Refusal>,
    /// Rows that would have taken it, the chosen one among them, with the time that decided.
    pub considered: Vec<Candidate>,
    /// Multiply-adds that the algorithm does for one sample, idle lanes included: fewer than half the operations where it
    /// saves some.
    pub macs: u64,
    /// Floating-point operations for one sample.
    pub flops: u64,
    /// Bytes of packed parameters.
    pub weight_bytes: u64,
    /// Bytes of the inputs and outputs of one sample.
    pub value_bytes: u64,
}

/// A row that could have taken a layer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidate {
    /// The row's name, such as `conv2d/direct`.
    pub algorithm: String,
    /// Its time for a batch, as the backend's model or clock has it.
    pub time: Duration,
}

impl PlanReport {
    /// An empty report of a network on a backend.
    pub fn new(network: &str, backend: &str) -> Self {
        PlanReport { network: network.to_string(), backend: backend.to_string(), ..Default::default() }
    }
}

/// A table, one step a line.
impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "{} on {}: weights {:.1} MiB, arena {:.1} MiB a sample, workspace {:.1} MiB",
            self.network,
            self.backend,
            mib(self.weight_bytes),
            mib(self.arena_bytes),
            mib(self.workspace_bytes)
        )?;
        for step in &self.steps {
            let layer = std::iter::once(&step.layer).chain(&step.fused).map(String::as_str).collect::<Vec<_>>();
            let (output, mflop) = (step.output.to_string(), step.flops as f64 / 1e6);
            writeln!(f, "{:<28} {:<18} {output:<16} {mflop:>9.2} MFLOP", layer.join("+"), step.algorithm)?;
            if step.considered.len() > 1 {
                let time = |c: &Candidate| format!("{} {:.3} ms", c.algorithm, 1e3 * c.time.as_secs_f64());
                writeln!(f, "    of {}", step.considered.iter().map(time).collect::<Vec<_>>().join(", "))?;
            }
            for refusal in &step.refused {
                writeln!(f, "    not {}: {}", refusal.algorithm, refusal.reason)?;
            }
        }
        Ok(())
    }
}

/// What [`Session::profile`](crate::Session::profile) measured.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The run's output.
    pub output: Tensor,
    /// One a step of the plan's report, in its order.
    pub steps: Vec<StepProfile>,
    /// From the input to the output.
    pub total: Duration,
}

impl Profile {
    /// The steps of a report with the time of each, for the batch of `output`.
    pub fn new(
        report: &PlanReport,
        times: impl IntoIterator<Item = Duration>,
        output: Tensor,
        total: Duration,
    ) -> Self {
        let batch = output.batch() as u64;
        let step = |(report, time): (&StepReport, Duration)| StepProfile {
            layer: report.layer.clone(),
            algorithm: report.algorithm.clone(),
            time,
            flops: report.flops.saturating_mul(batch),
        };
        let steps = report.steps.iter().zip(times).map(step).collect();
        Profile { output, steps, total }
    }
}

/// The time of one step.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepProfile {
    /// The layer's name.
    pub layer: String,
    /// The row of the backend's table.
    pub algorithm: String,
    /// Time of the batch.
    pub time: Duration,
    /// Floating-point operations of the batch.
    pub flops: u64,
}

impl StepProfile {
    /// Floating-point operations a second, in units of 10^9.
    pub fn gflops(&self) -> f64 {
        self.flops as f64 / self.time.as_secs_f64().max(1e-9) / 1e9
    }
}
