//! What each operator becomes. An operator is a row of [`TABLE`] and a function in one of the files here.

mod blocks;
mod casting;
mod constants;
mod convolution;
mod elementwise;
mod matrix;
mod movement;
mod normalization;
mod padding;
mod pooling;
mod quantization;
mod reduction;
mod resize;
mod shapes;
mod softmax;
mod window;

use super::array::{Array, ElementType};
use super::context::{Context, Outcome, Value};
use super::external::Folder;
use super::proto::{Attribute, Node};
use cnn_core::SharedBytes;

/// Versions of the operator set `ai.onnx` that are read.
pub(super) const OLDEST_OPSET: i64 = 6;

/// A node with what it reads.
pub(super) struct Call<'a> {
    pub(super) node: &'a Node,
    /// None where an input is left out.
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) opset: i64,
    /// What its layers are called.
    pub(super) name: String,
    pub(super) file: &'a SharedBytes,
    pub(super) folder: &'a mut Folder,
}

type Operator = fn(&mut Context, &mut Call<'_>) -> Outcome<Vec<Value>>;

/// Name and function of every operator of `ai.onnx` that is read.
#[rustfmt::skip]
static TABLE: &[(&str, Operator)] = &[
    ("Abs", elementwise::unary), ("Acos", elementwise::unary), ("Acosh", elementwise::unary),
    ("Add", elementwise::binary), ("And", elementwise::binary), ("ArgMax", reduction::arg), ("ArgMin", reduction::arg),
    ("Asin", elementwise::unary), ("Asinh", elementwise::unary), ("Atan", elementwise::unary),
    ("Atanh", elementwise::unary), ("AveragePool", pooling::average), ("BatchNormalization", normalization::batch),
    ("Cast", casting::cast), ("CastLike", casting::cast_like), ("Ceil", elementwise::unary),
    ("Celu", elementwise::unary), ("Clip", elementwise::clip), ("Concat", movement::concat),
    ("Constant", constants::constant), ("ConstantOfShape", constants::of_shape), ("Conv", convolution::conv),
    ("ConvInteger", quantization::conv), ("ConvTranspose", convolution::transpose), ("Cos", elementwise::unary),
    ("Cosh", elementwise::unary), ("CumSum", reduction::running), ("DepthToSpace", blocks::depth_to_space),
    ("DequantizeLinear", quantization::dequantize), ("Div", elementwise::binary), ("Dropout", shapes::dropout),
    ("Elu", elementwise::activation), ("Equal", elementwise::binary), ("Erf", elementwise::unary),
    ("Exp", elementwise::unary), ("Expand", movement::expand), ("Flatten", shapes::flatten),
    ("Floor", elementwise::unary), ("Gather", movement::gather), ("Gelu", elementwise::gelu), ("Gemm", matrix::gemm),
    ("GlobalAveragePool", pooling::global_average), ("GlobalLpPool", pooling::global_lp),
    ("GlobalMaxPool", pooling::global_max), ("Greater", elementwise::binary), ("GreaterOrEqual", elementwise::binary),
    ("GroupNormalization", normalization::group), ("HardSigmoid", elementwise::unary),
    ("HardSwish", elementwise::unary), ("Identity", shapes::identity),
    ("InstanceNormalization", normalization::instance), ("IsInf", elementwise::unary), ("IsNaN", elementwise::unary),
    ("LRN", normalization::local_response), ("LayerNormalization", normalization::layer),
    ("LeakyRelu", elementwise::activation), ("Less", elementwise::binary), ("LessOrEqual", elementwise::binary),
    ("Log", elementwise::unary), ("LogSoftmax", softmax::softmax), ("LpNormalization", normalization::lp),
    ("LpPool", pooling::lp), ("MatMul", matrix::mat_mul), ("MatMulInteger", quantization::mat_mul),
    ("Max", elementwise::variadic), ("MaxPool", pooling::maximum), ("Mean", elementwise::variadic),
    ("MeanVarianceNormalization", normalization::mean_variance), ("Min", elementwise::variadic),
    ("Mish", elementwise::unary), ("Mod", elementwise::remainder), ("Mul", elementwise::binary),
    ("Neg", elementwise::unary), ("Not", elementwise::unary), ("Or", elementwise::binary),
    ("PRelu", elementwise::prelu), ("Pad", padding::pad), ("Pow", elementwise::binary),
    ("QLinearConv", quantization::linear_conv), ("QLinearMatMul", quantization::linear_mat_mul),
    ("QuantizeLinear", quantization::quantize), ("Range", constants::range), ("Reciprocal", elementwise::unary),
    ("ReduceL1", reduction::reduce), ("ReduceL2", reduction::reduce), ("ReduceLogSum", reduction::reduce),
    ("ReduceLogSumExp", reduction::reduce), ("ReduceMax", reduction::reduce), ("ReduceMean", reduction::reduce),
    ("ReduceMin", reduction::reduce), ("ReduceProd", reduction::reduce), ("ReduceSum", reduction::reduce),
    ("ReduceSumSquare", reduction::reduce), ("Relu", elementwise::activation), ("Reshape", shapes::reshape),
    ("Resize", resize::resize), ("Round", elementwise::unary), ("Selu", elementwise::unary), ("Shape", shapes::shape),
    ("Shrink", elementwise::unary), ("Sigmoid", elementwise::activation), ("Sign", elementwise::unary),
    ("Sin", elementwise::unary), ("Sinh", elementwise::unary), ("Size", shapes::size), ("Slice", movement::slice),
    ("Softmax", softmax::softmax), ("Softplus", elementwise::unary), ("Softsign", elementwise::unary),
    ("SpaceToDepth", blocks::space_to_depth), ("Split", movement::split), ("Sqrt", elementwise::unary),
    ("Squeeze", shapes::squeeze), ("Sub", elementwise::binary), ("Sum", elementwise::variadic),
    ("Swish", elementwise::unary), ("Tan", elementwise::unary), ("Tanh", elementwise::activation),
    ("ThresholdedRelu", elementwise::unary), ("Tile", movement::tile), ("Transpose", movement::transpose),
    ("Unsqueeze", shapes::unsqueeze), ("Upsample", resize::upsample), ("Where", elementwise::choose),
    ("Xor", elementwise::binary),
];

/// The operator of a node; nothing where it is not read.
pub(super) fn find(node: &Node) -> Option<Operator> {
    let own = matches!(&node.domain[..], "" | "ai.onnx");
    TABLE.iter().find(|(name, _)| own && *name == node.operator).map(|(_, operator)| *operator)
}

/// Names of the operators that are read.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

impl<'a> Call<'a> {
    /// An input that must be there.
    fn input(&self, place: usize) -> Outcome<Value> {
        self.optional(place).ok_or_else(|| format!("lacks input {place}").into())
    }

    fn optional(&self, place: usize) -> Option<Value> {
        self.inputs.get(place).cloned().flatten()
    }

    /// An input that must be known at import.
    fn known(&self, place: usize) -> Outcome<Array> {
        match self.input(place)? {
            Value::Known(array) => Ok(array),
            Value::Flowing(_) => Err(format!("has an input {place} that is not constant").into()),
        }
    }

    /// An input of whole numbers that must be known, where it is there.
    fn optional_ints(&self, place: usize) -> Outcome<Option<Vec<i64>>> {
        match self.optional(place) {
            None => Ok(None),
            Some(_) => {
                let array = self.known(place)?;
                let ints = array.as_ints().ok_or_else(|| format!("has no whole numbers in input {place}"))?;
                Ok(Some(ints.to_vec()))
            }
        }
    }

    fn known_ints(&self, place: usize) -> Outcome<Vec<i64>> {
        self.optional_ints(place)?.ok_or_else(|| format!("lacks input {place}").into())
    }

    /// An input that is one known number, where it is there.
    fn optional_number(&self, place: usize) -> Outcome<Option<f32>> {
        match self.optional(place) {
            None => Ok(None),
            Some(_) => match self.known(place)?.to_f32()[..] {
                [number] => Ok(Some(number)),
                _ => Err(format!("needs one number in input {place}").into()),
            },
        }
    }

    fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        self.node.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    fn int(&self, name: &str, default: i64) -> Outcome<i64> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(format!("has something else than a whole number as `{name}`").into()),
        }
    }

    fn flag(&self, name: &str) -> Outcome<bool> {
        Ok(self.int(name, 0)? != 0)
    }

    fn float(&self, name: &str, default: f32) -> Outcome<f32> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) if value.is_finite() => Ok(*value),
            Some(_) => Err(format!("has something else than a finite float as `{name}`").into()),
        }
    }

    fn text(&self, name: &str, default: &str) -> Outcome<String> {
        match self.attribute(name) {
            None => Ok(default.to_string()),
            Some(Attribute::Text(value)) => Ok(value.clone()),
            Some(_) => Err(format!("has something else than text as `{name}`").into()),
        }
    }

    fn ints(&self, name: &str) -> Outcome<Option<Vec<i64>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values.clone())),
            Some(_) => Err(format!("has something else than whole numbers as `{name}`").into()),
        }
    }

    /// Whole numbers of an attribute, or of an input since some version.
    fn ints_or_input(&self, name: &str, place: usize) -> Outcome<Option<Vec<i64>>> {
        match self.ints(name)? {
            Some(values) => Ok(Some(values)),
            None => self.optional_ints(place),
        }
    }
}

/// Sets the element type of what flows; known arrays keep theirs.
fn typed(value: Value, element_type: ElementType) -> Value {
    match value {
        Value::Flowing(flowing) => Value::Flowing(super::context::Flowing { element_type, ..flowing }),
        known => known,
    }
}
