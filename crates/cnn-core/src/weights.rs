//! Named tensors, as torchvision publishes them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::layers::Init;
use crate::{DType, Error, Network, Result, Shape, Tensor};

/// Bytes that several tensors share: a mapped file, or one read into memory.
pub type SharedBytes = Arc<dyn Storage>;

/// Where the bytes of tensors lie.
pub trait Storage: AsRef<[u8]> + Send + Sync {
    /// Is told that a range will not be read soon, so that a mapped file can leave memory. It must stay readable.
    fn release(&self, _range: Range<usize>) {}
}

impl Storage for Vec<u8> {}
impl Storage for &'static [u8] {}
impl Storage for Tensor {}

/// Name -> tensor. Cloning shares the bytes.
#[derive(Clone, Default)]
pub struct Weights {
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Entry {
    shape: Shape,
    dtype: DType,
    bytes: SharedBytes,
    range: Range<usize>,
}

/// One tensor of [`Weights`], still in the bytes that it came in.
#[derive(Debug, Clone, Copy)]
pub struct WeightView<'a> {
    /// Its extents.
    pub shape: &'a Shape,
    /// Its element type.
    pub dtype: DType,
    /// Its elements, little-endian.
    pub bytes: &'a [u8],
}

impl<'a> WeightView<'a> {
    /// The elements as `f32`; borrowed where they are stored so.
    pub fn to_f32(&self) -> Cow<'a, [f32]> {
        self.dtype.decode(self.bytes)
    }
}

/// Elements of a large tensor that are looked at before they may leave memory.
const PIECE: usize = 4 << 20;

/// How far the weights that training starts from are spread: normal, with a variance that keeps signals alike from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initialization {
    /// `2 / fan_in`, for ReLU (He et al. 2015, section 2.2).
    #[default]
    He,
    /// `2 / (fan_in + fan_out)`, for hyperbolic tangent (Glorot and Bengio 2010).
    Glorot,
    /// `1 / fan_in` (LeCun et al. 1998, section 4.6).
    LeCun,
}

impl Initialization {
    fn variance(self, fan_in: usize, fan_out: usize) -> f64 {
        let (fan_in, fan_out) = (fan_in.max(1) as f64, fan_out as f64);
        match self {
            Initialization::He => 2.0 / fan_in,
            Initialization::Glorot => 2.0 / (fan_in + fan_out),
            Initialization::LeCun => 1.0 / fan_in,
        }
    }
}

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let (shape, dtype) = (tensor.shape().clone(), tensor.dtype());
        let range = 0..tensor.as_ref().len();
        self.entries.insert(name.into(), Entry { shape, dtype, bytes: Arc::new(tensor), range });
    }

    /// Adds or replaces a tensor that stays in `bytes`, at `range`. Errors when the range lies outside or does not
    /// fill the shape.
    pub fn insert_bytes(
        &mut self,
        name: impl Into<String>,
        shape: Shape,
        dtype: DType,
        bytes: SharedBytes,
        range: Range<usize>,
    ) -> Result<()> {
        let length = (*bytes).as_ref().get(range.clone()).map(<[u8]>::len);
        if length.is_none() || length != shape.elements().checked_mul(dtype.size()) {
            return Err(Error::Length { shape, got: length.unwrap_or(0) / dtype.size() });
        }
        self.entries.insert(name.into(), Entry { shape, dtype, bytes, range });
        Ok(())
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<WeightView<'_>> {
        self.entries.get(name).map(Entry::view)
    }

    /// Lets elements of a tensor leave memory, where they can be had again: of a mapped file, when they have been packed
    /// into some other form. Reading them stays possible.
    pub fn release(&self, name: &str, elements: Range<usize>) {
        if let Some(Entry { bytes, range, dtype, .. }) = self.entries.get(name) {
            let byte = |element: usize| range.start + (element * dtype.size()).min(range.len());
            bytes.release(byte(elements.start)..byte(elements.end));
        }
    }

    /// Takes a tensor out; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.entries.remove(name).is_some()
    }

    /// Gives a tensor another name, where there is one of this; whether there was.
    pub fn rename(&mut self, name: &str, to: impl Into<String>) -> bool {
        let entry = self.entries.remove(name);
        entry.map(|entry| self.entries.insert(to.into(), entry)).is_some()
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, WeightView<'_>)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.view()))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the file says of itself: how the weights were made, say.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What the file will say of itself.
    pub fn metadata_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    /// As [`initial`](Self::initial) with [`Initialization::He`].
    pub fn random(network: &Network, seed: u64) -> Result<Weights> {
        Weights::initial(network, seed, Initialization::He)
    }

    /// The weights that a network starts training from: each parameter's [`Init`], drawn from ChaCha8 with `seed` in
    /// the order of the layers. The same on every platform and backend.
    pub fn initial(network: &Network, seed: u64, initialization: Initialization) -> Result<Weights> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = Weights::new();
        for parameter in network.parameters() {
            let mut values = crate::error::zeroed(&parameter.name, parameter.shape.elements())?;
            match parameter.init {
                Init::Constant(value) => values.fill(value),
                Init::Spread { fan_in, fan_out } => {
                    let deviation = initialization.variance(fan_in, fan_out).sqrt();
                    values.iter_mut().for_each(|v| {
                        let normal: f64 = StandardNormal.sample(&mut rng);
                        *v = (normal * deviation) as f32;
                    });
                }
            }
            weights.insert(parameter.name, Tensor::new(parameter.shape, values)?);
        }
        Ok(weights)
    }

    /// Checks that these are a network's weights: no name too few or too many, every shape right.
    pub fn check(&self, network: &Network) -> Result<()> {
        let mut needed = std::collections::HashSet::new();
        for parameter in network.parameters() {
            self.checked(network, &parameter.name, &parameter.shape)?;
            needed.insert(parameter.name);
        }
        match self.entries.iter().find(|(name, _)| !needed.contains(*name)) {
            Some((name, entry)) => {
                let (network, name, shape) = (network.name().to_string(), name.clone(), entry.shape.clone());
                Err(Error::UnknownWeight { network, name, shape })
            }
            None => Ok(()),
        }
    }

    /// The parameters of node number `node` as `f32`, in the order of its layer; borrowed where they are stored so.
    /// Errors name the tensor that is missing, has another shape, or holds a NaN or an infinity.
    pub fn of_node(&self, network: &Network, node: usize) -> Result<Vec<Cow<'_, [f32]>>> {
        network
            .parameters_of(node)
            .iter()
            .map(|parameter| {
                let values = self.checked(network, &parameter.name, &parameter.shape)?.to_f32();
                // Piece by piece, so that a mapped file does not have to be in memory as a whole.
                for (piece, start) in values.chunks(PIECE).zip((0..).step_by(PIECE)) {
                    if let Some(index) = piece.iter().position(|v| !v.is_finite()) {
                        let (name, value) = (parameter.name.clone(), piece[index]);
                        return Err(Error::NotFinite { name, value, index: start + index });
                    }
                    if values.len() > PIECE {
                        self.release(&parameter.name, start..start + piece.len());
                    }
                }
                Ok(values)
            })
            .collect()
    }

    fn checked(&self, network: &Network, name: &str, shape: &Shape) -> Result<WeightView<'_>> {
        match self.get(name) {
            None => Err(Error::MissingWeight {
                network: network.name().to_string(),
                name: name.to_string(),
                shape: shape.clone(),
            }),
            Some(view) if view.shape != shape => Err(Error::shape(format!("weight `{name}`"), shape, view.shape)),
            Some(view) => Ok(view),
        }
    }
}

impl Entry {
    fn view(&self) -> WeightView<'_> {
        WeightView { shape: &self.shape, dtype: self.dtype, bytes: &(*self.bytes).as_ref()[self.range.clone()] }
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, view)| (name, view.shape))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Linear;

    fn network() -> Network {
        let mut net = Network::builder("n", [300]);
        net.push("fc", Linear::new(200)).unwrap();
        net.finish().unwrap()
    }

    #[test]
    fn random_weights_repeat_and_have_he_variance() {
        let (a, b) = (Weights::random(&network(), 3).unwrap(), Weights::random(&network(), 3).unwrap());
        let values = a.get("fc.weight").unwrap().to_f32();
        assert_eq!(values, b.get("fc.weight").unwrap().to_f32());
        assert_ne!(values, Weights::random(&network(), 4).unwrap().get("fc.weight").unwrap().to_f32());
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((variance * 300.0 / 2.0 - 1.0).abs() < 0.02, "{variance}");
        assert!(a.get("fc.bias").unwrap().to_f32().iter().all(|&b| b == 0.0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let network = network();
        let mut weights = Weights::random(&network, 0).unwrap();
        weights.insert("fc.bias", Tensor::zeros([3]).unwrap());
        let error = weights.check(&network).unwrap_err().to_string();
        assert_eq!(error, "weight `fc.bias`: expected shape [200], got [3]");
        weights.remove("fc.bias");
        let error = weights.check(&network).unwrap_err().to_string();
        assert_eq!(error, "weights for `n` lack `fc.bias` of shape [200]");
        let mut bias = Tensor::zeros([200]).unwrap();
        bias.as_f32_mut().unwrap()[7] = f32::NAN;
        weights.insert("fc.bias", bias);
        weights.check(&network).unwrap();
        let error = weights.of_node(&network, 0).unwrap_err().to_string();
        assert_eq!(error, "weight `fc.bias` holds NaN at index 7");
        weights.insert("fd.bias", Tensor::zeros([1]).unwrap());
        let error = weights.check(&network).unwrap_err().to_string();
        assert_eq!(error, "weights hold `fd.bias` of shape [1], which `n` does not have");
    }
}
