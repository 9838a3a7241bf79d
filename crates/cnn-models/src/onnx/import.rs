//! From a file to a network: the checks, the inputs, then node by node.

use std::collections::{BTreeMap, HashMap, HashSet};

use cnn_core::layers::StridedView;
use cnn_core::{Shape, SharedBytes, ValueId};

use super::array::{Array, ElementType, MOST_AXES};
use super::context::{Context, Flowing, Refusal, Value, natural};
use super::external::Folder;
use super::operators::{self, Call, OLDEST_OPSET};
use super::proto::{Dimension, Graph, Model, ValueInfo};
use super::{ImportOptions, Imported, Outline, graph};
use crate::{Error, Result};

/// Problems that an error lists at most.
const MOST_PROBLEMS: usize = 20;

fn wrong(reason: impl Into<String>) -> Error {
    Error::Onnx(reason.into())
}

pub(super) fn import(file: SharedBytes, mut folder: Folder, options: &ImportOptions) -> Result<Imported> {
    let model = Model::read((*file).as_ref()).map_err(|error| wrong(format!("no ONNX file: {error}")))?;
    let Some(graph) = &model.graph else { return Err(wrong("no ONNX file: it has no graph")) };
    let opset = opset(&model)?;
    if graph.sparse_initializers > 0 {
        return Err(wrong(format!("{} sparse initializers, which are not read", graph.sparse_initializers)));
    }
    let output = match (&options.output, graph.outputs.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(first)) => first.name.clone(),
        (None, None) => return Err(wrong("the graph has no output")),
    };
    let order = graph::order(graph, &output).map_err(wrong)?;
    unread(graph, &order)?;
    let initializers = initializers(graph, &file, &mut folder, options)?;
    let inputs = inputs(graph, &initializers, options)?;
    let mut first = None;
    // A graph that mixes samples is one without a batch.
    for batched in [true, false] {
        let mut conversion =
            Conversion { graph, opset, order: &order, output: &output, file: &file, folder: &mut folder, batched };
        match conversion.run(&inputs, &initializers, options.budget) {
            Ok(imported) => return Ok(imported),
            Err((error, mixes)) => {
                first.get_or_insert(error);
                if !mixes {
                    break;
                }
            }
        }
    }
    Err(first.unwrap_or_else(|| wrong("nothing to import")))
}

fn opset(model: &Model) -> Result<i64> {
    let own = |domain: &str| matches!(domain, "" | "ai.onnx");
    let version = model.opsets.iter().filter(|(domain, _)| own(domain)).map(|(_, version)| *version).max();
    match version {
        Some(version) if version >= OLDEST_OPSET => Ok(version),
        Some(version) => Err(wrong(format!("operator set {version}; sets from {OLDEST_OPSET} on are read"))),
        // Operators of other domains alone are told one by one.
        None => Ok(OLDEST_OPSET),
    }
}

/// Refuses a graph with operators that are not read, naming them all.
fn unread(graph: &Graph, order: &[usize]) -> Result<()> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in order.iter().map(|&at| &graph.nodes[at]).filter(|node| operators::find(node).is_none()) {
        let domain = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
        *counts.entry(format!("{domain}{}", node.operator)).or_default() += 1;
    }
    if counts.is_empty() {
        return Ok(());
    }
    let times = |(name, count): (&String, &usize)| if *count == 1 { name.clone() } else { format!("{name} ({count})") };
    let names: Vec<String> = counts.iter().map(times).collect();
    Err(wrong(format!("operators that are not supported: {}", names.join(", "))))
}

/// The arrays that the file or the caller gives.
fn initializers(
    graph: &Graph,
    file: &SharedBytes,
    folder: &mut Folder,
    options: &ImportOptions,
) -> Result<HashMap<String, Array>> {
    let mut arrays = HashMap::new();
    for tensor in &graph.initializers {
        let array = Array::of_tensor(tensor, file, folder);
        let array = array.map_err(|reason| wrong(format!("initializer `{}` {reason}", tensor.name)))?;
        arrays.insert(tensor.name.clone(), array);
    }
    for (name, array) in &options.constants {
        let Some(input) = graph.inputs.iter().find(|input| &input.name == name) else {
            return Err(wrong(format!("there is no input `{name}` to be given a value")));
        };
        if !takes(input, array) {
            return Err(wrong(format!("input `{name}` takes no value of {array:?}")));
        }
        arrays.insert(name.clone(), array.clone());
    }
    Ok(arrays)
}

/// Whether an array is of an input's type and shape.
fn takes(input: &ValueInfo, array: &Array) -> bool {
    let typed = input.element_type.is_some_and(|number| ElementType::of_number(number) == Ok(array.element_type));
    let fits = |(extent, dimension): (&usize, &Dimension)| match dimension {
        Dimension::Fixed(fixed) => usize::try_from(*fixed) == Ok(*extent),
        Dimension::Symbol(_) => true,
    };
    let dims = input.dims.as_ref();
    typed && dims.is_none_or(|dims| dims.len() == array.dims.len() && array.dims.iter().zip(dims).all(fits))
}

/// An input that is given at every run. An extent that the file leaves open is none.
struct Input {
    name: String,
    dims: Vec<(Option<usize>, String)>,
    element_type: ElementType,
}

fn inputs(graph: &Graph, initializers: &HashMap<String, Array>, options: &ImportOptions) -> Result<Vec<Input>> {
    let run_time = graph.inputs.iter().filter(|input| !initializers.contains_key(&input.name));
    let mut inputs = run_time.map(|input| read_input(input, options)).collect::<Result<Vec<_>>>()?;
    match (&options.input_shape, &mut inputs[..]) {
        (None, _) => {}
        (Some(shape), [only]) => only.set_shape(shape)?,
        (Some(_), several) => {
            return Err(wrong(format!("{} inputs, where a shape is given for the only one", several.len())));
        }
    }
    Ok(inputs)
}

impl Input {
    /// Takes the extents of a sample, or those of all axes.
    fn set_shape(&mut self, shape: &[usize]) -> Result<()> {
        let hidden = self.dims.len().checked_sub(shape.len()).filter(|&hidden| hidden <= 1);
        let own = self.dims.iter_mut().skip(hidden.unwrap_or_default()).map(|(extent, _)| extent);
        let fits = |(own, given): (&mut Option<usize>, &usize)| {
            (1..=Shape::MAX_ELEMENTS).contains(given) && *own.get_or_insert(*given) == *given
        };
        match hidden.is_some() && own.zip(shape).all(fits) {
            true => Ok(()),
            false => Err(wrong(format!("input `{}` takes no samples of shape {}", self.name, Shape::from(shape)))),
        }
    }
}

fn read_input(input: &ValueInfo, options: &ImportOptions) -> Result<Input> {
    let wrong = |reason: String| wrong(format!("input `{}`: {reason}", input.name));
    let Some(number) = input.element_type else { return Err(wrong("is no tensor".to_string())) };
    let element_type = ElementType::of_number(number).map_err(wrong)?;
    let Some(dims) = &input.dims else { return Err(wrong("has no shape".to_string())) };
    if dims.len() > MOST_AXES {
        return Err(wrong(format!("has {} axes", dims.len())));
    }
    let extent = |dimension: &Dimension| match dimension {
        Dimension::Fixed(extent) => match usize::try_from(*extent) {
            Ok(extent) if (1..=Shape::MAX_ELEMENTS).contains(&extent) => Ok((Some(extent), String::new())),
            _ => Err(wrong(format!("has the extent {extent}"))),
        },
        Dimension::Symbol(symbol) => Ok((options.dimensions.get(symbol).copied(), symbol.clone())),
    };
    let dims = dims.iter().map(extent).collect::<Result<_>>()?;
    Ok(Input { name: input.name.clone(), dims, element_type })
}

/// One attempt, with or without a batch.
struct Conversion<'a> {
    graph: &'a Graph,
    opset: i64,
    order: &'a [usize],
    output: &'a str,
    file: &'a SharedBytes,
    folder: &'a mut Folder,
    batched: bool,
}

/// An error, and whether the graph may be one without a batch.
type Failure = (Error, bool);

impl Conversion<'_> {
    fn run(
        &mut self,
        inputs: &[Input],
        initializers: &HashMap<String, Array>,
        budget: u64,
    ) -> std::result::Result<Imported, Failure> {
        let (shapes, batch) = self.samples(inputs)?;
        let input = match &shapes[..] {
            [] => Shape::from([1]),
            [only] => natural(only),
            several => {
                let total = several.iter().map(|dims| Shape::from(&dims[..]).elements());
                Shape::from([total.fold(0usize, usize::saturating_add)])
            }
        };
        let name = if self.graph.name.is_empty() { "onnx" } else { &self.graph.name };
        let mut context = Context::new(name, input, self.batched.then_some(batch), budget);
        let initial = initializers.iter().map(|(name, array)| (name.clone(), Value::Known(array.clone())));
        let mut values: HashMap<String, Value> = initial.collect();
        let mut start = 0;
        for (input, dims) in inputs.iter().zip(&shapes) {
            let value = Flowing { id: ValueId::INPUT, dims: dims.clone(), element_type: input.element_type };
            let value = match shapes.len() {
                1 => Value::Flowing(value),
                _ => self.piece(&mut context, (inputs, &shapes), value, start)?,
            };
            start += natural(dims).elements();
            values.insert(input.name.clone(), value);
        }
        self.nodes(&mut context, &mut values)?;
        let Some(output) = values.get(self.output) else { return Err((wrong("nothing makes the output"), false)) };
        let result = context.finish(output);
        let (network, weights) = result.map_err(|refusal| (wrong(refusal.reason), false))?;
        let inputs = inputs.iter().zip(&shapes).map(|(input, dims)| (input.name.clone(), natural(dims))).collect();
        Ok(Imported {
            network,
            weights,
            inputs,
            output: self.output.to_string(),
            output_dims: output.dims().to_vec(),
            batched: self.batched,
            is_constant: output.known().is_some(),
        })
    }

    /// One of several inputs, which lie in the network's one after the other.
    fn piece(
        &self,
        context: &mut Context,
        (inputs, shapes): (&[Input], &[Vec<usize>]),
        value: Flowing,
        start: usize,
    ) -> std::result::Result<Value, Failure> {
        let total = shapes.iter().map(|dims| natural(dims).elements()).fold(0usize, usize::saturating_add);
        let whole = Value::Flowing(Flowing { dims: vec![total], ..value.clone() });
        let view = StridedView { source: total, offset: start, ..StridedView::reshape(natural(&value.dims)) };
        let name = inputs.iter().zip(shapes).find(|(_, dims)| **dims == value.dims).map_or("input", |(i, _)| &i.name);
        let made = context.apply(name, view, &[(&whole, Shape::from([total]))], &[], &value.dims);
        match made {
            Ok(Value::Flowing(flowing)) => Ok(Value::Flowing(Flowing { element_type: value.element_type, ..flowing })),
            Ok(known) => Ok(known),
            Err(refusal) => Err((wrong(refusal.reason), refusal.mixes)),
        }
    }

    /// The extents of one sample of each input, and those of the batch where the file fixes it.
    fn samples(&self, inputs: &[Input]) -> std::result::Result<(Vec<Vec<usize>>, Option<usize>), Failure> {
        let hidden = usize::from(self.batched);
        let mut batch = None;
        let mut shapes = Vec::new();
        for input in inputs {
            if self.batched {
                let Some((extent, _)) = input.dims.first() else {
                    return Err((wrong(format!("input `{}` is a single number", input.name)), true));
                };
                if batch.is_some_and(|batch| batch != *extent) || (input.dims.len() == 1 && extent.is_some()) {
                    return Err((wrong("the inputs have no batch in common"), true));
                }
                batch = Some(*extent);
            }
            let mut dims = Vec::new();
            for (place, (extent, symbol)) in input.dims.iter().enumerate().skip(hidden) {
                match extent {
                    Some(extent) => dims.push(*extent),
                    // The batch, in a graph that mixes samples.
                    None if place == 0 => dims.push(1),
                    None => {
                        let name = &input.name;
                        let reason =
                            format!("input `{name}` leaves its extent `{symbol}` open; give the input's shape");
                        return Err((wrong(reason), false));
                    }
                }
            }
            shapes.push(dims);
        }
        Ok((shapes, batch.flatten()))
    }

    fn nodes(
        &mut self,
        context: &mut Context,
        values: &mut HashMap<String, Value>,
    ) -> std::result::Result<(), Failure> {
        let mut problems: Vec<(usize, Refusal)> = Vec::new();
        let inputs = self.order.iter().flat_map(|&at| &self.graph.nodes[at].inputs).map(|name| &name[..]);
        let reads: HashSet<&str> = inputs.chain([self.output]).filter(|name| !name.is_empty()).collect();
        for &at in self.order {
            let node = &self.graph.nodes[at];
            let named = node.inputs.iter().map(|name| (!name.is_empty()).then(|| values.get(name).cloned()));
            // What depends on a node that could not be converted is no problem of its own.
            let Some(inputs) = named.map(|value| value.map_or(Some(None), |v| v.map(Some))).collect() else { continue };
            let name = self.layer_name(at);
            let mut call = Call { node, inputs, opset: self.opset, name, file: self.file, folder: self.folder };
            let Some(operator) = operators::find(node) else { continue };
            match operator(context, &mut call) {
                Ok(made) => {
                    let missing = node.outputs.iter().skip(made.len()).find(|name| reads.contains(&name[..]));
                    problems.extend(missing.map(|name| (at, format!("makes `{name}`, which is not computed").into())));
                    values.extend(node.outputs.iter().cloned().zip(made));
                }
                Err(refusal) => problems.push((at, refusal)),
            }
        }
        match problems.iter().find(|(_, refusal)| !refusal.mixes).or(problems.first()) {
            None => Ok(()),
            Some(_) => {
                let mixes = problems.iter().any(|(_, refusal)| refusal.mixes);
                let text =
                    |(at, refusal): &(usize, Refusal)| format!("{} {}", graph::title(self.graph, *at), refusal.reason);
                let mut texts: Vec<String> = problems.iter().take(MOST_PROBLEMS).map(text).collect();
                if problems.len() > MOST_PROBLEMS {
                    texts.push(format!("and {} more", problems.len() - MOST_PROBLEMS));
                }
                Err((wrong(texts.join("; ")), mixes))
            }
        }
    }

    /// What a node's layer is called: as its weight where that is named `<layer>.weight`, so that published weights keep their names;
    /// as the node, or what it makes, otherwise.
    fn layer_name(&self, at: usize) -> String {
        let node = &self.graph.nodes[at];
        let weights = node.inputs.iter().skip(1).filter_map(|name| name.strip_suffix(".weight"));
        let own = [&node.name[..], node.outputs.first().map_or("", |name| name)];
        let name = weights.chain(own).find(|name| !name.is_empty()).unwrap_or("layer");
        name.trim_matches('/').to_string()
    }
}

/// What a file says of itself, without its weights.
pub(super) fn outline(file: &[u8]) -> Result<Outline> {
    let model = Model::read(file).map_err(|error| wrong(format!("no ONNX file: {error}")))?;
    let Some(graph) = &model.graph else { return Err(wrong("no ONNX file: it has no graph")) };
    let given: HashSet<&str> = graph.initializers.iter().map(|tensor| &tensor.name[..]).collect();
    let inputs = graph.inputs.iter().map(|input| input.name.clone()).filter(|name| !given.contains(&name[..]));
    let outputs = graph.outputs.iter().map(|output| output.name.clone());
    let domain = |domain: &str| if domain.is_empty() { "ai.onnx".to_string() } else { domain.to_string() };
    let opsets = model.opsets.iter().map(|(name, version)| (domain(name), *version));
    Ok(Outline { inputs: inputs.collect(), outputs: outputs.collect(), opsets: opsets.collect() })
}
