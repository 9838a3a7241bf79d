//! Runs an activation inside the step that makes its input.

use super::Program;
use crate::Layer;

/// Fuses each activation that is the only reader of a convolution, a linear layer or a sum.
pub(super) fn fuse_activation(program: &mut Program<'_>) {
    while let Some((leader, follower)) = program.find_pair(|leader, follower| {
        let linear = matches!(program.layer(leader), Layer::Conv2d(_) | Layer::Linear(_) | Layer::Add(_));
        linear
            && leader.activation.is_none()
            && leader.pool.is_none()
            && matches!(program.layer(follower), Layer::Activation(_))
    }) {
        let Layer::Activation(activation) = *program.layer(&program.steps[follower]) else { return };
        program.absorb(leader, follower);
        program.steps[leader].activation = Some(activation);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Program;
    use crate::layers::{Activation, Add, BatchNorm2d, Conv2d, Dropout, Flatten, Linear};
    use crate::{Network, ValueId};

    #[test]
    fn conv_batch_norm_relu_become_one_step() {
        let mut net = Network::builder("n", [3, 8, 8]);
        net.push("conv", Conv2d::new(4, 3)).unwrap();
        net.push("bn", BatchNorm2d::new()).unwrap();
        net.push("relu", Activation::Relu).unwrap();
        net.push("flatten", Flatten).unwrap();
        net.push("drop", Dropout::new(0.5)).unwrap();
        net.push("fc", Linear::new(2)).unwrap();
        let net = net.finish().unwrap();
        let program = Program::for_inference(&net);
        let nodes: Vec<_> = program.steps.iter().map(|s| (s.node, s.fused.clone(), s.inputs.clone())).collect();
        assert_eq!(nodes, [(0, vec![1, 2], vec![ValueId::INPUT]), (5, vec![], vec![net.output_of(2)])]);
        assert_eq!((program.steps[0].batch_norm, program.steps[0].activation), (Some(1), Some(Activation::Relu)));
    }

    #[test]
    fn a_value_that_somebody_else_reads_is_kept() {
        let mut net = Network::builder("n", [3, 8, 8]);
        let conv = net.push("conv", Conv2d::new(4, 3)).unwrap();
        let relu = net.push("relu", Activation::Relu).unwrap();
        net.push_with("add", Add, &[conv, relu]).unwrap();
        let net = net.finish().unwrap();
        assert_eq!(Program::for_inference(&net).steps.len(), 3);
    }

    #[test]
    fn a_batch_norm_of_other_channels_stays() {
        let mut net = Network::builder("n", [3, 8, 8]);
        net.push("conv", Conv2d::new(4, 3)).unwrap();
        net.push("flatten", Flatten).unwrap();
        net.push("bn", BatchNorm2d::new()).unwrap();
        let net = net.finish().unwrap();
        let program = Program::for_inference(&net);
        assert_eq!(program.steps.iter().map(|s| s.node).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn an_activation_after_a_fused_one_stays() {
        let mut net = Network::builder("n", [3, 8, 8]);
        net.push("conv", Conv2d::new(4, 3)).unwrap();
        net.push("tanh", Activation::Tanh).unwrap();
        net.push("bn", BatchNorm2d::new()).unwrap();
        net.push("relu", Activation::Relu).unwrap();
        let net = net.finish().unwrap();
        let program = Program::for_inference(&net);
        assert_eq!(program.steps.iter().map(|s| s.node).collect::<Vec<_>>(), [0, 2, 3]);
    }
}
