//! A compiled network: steps over slots of one planned arena.

mod compiler;
mod convolution;

use std::ops::Range;
use std::sync::Arc;

use cnn_core::arena::{self, Lifetime};
use cnn_core::backend::{Ceilings, CompileOptions, Plan, PlanReport, Session};
use cnn_core::passes::Program;
use cnn_core::{Error, Network, Result, Shape, Weights};

use crate::layout::Layout;
use crate::machine::Machine;
use crate::ops::{self, Kernel};
use crate::session::CpuSession;
use crate::threads::Crew;
use compiler::Compiler;

pub(crate) struct PlanData {
    pub(crate) network: Network,
    pub(crate) pool: Arc<rayon::ThreadPool>,
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) output: SlotId,
    pub(crate) layout: arena::Layout,
    pub(crate) scratch_length: usize,
    pub(crate) flops: u64,
    pub(crate) report: PlanReport,
}

pub(crate) struct Step {
    pub(crate) inputs: Vec<SlotId>,
    pub(crate) output: SlotId,
    pub(crate) kernel: Box<dyn Kernel>,
}

/// Number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId(usize);

impl SlotId {
    /// The caller's input, which has no place in the arena.
    pub(crate) const INPUT: SlotId = SlotId(0);
}

/// A value in one layout.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
}

impl PlanData {
    /// Where a batch of a slot lies in the arena.
    pub(crate) fn range(&self, slot: SlotId, batch: usize) -> Range<usize> {
        let Slot { shape, layout } = &self.slots[slot.0];
        // The input comes first and has no place.
        let start = slot.0.checked_sub(1).map_or(0, |place| self.layout.offsets[place]) * batch;
        start..start + layout.elements(shape) * batch
    }

    /// Floats that the steps' kernels share for a batch.
    pub(crate) fn workspace_length(&self, batch: usize) -> usize {
        self.steps.iter().map(|step| step.kernel.workspace_length(batch)).max().unwrap_or(0)
    }
}

pub(crate) struct CpuPlan(Arc<PlanData>);

impl Plan for CpuPlan {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(CpuSession::new(self.0.clone())))
    }

    fn report(&self) -> &PlanReport {
        &self.0.report
    }
}

pub(crate) fn compile(
    network: &Network,
    weights: &Weights,
    options: &CompileOptions,
    (pool, machine): (&Arc<rayon::ThreadPool>, &Machine),
    ceilings: &(dyn Fn() -> Ceilings + Sync),
) -> Result<CpuPlan> {
    check_algorithm(options)?;
    weights.check(network)?;
    let program = Program::for_inference(network);
    let Compiler { slots, steps, mut report, output, .. } =
        Compiler::new(&program, weights, options, (pool, machine), ceilings).compile()?;
    let layout = plan_arena(&slots, &steps, output);
    let scratch_length = steps.iter().map(|step| step.kernel.scratch_length()).max().unwrap_or(0);
    let mut plan = PlanData {
        network: network.clone(),
        pool: pool.clone(),
        steps,
        slots,
        output,
        layout,
        scratch_length,
        flops: network.flops(),
        report: PlanReport::default(),
    };
    report.arena_bytes = plan.layout.size * size_of::<f32>();
    report.workspace_bytes = Crew::bytes(pool.current_num_threads(), scratch_length)
        + plan.workspace_length(options.batch) * size_of::<f32>();
    plan.report = report;
    Ok(CpuPlan(Arc::new(plan)))
}

fn check_algorithm(options: &CompileOptions) -> Result<()> {
    let Some(name) = &options.algorithm else { return Ok(()) };
    let known = ops::algorithm_names();
    match known.iter().any(|k| k == name || k.split_once('/').map(|(_, row)| row) == Some(name)) {
        true => Ok(()),
        false => Err(Error::UnknownAlgorithm { name: name.clone(), known: known.join(", ") }),
    }
}

/// Lifetimes of the slots that steps write, in units of steps. Each is written by the step before its number.
fn plan_arena(slots: &[Slot], steps: &[Step], output: SlotId) -> arena::Layout {
    let lifetime = |(slot, Slot { shape, layout }): (usize, &Slot)| {
        let first = steps.iter().position(|step| step.output == SlotId(slot)).unwrap_or(0);
        let last = steps.iter().rposition(|step| step.inputs.contains(&SlotId(slot))).unwrap_or(first);
        let last = if output == SlotId(slot) { steps.len() } else { last };
        Lifetime { size: layout.elements(shape), first, last }
    };
    arena::lay_out(&slots.iter().enumerate().skip(1).map(lifetime).collect::<Vec<_>>())
}
