//! Runs a plan: one arena, one scratch block a thread, no allocation but the output after the first run of a batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cnn_core::backend::{Profile, Session, StepProfile};
use cnn_core::error::grow;
use cnn_core::{Result, Tensor, ValueId};
use smallvec::SmallVec;

use crate::ops::Io;
use crate::plan::{PlanData, Step};
use crate::threads::{Scratch, Workers, enter};

pub(crate) struct CpuSession {
    plan: Arc<PlanData>,
    arena: Vec<f32>,
    scratch: Scratch,
}

impl CpuSession {
    pub(crate) fn new(plan: Arc<PlanData>) -> Self {
        let scratch = Scratch::new(plan.pool.current_num_threads(), plan.scratch_length);
        CpuSession { plan, arena: Vec::new(), scratch }
    }

    /// Runs every step; `time` is told of each.
    fn run_steps(&mut self, input: &Tensor, mut time: impl FnMut(&Step, Duration) + Send) -> Result<Tensor> {
        let plan = &*self.plan;
        let (batch, data) = plan.network.check_input(input)?;
        grow("the arena", &mut self.arena, plan.layout.size.saturating_mul(batch))?;
        let arena = &mut self.arena;
        enter(&plan.pool, &self.scratch, plan.flops.saturating_mul(batch as u64), |workers| {
            for step in &plan.steps {
                let start = Instant::now();
                run_step(plan, step, arena, (batch, data), workers);
                time(step, start.elapsed());
            }
        });
        let shape = plan.network.output_shape().with_batch(batch);
        let range = plan.range(plan.output, batch);
        Tensor::new(shape, self.arena[range].to_vec())
    }
}

impl Session for CpuSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor> {
        self.run_steps(input, |_, _| {})
    }

    fn profile(&mut self, input: &Tensor) -> Result<Profile> {
        let start = Instant::now();
        let batch = input.batch() as u64;
        let mut times = Vec::with_capacity(self.plan.steps.len());
        let output = self.run_steps(input, |_, time| times.push(time))?;
        let total = start.elapsed();
        let step = |(report, time): (&cnn_core::backend::StepReport, Duration)| StepProfile {
            layer: report.layer.clone(),
            algorithm: report.algorithm.clone(),
            time,
            flops: report.flops.saturating_mul(batch),
        };
        let steps = self.plan.report.steps.iter().zip(times).map(step).collect();
        Ok(Profile { output, steps, total })
    }
}

/// Borrows the step's output from the arena mutably and its inputs from what lies before and after it, then runs it.
/// The planner lets no input overlap the output.
fn run_step(plan: &PlanData, step: &Step, arena: &mut [f32], (batch, input): (usize, &[f32]), workers: Workers<'_>) {
    let range = plan.range(step.output, batch);
    let (before, rest) = arena.split_at_mut(range.start);
    let (output, after) = rest.split_at_mut(range.len());
    let (before, after) = (&*before, &*after);
    let find = |&value: &ValueId| {
        if value == ValueId::INPUT {
            return input;
        }
        let source = plan.range(value, batch);
        match source.end <= range.start {
            true => &before[source],
            false => &after[source.start - range.end..source.end - range.end],
        }
    };
    let inputs: SmallVec<[&[f32]; 4]> = step.inputs.iter().map(find).collect();
    step.kernel.run(Io { batch, inputs: &inputs, output }, workers);
}
