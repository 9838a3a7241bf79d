//! A compiled network: a kernel for each step, over slots of one planned arena on the device.

mod chains;
mod compiler;
mod format;

use std::sync::Arc;

use cnn_core::backend::{CompileOptions, Plan, PlanReport, Precision, Session};
use cnn_core::choose;
use cnn_core::lowering::{Lowered, lower};
use cnn_core::passes::Program;
use cnn_core::{Network, Result, Weights};

use crate::driver::Driver;
use crate::kernel::Kernel;
use crate::ops;
use crate::session::OclSession;
use compiler::Compiler;

/// A program with its kernels, and the device that runs them.
pub(crate) struct PlanData {
    pub(crate) network: Network,
    pub(crate) lowered: Lowered<Box<dyn Kernel>>,
    pub(crate) driver: Driver,
}

impl PlanData {
    /// Floats of each workspace that the steps share for a batch.
    pub(crate) fn workspaces(&self, batch: usize) -> Vec<usize> {
        let mut shared = Vec::new();
        for step in &self.lowered.steps {
            for (i, floats) in step.kernel.workspaces(&self.driver, batch).into_iter().enumerate() {
                if i == shared.len() {
                    shared.push(0);
                }
                shared[i] = floats.max(shared[i]);
            }
        }
        shared
    }
}

pub(crate) struct OclPlan(Arc<PlanData>);

impl Plan for OclPlan {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(OclSession::new(self.0.clone())?))
    }

    fn report(&self) -> &PlanReport {
        &self.0.lowered.report
    }
}

pub(crate) fn compile(
    network: &Network,
    weights: &Weights,
    options: &CompileOptions,
    driver: &Driver,
) -> Result<OclPlan> {
    choose::check_name(options.algorithm.as_deref(), &ops::algorithm_names())?;
    weights.check(network)?;
    let mut program = Program::for_inference(network);
    chains::fuse(&mut program, options, &driver.tuning);
    let format = format::choose(&program, weights, options, driver)?;
    let driver = driver.with_format(format);
    let mut options = options.clone();
    if format.values == Precision::Half {
        options.linear_weights = Precision::Half;
    }
    let compiler = Compiler { program: &program, weights, options: &options, driver: &driver };
    let lowered = lower(&program, "ocl", &compiler)?;
    let mut plan = PlanData { network: network.clone(), lowered, driver };
    // Programs are compiled here, not in the first run.
    for step in &plan.lowered.steps {
        step.kernel.launches(&plan.driver, options.batch)?;
    }
    plan.lowered.report.workspace_bytes = plan.workspaces(options.batch).iter().sum::<usize>() * size_of::<f32>();
    Ok(OclPlan(Arc::new(plan)))
}
