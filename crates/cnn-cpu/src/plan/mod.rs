//! A compiled network: a kernel for each step, over slots of one planned arena.

mod chains;
mod compiler;
mod convolution;

use std::sync::Arc;

use cnn_core::backend::{Ceilings, CompileOptions, Plan, PlanReport, Session};
use cnn_core::choose;
use cnn_core::lowering::{Lowered, lower};
use cnn_core::passes::Program;
use cnn_core::{Network, Result, Weights};

use crate::machine::Machine;
use crate::ops::{self, Kernel};
use crate::session::CpuSession;
use crate::threads::Crew;
use compiler::Compiler;

/// A program with its kernels, and what runs them.
pub(crate) struct PlanData {
    pub(crate) network: Network,
    pub(crate) pool: Arc<rayon::ThreadPool>,
    pub(crate) lowered: Lowered<Box<dyn Kernel>>,
    pub(crate) scratch_length: usize,
    pub(crate) flops: u64,
}

impl PlanData {
    /// Floats that the steps' kernels share for a batch.
    pub(crate) fn workspace_length(&self, batch: usize) -> usize {
        let threads = self.pool.current_num_threads();
        self.lowered.steps.iter().map(|step| step.kernel.workspace_length(batch, threads)).max().unwrap_or(0)
    }
}

pub(crate) struct CpuPlan(Arc<PlanData>);

impl Plan for CpuPlan {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(CpuSession::new(self.0.clone())))
    }

    fn report(&self) -> &PlanReport {
        &self.0.lowered.report
    }
}

pub(crate) fn compile(
    network: &Network,
    weights: &Weights,
    options: &CompileOptions,
    (pool, machine): (&Arc<rayon::ThreadPool>, &Machine),
    ceilings: &(dyn Fn() -> Ceilings + Sync),
) -> Result<CpuPlan> {
    choose::check_name(options.algorithm.as_deref(), &ops::algorithm_names())?;
    options.check_single("cpu")?;
    weights.check(network)?;
    let mut program = Program::for_inference(network);
    chains::fuse(&mut program, options, (pool, machine), ceilings);
    program.fuse_residuals();
    let compiler = Compiler { program: &program, weights, options, machine, pool, ceilings };
    let lowered = lower(&program, "cpu", &compiler)?;
    let scratch_length = lowered.steps.iter().map(|step| step.kernel.scratch_length()).max().unwrap_or(0);
    let (network, flops) = (network.clone(), network.flops());
    let mut plan = PlanData { network, pool: pool.clone(), lowered, scratch_length, flops };
    plan.lowered.report.workspace_bytes = Crew::bytes(pool.current_num_threads(), scratch_length)
        + plan.workspace_length(options.batch) * size_of::<f32>();
    Ok(CpuPlan(Arc::new(plan)))
}
