//! Dense convolutions as sums of products of one-dimensional ones (Lebedev et al. 2014, arXiv 1412.6553; Jin et al. 2015, arXiv
//! 1412.5474, section 3).

mod layers;
mod search;

use cnn_core::layers::Conv2d;
use cnn_core::{Layer, Network, Shape, Tensor, Weights};

use crate::decompose::{Effort, Kernel};
use crate::{Error, Result};

pub use layers::rebuild;

/// How many products a convolution becomes the sum of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Terms {
    /// The fewest whose relative error is at most this: the Euclidean norm of what the weights lose, by theirs; above 0 and
    /// below 1. Found to a sixty-fourth of their number.
    Error(f64),
    /// So many for each layer, at least 1; never more than are exact, `kh * kw * min(F, C)`.
    Fixed(usize),
}

/// What [`flatten()`] is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct FlattenOptions {
    /// How many products a convolution becomes the sum of.
    pub terms: Terms,
    /// The layers to flatten, by name; every convolution that can be where nothing is said.
    pub layers: Option<Vec<String>>,
    /// Sweeps of alternating least squares at most, for each number of terms that is tried. None leaves the terms that it
    /// starts from.
    pub sweeps: usize,
    /// The smallest share of the error that a sweep after the first eight has to save for another to follow.
    pub change: f64,
    /// Whether layers become flat even where that takes more multiply-adds.
    pub dearer: bool,
}

impl Default for FlattenOptions {
    /// A relative error of 0.3, which leaves 91 % of the squares of the weights: before fine-tuning that cost LeNet-5 0.1 % of the
    /// test images and VGG in small 1.3 %; with an epoch of fine-tuning, 0.7 cost the latter 0.5 %. A hundred sweeps at most, that
    /// each save 0.03 % of the error; with a third of that somewhat fewer terms are found, in several times the time.
    fn default() -> Self {
        FlattenOptions { terms: Terms::Error(0.3), layers: None, sweeps: 100, change: 3e-4, dearer: false }
    }
}

impl FlattenOptions {
    fn check(&self, network: &Network) -> Result<()> {
        match self.terms {
            Terms::Error(bound) if !(bound > 0.0 && bound < 1.0) => {
                return Err(Error::Setting(format!("error bound {bound} is not between 0 and 1")));
            }
            Terms::Fixed(0) => return Err(Error::Setting("a rank must be at least 1".to_string())),
            _ => (),
        }
        if !(self.change >= 0.0 && self.change < 1.0) {
            return Err(Error::Setting(format!("change {} is not in [0, 1)", self.change)));
        }
        let convolutions: Vec<&str> = convolutions(network).map(|(node, _)| name(network, node)).collect();
        match self.layers.iter().flatten().find(|layer| !convolutions.contains(&layer.as_str())) {
            Some(layer) => Err(Error::UnknownLayer {
                network: network.name().to_string(),
                layer: layer.clone(),
                known: convolutions.join(", "),
            }),
            None => Ok(()),
        }
    }
}

/// What a layer, or the layers that it became, cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Learned numbers.
    pub parameters: u64,
    /// Floating-point operations of one sample; a multiply-add counts as two.
    pub flops: u64,
}

/// What became of a convolution.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is flat now.
    Flattened {
        /// Number of products.
        rank: usize,
        /// Relative error of the weights, as stored.
        error: f64,
        /// What the layers that it became cost.
        cost: Cost,
        /// Their names, in the order in which they run.
        layers: Vec<String>,
    },
    /// It is as it was.
    Left {
        /// Why.
        reason: String,
    },
}

/// A convolution and what became of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LayerReport {
    /// Its name.
    pub layer: String,
    /// What it cost.
    pub dense: Cost,
    /// What became of it.
    pub outcome: Outcome,
}

/// A flattened network.
#[derive(Debug, Clone)]
pub struct Flattened {
    /// The network, under the same name.
    pub network: Network,
    /// Its weights: of layers that were left, the same bits; the same metadata.
    pub weights: Weights,
    /// What became of each convolution, in the order in which they run.
    pub layers: Vec<LayerReport>,
}

/// Flattens convolutions: `W[f, c, y, x]` is approximated by `sum_r a_r(f) b_r(c) v_r(y) h_r(x)`, a canonical polyadic
/// decomposition found by alternating least squares from orthogonal terms: a local minimum. Nothing is drawn: the same
/// weights give the same bits.
///
/// A convolution `<name>` of C to F channels and kh x kw becomes `<name>.0.lateral` (1x1, C to R channels),
/// `<name>.0.vertical` (kh x 1) and `<name>.0.horizontal` (1 x kw), with a filter a channel, and `<name>.1.lateral` (1x1, R
/// to F, with its bias). Where kh or kw is 1 there is only one of the two in the middle. Layers are left as they are where
/// they have groups, where they are 1x1, and where all that meets the bound takes as many multiply-adds as before.
///
/// Errors where options are out of range, and where weights do not fit the network or are not finite.
pub fn flatten(network: &Network, weights: &Weights, options: &FlattenOptions) -> Result<Flattened> {
    flatten_with(network, weights, options, |_| ())
}

/// As [`flatten()`]; `begun` is told the name of each convolution before its terms are looked for, which may take minutes.
pub fn flatten_with(
    network: &Network,
    weights: &Weights,
    options: &FlattenOptions,
    mut begun: impl FnMut(&str),
) -> Result<Flattened> {
    options.check(network)?;
    weights.check(network)?;
    let (mut flat, mut layers) = (weights.clone(), Vec::new());
    for (node, conv) in convolutions(network) {
        begun(name(network, node));
        let dense = layers::cost(&[(name(network, node), conv.clone())], network.input_shapes(node)[0])?;
        let outcome = match search::refusal(network, node, conv, options) {
            Some(reason) => Outcome::Left { reason },
            None => flatten_layer(network, (node, conv, dense), &mut flat, options)?,
        };
        layers.push(LayerReport { layer: name(network, node).to_string(), dense, outcome });
    }
    Ok(Flattened { network: rebuild(network, &flat)?, weights: flat, layers })
}

fn flatten_layer(
    network: &Network,
    (node, conv, dense): (usize, &Conv2d, Cost),
    weights: &mut Weights,
    options: &FlattenOptions,
) -> Result<Outcome> {
    let (input, name) = (network.input_shapes(node)[0], name(network, node));
    let kernel = {
        let [kh, kw] = conv.window.kernel;
        Kernel::new([conv.out_channels, input[0], kh, kw], &weights.of_node(network, node)?[0])
    };
    let most = if options.dearer { usize::MAX } else { layers::most_terms(dense, conv, input)? };
    let effort = Effort { sweeps: options.sweeps, change: options.change };
    let lost = || Error::Decomposition { layer: name.to_string(), reason: "no singular values were found".to_string() };
    let factors = match search::search(&kernel, options.terms, most, effort).ok_or_else(lost)? {
        search::Found::Terms(factors) => factors,
        search::Found::TooMany(reason) => return Ok(Outcome::Left { reason }),
    };
    let (stored, flat) = (layers::Stored::new(&kernel, &factors), layers::layers(conv, factors.rank()));
    let (error, cost) = (kernel.distance(&stored.factors(kernel.norm)), layers::cost(&flat, input)?);
    let layers = flat.iter().map(|(part, _)| format!("{name}.{part}")).collect();
    store(name, &flat, &stored, weights)?;
    Ok(Outcome::Flattened { rank: factors.rank(), error, cost, layers })
}

/// Puts the weights of the layers that a convolution became in the place of its own; the bias is the last one's, in the
/// same bytes.
fn store(name: &str, flat: &[(&str, Conv2d)], stored: &layers::Stored, weights: &mut Weights) -> Result<()> {
    for ((part, conv), values) in flat.iter().zip(stored.values()) {
        let [kh, kw] = conv.window.kernel;
        let shape = Shape::from([conv.out_channels, values.len() / (conv.out_channels * kh * kw), kh, kw]);
        weights.insert(format!("{name}.{part}.weight"), Tensor::new(shape, values)?);
        if conv.bias {
            weights.rename(&format!("{name}.bias"), format!("{name}.{part}.bias"));
        }
    }
    weights.remove(&format!("{name}.weight"));
    Ok(())
}

/// The convolutions of a network, each with the number of its node.
fn convolutions(network: &Network) -> impl Iterator<Item = (usize, &Conv2d)> {
    network.nodes().iter().enumerate().filter_map(|(node, n)| match &n.layer {
        Layer::Conv2d(conv) => Some((node, conv)),
        _ => None,
    })
}

fn name(network: &Network, node: usize) -> &str {
    &network.nodes()[node].name
}
