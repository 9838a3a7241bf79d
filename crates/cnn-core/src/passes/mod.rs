//! Rewrites of a network on its way to a plan. Each pass is one file and one function over a [`Program`].
//!
//! The reference backend runs none of them: it is what they are checked against.

mod fold_batch_norm;
mod fuse_activation;
mod fuse_chains;
mod fuse_pool;
mod fuse_residual;
mod remove_identities;

pub use fold_batch_norm::{FoldedConv, fold};

use crate::layers::Activation;
use crate::{Layer, Network, ValueId};

/// The steps that a network's nodes become: the nodes in order, less those that run inside another's step or
/// disappear.
#[derive(Debug, Clone)]
pub struct Program<'n> {
    /// The network.
    pub network: &'n Network,
    /// In the order in which they run.
    pub steps: Vec<Step>,
    /// The value that the program returns. Its shape may differ from the network's output shape, not its elements.
    pub output: ValueId,
}

/// One node with what runs inside its step. Parameters are the node's and the batch norm's.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Number of the node in the network.
    pub node: usize,
    /// What the node reads. A value may stand in for one of another shape with the same elements.
    pub inputs: Vec<ValueId>,
    /// What it writes.
    pub output: ValueId,
    /// Number of the batch norm that is folded into the weights.
    pub batch_norm: Option<usize>,
    /// A value of the output's shape that is added to a convolution, before the activation.
    pub residual: Option<ValueId>,
    /// Applied to each element before it is written.
    pub activation: Option<Activation>,
    /// Number of the maximum pooling that comes last.
    pub pool: Option<usize>,
    /// Convolutions that follow the node's own inside this step, each with what is its own; but the pooling is that of them all.
    pub chain: Vec<Step>,
    /// Numbers of the nodes that run inside this step, in order.
    pub fused: Vec<usize>,
}

impl Step {
    /// The convolutions of a chain; this step alone where it is none.
    pub fn links(&self) -> impl Iterator<Item = &Step> {
        std::iter::once(self).chain(&self.chain)
    }
}

impl<'n> Program<'n> {
    /// One step a node.
    pub fn new(network: &'n Network) -> Self {
        let steps = network.nodes().iter().enumerate().map(|(node, n)| Step {
            node,
            inputs: n.inputs.clone(),
            output: network.output_of(node),
            batch_norm: None,
            residual: None,
            activation: None,
            pool: None,
            chain: Vec::new(),
            fused: Vec::new(),
        });
        Program { network, steps: steps.collect(), output: network.output() }
    }

    /// All passes that keep inference's results: identities removed, batch norms folded, activations
    /// and poolings fused.
    pub fn for_inference(network: &'n Network) -> Self {
        let mut program = Program::new(network);
        remove_identities::remove_identities(&mut program);
        fold_batch_norm::fold_batch_norm(&mut program);
        fuse_activation::fuse_activation(&mut program);
        fuse_pool::fuse_pool(&mut program);
        program
    }

    /// The layer of a step.
    pub fn layer(&self, step: &Step) -> &'n Layer {
        &self.network.nodes()[step.node].layer
    }

    /// How often `value` is read, the return of the program included.
    fn uses(&self, value: ValueId) -> usize {
        let reads = self.steps.iter().flat_map(|step| step.inputs.iter().chain(&step.residual));
        reads.filter(|&&read| read == value).count() + usize::from(self.output == value)
    }

    /// Lets the step `follower` run inside `leader`, which makes the only value that it reads.
    fn absorb(&mut self, leader: usize, follower: usize) {
        let follower = self.steps.remove(follower);
        let leader = &mut self.steps[leader];
        leader.output = follower.output;
        leader.fused.push(follower.node);
        leader.fused.extend(follower.fused);
    }

    /// Pairs of steps such that the second is the only reader of the first's output and reads nothing else, the first
    /// of them that `wanted` takes.
    fn find_pair(&self, wanted: impl Fn(&Step, &Step) -> bool) -> Option<(usize, usize)> {
        (0..self.steps.len()).find_map(|follower| {
            let [input] = self.steps[follower].inputs[..] else { return None };
            let leader = self.steps.iter().position(|step| step.output == input)?;
            let pair = self.uses(input) == 1 && wanted(&self.steps[leader], &self.steps[follower]);
            pair.then_some((leader, follower))
        })
    }
}
