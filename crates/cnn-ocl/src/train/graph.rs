//! What training does with each value and node of a network: which values share memory, which activations are done by the
//! layer before them, where gradients flow.

use cnn_core::layers::Activation;
use cnn_core::training::Learner;
use cnn_core::{Layer, Network, ValueId};

use super::correlation::Method;
use super::flattened::Pair;
use super::lines::Lines;
use super::place::{Place, Sides};
use super::pointwise::Pointwise;
use crate::driver::Driver;

/// A value that has memory of its own.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) place: Place,
    pub(super) gradient: Place,
    /// Whether its gradient is wanted.
    pub(super) has_gradient: bool,
    /// The activation that its layer does too.
    pub(super) activation: Option<Activation>,
    /// Nodes that read it, the loss included.
    readers: usize,
}

/// How a node passes a gradient on to one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flow {
    /// Whether it adds to what a later reader of the input wrote.
    pub(super) accumulate: bool,
    /// The activation behind the input that it passes the gradient through as well.
    pub(super) through: Option<Activation>,
}

/// What a node does in the backward pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Backward {
    /// The activation that its output's gradient is first passed through.
    pub(super) derive: Option<Activation>,
    /// By input; nothing where no gradient is wanted.
    pub(super) flows: Vec<Option<Flow>>,
}

/// A network's training as data.
#[derive(Debug)]
pub(super) struct Graph {
    /// By value: the one in whose memory it lies.
    pub(super) home: Vec<usize>,
    /// By value; those that lie in another's memory do not count.
    pub(super) values: Vec<Value>,
    /// By node: whether nothing is left to do for it.
    pub(super) is_done: Vec<bool>,
    /// By node: how convolutions and fully connected layers run.
    pub(super) methods: Vec<Option<Method>>,
    /// By node: what runs together with the node before it.
    pub(super) pairs: Vec<Option<Pair>>,
    /// By node: what runs as products of copied pixels.
    pub(super) pointwise: Vec<Option<Pointwise>>,
    /// By node: nothing where no gradient arrives.
    pub(super) backward: Vec<Option<Backward>>,
}

impl Graph {
    pub(super) fn new(learner: &Learner, driver: &Driver, sides: Sides) -> Self {
        let network = &learner.network;
        let mut graph = Graph {
            home: (0..network.value_count()).collect(),
            values: Vec::new(),
            is_done: vec![false; learner.depth],
            methods: vec![None; learner.depth],
            pairs: vec![None; learner.depth],
            pointwise: (0..learner.depth).map(|node| Pointwise::of(network, node, driver, sides)).collect(),
            backward: Vec::new(),
        };
        let gradients = wanted_gradients(learner);
        for value in network.values() {
            let place = Place::new(network.shape(value));
            let has_gradient = gradients[value.index()];
            graph.values.push(Value { place, gradient: place, has_gradient, activation: None, readers: 0 });
        }
        for value in network.nodes()[..learner.depth].iter().flat_map(|node| &node.inputs).chain([&learner.logits]) {
            graph.values[value.index()].readers += 1;
        }
        for node in 0..learner.depth {
            graph.join(network, node);
            graph.place(network, node);
        }
        for node in 0..learner.depth {
            graph.pair(network, node, Pair::of(network, node, driver, sides.samples));
        }
        graph.flow(learner);
        graph
    }

    /// The memory in which the output of a node lies.
    pub(super) fn output(&self, network: &Network, node: usize) -> usize {
        self.home[network.output_of(node).index()]
    }

    /// What a node reads; of a pair, what its first node reads.
    pub(super) fn inputs<'a>(&self, network: &'a Network, node: usize) -> &'a [ValueId] {
        &network.nodes()[self.pairs[node].map_or(node, |pair| pair.vertical)].inputs
    }

    /// Has a node run with the one before it. What lies between them is not kept: whoever looks there finds the output.
    fn pair(&mut self, network: &Network, node: usize, pair: Option<Pair>) {
        let (between, output) = (network.nodes()[node].inputs[0].index(), self.output(network, node));
        let Some(pair) = pair else { return };
        // Nobody else reads it, and nothing is done to it.
        if self.values[between].readers == 1 && self.home[between] == between && self.pairs[pair.vertical].is_none() {
            self.home[between] = output;
            self.is_done[pair.vertical] = true;
            self.pairs[node] = Some(pair);
        }
    }

    /// Has an activation done by the layer before it, and leaves flat what lies flat.
    fn join(&mut self, network: &Network, node: usize) {
        let n = &network.nodes()[node];
        let (input, output) = (n.inputs[0].index(), network.output_of(node).index());
        // A value that is read by this node alone, so that nobody misses it.
        let home = self.home[input];
        if self.values[input].readers != 1 || home == 0 {
            return;
        }
        let joined = match &n.layer {
            Layer::Activation(activation) if home == input && derives_from_its_value(*activation) => {
                let made_by = &network.nodes()[input - 1].layer;
                matches!(made_by, Layer::Conv2d(_) | Layer::Linear(_) | Layer::BatchNorm2d(_))
                    && self.values[home].activation.replace(*activation).is_none()
            }
            Layer::Flatten(_) => self.values[home].gradient.margin == [0, 0],
            _ => false,
        };
        if joined {
            self.home[output] = home;
            self.is_done[node] = true;
            self.values[home].readers = self.values[output].readers;
        }
    }

    /// Chooses how a convolution runs, and makes room for what it reads beyond the edges.
    fn place(&mut self, network: &Network, node: usize) {
        let n = &network.nodes()[node];
        let (input, output) = (self.home[n.inputs[0].index()], self.output(network, node));
        let Layer::Conv2d(conv) = &n.layer else {
            if matches!(n.layer, Layer::Linear(_)) {
                self.methods[node] = Some(Method::Linear);
            }
            return;
        };
        let plane = conv.plane(network.input_shapes(node)[0]).expect("the network has checked the window");
        let covers = [plane.rows, plane.columns]
            .iter()
            .all(|axis| axis.output == 1 && axis.before == 0 && axis.after == 0 && axis.kernel == axis.input);
        let flat = self.values[input].readers == 1 && self.values[input].gradient.margin == [0, 0];
        if covers && flat && conv.groups == 1 {
            self.methods[node] = Some(Method::Linear);
            return;
        }
        self.methods[node] = Some(Method::Windows(plane));
        self.values[input].place.widen(Lines::forward(&plane.columns).margin(plane.columns.input));
        if self.values[input].has_gradient {
            for lines in Lines::backward(&plane.columns) {
                self.values[output].gradient.widen(lines.margin(plane.columns.output));
            }
        }
    }

    /// Follows gradients from the loss backward.
    fn flow(&mut self, learner: &Learner) {
        let network = &learner.network;
        let mut written = vec![false; network.value_count()];
        written[self.home[learner.logits.index()]] = true;
        self.backward = vec![None; learner.depth];
        // Whether the gradient of a value has gone through the activation behind it.
        let mut derived = vec![false; network.value_count()];
        for node in (0..learner.depth).rev().filter(|&node| !self.is_done[node]) {
            let output = self.output(network, node);
            if !written[output] {
                continue;
            }
            let derive = self.values[output].activation.filter(|_| !derived[output]);
            let mut flows = Vec::new();
            for input in self.inputs(network, node) {
                let home = self.home[input.index()];
                let value = &self.values[home];
                if !value.has_gradient {
                    flows.push(None);
                    continue;
                }
                let passes = matches!(
                    network.nodes()[node].layer,
                    Layer::Conv2d(_)
                        | Layer::Linear(_)
                        | Layer::MaxPool2d(_)
                        | Layer::AvgPool2d(_)
                        | Layer::GlobalAvgPool(_)
                );
                let through = value.activation.filter(|_| passes && value.readers == 1);
                derived[home] |= through.is_some();
                flows.push(Some(Flow { accumulate: written[home], through }));
                written[home] = true;
            }
            self.backward[node] = Some(Backward { derive, flows });
        }
    }
}

/// By value: whether something that learns lies before it.
fn wanted_gradients(learner: &Learner) -> Vec<bool> {
    let network = &learner.network;
    let mut wanted = vec![false; network.value_count()];
    for (node, n) in network.nodes()[..learner.depth].iter().enumerate() {
        let learns = learner.learned[node].iter().any(|l| l.is_learned());
        wanted[network.output_of(node).index()] = learns || n.inputs.iter().any(|input| wanted[input.index()]);
    }
    wanted
}

/// Whether an activation's derivative can be told from its value alone: the value has the sign of what it was taken of.
fn derives_from_its_value(activation: Activation) -> bool {
    match activation {
        Activation::LeakyRelu { slope } => slope >= 0.0,
        Activation::Elu { alpha } => alpha >= 0.0,
        _ => true,
    }
}
