//! The list of models: a name, the network behind it, how pictures become its input, what its classes are called, and
//! the trained weights where they are shipped. A model is added by a file of its own and a row here.

use std::fmt;

use cnn_core::{Initialization, Network, Weights};

use crate::{Error, Labels, Preprocess, Result, flattened, lenet, vgg, weights_file};

/// A network with all that is around it.
pub struct Model {
    /// Its name, such as `lenet5`.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    build: fn() -> Result<Network>,
    preprocess: Preprocess,
    labels: fn() -> &'static Labels,
    initialization: Initialization,
    shipped: Option<&'static [u8]>,
}

static MODELS: [Model; 10] = [
    Model {
        name: "lenet5",
        summary: "LeNet-5 (1998) with ReLU and maximum pooling: handwritten digits",
        build: lenet::lenet5,
        preprocess: Preprocess::MNIST,
        labels: Labels::digits,
        initialization: Initialization::He,
        shipped: Some(include_bytes!("../assets/lenet5.safetensors")),
    },
    Model {
        name: "lenet5-original",
        summary: "LeNet-5 (1998) with the paper's tanh and mean pooling: handwritten digits",
        build: lenet::lenet5_original,
        preprocess: Preprocess::MNIST,
        labels: Labels::digits,
        initialization: Initialization::He,
        shipped: None,
    },
    Model {
        name: "vgg16",
        summary: "VGG-16 (2014): photos, the 1,000 classes of ImageNet",
        build: vgg::vgg16,
        preprocess: Preprocess::IMAGENET,
        labels: Labels::imagenet,
        initialization: Initialization::He,
        shipped: None,
    },
    Model {
        name: "vgg8",
        summary: "VGG in small, with batch normalisation: handwritten digits, and pictures of their size",
        build: vgg::vgg8,
        preprocess: Preprocess::MNIST,
        labels: Labels::digits,
        initialization: Initialization::He,
        shipped: None,
    },
    Model {
        name: "baseline-cifar",
        summary: "the dense network of the paper on flattened ones (2015): small colour pictures",
        build: flattened::baseline_cifar,
        preprocess: Preprocess::CIFAR,
        labels: Labels::cifar10,
        initialization: Initialization::LeCun,
        shipped: None,
    },
    Model {
        name: "flattened-cifar",
        summary: "its twin with one-dimensional filters: small colour pictures",
        build: flattened::flattened_cifar,
        preprocess: Preprocess::CIFAR,
        labels: Labels::cifar10,
        initialization: Initialization::Glorot,
        shipped: None,
    },
    Model {
        name: "flattened-all-cifar",
        summary: "that with the first convolution flattened too: small colour pictures",
        build: flattened::flattened_all_cifar,
        preprocess: Preprocess::CIFAR,
        labels: Labels::cifar10,
        initialization: Initialization::Glorot,
        shipped: None,
    },
    Model {
        name: "baseline-mnist",
        summary: "the dense network of the paper on flattened ones (2015): handwritten digits",
        build: flattened::baseline_mnist,
        preprocess: Preprocess::MNIST_BARE,
        labels: Labels::digits,
        initialization: Initialization::LeCun,
        shipped: None,
    },
    Model {
        name: "flattened-mnist",
        summary: "its twin with one-dimensional filters: handwritten digits",
        build: flattened::flattened_mnist,
        preprocess: Preprocess::MNIST_BARE,
        labels: Labels::digits,
        initialization: Initialization::Glorot,
        shipped: None,
    },
    Model {
        name: "flattened-all-mnist",
        summary: "that with the first convolution flattened too: handwritten digits",
        build: flattened::flattened_all_mnist,
        preprocess: Preprocess::MNIST_BARE,
        labels: Labels::digits,
        initialization: Initialization::Glorot,
        shipped: None,
    },
];

/// All models.
pub fn models() -> &'static [Model] {
    &MODELS
}

/// The model of that name. The error lists the names there are.
pub fn find(name: &str) -> Result<&'static Model> {
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| {
        let known = MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
        Error::UnknownModel { name: name.to_string(), known }
    })
}

impl Model {
    /// The network.
    pub fn network(&self) -> Result<Network> {
        (self.build)()
    }

    /// How a picture becomes the network's input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// What the classes of its output are called.
    pub fn labels(&self) -> &'static Labels {
        (self.labels)()
    }

    /// How far the weights that it is trained from are spread, unless one knows better.
    pub fn initialization(&self) -> Initialization {
        self.initialization
    }

    /// The trained weights that come with the library, where some do.
    pub fn shipped_weights(&self) -> Option<Result<Weights>> {
        self.shipped.map(weights_file::from_static)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("name", &self.name).field("summary", &self.summary).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_every_model_fit_together() {
        for model in models() {
            let network = model.network().unwrap();
            assert_eq!(network.name(), model.name);
            assert_eq!(&model.preprocess().output_shape(), network.input_shape(), "{}", model.name);
            assert_eq!(model.labels().len(), network.output_shape().elements(), "{}", model.name);
            if let Some(weights) = model.shipped_weights() {
                weights.unwrap().check(&network).unwrap();
            }
            assert!(std::ptr::eq(find(model.name).unwrap(), model));
        }
        assert!(find("lenet5").unwrap().shipped_weights().is_some());
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = find("lenet").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown model `lenet`; known are lenet5, lenet5-original, vgg16, vgg8, baseline-cifar, flattened-cifar, \
             flattened-all-cifar, baseline-mnist, flattened-mnist, flattened-all-mnist"
        );
    }
}
