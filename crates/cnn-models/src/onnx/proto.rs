//! The messages of an ONNX file as plain data, as far as they are used; fields of other numbers are passed over. The numbers are
//! those of `onnx.proto`.

use std::ops::Range;

use super::wire::{Malformed, Message, Value};

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Sets of operators: domain and version.
    pub(super) opsets: Vec<(String, i64)>,
    pub(super) graph: Option<Graph>,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) initializers: Vec<Tensor>,
    /// How many initializers are sparse, which are not read.
    pub(super) sparse_initializers: usize,
    pub(super) inputs: Vec<ValueInfo>,
    pub(super) outputs: Vec<ValueInfo>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) domain: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: Vec<(String, Attribute)>,
}

#[derive(Debug)]
pub(super) enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Box<Tensor>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// Texts, a graph, a sparse tensor, a type, or lists of such.
    Other,
}

#[derive(Debug, Default)]
pub(super) struct ValueInfo {
    pub(super) name: String,
    /// Element type; none of what is no tensor.
    pub(super) element_type: Option<i64>,
    /// Extents, where they are told.
    pub(super) dims: Option<Vec<Dimension>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Dimension {
    Fixed(i64),
    Symbol(String),
}

#[derive(Debug, Default)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dims: Vec<i64>,
    pub(super) element_type: i64,
    /// Where the raw bytes lie in the file.
    pub(super) raw: Option<Range<usize>>,
    pub(super) floats: Vec<f32>,
    /// Of `int32_data`, `int64_data` and `uint64_data`.
    pub(super) ints: Vec<i64>,
    pub(super) doubles: Vec<f64>,
    pub(super) is_text: bool,
    pub(super) is_segment: bool,
    pub(super) is_external: bool,
    /// Keys and values that tell where external data lie.
    pub(super) external: Vec<(String, String)>,
}

/// Calls `visit` with every field of a message.
fn each<'a>(
    mut message: Message<'a>,
    mut visit: impl FnMut(u64, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while let Some((number, value)) = message.next()? {
        visit(number, value)?;
    }
    Ok(())
}

impl Model {
    pub(super) fn read(file: &[u8]) -> Result<Self, Malformed> {
        let mut model = Model::default();
        each(Message::new(file), |number, value| {
            match number {
                7 => model.graph = Some(Graph::read(value.message()?)?),
                8 => {
                    let mut opset = (String::new(), 0);
                    each(value.message()?, |number, value| {
                        match number {
                            1 => opset.0 = value.text()?,
                            2 => opset.1 = value.int()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    model.opsets.push(opset);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }
}

impl Graph {
    fn read(message: Message<'_>) -> Result<Self, Malformed> {
        let mut graph = Graph::default();
        each(message, |number, value| {
            match number {
                1 => graph.nodes.push(Node::read(value.message()?)?),
                2 => graph.name = value.text()?,
                5 => graph.initializers.push(Tensor::read(value.message()?)?),
                11 => graph.inputs.push(ValueInfo::read(value.message()?)?),
                12 => graph.outputs.push(ValueInfo::read(value.message()?)?),
                15 => graph.sparse_initializers += 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(graph)
    }
}

impl Node {
    fn read(message: Message<'_>) -> Result<Self, Malformed> {
        let mut node = Node::default();
        each(message, |number, value| {
            match number {
                1 => node.inputs.push(value.text()?),
                2 => node.outputs.push(value.text()?),
                3 => node.name = value.text()?,
                4 => node.operator = value.text()?,
                5 => node.attributes.push(attribute(value.message()?)?),
                7 => node.domain = value.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(node)
    }
}

/// An attribute's name and value. Of files that do not tell its type, as early ones did not, the field that is there decides.
fn attribute(message: Message<'_>) -> Result<(String, Attribute), Malformed> {
    let (mut name, mut kind, mut single) = (String::new(), 0, None);
    let (mut floats, mut ints) = (Vec::new(), Vec::new());
    each(message, |number, value| {
        match number {
            1 => name = value.text()?,
            20 => kind = value.int()?,
            2 => single = Some(Attribute::Float(value.float()?)),
            3 => single = Some(Attribute::Int(value.int()?)),
            // Bytes; those that are no text belong to operators that are not read.
            4 => single = Some(value.text().map_or(Attribute::Other, Attribute::Text)),
            5 => single = Some(Attribute::Tensor(Box::new(Tensor::read(value.message()?)?))),
            7 => value.floats(&mut floats)?,
            8 => value.ints(&mut ints)?,
            6 | 9 | 10 | 11 | 14 | 15 | 22 | 23 => single = Some(Attribute::Other),
            _ => {}
        }
        Ok(())
    })?;
    // A default value is left out of a file.
    let value = match kind {
        1 => single.unwrap_or(Attribute::Float(0.0)),
        2 => single.unwrap_or(Attribute::Int(0)),
        3 => single.unwrap_or(Attribute::Text(String::new())),
        6 => Attribute::Floats(floats),
        7 => Attribute::Ints(ints),
        _ if !floats.is_empty() => Attribute::Floats(floats),
        _ if !ints.is_empty() => Attribute::Ints(ints),
        _ => single.unwrap_or(Attribute::Other),
    };
    Ok((name, value))
}

impl ValueInfo {
    fn read(message: Message<'_>) -> Result<Self, Malformed> {
        let mut info = ValueInfo::default();
        each(message, |number, value| {
            match number {
                1 => info.name = value.text()?,
                2 => each(value.message()?, |number, value| match number {
                    1 => info.tensor_type(value.message()?),
                    _ => Ok(()),
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(info)
    }

    fn tensor_type(&mut self, message: Message<'_>) -> Result<(), Malformed> {
        self.element_type = Some(0);
        each(message, |number, value| {
            match number {
                1 => self.element_type = Some(value.int()?),
                2 => {
                    let mut dims = Vec::new();
                    each(value.message()?, |number, value| {
                        if number == 1 {
                            dims.push(dimension(value.message()?)?);
                        }
                        Ok(())
                    })?;
                    self.dims = Some(dims);
                }
                _ => {}
            }
            Ok(())
        })
    }
}

fn dimension(message: Message<'_>) -> Result<Dimension, Malformed> {
    let mut dimension = Dimension::Symbol("?".to_string());
    each(message, |number, value| {
        match number {
            // PaddlePaddle writes -1 for what is open.
            1 => match value.int()? {
                -1 => {}
                extent => dimension = Dimension::Fixed(extent),
            },
            2 => dimension = Dimension::Symbol(value.text()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(dimension)
}

impl Tensor {
    fn read(message: Message<'_>) -> Result<Self, Malformed> {
        let mut tensor = Tensor::default();
        each(message, |number, value| {
            match number {
                1 => value.ints(&mut tensor.dims)?,
                2 => tensor.element_type = value.int()?,
                3 => tensor.is_segment = true,
                4 => value.floats(&mut tensor.floats)?,
                5 | 7 | 11 => value.ints(&mut tensor.ints)?,
                6 => tensor.is_text = true,
                8 => tensor.name = value.text()?,
                9 => tensor.raw = Some(value.message()?.range()),
                10 => value.doubles(&mut tensor.doubles)?,
                13 => tensor.external.push(entry(value.message()?)?),
                14 => tensor.is_external = value.int()? == 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(tensor)
    }

    /// A file that is one tensor.
    pub(super) fn read_file(file: &[u8]) -> Result<Self, Malformed> {
        Tensor::read(Message::new(file))
    }
}

fn entry(message: Message<'_>) -> Result<(String, String), Malformed> {
    let mut entry = (String::new(), String::new());
    each(message, |number, value| {
        match number {
            1 => entry.0 = value.text()?,
            2 => entry.1 = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(entry)
}
