//! Builds a [`Network`], checking each layer against the shapes that reach it.

use std::collections::HashSet;

use super::{Network, Node, ValueId};
use crate::{Error, Layer, Result, Shape};

/// Builds a [`Network`] layer by layer.
///
/// ```
/// use cnn_core::{Network, layers::{Activation, Add, Conv2d, GlobalAvgPool}};
///
/// let mut net = Network::builder("tiny-residual", [3, 8, 8]);
/// let stem = net.push("stem", Conv2d::new(16, 3).padding(1))?;
/// net.push("conv", Conv2d::new(16, 3).padding(1))?;
/// let branch = net.push("relu", Activation::Relu)?;
/// net.push_with("add", Add, &[stem, branch])?;
/// net.push("pool", GlobalAvgPool)?;
/// assert_eq!(net.finish()?.output_shape()[..], [16, 1, 1]);
/// # Ok::<(), cnn_core::Error>(())
/// ```
#[derive(Debug)]
pub struct NetworkBuilder {
    name: String,
    nodes: Vec<Node>,
    shapes: Vec<Shape>,
    names: HashSet<String>,
}

impl NetworkBuilder {
    pub(super) fn new(name: String, input: Shape) -> Self {
        NetworkBuilder { name, nodes: Vec::new(), shapes: vec![input], names: HashSet::new() }
    }

    /// Adds a layer that reads the last one's output, or the network's input where it is the first.
    pub fn push(&mut self, name: impl Into<String>, layer: impl Into<Layer>) -> Result<ValueId> {
        self.push_with(name, layer, &[ValueId(self.nodes.len())])
    }

    /// Adds a layer that reads `inputs`.
    pub fn push_with(
        &mut self,
        name: impl Into<String>,
        layer: impl Into<Layer>,
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        let (name, layer) = (name.into(), layer.into());
        self.check_graph(&name, inputs)?;
        let shapes: Vec<&Shape> = inputs.iter().map(|value| &self.shapes[value.0]).collect();
        let output =
            Self::check_layer(&layer, &shapes).map_err(|reason| Error::layer(&name, &layer, &shapes, reason))?;
        self.names.insert(name.clone());
        self.nodes.push(Node { name, layer, inputs: inputs.to_vec() });
        self.shapes.push(output);
        Ok(ValueId(self.nodes.len()))
    }

    /// Shape of a value of this network, without the batch.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.shapes[value.0]
    }

    fn check_graph(&self, name: &str, inputs: &[ValueId]) -> Result<()> {
        let reason = if let Err(reason) = fits_in_memory(&self.shapes[0]) {
            format!("input {}: {reason}", self.shapes[0])
        } else if name.is_empty() {
            "a layer without a name".to_string()
        } else if self.names.contains(name) {
            format!("two layers named `{name}`")
        } else if inputs.is_empty() {
            format!("layer `{name}` reads nothing")
        } else if inputs.iter().any(|value| value.0 >= self.shapes.len()) {
            format!("layer `{name}` reads a value of another network")
        } else {
            return Ok(());
        };
        Err(self.error(reason))
    }

    pub(super) fn error(&self, reason: String) -> Error {
        Error::Network { network: self.name.clone(), reason }
    }

    /// Of the layer added last; of the input where there is none.
    pub(super) fn output_shape(&self) -> &Shape {
        &self.shapes[self.nodes.len()]
    }

    fn check_layer(layer: &Layer, inputs: &[&Shape]) -> Result<Shape, crate::Misfit> {
        let output = layer.operation().output_shape(inputs)?;
        fits_in_memory(&output).map_err(|reason| crate::Misfit(format!("output {output}: {reason}")))?;
        for parameter in layer.operation().parameters(inputs) {
            fits_in_memory(&parameter.shape)
                .map_err(|reason| crate::Misfit(format!("{} {}: {reason}", parameter.name, parameter.shape)))?;
        }
        Ok(output)
    }

    /// The network, whose output is that of the layer added last. Errors where there is none.
    pub fn finish(self) -> Result<Network> {
        if self.nodes.is_empty() {
            return Err(Error::Network { network: self.name, reason: "no layers".to_string() });
        }
        Ok(Network { name: self.name, nodes: self.nodes, shapes: self.shapes })
    }
}

fn fits_in_memory(shape: &Shape) -> Result<(), String> {
    match shape.elements() {
        0 => Err("an extent is 0".to_string()),
        n if n > Shape::MAX_ELEMENTS => Err(format!("more than {} values", Shape::MAX_ELEMENTS)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Add, Conv2d, Linear, Softmax};

    #[test]
    fn a_misfit_names_the_layer_and_both_shapes() {
        let mut net = Network::builder("n", [3, 4, 4]);
        let error = net.push("features.0", Conv2d::new(8, 5)).unwrap_err();
        let expected = "layer `features.0` (Conv2d) on input [3, 4, 4]: kernel 5x5 is larger than the padded input 4x4";
        assert_eq!(error.to_string(), expected);
        let first = net.push("a", Conv2d::new(8, 3)).unwrap();
        let error = net.push_with("sum", Add, &[ValueId::INPUT, first]).unwrap_err();
        let expected = "layer `sum` (Add) on input [3, 4, 4] and [8, 2, 2]: takes two or more inputs of one shape";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn hostile_networks_are_errors() {
        assert!(Network::builder("n", [0, 4, 4]).push("s", Softmax).is_err());
        assert!(Network::builder("n", [usize::MAX, 4, 4]).push("s", Softmax).is_err());
        assert!(Network::builder("n", [8]).push("l", Linear::new(usize::MAX)).is_err());
        assert!(Network::builder("n", [8]).push("l", Linear::new(0)).is_err());
        assert!(Network::builder("n", [8]).push("", Linear::new(1)).is_err());
        assert!(Network::builder("n", [8]).push_with("l", Linear::new(1), &[]).is_err());
        assert!(Network::builder("n", [8]).push_with("l", Linear::new(1), &[ValueId(7)]).is_err());
        assert!(Network::builder("n", [8]).finish().is_err());
        let mut net = Network::builder("n", [8]);
        net.push("l", Linear::new(1)).unwrap();
        assert_eq!(net.push("l", Linear::new(1)).unwrap_err().to_string(), "network `n`: two layers named `l`");
    }
}
