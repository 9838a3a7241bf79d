//! Layers in order as a small graph. Shapes are inferred as it is built; it holds no weights and knows no device.

mod builder;
mod flattened;

use crate::layers::{Init, Parameter, Role};
use crate::{Error, Layer, Misfit, Result, Shape, Tensor};

pub use builder::NetworkBuilder;
pub use flattened::{FilterOrder, FlattenedConv};

/// A value that flows through a [`Network`]: its input, or the output of one of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

impl ValueId {
    /// The network's input.
    pub const INPUT: ValueId = ValueId(0);

    /// Index into a list of all values, the input first.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A layer in its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name, unique in the network; first part of its parameters' names.
    pub name: String,
    /// What it does.
    pub layer: Layer,
    /// What it reads.
    pub inputs: Vec<ValueId>,
}

/// Layers in order as a small graph; every node reads earlier values only, and the last one's output is the network's.
#[derive(Debug, Clone)]
pub struct Network {
    name: String,
    nodes: Vec<Node>,
    /// Shapes of the values, the input first, without the batch.
    shapes: Vec<Shape>,
}

/// A parameter under its full name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedParameter {
    /// `<layer>.<parameter>`, as torchvision writes it: `features.0.weight`.
    pub name: String,
    /// Its extents.
    pub shape: Shape,
    /// Learned, or observed.
    pub role: Role,
    /// Its values before training.
    pub init: Init,
}

impl Network {
    /// Starts a network whose input is a batch of `input`, such as `[3, 224, 224]`.
    pub fn builder(name: impl Into<String>, input: impl Into<Shape>) -> NetworkBuilder {
        NetworkBuilder::new(name.into(), input.into())
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layers, in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of values: the input and one a node.
    pub fn value_count(&self) -> usize {
        self.shapes.len()
    }

    /// Shape of a value, without the batch.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.shapes[value.0]
    }

    /// Shape of the input, without the batch.
    pub fn input_shape(&self) -> &Shape {
        &self.shapes[0]
    }

    /// Shape of the output, without the batch.
    pub fn output_shape(&self) -> &Shape {
        &self.shapes[self.nodes.len()]
    }

    /// The value that node number `node` makes.
    pub fn output_of(&self, node: usize) -> ValueId {
        ValueId(node + 1)
    }

    /// The value that the network returns.
    pub fn output(&self) -> ValueId {
        ValueId(self.nodes.len())
    }

    /// The shapes that node number `node` reads.
    pub fn input_shapes(&self, node: usize) -> Vec<&Shape> {
        self.nodes[node].inputs.iter().map(|&value| self.shape(value)).collect()
    }

    /// The parameters of node number `node`.
    pub fn parameters_of(&self, node: usize) -> Vec<NamedParameter> {
        let parameters = self.nodes[node].layer.operation().parameters(&self.input_shapes(node));
        let full_name = |p: &Parameter| format!("{}.{}", self.nodes[node].name, p.name);
        parameters
            .into_iter()
            .map(|p| NamedParameter { name: full_name(&p), shape: p.shape, role: p.role, init: p.init })
            .collect()
    }

    /// The images, then the output of each node.
    pub fn values(&self) -> impl Iterator<Item = ValueId> + '_ {
        (0..self.value_count()).map(ValueId)
    }

    /// All parameters, in the order of the nodes.
    pub fn parameters(&self) -> impl Iterator<Item = NamedParameter> + '_ {
        (0..self.nodes.len()).flat_map(|node| self.parameters_of(node))
    }

    /// How many numbers the optimiser learns.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().filter(|p| p.role == Role::Learned).map(|p| p.shape.elements() as u64).sum()
    }

    /// Floating-point operations of node number `node` for one sample; a multiply-add counts as two.
    pub fn flops_of(&self, node: usize) -> u64 {
        let output = self.shape(self.output_of(node));
        self.nodes[node].layer.operation().flops(&self.input_shapes(node), output)
    }

    /// Floating-point operations for one sample; a multiply-add counts as two.
    pub fn flops(&self) -> u64 {
        (0..self.nodes.len()).map(|node| self.flops_of(node)).fold(0, u64::saturating_add)
    }

    /// The error that tells that node number `node` does not fit what it reads.
    pub fn layer_error(&self, node: usize, reason: Misfit) -> Error {
        let Node { name, layer, .. } = &self.nodes[node];
        Error::layer(name, layer, &self.input_shapes(node), reason)
    }

    /// Checks that `input` is an `f32` batch of this network's input and returns the batch and its values.
    pub fn check_input<'a>(&self, input: &'a Tensor) -> Result<(usize, &'a [f32])> {
        let fits = input.shape().len() == self.input_shape().len() + 1
            && input.shape()[1..] == self.input_shape()[..]
            && input.batch() > 0;
        if !fits {
            let dims: Vec<String> = self.input_shape().iter().map(ToString::to_string).collect();
            let expected = format!("[N, {}]", dims.join(", "));
            return Err(Error::Shape {
                what: format!("input of `{}`", self.name),
                expected,
                got: input.shape().clone(),
            });
        }
        if self.shapes.iter().any(|s| s.elements().saturating_mul(input.batch()) > Shape::MAX_ELEMENTS) {
            let bytes = self.input_shape().elements().saturating_mul(input.batch() * 4);
            return Err(Error::OutOfMemory { what: format!("a batch of {}", input.batch()), bytes });
        }
        Ok((input.batch(), input.as_f32()?))
    }

    /// Checks that there is one label a sample and that each is a class of this network.
    pub fn check_labels(&self, labels: &[u32], batch: usize) -> Result<()> {
        let classes = self.output_shape().elements();
        if labels.len() != batch {
            return Err(Error::Labels { reason: format!("{} for a batch of {batch}", labels.len()) });
        }
        match labels.iter().position(|&label| label as usize >= classes) {
            Some(i) => {
                let reason = format!("{} at place {i}, but `{}` has {classes} classes", labels[i], self.name);
                Err(Error::Labels { reason })
            }
            None => Ok(()),
        }
    }
}
