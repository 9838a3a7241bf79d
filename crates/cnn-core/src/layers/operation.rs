//! What every layer can say of itself and do. A user's own layer implements the same trait.

use std::fmt::Debug;

use crate::{Misfit, Shape};

/// One operation as data. Shapes are without the batch: `[C, H, W]` or `[F]`.
///
/// [`output_shape`](Self::output_shape) is where inputs that do not fit are refused. Everything after it is called by
/// networks with inputs that it accepted, and may panic on others.
pub trait Operation: Debug + Send + Sync {
    /// The operation's name, such as `Conv2d`.
    fn kind(&self) -> &str;

    /// The output's shape, or why the inputs do not fit.
    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit>;

    /// Parameters, in the order in which [`Call::parameters`] holds them. Called only with inputs that fit.
    fn parameters(&self, _inputs: &[&Shape]) -> Vec<Parameter> {
        Vec::new()
    }

    /// Floating-point operations of the forward pass of one sample; a multiply-add counts as two.
    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64;

    /// Writes the output of `call.batch` samples. Every element of `output` is written, none is read.
    fn forward(&self, call: &Call<'_>, output: &mut [f32]);

    /// Adds the gradients of inputs and parameters to `gradients`, given the forward pass's `output` and the
    /// gradient of the loss with respect to it.
    fn backward(&self, call: &Call<'_>, output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>);

    /// Updates the parameters of [`Role::State`] from a training batch, after its forward pass.
    fn update_state(&self, _batch: usize, _inputs: &[View<'_>], _parameters: &mut [Vec<f32>]) {}

    /// Whether a sample's output in training depends on the other samples of its batch.
    fn couples_samples(&self) -> bool {
        false
    }
}

/// What a layer works on: a batch of each input, and the parameters.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Samples.
    pub batch: usize,
    /// The inputs, sample after sample.
    pub inputs: &'a [View<'a>],
    /// Shape of one sample of the output.
    pub output_shape: &'a Shape,
    /// The parameters, in the order of [`Operation::parameters`].
    pub parameters: &'a [&'a [f32]],
    /// Inference, or training.
    pub mode: Mode,
}

impl<'a> Call<'a> {
    /// The shapes of the inputs' samples.
    pub fn input_shapes(&self) -> Vec<&'a Shape> {
        self.inputs.iter().map(|input| input.shape).collect()
    }
}

/// A batch of one value of the network.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Shape of one sample.
    pub shape: &'a Shape,
    /// Samples one after the other.
    pub data: &'a [f32],
}

/// Which of the two meanings a layer such as dropout or batch normalisation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Running the network.
    Inference,
    /// Learning.
    Training {
        /// Seed of this layer in this step.
        seed: u64,
        /// Place in the batch of the call's first sample, so that a batch cut in pieces draws the same numbers.
        first_sample: usize,
    },
}

/// Where [`Operation::backward`] adds its results. Lengths are those of the inputs and parameters.
#[derive(Debug)]
pub struct Gradients<'a, 'b> {
    /// One an input.
    pub inputs: &'a mut [&'b mut [f32]],
    /// One a parameter; those of [`Role::State`] stay untouched.
    pub parameters: &'a mut [&'b mut [f32]],
}

/// A tensor that an operation owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Last part of its name in the weights: `weight`, `bias`, `running_mean`.
    pub name: &'static str,
    /// Its extents.
    pub shape: Shape,
    /// Learned, or observed.
    pub role: Role,
    /// Its values before training.
    pub init: Init,
}

impl Parameter {
    /// A learned tensor.
    pub fn learned(name: &'static str, shape: impl Into<Shape>, init: Init) -> Self {
        Parameter { name, shape: shape.into(), role: Role::Learned, init }
    }

    /// A tensor that the forward pass of training observes, such as a running mean.
    pub fn state(name: &'static str, shape: impl Into<Shape>, init: Init) -> Self {
        Parameter { name, shape: shape.into(), role: Role::State, init }
    }
}

/// How a parameter changes in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// By the optimiser, from its gradient.
    Learned,
    /// By [`Operation::update_state`].
    State,
}

/// A parameter's values before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal around 0, spread as the [`Initialization`](crate::Initialization) has it.
    Spread {
        /// Inputs that one output sums.
        fan_in: usize,
        /// Outputs that one input takes part in.
        fan_out: usize,
    },
    /// One value everywhere.
    Constant(f32),
}

/// The one input of an operation that takes one.
pub(super) fn only_input<'a>(inputs: &[&'a Shape]) -> Result<&'a Shape, Misfit> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Misfit(format!("takes one input, got {}", inputs.len()))),
    }
}

/// The one input of an operation that takes one image, as channels, rows and columns.
pub(super) fn image(inputs: &[&Shape]) -> Result<[usize; 3], Misfit> {
    match only_input(inputs)?[..] {
        [c, h, w] => Ok([c, h, w]),
        _ => Err(Misfit("takes an image of shape [C, H, W]".to_string())),
    }
}
