//! LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition"): 61,706
//! parameters, digits of 32x32 pixels.
//!
//! Two forms. [`lenet5`] has what is used today, ReLU and maximum pooling. [`lenet5_original`] has the paper's
//! hyperbolic tangent and mean pooling. Both differ from the paper where every later description does: C3 is connected
//! to all six maps of S2, where the paper's table I leaves some connections out; pooling has no coefficients of its
//! own; the tangent is not scaled; the output is a softmax over a fully connected layer instead of radial basis
//! functions.

use cnn_core::layers::{Activation, AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Softmax};
use cnn_core::{Layer, Network};

use crate::Result;

/// LeNet-5 with ReLU and maximum pooling: `[N, 1, 32, 32]` in, probabilities `[N, 10]` out.
pub fn lenet5() -> Result<Network> {
    build("lenet5", Activation::Relu, &MaxPool2d::new(2).into())
}

/// LeNet-5 with hyperbolic tangent and mean pooling: `[N, 1, 32, 32]` in, probabilities `[N, 10]` out.
pub fn lenet5_original() -> Result<Network> {
    build("lenet5-original", Activation::Tanh, &AvgPool2d::new(2).into())
}

fn build(name: &str, activation: Activation, pool: &Layer) -> Result<Network> {
    let mut net = Network::builder(name, [1, 32, 32]);
    net.push("features.0", Conv2d::new(6, 5))?; // C1
    net.push("features.1", activation)?;
    net.push("features.2", pool.clone())?; // S2
    net.push("features.3", Conv2d::new(16, 5))?; // C3
    net.push("features.4", activation)?;
    net.push("features.5", pool.clone())?; // S4
    net.push("features.6", Conv2d::new(120, 5))?; // C5
    net.push("features.7", activation)?;
    net.push("flatten", Flatten)?;
    net.push("classifier.0", Linear::new(84))?; // F6
    net.push("classifier.1", activation)?;
    net.push("classifier.2", Linear::new(10))?;
    net.push("softmax", Softmax)?;
    Ok(net.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_published_count_and_names() {
        for network in [lenet5().unwrap(), lenet5_original().unwrap()] {
            assert_eq!(network.parameter_count(), 61_706);
            assert_eq!(network.output_shape()[..], [10]);
            let weights: Vec<String> = network.parameters().map(|p| format!("{} {}", p.name, p.shape)).collect();
            let expected = [
                "features.0.weight [6, 1, 5, 5]",
                "features.0.bias [6]",
                "features.3.weight [16, 6, 5, 5]",
                "features.3.bias [16]",
                "features.6.weight [120, 16, 5, 5]",
                "features.6.bias [120]",
                "classifier.0.weight [84, 120]",
                "classifier.0.bias [84]",
                "classifier.2.weight [10, 84]",
                "classifier.2.bias [10]",
            ];
            assert_eq!(weights, expected);
        }
    }

    #[test]
    fn the_two_forms_differ_in_activation_and_pooling() {
        let kinds = |network: Network| -> Vec<String> {
            network.nodes()[1..3].iter().map(|n| n.layer.operation().kind().to_string()).collect()
        };
        assert_eq!(kinds(lenet5().unwrap()), ["Relu", "MaxPool2d"]);
        assert_eq!(kinds(lenet5_original().unwrap()), ["Tanh", "AvgPool2d"]);
    }
}
