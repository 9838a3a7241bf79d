//! The vertical and horizontal filters of flattened convolutions as one step.

use cnn_core::backend::CompileOptions;
use cnn_core::lowering::{self, Chosen};
use cnn_core::passes::{Program, Step};
use cnn_core::{Layer, Misfit, Result};

use super::compiler::Compiler;
use crate::kernel::Kernel;
use crate::ops::conv2d::{Parameters, Problem, flattened};
use crate::tuning::Tuning;

/// Fuses the pairs, unless the options ask for another row.
pub(super) fn fuse(program: &mut Program<'_>, options: &CompileOptions, tuning: &Tuning) {
    let is_named = |wish: &str| flattened::NAME == wish || flattened::NAME.rsplit('/').next() == Some(wish);
    if options.algorithm.as_deref().is_none_or(is_named) {
        program.fuse_chains(|program, steps| pair(program, steps, tuning).is_some());
    }
}

/// The two filters; none where it is anything else.
fn pair(program: &Program<'_>, steps: &[&Step], tuning: &Tuning) -> Option<[Problem; 2]> {
    let problem = |step: &Step| match program.layer(step) {
        Layer::Conv2d(conv) => Problem::new(conv, program.network.input_shapes(step.node)[0], tuning).ok(),
        _ => None,
    };
    let &[vertical, horizontal] = steps else { return None };
    let pair = [problem(vertical)?, problem(horizontal)?];
    (vertical.activation.is_none() && flattened::accepts([&pair[0], &pair[1]])).then_some(pair)
}

impl Compiler<'_> {
    /// The kernel of a pair.
    pub(super) fn chain(&self, step: &Step) -> Result<Chosen<Box<dyn Kernel>>> {
        let network = self.program.network;
        let links: Vec<&Step> = step.links().collect();
        let [vertical, horizontal] = pair(self.program, &links, &self.driver.tuning)
            .ok_or_else(|| network.layer_error(step.node, Misfit("no flattened convolution".to_string())))?;
        let own = links.iter().map(|link| lowering::parameters(self.program, self.weights, link));
        let own = own.collect::<Result<Vec<_>>>()?;
        let parameters = |link: usize| Parameters {
            weight: &own[link][0],
            bias: own[link].get(1).map(|bias| &bias[..]),
            activation: links[link].activation,
        };
        let prepared = flattened::prepare(self.driver, [&vertical, &horizontal], [parameters(0), parameters(1)])?;
        let macs = links.iter().map(|link| network.flops_of(link.node) / 2).sum();
        Ok(Chosen { macs, ..Chosen::only(prepared, flattened::NAME) })
    }
}
