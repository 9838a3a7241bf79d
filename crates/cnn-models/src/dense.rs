//! The dense network that Dettmers (2016), "8-bit approximations for parallelism in deep learning", section 3.4, trains on MNIST:
//! 784-1024-1024-10 with rectified linear units, dropout of 0.2 before the first layer and 0.3 before the others, 1,863,690 parameters.

use cnn_core::Network;
use cnn_core::layers::{Activation, Dropout, Flatten, Linear, Softmax};

use crate::Result;

/// 784-1024-1024-10: `[N, 1, 28, 28]` in, probabilities `[N, 10]` out.
pub(crate) fn mlp_mnist() -> Result<Network> {
    let mut net = Network::builder("mlp-mnist", [1, 28, 28]);
    net.push("flatten", Flatten)?;
    net.push("classifier.0", Dropout::new(0.2))?;
    net.push("classifier.1", Linear::new(1024))?;
    net.push("classifier.2", Activation::Relu)?;
    net.push("classifier.3", Dropout::new(0.3))?;
    net.push("classifier.4", Linear::new(1024))?;
    net.push("classifier.5", Activation::Relu)?;
    net.push("classifier.6", Dropout::new(0.3))?;
    net.push("classifier.7", Linear::new(10))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn parameters_are_those_of_its_widths() {
        let network = super::mlp_mnist().unwrap();
        assert_eq!(network.parameter_count(), 785 * 1024 + 1025 * 1024 + 1025 * 10);
        assert_eq!(network.output_shape()[..], [10]);
    }
}
