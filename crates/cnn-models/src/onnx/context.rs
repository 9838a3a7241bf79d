//! What conversion works on: values that are known or flow through the network, and the network as it grows. A layer all of whose
//! inputs are known is not added but run, on its own loops.

use std::collections::HashMap;

use cnn_core::layers::{self, Constant, Flatten, Mode, Role, StridedView, View};
use cnn_core::{Layer, Network, NetworkBuilder, Shape, Tensor, ValueId, Weights};

use super::array::{Array, ElementType};

/// Why a node cannot be converted.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// Whether it could be if the first axis were none of samples.
    pub(super) mixes: bool,
}

impl<S: Into<String>> From<S> for Refusal {
    fn from(reason: S) -> Self {
        Refusal { reason: reason.into(), mixes: false }
    }
}

impl Refusal {
    pub(super) fn mixes() -> Self {
        Refusal { reason: "mixes the samples of a batch".to_string(), mixes: true }
    }
}

pub(super) type Outcome<T> = Result<T, Refusal>;

/// A value of the graph.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Known at import, with all its axes.
    Known(Array),
    /// Flows through the network. Its axes lack the batch's.
    Flowing(Flowing),
}

#[derive(Debug, Clone)]
pub(super) struct Flowing {
    pub(super) id: ValueId,
    /// Extents in the graph. Those in the network may be others with the same elements.
    pub(super) dims: Vec<usize>,
    pub(super) element_type: ElementType,
}

impl Value {
    /// Extents, without the batch where it flows.
    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Value::Known(array) => &array.dims,
            Value::Flowing(flowing) => &flowing.dims,
        }
    }

    pub(super) fn element_type(&self) -> ElementType {
        match self {
            Value::Known(array) => array.element_type,
            Value::Flowing(flowing) => flowing.element_type,
        }
    }

    pub(super) fn known(&self) -> Option<&Array> {
        match self {
            Value::Known(array) => Some(array),
            Value::Flowing(_) => None,
        }
    }

    pub(super) fn elements(&self) -> usize {
        self.dims().iter().product()
    }
}

/// The shape that a value with these extents has in a network unless a layer needs another.
pub(super) fn natural(dims: &[usize]) -> Shape {
    if dims.is_empty() { Shape::from([1]) } else { Shape::from(dims) }
}

/// The network as it grows.
pub(super) struct Context {
    builder: NetworkBuilder,
    weights: Weights,
    /// Of the network's values.
    shapes: Vec<Shape>,
    /// Names of layers, and how often each was wanted.
    names: HashMap<String, usize>,
    reshaped: HashMap<(ValueId, Shape), ValueId>,
    /// Whether the first axis of what flows is the batch's, and its extent where the file fixes it.
    pub(super) batched: bool,
    pub(super) batch: Option<usize>,
    /// Elements and operations that may still be computed.
    budget: u64,
}

impl Context {
    pub(super) fn new(name: &str, input: Shape, batch: Option<Option<usize>>, budget: u64) -> Self {
        Context {
            builder: Network::builder(name, input.clone()),
            weights: Weights::new(),
            shapes: vec![input],
            names: HashMap::new(),
            reshaped: HashMap::new(),
            batched: batch.is_some(),
            batch: batch.flatten(),
            budget,
        }
    }

    /// Takes so many elements or operations off what may be computed at import.
    pub(super) fn spend(&mut self, amount: u64) -> Outcome<()> {
        match self.budget.checked_sub(amount) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => Err("asks for too much work or memory at import".into()),
        }
    }

    /// Axes that a value has in the graph but not in its extents here.
    pub(super) fn hidden(&self, value: &Value) -> usize {
        usize::from(self.batched && value.known().is_none())
    }

    /// Number of a value's axes in the graph.
    pub(super) fn rank(&self, value: &Value) -> usize {
        value.dims().len() + self.hidden(value)
    }

    /// The place of an axis among a value's extents; the batch's is an error.
    pub(super) fn axis(&self, value: &Value, axis: i64) -> Outcome<usize> {
        let axis = absolute(axis, self.rank(value))?;
        axis.checked_sub(self.hidden(value)).ok_or_else(Refusal::mixes)
    }

    /// A value as it lies in a network under this shape, which has as many elements.
    fn shaped(&mut self, flowing: &Flowing, shape: &Shape) -> Outcome<ValueId> {
        let id = flowing.id;
        if &self.shapes[id.index()] == shape {
            return Ok(id);
        }
        if let Some(&id) = self.reshaped.get(&(id, shape.clone())) {
            return Ok(id);
        }
        let layer: Layer = match shape.len() {
            1 => Flatten.into(),
            _ => StridedView::reshape(shape.clone()).into(),
        };
        let name = self.unique("reshape");
        let reshaped = self.push(name, layer, &[id])?;
        self.reshaped.insert((id, shape.clone()), reshaped);
        Ok(reshaped)
    }

    fn push(&mut self, name: String, layer: Layer, inputs: &[ValueId]) -> Outcome<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|id| &self.shapes[id.index()]).collect();
        let output = layer.operation().output_shape(&shapes).map_err(|misfit| Refusal::from(misfit.0))?;
        let id = self.builder.push_with(name, layer, inputs).map_err(|error| error.to_string())?;
        self.shapes.push(output);
        Ok(id)
    }

    /// A name that no layer has yet.
    fn unique(&mut self, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "layer" } else { wanted };
        let mut name = wanted.to_string();
        // Counting on from the last one of this name keeps many of them quick.
        while self.names.contains_key(&name) {
            let count = self.names.entry(wanted.to_string()).or_insert(1);
            *count += 1;
            name = format!("{wanted}_{count}");
        }
        self.names.insert(name.clone(), 1);
        name
    }

    /// A layer on values that are read under the given shapes, with its parameters in their order. `dims` are the extents of what
    /// it makes, in the graph.
    pub(super) fn apply(
        &mut self,
        name: &str,
        layer: impl Into<Layer>,
        inputs: &[(&Value, Shape)],
        parameters: &[Array],
        dims: &[usize],
    ) -> Outcome<Value> {
        let layer = layer.into();
        if inputs.iter().all(|(value, _)| value.known().is_some()) {
            return self.fold(&layer, inputs, parameters, dims);
        }
        let mut ids = Vec::new();
        for (value, shape) in inputs {
            ids.push(match value {
                Value::Flowing(flowing) => self.shaped(flowing, shape)?,
                Value::Known(array) => self.constant(name, array, shape)?,
            });
        }
        let name = self.unique(name);
        let shapes: Vec<&Shape> = inputs.iter().map(|(_, shape)| shape).collect();
        layer.operation().output_shape(&shapes).map_err(|misfit| misfit.0)?;
        let wanted = layer.operation().parameters(&shapes);
        if wanted.len() != parameters.len() {
            return Err("has parameters that its layer does not".into());
        }
        for (parameter, array) in wanted.iter().zip(parameters) {
            self.weight(format!("{name}.{}", parameter.name), &parameter.shape, array)?;
        }
        let id = self.push(name, layer, &ids)?;
        if self.shapes[id.index()].elements() != natural(dims).elements() {
            return Err("makes another number of values than it should".into());
        }
        Ok(Value::Flowing(Flowing { id, dims: dims.to_vec(), element_type: ElementType::Float }))
    }

    /// A known value as the output of a layer.
    fn constant(&mut self, name: &str, array: &Array, shape: &Shape) -> Outcome<ValueId> {
        if array.to_f32().iter().any(|value| !value.is_finite()) {
            return Err("needs a constant that holds NaN or an infinity".into());
        }
        let layer = Constant { shape: shape.clone(), role: Role::State };
        let name = self.unique(&format!("{name}.constant"));
        self.weight(format!("{name}.value"), shape, array)?;
        self.push(name, layer.into(), &[ValueId::INPUT])
    }

    fn weight(&mut self, name: String, shape: &Shape, array: &Array) -> Outcome<()> {
        if array.elements() != shape.elements() {
            return Err(format!("has the weight `{name}` of shape {:?} where {shape} is needed", array.dims).into());
        }
        let error = |error: cnn_core::Error| Refusal::from(error.to_string());
        match array.stored() {
            Some((bytes, range, dtype)) => {
                self.weights.insert_bytes(name, shape.clone(), dtype, bytes, range).map_err(error)
            }
            None => {
                self.spend(array.elements() as u64)?;
                self.weights.insert(name, Tensor::new(shape.clone(), array.to_f32().into_owned()).map_err(error)?);
                Ok(())
            }
        }
    }

    /// Runs a layer whose inputs are known.
    fn fold(
        &mut self,
        layer: &Layer,
        inputs: &[(&Value, Shape)],
        parameters: &[Array],
        dims: &[usize],
    ) -> Outcome<Value> {
        let arrays: Vec<_> = inputs.iter().filter_map(|(value, _)| Some(value.known()?.to_f32())).collect();
        let shapes: Vec<&Shape> = inputs.iter().map(|(_, shape)| shape).collect();
        if arrays.iter().zip(&shapes).any(|(values, shape)| values.len() != shape.elements() || values.is_empty()) {
            return Err("reads an array without elements".into());
        }
        let output_shape = layer.operation().output_shape(&shapes).map_err(|misfit| misfit.0)?;
        let elements = output_shape.elements();
        if elements != dims.iter().product::<usize>() {
            return Err("makes another number of values than it should".into());
        }
        self.spend((elements as u64).saturating_add(layer.operation().flops(&shapes, &output_shape) / 8))?;
        let views = arrays.iter().zip(&shapes).map(|(data, shape)| View { shape, data });
        let parameters: Vec<_> = parameters.iter().map(Array::to_f32).collect();
        let wanted = layer.operation().parameters(&shapes);
        let fits = wanted.len() == parameters.len()
            && wanted.iter().zip(&parameters).all(|(wanted, got)| wanted.shape.elements() == got.len());
        if !fits {
            return Err("has weights of a shape that does not fit".into());
        }
        let mut output = vec![0.0; elements];
        let call = layers::Call {
            batch: 1,
            inputs: &views.collect::<Vec<_>>(),
            output_shape: &output_shape,
            parameters: &parameters.iter().map(|values| &values[..]).collect::<Vec<_>>(),
            mode: Mode::Inference,
        };
        layer.operation().forward(&call, &mut output);
        Ok(Value::Known(Array::floats(dims.to_vec(), output)))
    }

    /// The network whose output is this value.
    pub(super) fn finish(mut self, output: &Value) -> Outcome<(Network, Weights)> {
        let shape = natural(output.dims());
        let id = match output {
            Value::Known(array) => self.constant("output", array, &shape)?,
            Value::Flowing(flowing) => self.shaped(flowing, &shape)?,
        };
        if id.index() + 1 != self.shapes.len() || id == ValueId::INPUT {
            let name = self.unique("output");
            self.push(name, StridedView::reshape(shape).into(), &[id])?;
        }
        let network = self.builder.finish().map_err(|error| error.to_string())?;
        Ok((network, self.weights))
    }
}

/// An axis that may count from the end.
pub(super) fn absolute(axis: i64, rank: usize) -> Outcome<usize> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(counted) {
        Ok(counted) if counted < rank => Ok(counted),
        _ => Err(format!("has the axis {axis} of a value of {rank} axes").into()),
    }
}
