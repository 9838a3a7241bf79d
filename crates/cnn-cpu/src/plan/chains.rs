//! Flattened convolutions as chains that run in one step, where that is faster than one after the other.

use std::sync::Arc;

use cnn_core::backend::{Ceilings, CompileOptions};
use cnn_core::lowering::Chosen;
use cnn_core::passes::{Program, Step};
use cnn_core::{Layer, Result};

use super::compiler::Compiler;
use crate::machine::Machine;
use crate::ops::Kernel;
use crate::ops::conv2d::{self, Parameters, Problem, flattened};

/// Fuses the chains that are worth it; all that can be where the options ask for them, none where they ask for another row.
pub(super) fn fuse(
    program: &mut Program<'_>,
    options: &CompileOptions,
    (pool, machine): (&Arc<rayon::ThreadPool>, &Machine),
    ceilings: &(dyn Fn() -> Ceilings + Sync),
) {
    let is_named = |wish: &str| flattened::NAME == wish || flattened::NAME.rsplit('/').next() == Some(wish);
    let wished = options.algorithm.as_deref().map(is_named);
    if wished == Some(false) {
        return;
    }
    let place = (options.batch, pool.current_num_threads());
    program.fuse_chains(|program, steps| {
        let Some(problems) = problems(program, steps, machine) else { return false };
        let alone = |problem: &Problem| {
            let seconds = conv2d::ranked(problem, options.batch, ceilings()).into_iter().map(|(_, seconds)| seconds);
            seconds.filter(|seconds| seconds.is_finite()).fold(f64::INFINITY, f64::min)
        };
        flattened::accepts(&problems).is_ok()
            && (wished == Some(true)
                || flattened::seconds(&problems, place, ceilings()) <= problems.iter().map(alone).sum())
    });
}

/// The convolutions of a chain; none where one of them has an activation that the next one reads, or is wrong for its input.
fn problems(program: &Program<'_>, steps: &[&Step], machine: &Machine) -> Option<Vec<Problem>> {
    let (_, linear) = steps.split_last()?;
    let problem = |step: &&Step| match program.layer(step) {
        Layer::Conv2d(conv) => {
            let problem = Problem::new(conv, program.network.input_shapes(step.node)[0], machine).ok()?;
            Some(Problem { layout: machine.blocked(), ..problem })
        }
        _ => None,
    };
    linear.iter().all(|step| step.activation.is_none()).then(|| steps.iter().map(problem).collect())?
}

impl Compiler<'_> {
    /// The kernel of a chain.
    pub(super) fn chain(&self, step: &Step) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let links: Vec<&Step> = step.links().collect();
        let misfit = |reason: String| network.layer_error(step.node, cnn_core::Misfit(reason));
        let problems = problems(self.program, &links, self.machine)
            .ok_or_else(|| misfit("no flattened convolution".to_string()))?;
        let own = links.iter().map(|link| self.parameters(link)).collect::<Result<Vec<_>>>()?;
        let parameters = links.iter().zip(&own).map(|(link, (weight, bias))| Parameters {
            weight,
            bias: bias.as_deref(),
            activation: link.activation,
        });
        let parameters: Vec<Parameters<'_>> = parameters.collect();
        let threads = self.pool.current_num_threads();
        let prepared = flattened::prepare(&problems, &parameters, threads).map_err(misfit)?;
        let macs = links.iter().map(|link| network.flops_of(link.node) / 2).sum();
        Ok(Chosen { macs, ..Chosen::only(prepared, flattened::NAME) })
    }
}
