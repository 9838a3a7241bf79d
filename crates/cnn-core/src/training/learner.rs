//! What every trainer keeps: the weights of a network as they change, their gradients, and what the optimiser remembers.

use smallvec::SmallVec;

use super::partial::Turns;
use super::{Moment, Optimizer};
use crate::backend::Recipe;
use crate::layers::{Mode, Role, counted_from};
use crate::network::{NamedParameter, Node};
use crate::{Error, Layer, Network, Result, Shape, Tensor, ValueId, Weights};

/// A parameter and what the optimiser remembers of it.
#[derive(Debug)]
pub struct Learned {
    /// Its name, shape and role.
    pub parameter: NamedParameter,
    /// The optimiser's tensors; empty where the parameter is a state.
    pub slots: Vec<Vec<f32>>,
}

impl Learned {
    /// Whether the optimiser changes it.
    pub fn is_learned(&self) -> bool {
        self.parameter.role == Role::Learned
    }

    /// Numbers that the optimiser changes.
    pub fn length(&self) -> usize {
        if self.is_learned() { self.parameter.shape.elements() } else { 0 }
    }
}

/// Some numbers of a parameter with all that the optimiser's step over them needs.
#[derive(Debug)]
pub struct Part<'a> {
    /// The numbers.
    pub weight: &'a mut [f32],
    /// Their gradient.
    pub gradient: &'a [f32],
    /// What the optimiser remembers of them, in the order of [`Optimizer::slots`].
    pub slots: SmallVec<[&'a mut [f32]; 2]>,
}

impl Part<'_> {
    /// The optimiser's step.
    #[inline(always)]
    pub fn step(&mut self, rule: &Rule) {
        rule.optimizer.update(rule.moment, self.weight, self.gradient, &mut self.slots);
    }
}

/// How the parts of one step change.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// By what.
    pub optimizer: Optimizer,
    /// With what.
    pub moment: Moment,
}

/// A network that learns.
#[derive(Debug)]
pub struct Learner {
    /// The network.
    pub network: Network,
    /// Nodes that training runs: all, less a closing softmax, which the loss contains.
    pub depth: usize,
    /// The value that the loss is taken of.
    pub logits: ValueId,
    /// By node, then in the layer's order.
    pub values: Vec<Vec<Vec<f32>>>,
    /// As `values`.
    pub learned: Vec<Vec<Learned>>,
    recipe: Recipe,
    /// Number of a batch's first sample in the one that workers share.
    first_sample: usize,
    step: u64,
    turns: Turns,
    /// By node: what its seed differs from those of other layers by.
    streams: Vec<u64>,
    /// By node: whether the step to come learns its parameters.
    due: Vec<bool>,
    /// By value: whether something that is due lies on the way to it.
    wanted: Vec<bool>,
}

impl Learner {
    /// Takes up `weights`. Errors where they are not the network's, where the network has nothing to learn, or where the recipe
    /// is out of range.
    pub fn new(network: &Network, weights: &Weights, recipe: &Recipe) -> Result<Self> {
        weights.check(network)?;
        let nodes = network.nodes();
        let wrong = |reason: String| Err(Error::Network { network: network.name().to_string(), reason });
        if network.output_shape().len() != 1 {
            return wrong(format!(
                "its output {} is no vector of classes, which the loss needs",
                network.output_shape()
            ));
        }
        let (depth, logits) = match nodes.last() {
            Some(Node { layer: Layer::Softmax(_), inputs, .. }) => (nodes.len() - 1, inputs[0]),
            _ => (nodes.len(), network.output()),
        };
        if depth == 0 {
            return wrong("only a softmax, nothing to train".to_string());
        }
        let mut values = Vec::new();
        let mut learned: Vec<Vec<Learned>> = Vec::new();
        for node in 0..nodes.len() {
            values.push(weights.of_node(network, node)?.into_iter().map(Vec::from).collect());
            let keep = |parameter: NamedParameter| {
                let mut l = Learned { parameter, slots: Vec::new() };
                l.slots = recipe.optimizer.slots().iter().map(|_| vec![0.0; l.length()]).collect();
                l
            };
            learned.push(network.parameters_of(node).into_iter().map(keep).collect());
        }
        let learns = |node: &usize| learned[*node].iter().any(Learned::is_learned);
        let turns = Turns::new(recipe.partial, (0..depth).filter(learns).collect(), recipe.seed)
            .map_err(|reason| Error::Recipe { reason })?;
        let (network, recipe) = (network.clone(), recipe.clone());
        let (due, wanted) = (vec![false; nodes.len()], vec![false; network.value_count()]);
        let streams = network.nodes().iter().map(|node| stream(&node.name)).collect();
        let (first_sample, step) = (0, 0);
        let mut learner = Learner {
            network,
            depth,
            logits,
            values,
            learned,
            recipe,
            first_sample,
            step,
            turns,
            streams,
            due,
            wanted,
        };
        learner.come_to(0);
        Ok(learner)
    }

    /// Makes `step` the one to come.
    fn come_to(&mut self, step: u64) {
        self.step = step;
        self.due.fill(false);
        for node in self.turns.due(step) {
            self.due[node] = true;
        }
        for (node, n) in self.network.nodes().iter().enumerate() {
            let wanted = self.due[node] || n.inputs.iter().any(|&value| self.wants(value));
            self.wanted[self.network.output_of(node).index()] = wanted;
        }
    }

    /// Whether the step to come learns a node's parameters: those that [`Recipe::partial`] leaves out keep their weights, and
    /// their gradients need not be known.
    pub fn is_due(&self, node: usize) -> bool {
        self.due[node]
    }

    /// Whether the step to come needs the gradient of a value: whether something that is due lies on the way to it.
    pub fn wants(&self, value: ValueId) -> bool {
        self.wanted[value.index()]
    }

    /// What a node's layer runs in: a seed of its own in each step. It depends on the layer's name, not on its place, so that a
    /// network draws the same with other layers put in between.
    pub fn mode(&self, node: usize, first_sample: usize) -> Mode {
        let of_step = self.recipe.seed.wrapping_add(self.step.wrapping_mul(0x0100_0000_01b3));
        let seed = of_step.wrapping_add(self.streams[node]);
        let elements = self.network.shape(self.network.output_of(node)).elements() as u64;
        let seed = counted_from(seed, elements.wrapping_mul(self.first_sample as u64));
        Mode::Training { seed, first_sample }
    }

    /// As [`Trainer::count_samples_from`](crate::Trainer::count_samples_from).
    pub fn count_samples_from(&mut self, first: usize) {
        self.first_sample = first;
    }

    /// That the loss is no number, where `is_finite` tells of each value.
    pub fn diverged(&self, loss: f64, is_finite: impl Fn(ValueId) -> bool) -> Error {
        let outputs = (0..self.depth).map(|node| self.network.output_of(node));
        // Where all are finite, the loss alone is beyond numbers: it comes of the last.
        let first = outputs.zip(0..).find(|&(value, _)| !is_finite(value)).map_or(self.depth - 1, |(_, node)| node);
        let layer = self.network.nodes()[first].name.clone();
        Error::Diverged { network: self.network.name().to_string(), loss, layer }
    }

    /// What the network learns with.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Counts a step of the optimiser, for a caller that makes it where the numbers are. Gradients are not clipped yet.
    pub fn begin_step(&mut self, learning_rate: f32) -> Moment {
        let moment = Moment::new(learning_rate, self.turns.count(self.step));
        self.come_to(self.step.saturating_add(1));
        moment
    }

    /// Begins the optimiser's step, which is to be made over every part: all parameters that are due, in pieces of at most
    /// `length`. `gradient` knows a parameter's by node and place.
    pub fn begin_update<'a>(
        &'a mut self,
        learning_rate: f32,
        length: usize,
        gradient: impl Fn(usize, usize) -> &'a [f32],
    ) -> (Rule, Vec<Part<'a>>) {
        let (due, moment) = (self.due.clone(), self.moment(learning_rate, &gradient));
        self.begin_step(learning_rate);
        let mut parts = Vec::new();
        let nodes = self.values.iter_mut().zip(&mut self.learned).enumerate();
        for (node, (values, learned)) in nodes.filter(|(node, _)| due[*node]) {
            let pairs = values.iter_mut().zip(learned).enumerate();
            for (place, (weight, l)) in pairs.filter(|(_, (_, l))| l.is_learned()) {
                let mut slots: SmallVec<[_; 2]> = l.slots.iter_mut().map(|slot| slot.chunks_mut(length)).collect();
                for (weight, gradient) in weight.chunks_mut(length).zip(gradient(node, place).chunks(length)) {
                    let slots = slots.iter_mut().filter_map(Iterator::next).collect();
                    parts.push(Part { weight, gradient, slots });
                }
            }
        }
        (Rule { optimizer: self.recipe.optimizer, moment }, parts)
    }

    /// What the step to come changes parameters with, gradients clipped; `gradient` knows a parameter's by node and place.
    pub fn moment<'a>(&self, learning_rate: f32, gradient: impl Fn(usize, usize) -> &'a [f32]) -> Moment {
        let moment = Moment::new(learning_rate, self.turns.count(self.step));
        match self.recipe.clip {
            Some(clip) => Moment { clip: clip.bounds(self.norm(gradient)), ..moment },
            None => moment,
        }
    }

    /// The parameters that are due, by node and place.
    pub fn due_parameters(&self) -> impl Iterator<Item = (usize, usize, &Learned)> {
        self.learned_parameters().filter(|(node, ..)| self.due[*node])
    }

    /// All parameters that are learned, by node and place.
    pub fn learned_parameters(&self) -> impl Iterator<Item = (usize, usize, &Learned)> {
        self.learned.iter().enumerate().flat_map(|(node, learned)| {
            let own = learned.iter().enumerate().filter(|(_, l)| l.is_learned());
            own.map(move |(place, l)| (node, place, l))
        })
    }

    /// The Euclidean norm of the gradients that are due.
    fn norm<'a>(&self, gradient: impl Fn(usize, usize) -> &'a [f32]) -> f64 {
        let gradients = self.due_parameters().flat_map(|(node, place, _)| gradient(node, place));
        gradients.map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt()
    }

    /// As [`Trainer::weights`](crate::Trainer::weights).
    pub fn weights(&self) -> Result<Weights> {
        self.weights_from(|node, place| self.values[node][place].clone())
    }

    /// As [`weights`](Self::weights), from numbers that are elsewhere: `value` knows a parameter's by node and place.
    pub fn weights_from(&self, value: impl Fn(usize, usize) -> Vec<f32>) -> Result<Weights> {
        let mut weights = Weights::new();
        for (node, learned) in self.learned.iter().enumerate() {
            for (place, l) in learned.iter().enumerate() {
                let tensor = Tensor::new(l.parameter.shape.clone(), value(node, place))?;
                weights.insert(l.parameter.name.clone(), tensor);
            }
        }
        Ok(weights)
    }

    /// As [`Trainer::state`](crate::Trainer::state).
    pub fn state(&self) -> Result<Weights> {
        self.state_from(|node, place, slot| self.learned[node][place].slots[slot].clone())
    }

    /// As [`state`](Self::state), from numbers that are elsewhere: `slot` knows what the optimiser remembers by node, place and
    /// number.
    pub fn state_from(&self, slot: impl Fn(usize, usize, usize) -> Vec<f32>) -> Result<Weights> {
        let mut state = Weights::new();
        state.metadata_mut().insert("step".to_string(), self.step.to_string());
        for (node, learned) in self.learned.iter().enumerate() {
            for (place, l) in learned.iter().enumerate().filter(|(_, l)| l.is_learned()) {
                for (i, name) in self.recipe.optimizer.slots().iter().enumerate() {
                    let tensor = Tensor::new(l.parameter.shape.clone(), slot(node, place, i))?;
                    state.insert(format!("{name}.{}", l.parameter.name), tensor);
                }
            }
        }
        Ok(state)
    }

    /// As [`Trainer::restore`](crate::Trainer::restore).
    pub fn restore(&mut self, state: &Weights) -> Result<()> {
        let network = self.network.name().to_string();
        let step = state.metadata().get("step").and_then(|step| step.parse().ok());
        let reason = "the training state does not tell its step".to_string();
        self.come_to(step.ok_or(Error::Network { network: network.clone(), reason })?);
        for l in self.learned.iter_mut().flatten().filter(|l| l.is_learned()) {
            for (slot, values) in self.recipe.optimizer.slots().iter().zip(&mut l.slots) {
                let (name, shape): (String, &Shape) = (format!("{slot}.{}", l.parameter.name), &l.parameter.shape);
                match state.get(&name) {
                    Some(view) if view.shape == shape => values.copy_from_slice(&view.to_f32()),
                    Some(view) => return Err(Error::shape(format!("training state `{name}`"), shape, view.shape)),
                    None => {
                        return Err(Error::MissingWeight { network, name, shape: shape.clone() });
                    }
                }
            }
        }
        Ok(())
    }
}

/// A number for each name: FNV-1a (Fowler, Noll and Vo) of its bytes, mixed as SplitMix64 (Steele et al. 2014) mixes, so that names alike
/// are not a few steps apart.
fn stream(name: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mixed = |z: u64, by: u32| z ^ (z >> by);
    let z = mixed(name.bytes().fold(0xcbf2_9ce4_8422_2325, hash), 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed(mixed(z, 27).wrapping_mul(0x94d0_49bb_1331_11eb), 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Activation, Dropout, Linear};

    fn seeds(between: bool) -> [u64; 3] {
        let mut net = Network::builder("n", [4]);
        net.push("drop1", Dropout::new(0.5)).unwrap();
        if between {
            net.push("relu", Activation::Relu).unwrap();
        }
        net.push("fc", Linear::new(2)).unwrap();
        net.push("drop2", Dropout::new(0.5)).unwrap();
        let network = net.finish().unwrap();
        let weights = Weights::random(&network, 0).unwrap();
        let mut learner = Learner::new(&network, &weights, &Recipe::default()).unwrap();
        let seed = |learner: &Learner, name| {
            let node = network.nodes().iter().position(|node| node.name == name).unwrap();
            match learner.mode(node, 0) {
                Mode::Training { seed, .. } => seed,
                Mode::Inference => unreachable!("a learner trains"),
            }
        };
        let first = [seed(&learner, "drop1"), seed(&learner, "drop2")];
        learner.begin_step(0.1);
        [first[0], first[1], seed(&learner, "drop1")]
    }

    #[test]
    fn what_a_layer_draws_depends_on_its_name_and_the_step() {
        let [first, second, later] = seeds(false);
        assert!(first != second && first != later && second != later);
        assert_eq!(seeds(true), [first, second, later]);
    }
}
