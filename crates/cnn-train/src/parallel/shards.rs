//! Which fully connected layers are split between workers, and the network that each worker has then.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use cnn_core::layers::Linear;
use cnn_core::network::NamedParameter;
use cnn_core::{Layer, Network, NetworkBuilder, ValueId};

use super::joint::{Joint, Kind, PartDropout, Parts, parts};
use super::pieces::{Cut, Piece};
use super::rounds::InRounds;
use super::wire::Wire;
use crate::{Error, Result};

/// By which side fully connected layers are split: Dettmers (2016), section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// A worker has some of the outputs. Values are gathered before the next layer, gradients of its inputs summed.
    Outputs,
    /// A worker has the weights of some of the inputs. Outputs are summed, gradients of its inputs gathered.
    Inputs,
    /// Outputs first; a layer that reads what is in parts already, by its inputs. Two layers then meet once each way instead of twice, as
    /// elementwise functions between them need no more than a part (Shoeybi et al. 2019, section 3).
    #[default]
    Alternating,
}

/// Which fully connected layers are split, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splitting {
    /// By what.
    pub side: Side,
    /// Weights of a layer that is worth its messages. Smaller ones stay whole, on every worker, but for the largest of the network.
    pub smallest: usize,
}

impl Default for Splitting {
    /// Alternating, layers of at least 16,384 weights.
    fn default() -> Self {
        Splitting { side: Side::default(), smallest: 1 << 14 }
    }
}

/// How a node is split.
#[derive(Debug, Clone)]
enum Share {
    /// Every worker has all of it.
    Whole,
    /// By its outputs.
    Outputs(Parts),
    /// By its inputs.
    Inputs(Parts),
    /// An elementwise function of a value in parts.
    Elementwise(Parts),
}

/// A network and how it is split.
#[derive(Debug)]
pub(super) struct Shards {
    network: Network,
    workers: usize,
    /// By node.
    shares: Vec<Share>,
    /// By value: whether it has a gradient that somebody needs.
    wanted: Vec<bool>,
}

/// Which worker a network is for.
pub(super) struct Seat {
    pub(super) rank: usize,
    pub(super) wire: Arc<Mutex<Wire>>,
    /// Where passes are over parts of the batch: the samples before them.
    pub(super) samples_before: Option<Arc<AtomicUsize>>,
}

impl Shards {
    /// Errors where there is nothing to split: no fully connected layer with as many inputs or outputs as there are workers.
    pub(super) fn new(network: &Network, workers: usize, splitting: Splitting) -> Result<Self> {
        let mut shards = Shards {
            network: network.clone(),
            workers,
            shares: Vec::new(),
            wanted: vec![false; network.value_count()],
        };
        let sides = |node: usize, layer: &Linear| [layer.out_features, network.input_shapes(node)[0].elements()];
        let weights = |node: usize| match &network.nodes()[node].layer {
            Layer::Linear(layer) => Some(sides(node, layer)).filter(|sides| sides.iter().any(|&side| side >= workers)),
            _ => None,
        };
        let weights: Vec<usize> =
            (0..network.nodes().len()).map(|node| weights(node).map_or(0, |[o, i]| o.saturating_mul(i))).collect();
        let largest = weights.iter().copied().max().unwrap_or(0);
        if largest == 0 {
            let reason = format!("no fully connected layer of {workers} inputs or outputs, one a worker");
            return Err(Error::Setting(format!(
                "`{}` cannot be trained model-parallel: it has {reason}",
                network.name()
            )));
        }
        for (node, n) in network.nodes().iter().enumerate() {
            let is_worth_it = workers > 1 && weights[node] >= splitting.smallest.min(largest);
            let input = shards.parts_of(n.inputs[0]);
            let share = match &n.layer {
                Layer::Linear(layer) if is_worth_it => {
                    split(sides(node, layer), workers, splitting.side, input.is_some())
                }
                Layer::Activation(_) | Layer::Dropout(_) => input.map_or(Share::Whole, Share::Elementwise),
                _ => Share::Whole,
            };
            shards.shares.push(share);
            let learns = !network.parameters_of(node).is_empty();
            let wanted = learns || n.inputs.iter().any(|value| shards.wanted[value.index()]);
            shards.wanted[network.output_of(node).index()] = wanted;
        }
        Ok(shards)
    }

    /// The parts in which a value is made, where it is.
    fn parts_of(&self, value: ValueId) -> Option<Parts> {
        match self.shares.get(value.index().checked_sub(1)?)? {
            Share::Outputs(parts) | Share::Elementwise(parts) => Some(parts.clone()),
            Share::Whole | Share::Inputs(_) => None,
        }
    }

    /// How many layers are split by their outputs, and by their inputs.
    pub(super) fn counts(&self) -> [usize; 2] {
        let count = |is: fn(&Share) -> bool| self.shares.iter().filter(|share| is(share)).count();
        [count(|share| matches!(share, Share::Outputs(_))), count(|share| matches!(share, Share::Inputs(_)))]
    }

    /// Every parameter and its pieces.
    pub(super) fn cuts(&self) -> Vec<Cut> {
        let of_node = |node: usize| {
            let cut = move |(place, parameter): (usize, NamedParameter)| {
                let piece = match (&self.shares[node], place) {
                    (Share::Outputs(parts), _) => Piece::Rows(parts.clone()),
                    (Share::Inputs(parts), 0) => Piece::Columns(parts.clone()),
                    (Share::Inputs(_), _) => Piece::First,
                    (Share::Whole | Share::Elementwise(_), _) => Piece::Whole,
                };
                Cut { parameter, piece }
            };
            self.network.parameters_of(node).into_iter().enumerate().map(cut)
        };
        (0..self.shares.len()).flat_map(of_node).collect()
    }

    /// The network of one worker: the layers by their own names, joints between them.
    pub(super) fn network(&self, seat: Seat) -> Result<Network> {
        let builder = Network::builder(self.network.name(), self.network.input_shape().clone());
        let none = vec![None; self.network.value_count()];
        let mut writer = Writer { shards: self, seat, builder, found: [(); 3].map(|()| none.clone()) };
        writer.found[Form::Whole as usize][0] = Some(ValueId::INPUT);
        (0..self.shares.len()).try_for_each(|node| writer.node(node))?;
        writer.value(self.network.output(), Form::Whole)?;
        Ok(writer.builder.finish()?)
    }
}

/// How a layer of so many outputs and inputs is split.
fn split([outputs, inputs]: [usize; 2], workers: usize, side: Side, in_parts: bool) -> Share {
    let by_inputs = match side {
        Side::Outputs => false,
        Side::Inputs => true,
        Side::Alternating => in_parts,
    };
    match (by_inputs, outputs >= workers, inputs >= workers) {
        (true, _, true) | (false, false, true) => Share::Inputs(parts(inputs, workers)),
        (_, true, _) => Share::Outputs(parts(outputs, workers)),
        _ => Share::Whole,
    }
}

/// What a layer needs of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All features, every reader taking the same gradient of it.
    Whole,
    /// All features, each worker making a part of the gradient's sum.
    Spread,
    /// This worker's features.
    Part,
}

/// Writes a worker's network.
struct Writer<'a> {
    shards: &'a Shards,
    seat: Seat,
    builder: NetworkBuilder,
    /// By form and value of the whole network.
    found: [Vec<Option<ValueId>>; 3],
}

impl Writer<'_> {
    fn node(&mut self, node: usize) -> Result<()> {
        let n = &self.shards.network.nodes()[node];
        let (needs, gives) = match &self.shards.shares[node] {
            Share::Whole => (Form::Whole, Form::Whole),
            Share::Outputs(_) => (Form::Spread, Form::Part),
            Share::Inputs(_) => (Form::Part, Form::Whole),
            Share::Elementwise(_) => (Form::Part, Form::Part),
        };
        let inputs = n.inputs.iter().map(|&value| self.value(value, needs)).collect::<Result<Vec<_>>>()?;
        let mut output = self.builder.push_with(&n.name, self.layer(node), &inputs)?;
        if let Share::Inputs(_) = self.shards.shares[node] {
            output = self.joint(self.shards.network.output_of(node), Kind::Sum, output)?;
        }
        self.found[gives as usize][self.shards.network.output_of(node).index()] = Some(output);
        Ok(())
    }

    /// This worker's share of a layer.
    fn layer(&self, node: usize) -> Layer {
        let layer = &self.shards.network.nodes()[node].layer;
        match (layer, &self.shards.shares[node]) {
            (Layer::Linear(linear), Share::Outputs(parts)) => {
                Layer::Linear(Linear { out_features: parts[self.seat.rank].len(), ..linear.clone() })
            }
            (Layer::Linear(linear), Share::Inputs(_)) => {
                Layer::Linear(Linear { bias: linear.bias && self.seat.rank == 0, ..linear.clone() })
            }
            (Layer::Dropout(whole), Share::Elementwise(parts)) => {
                let (whole, part) = (whole.clone(), parts[self.seat.rank].clone());
                let elements = self.shards.network.input_shapes(node)[0].elements();
                self.in_rounds(Layer::Custom(Arc::new(PartDropout { whole, part, elements })))
            }
            (Layer::Dropout(_) | Layer::Custom(_), _) => self.in_rounds(layer.clone()),
            _ => layer.clone(),
        }
    }

    /// A layer that may draw, told which samples of the batch it sees.
    fn in_rounds(&self, layer: Layer) -> Layer {
        match self.seat.samples_before.clone() {
            Some(samples_before) => Layer::Custom(Arc::new(InRounds { layer, samples_before })),
            None => layer,
        }
    }

    /// A value in the form that a reader needs, made where it is not there yet.
    fn value(&mut self, value: ValueId, form: Form) -> Result<ValueId> {
        if let Some(found) = self.found[form as usize][value.index()] {
            return Ok(found);
        }
        let made = match form {
            Form::Whole => {
                let part = self.value(value, Form::Part)?;
                self.joint(value, Kind::Gather, part)?
            }
            Form::Part => {
                let whole = self.value(value, Form::Whole)?;
                self.joint(value, Kind::Cut, whole)?
            }
            Form::Spread => {
                let whole = self.value(value, Form::Whole)?;
                match self.shards.wanted[value.index()] {
                    true => self.joint(value, Kind::Spread, whole)?,
                    false => whole,
                }
            }
        };
        self.found[form as usize][value.index()] = Some(made);
        Ok(made)
    }

    /// Puts a joint behind `input`, which is a form of `value`.
    fn joint(&mut self, value: ValueId, kind: Kind, input: ValueId) -> Result<ValueId> {
        let Shards { network, workers, .. } = self.shards;
        let name = value.index().checked_sub(1).map_or("input", |node| &network.nodes()[node].name);
        let name = format!("{name}/{}", format!("{kind:?}").to_lowercase());
        let parts = parts(network.shape(value).elements(), *workers);
        let joint = Joint { kind, rank: self.seat.rank, parts, wire: self.seat.wire.clone() };
        Ok(self.builder.push_with(name, Layer::Custom(Arc::new(joint)), &[input])?)
    }
}
