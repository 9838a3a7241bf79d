//! All launches of a training step for one size of batch, with their arguments set.

use std::sync::Arc;

use cnn_core::layers::Mode;
use cnn_core::training::Learner;
use cnn_core::{Layer, Result, ValueId};
use opencl3::command_queue::CommandQueue;

use super::graph::{Backward, Graph};
use super::layer::{self, Site, Work};
use super::memory::Memory;
use super::parameters::Parameters;
use super::place::Sides;
use super::{elementwise, loss};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{self, Long};
use crate::kernel::Launch;
use crate::launch::{Buffers, Ready};

/// One pass of a node.
pub(super) struct Pass {
    pub(super) node: usize,
    launches: Vec<Ready>,
    /// Whether the layer has no kernels, so that the host has to run it.
    pub(super) on_host: bool,
}

/// Fields are dropped in their order: launches before the memory that they use.
pub(super) struct Steps {
    pub(super) batch: usize,
    pub(super) turn: Ready,
    pub(super) forward: Vec<Pass>,
    pub(super) loss: Ready,
    /// The last node first.
    pub(super) backward: Vec<Pass>,
    _workspace: Arc<Buffer>,
}

/// What launches are made from.
pub(super) struct Maker<'a> {
    pub(super) driver: &'a Driver,
    pub(super) sides: Sides,
    pub(super) learner: &'a Learner,
    pub(super) graph: &'a Graph,
    pub(super) memory: &'a Memory,
    pub(super) parameters: &'a Parameters,
}

impl Maker<'_> {
    /// Everything for batches of this size, which the memory has room for.
    pub(super) fn steps(&self, batch: usize) -> Result<Steps> {
        let nodes = 0..self.learner.depth;
        let forward = nodes.clone().filter(|&node| !self.graph.is_done[node]).map(|node| {
            let work = layer::forward(&self.site(node, batch, None), self.graph.methods[node])?;
            Ok((node, work))
        });
        let forward: Vec<(usize, Option<Work>)> = forward.collect::<Result<_>>()?;
        let mut backward = Vec::new();
        for node in nodes.rev() {
            let Some(flows) = &self.graph.backward[node] else { continue };
            let site = self.site(node, batch, Some(flows));
            let mut work = layer::backward(&site, self.graph.methods[node])?;
            if let (Some(work), Some(activation)) = (&mut work, flows.derive) {
                work.launches.insert(0, elementwise::derive(&site, activation)?);
            }
            backward.push((node, work));
        }
        let works = forward.iter().chain(&backward).filter_map(|(_, work)| work.as_ref());
        let largest = works.map(|work| work.workspace).max().unwrap_or(0);
        let workspace = Arc::new(Buffer::new(self.driver, "the workspace", largest)?);
        let passes = |works: Vec<(usize, Option<Work>)>| -> Result<Vec<Pass>> {
            let pass = |(node, work): (usize, Option<Work>)| {
                let on_host = work.is_none();
                let launches = work.unwrap_or_default().launches;
                let launches = launches.iter().map(|launch| self.ready(launch, &workspace)).collect::<Result<_>>()?;
                Ok(Pass { node, launches, on_host })
            };
            works.into_iter().map(pass).collect()
        };
        let first = self.site(0, batch, None);
        let images = self.memory.value(self.learner, self.graph, ValueId::INPUT);
        Ok(Steps {
            batch,
            turn: self.ready(&elementwise::turn(&first, &images)?, &self.memory.images)?,
            loss: self.ready(&self.loss(&first)?, &workspace)?,
            forward: passes(forward)?,
            backward: passes(backward)?,
            _workspace: workspace,
        })
    }

    fn ready(&self, launch: &Launch, workspace: &Buffer) -> Result<Ready> {
        let workspaces = std::slice::from_ref(workspace);
        Ready::new(self.driver, launch, &Buffers { workspaces, ..Buffers::default() })
    }

    fn loss(&self, site: &Site<'_>) -> Result<Launch> {
        let (learner, graph, memory) = (self.learner, self.graph, self.memory);
        let logits = memory.value(learner, graph, learner.logits);
        // Logits that nothing learns from still get a gradient to write to.
        let gradient = memory.gradient(learner, graph, learner.logits).unwrap_or_else(|| logits.clone());
        let [labels, found] = [&memory.labels, &memory.found].map(|buffer| Argument::Memory(buffer.clone()));
        loss::launch(site, [&logits, &gradient], [&labels, &found])
    }

    /// A node for a batch; with what it does backward, for that pass.
    pub(super) fn site(&self, node: usize, batch: usize, backward: Option<&Backward>) -> Site<'_> {
        let Maker { learner, graph, memory, .. } = *self;
        let network = &learner.network;
        let (inputs, output) = (graph.inputs(network, node), network.output_of(node));
        let held = memory.value(learner, graph, output);
        let flows = backward.map_or_else(|| vec![None; inputs.len()], |backward| backward.flows.clone());
        let gradient_of =
            |(input, flow): (&ValueId, &Option<_>)| flow.as_ref().and_then(|_| memory.gradient(learner, graph, *input));
        Site {
            driver: self.driver,
            sides: self.sides,
            batch,
            groups: self.sides.groups(batch),
            learner,
            parameters: self.parameters,
            node,
            pair: graph.pairs[node],
            pointwise: graph.pointwise[node],
            inputs: inputs.iter().map(|&input| memory.value(learner, graph, input)).collect(),
            activation: graph.values[graph.output(network, node)].activation,
            gradient: memory.gradient(learner, graph, output).unwrap_or_else(|| held.clone()),
            output: held,
            input_gradients: inputs.iter().zip(&flows).map(gradient_of).collect(),
            flows,
            kept: memory.kept[node].clone(),
        }
    }
}

impl Pass {
    /// Puts its launches into the queue. Dropout draws other numbers in every step.
    pub(super) fn enqueue(&mut self, queue: &CommandQueue, learner: &Learner) -> Result<()> {
        let is_dropout = matches!(learner.network.nodes()[self.node].layer, Layer::Dropout(_));
        for launch in &mut self.launches {
            if let (true, Mode::Training { seed, .. }) = (is_dropout, learner.mode(self.node, 0)) {
                launch.change(elementwise::SEED, &Long(seed))?;
            }
            launch.enqueue(queue)?;
        }
        Ok(())
    }
}
