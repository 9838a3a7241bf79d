//! Runs a plan: one arena, one scratch block a thread, no allocation but the output after the first run of a batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cnn_core::backend::{Profile, Session};
use cnn_core::lowering::{SlotId, Step};
use cnn_core::{Error, Result, Tensor};

use crate::memory::Buffer;
use crate::ops::{Io, Kernel};
use crate::plan::PlanData;
use crate::threads::{Crew, Workers, enter, with_list};

pub(crate) struct CpuSession {
    plan: Arc<PlanData>,
    arena: Buffer,
    workspace: Buffer,
    /// Room for a step's inputs.
    inputs: Vec<&'static [f32]>,
    crew: Crew,
}

impl CpuSession {
    pub(crate) fn new(plan: Arc<PlanData>) -> Self {
        let inputs = plan.lowered.steps.iter().map(|step| step.inputs.len()).max().unwrap_or(0);
        let nodes = 0..plan.network.nodes().len();
        let parameters = nodes.map(|node| plan.network.parameters_of(node).len()).max().unwrap_or(0);
        let crew = Crew::new(plan.pool.current_num_threads(), plan.scratch_length).with_lists(inputs, parameters);
        let (arena, workspace) = (Buffer::default(), Buffer::default());
        CpuSession { plan, arena, workspace, inputs: Vec::with_capacity(inputs), crew }
    }

    /// Runs every step, and notes how long each took where there is a place for it.
    fn run_steps(&mut self, input: &Tensor, mut times: Option<&mut Vec<Duration>>) -> Result<Tensor> {
        let plan = &*self.plan;
        let (batch, data) = plan.network.check_input(input)?;
        grow("the arena", &mut self.arena, plan.lowered.arena_length(batch))?;
        grow("the workspace", &mut self.workspace, plan.workspace_length(batch))?;
        let (arena, workspace, inputs) = (&mut self.arena[..], &mut self.workspace[..], &mut self.inputs);
        enter(&plan.pool, &self.crew, plan.flops.saturating_mul(batch as u64), |workers| {
            for step in &plan.lowered.steps {
                let start = times.is_some().then(Instant::now);
                if !plan.lowered.is_in_place(step, batch) {
                    run_step(plan, step, (&mut *arena, &mut *workspace, &mut *inputs), (batch, data), workers);
                }
                if let (Some(times), Some(start)) = (&mut times, start) {
                    times.push(start.elapsed());
                }
            }
        });
        let shape = plan.network.output_shape().with_batch(batch);
        let range = plan.lowered.range(plan.lowered.output, batch);
        Tensor::new(shape, self.arena[range].to_vec())
    }
}

/// Grows a buffer, whose content is lost, or an error instead of an abort where there is no memory.
fn grow(what: &str, buffer: &mut Buffer, length: usize) -> Result<()> {
    if buffer.len() < length {
        let bytes = length.saturating_mul(size_of::<f32>());
        *buffer = Buffer::default();
        *buffer = Buffer::try_zeroed(length).ok_or_else(|| Error::OutOfMemory { what: what.to_string(), bytes })?;
    }
    Ok(())
}

impl Session for CpuSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor> {
        self.run_steps(input, None)
    }

    fn profile(&mut self, input: &Tensor) -> Result<Profile> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(self.plan.lowered.steps.len());
        let output = self.run_steps(input, Some(&mut times))?;
        let total = start.elapsed();
        Ok(Profile::new(&self.plan.lowered.report, times, output, total))
    }
}

/// Borrows the step's output from the arena mutably and its inputs from what lies before and after it, then runs it.
/// The planner lets no input overlap the output.
fn run_step(
    plan: &PlanData,
    step: &Step<Box<dyn Kernel>>,
    (arena, workspace, list): (&mut [f32], &mut [f32], &mut Vec<&'static [f32]>),
    (batch, input): (usize, &[f32]),
    workers: Workers<'_>,
) {
    let range = plan.lowered.range(step.output, batch);
    let (before, rest) = arena.split_at_mut(range.start);
    let (output, after) = rest.split_at_mut(range.len());
    let (before, after) = (&*before, &*after);
    let find = |&slot: &SlotId| {
        if slot == SlotId::INPUT {
            return input;
        }
        let source = plan.lowered.range(slot, batch);
        match source.end <= range.start {
            true => &before[source],
            false => &after[source.start - range.end..source.end - range.end],
        }
    };
    with_list(list, step.inputs.iter().map(find), |inputs| {
        step.kernel.run(Io { batch, inputs, output, workspace }, workers);
    });
}
