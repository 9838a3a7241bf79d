//! ONNX files as [`Network`] and [`Weights`].
//!
//! A reader of its own for the files, operator sets 7 and later, external data beside the file. What a graph computes from constants
//! and extents is computed at import; what is left becomes layers. The first axis of the inputs is the batch's, which may then
//! be of any size, unless the graph mixes samples; then an input with all its axes is one sample.
//!
//! All numbers are `f32` in a network: half and double precision become that, and so do whole numbers, which are exact up to 2^24.
//!
//! ```no_run
//! use cnn_core::{Backend, CompileOptions, Reference};
//! use cnn_models::onnx::{ImportOptions, read};
//!
//! let model = read("model.onnx".as_ref(), &ImportOptions::default())?;
//! let plan = Reference::new().compile(&model.network, &model.weights, &CompileOptions::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod context;
mod external;
mod graph;
mod import;
mod integers;
mod operators;
mod proto;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cnn_core::{Network, Shape, SharedBytes, Tensor, Weights};

use crate::weights_file::mapping;
use crate::{Error, Result};

pub use array::{Array, ElementType};

use external::Folder;

/// How a file is imported.
#[derive(Debug, Clone)]
#[must_use]
pub struct ImportOptions {
    constants: BTreeMap<String, Array>,
    dimensions: BTreeMap<String, usize>,
    input_shape: Option<Vec<usize>>,
    output: Option<String>,
    budget: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        let (constants, dimensions) = (BTreeMap::new(), BTreeMap::new());
        ImportOptions { constants, dimensions, input_shape: None, output: None, budget: 1 << 29 }
    }
}

impl ImportOptions {
    /// Gives an input of the graph a value at import, instead of at every run.
    pub fn constant(mut self, input: impl Into<String>, value: Array) -> Self {
        self.constants.insert(input.into(), value);
        self
    }

    /// Sets an extent that the file leaves open, by its symbol.
    pub fn dimension(mut self, symbol: impl Into<String>, extent: usize) -> Self {
        self.dimensions.insert(symbol.into(), extent);
        self
    }

    /// Sets the shape of one sample of a graph's only input, `[C, H, W]` for pictures, where the file leaves extents open; those that
    /// it fixes must be the same. All axes of the graph's, the first too, may be given as well.
    pub fn input_shape(mut self, shape: impl Into<Vec<usize>>) -> Self {
        self.input_shape = Some(shape.into());
        self
    }

    /// The output that the network returns; the first otherwise. Any value of the graph may be it.
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.output = Some(name.into());
        self
    }

    /// Elements that may be computed at import, which bounds its time and memory; 2^29 unless set, a few seconds and GiB.
    pub fn budget(mut self, elements: u64) -> Self {
        self.budget = elements;
        self
    }
}

/// An imported graph.
#[derive(Debug)]
pub struct Imported {
    /// The layers. Of a graph with several inputs, the network's input is all of them flat, one after the other.
    pub network: Network,
    /// The weights.
    pub weights: Weights,
    /// The graph's inputs: names, and shapes of one sample.
    pub inputs: Vec<(String, Shape)>,
    /// The name of the output.
    pub output: String,
    /// Extents of one sample of the output in the graph; none of a single number, which is a network's `[1]`.
    pub output_dims: Vec<usize>,
    /// Whether the graph's first axes are the batch's; otherwise a sample is a whole input of the graph.
    pub batched: bool,
    /// Whether the output is the same whatever the inputs are.
    pub is_constant: bool,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Names of the inputs without a value in the file.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Sets of operators and their versions.
    pub opsets: Vec<(String, i64)>,
}

impl Imported {
    /// The network's input of the graph's inputs, in the order of [`inputs`](Self::inputs), each with the graph's axes. Errors
    /// where their shapes do not fit.
    pub fn pack(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let batch = if self.batched { inputs.first().map_or(1, Tensor::batch) } else { 1 };
        if inputs.len() != self.inputs.len() {
            return Err(Error::Onnx(format!("{} inputs are needed, got {}", self.inputs.len(), inputs.len())));
        }
        for (tensor, (name, shape)) in inputs.iter().zip(&self.inputs) {
            let wanted = if self.batched { shape.with_batch(batch) } else { shape.clone() };
            if tensor.shape().elements() != wanted.elements() {
                return Err(cnn_core::Error::shape(format!("input `{name}`"), &wanted, tensor.shape()).into());
            }
        }
        let values: Vec<_> = inputs.iter().map(Tensor::to_f32).collect();
        let part = |n: usize, sample: usize| {
            let length = self.inputs[n].1.elements();
            values[n][sample * length..(sample + 1) * length].iter().copied()
        };
        let mut packed = Vec::new();
        for sample in 0..batch {
            (0..inputs.len()).for_each(|n| packed.extend(part(n, sample)));
        }
        if inputs.is_empty() {
            packed = vec![0.0];
        }
        Ok(Tensor::new(self.network.input_shape().with_batch(batch), packed)?)
    }
}

/// Reads a file, which is mapped into memory and must not be changed while the weights are in use; external data only from its folder.
///
/// # Errors
/// What is wrong with the file; or, in one error, all operators that are not read.
pub fn read(path: &Path, options: &ImportOptions) -> Result<Imported> {
    let bytes = mapping::map(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
    import::import(Arc::new(bytes), Folder::of(path), options).map_err(|error| error.in_file(path))
}

/// Takes up the bytes of a file without external data. Errors as [`read`] does.
pub fn from_bytes(bytes: Vec<u8>, options: &ImportOptions) -> Result<Imported> {
    let bytes: SharedBytes = Arc::new(bytes);
    import::import(bytes, Folder::none(), options)
}

/// Reads what a file says of itself.
pub fn outline(bytes: &[u8]) -> Result<Outline> {
    import::outline(bytes)
}

/// Names of the operators that are read.
pub fn operators() -> impl Iterator<Item = &'static str> {
    operators::names()
}
