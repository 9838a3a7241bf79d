//! Learning: the loss, the optimisers, and the trainer that walks a network forward and backward.

mod graph_trainer;
mod learner;
mod loss;
mod optimizer;
mod partial;

pub use graph_trainer::{GraphTrainer, LayerKernels, PlainLoops};
pub use learner::{Learned, Learner, Part, Rule};
pub use loss::softmax_cross_entropy;
pub use optimizer::{Clip, Moment, Optimizer};
pub use partial::Partial;
