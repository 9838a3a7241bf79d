//! Runs 2 x 2 maximum pooling inside the convolution that makes its input.

use super::Program;
use crate::Layer;
use crate::layers::{Activation, MaxPool2d};
use crate::window::{Padding, Rounding};

/// Fuses each maximum over 2 x 2 windows that touch, without padding, that is the only reader of a convolution. Its
/// activation, if any, must be one that a backend applies before the maximum at no loss: a ReLU.
pub(super) fn fuse_pool(program: &mut Program<'_>) {
    while let Some((leader, follower)) = program.find_pair(|leader, follower| {
        let simple = matches!(leader.activation, None | Some(Activation::Relu)) && leader.pool.is_none();
        let Layer::MaxPool2d(pool) = program.layer(follower) else { return false };
        simple && matches!(program.layer(leader), Layer::Conv2d(_)) && touches(pool)
    }) {
        let pool = program.steps[follower].node;
        program.absorb(leader, follower);
        program.steps[leader].pool = Some(pool);
    }
}

/// Whether windows of 2 x 2 lie side by side, and what does not fill one is left out.
fn touches(pool: &MaxPool2d) -> bool {
    let window = pool.window;
    window.kernel == [2, 2]
        && window.stride == [2, 2]
        && window.dilation == [1, 1]
        && window.padding == Padding::default()
        && pool.rounding == Rounding::Floor
}

#[cfg(test)]
mod tests {
    use super::super::Program;
    use crate::Network;
    use crate::layers::{Activation, Conv2d, MaxPool2d};

    fn steps(activation: Activation, pool: MaxPool2d) -> usize {
        let mut net = Network::builder("n", [3, 8, 8]);
        net.push("conv", Conv2d::new(4, 3)).unwrap();
        net.push("activation", activation).unwrap();
        net.push("pool", pool).unwrap();
        let net = net.finish().unwrap();
        let program = Program::for_inference(&net);
        assert!(program.steps[0].pool.is_none_or(|node| node == 2));
        program.steps.len()
    }

    #[test]
    fn touching_windows_behind_a_relu_run_inside_the_convolution() {
        assert_eq!(steps(Activation::Relu, MaxPool2d::new(2)), 1);
        assert_eq!(steps(Activation::Tanh, MaxPool2d::new(2)), 2);
        assert_eq!(steps(Activation::Relu, MaxPool2d::new(3)), 2);
        assert_eq!(steps(Activation::Relu, MaxPool2d::new(2).stride(1)), 2);
        assert_eq!(steps(Activation::Relu, MaxPool2d::new(2).padding(1)), 2);
    }
}
