//! The list of models: a name, the network behind it, how pictures become its input, what its classes are called, and
//! the trained weights where they are shipped. A model is added by a file of its own and a row here.

use std::fmt;
use std::path::Path;

use cnn_core::{Initialization, Network, Weights};

use crate::{Error, Labels, Preprocess, Result, weights_file};
use crate::{alexnet, dense, flattened, googlenet, lenet, mobilenet, nin, resnet, squeezenet, vgg, xception};

/// A network with all that is around it.
pub struct Model {
    /// Its name, such as `lenet5`.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    build: Build,
    preprocess: Preprocess,
    labels: fn() -> &'static Labels,
    initialization: Initialization,
    shipped: Option<&'static [u8]>,
    /// Starts of the names of tensors that published files have for training alone.
    training_only: &'static [&'static str],
}

/// How a network is made.
enum Build {
    /// Of one size.
    Fixed(fn() -> Result<Network>),
    /// For pictures of so many rows and columns.
    Sized(fn([usize; 2]) -> Result<Network>),
}

const fn model(
    name: &'static str,
    summary: &'static str,
    build: Build,
    preprocess: Preprocess,
    labels: fn() -> &'static Labels,
) -> Model {
    let initialization = Initialization::He;
    Model { name, summary, build, preprocess, labels, initialization, shipped: None, training_only: &[] }
}

/// A network of handwritten digits.
const fn digits(name: &'static str, summary: &'static str, build: fn() -> Result<Network>) -> Model {
    model(name, summary, Build::Fixed(build), Preprocess::MNIST, Labels::digits)
}

/// A network of photos, prepared as torchvision does it, and the classes of ImageNet.
const fn photos(name: &'static str, summary: &'static str, build: fn([usize; 2]) -> Result<Network>) -> Model {
    model(name, summary, Build::Sized(build), Preprocess::IMAGENET, Labels::imagenet)
}

/// A network of small colour pictures and the classes of CIFAR-10.
const fn cifar(name: &'static str, summary: &'static str, build: Build) -> Model {
    model(name, summary, build, Preprocess::CIFAR, Labels::cifar10)
}

static MODELS: [Model; 31] = [
    Model {
        shipped: Some(include_bytes!("../assets/lenet5.safetensors")),
        ..digits("lenet5", "LeNet-5 (1998) with ReLU and maximum pooling: handwritten digits", lenet::lenet5)
    },
    digits(
        "lenet5-original",
        "LeNet-5 (1998) with the paper's tanh and mean pooling: handwritten digits",
        lenet::lenet5_original,
    ),
    photos("alexnet", "AlexNet (2014, on one tower): photos, the 1,000 classes of ImageNet", alexnet::alexnet),
    Model {
        preprocess: Preprocess::NIN,
        ..photos("nin", "Network in network (2013): photos, the 1,000 classes of ImageNet", nin::nin)
    },
    cifar("nin-cifar", "Network in network (2013): small colour pictures", Build::Sized(nin::nin_cifar)),
    photos("vgg11", "VGG-11 (2014): photos, the 1,000 classes of ImageNet", |size| vgg::vgg(&vgg::VGG11, size)),
    photos("vgg11_bn", "VGG-11 with batch normalisation: photos", |size| vgg::vgg(&vgg::VGG11_BN, size)),
    photos("vgg13", "VGG-13 (2014): photos, the 1,000 classes of ImageNet", |size| vgg::vgg(&vgg::VGG13, size)),
    photos("vgg13_bn", "VGG-13 with batch normalisation: photos", |size| vgg::vgg(&vgg::VGG13_BN, size)),
    photos("vgg16", "VGG-16 (2014): photos, the 1,000 classes of ImageNet", |size| vgg::vgg(&vgg::VGG16, size)),
    photos("vgg16_bn", "VGG-16 with batch normalisation: photos", |size| vgg::vgg(&vgg::VGG16_BN, size)),
    photos("vgg19", "VGG-19 (2014): photos, the 1,000 classes of ImageNet", |size| vgg::vgg(&vgg::VGG19, size)),
    photos("vgg19_bn", "VGG-19 with batch normalisation: photos", |size| vgg::vgg(&vgg::VGG19_BN, size)),
    digits("vgg8", "VGG in small, with batch normalisation: handwritten digits, and pictures of their size", vgg::vgg8),
    Model {
        preprocess: Preprocess::GOOGLENET,
        training_only: googlenet::TRAINING_ONLY,
        ..photos("googlenet", "GoogLeNet (2014) with batch normalisation: photos", googlenet::googlenet)
    },
    photos("resnet18", "ResNet-18 (2015): photos", |size| resnet::resnet(&resnet::RESNET18, size)),
    photos("resnet34", "ResNet-34 (2015): photos", |size| resnet::resnet(&resnet::RESNET34, size)),
    photos("resnet50", "ResNet-50 (2015): photos", |size| resnet::resnet(&resnet::RESNET50, size)),
    photos("resnet101", "ResNet-101 (2015): photos", |size| resnet::resnet(&resnet::RESNET101, size)),
    photos("resnet152", "ResNet-152 (2015): photos", |size| resnet::resnet(&resnet::RESNET152, size)),
    cifar("resnet20-cifar", "ResNet-20 (2015): small colour pictures", Build::Sized(resnet::resnet20_cifar)),
    Model {
        preprocess: Preprocess::XCEPTION,
        ..photos("xception", "Xception (2016), of separable convolutions: photos of 299x299", xception::xception)
    },
    photos("squeezenet1_1", "SqueezeNet 1.1 (2016), few parameters: photos", squeezenet::squeezenet1_1),
    photos("mobilenet_v2", "MobileNetV2 (2018), little work: photos", mobilenet::mobilenet_v2),
    Model {
        initialization: Initialization::LeCun,
        ..cifar(
            "baseline-cifar",
            "the dense network of the paper on flattened ones (2015): small colour pictures",
            Build::Fixed(flattened::baseline_cifar),
        )
    },
    Model {
        initialization: Initialization::Glorot,
        ..cifar(
            "flattened-cifar",
            "its twin with one-dimensional filters: small colour pictures",
            Build::Fixed(flattened::flattened_cifar),
        )
    },
    Model {
        initialization: Initialization::Glorot,
        ..cifar(
            "flattened-all-cifar",
            "that with the first convolution flattened too: small colour pictures",
            Build::Fixed(flattened::flattened_all_cifar),
        )
    },
    Model {
        preprocess: Preprocess::MNIST_BARE,
        initialization: Initialization::LeCun,
        ..digits(
            "baseline-mnist",
            "the dense network of the paper on flattened ones (2015): handwritten digits",
            flattened::baseline_mnist,
        )
    },
    Model {
        preprocess: Preprocess::MNIST_BARE,
        initialization: Initialization::Glorot,
        ..digits(
            "flattened-mnist",
            "its twin with one-dimensional filters: handwritten digits",
            flattened::flattened_mnist,
        )
    },
    Model {
        preprocess: Preprocess::MNIST_BARE,
        initialization: Initialization::Glorot,
        ..digits(
            "flattened-all-mnist",
            "that with the first convolution flattened too: handwritten digits",
            flattened::flattened_all_mnist,
        )
    },
    Model {
        preprocess: Preprocess::MNIST_BARE,
        ..digits(
            "mlp-mnist",
            "784-1024-1024-10 of the paper on 8-bit approximations (2016): handwritten digits",
            dense::mlp_mnist,
        )
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
        let picture = self.preprocess.output_shape();
        match self.build {
            Build::Fixed(build) => build(),
            Build::Sized(build) => build([picture[1], picture[2]]),
        }
    }

    /// The network for pictures of so many rows and columns, with the same weights. Errors where it takes those of one size
    /// only, and where they are too small for it.
    pub fn network_for(&self, size: [usize; 2]) -> Result<Network> {
        match self.build {
            Build::Sized(build) => build(size),
            Build::Fixed(build) => {
                let network = build()?;
                match network.input_shape()[1..] == size {
                    true => Ok(network),
                    false => Err(Error::PictureSize { model: self.name, takes: network.input_shape().clone(), size }),
                }
            }
        }
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

    /// Maps a file of weights into memory, as [`weights_file::map`] does, and leaves out what published files have for training
    /// alone, such as GoogLeNet's classifiers on the side.
    pub fn weights_from(&self, path: &Path) -> Result<Weights> {
        let mut weights = weights_file::map(path)?;
        let is_left_out = |name: &&str| self.training_only.iter().any(|start| name.starts_with(start));
        let names: Vec<String> = weights.iter().map(|(name, _)| name).filter(is_left_out).map(str::to_string).collect();
        names.iter().for_each(|name| {
            weights.remove(name);
        });
        Ok(weights)
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
    use cnn_core::{DType, Tensor};

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
        assert!(
            error.starts_with("unknown model `lenet`; known are lenet5, lenet5-original, alexnet, nin, "),
            "{error}"
        );
        assert!(models().iter().all(|model| error.contains(model.name)), "{error}");
    }

    #[test]
    fn parameters_have_the_published_counts() {
        let published = [
            ("alexnet", 61_100_840),
            ("nin", 7_595_176),
            ("nin-cifar", 966_986),
            ("vgg11", 132_863_336),
            ("vgg11_bn", 132_868_840),
            ("vgg13", 133_047_848),
            ("vgg13_bn", 133_053_736),
            ("vgg16", 138_357_544),
            ("vgg16_bn", 138_365_992),
            ("vgg19", 143_667_240),
            ("vgg19_bn", 143_678_248),
            ("googlenet", 6_624_904),
            ("resnet18", 11_689_512),
            ("resnet34", 21_797_672),
            ("resnet50", 25_557_032),
            ("resnet101", 44_549_160),
            ("resnet152", 60_192_808),
            ("resnet20-cifar", 269_722),
            ("xception", 22_855_952),
            ("squeezenet1_1", 1_235_496),
            ("mobilenet_v2", 3_504_872),
        ];
        for (name, count) in published {
            assert_eq!(find(name).unwrap().network().unwrap().parameter_count(), count, "{name}");
        }
    }

    #[test]
    fn networks_of_photos_take_other_sizes() {
        for model in models() {
            let other = model.network_for([96, 80]);
            match (&model.build, other) {
                (Build::Fixed(_), other) => {
                    let error = other.unwrap_err().to_string();
                    assert!(error.starts_with(&format!("`{}` takes pictures of [", model.name)), "{error}");
                    let size = [0, 1].map(|axis| model.preprocess().output_shape()[1 + axis]);
                    assert!(model.network_for(size).is_ok(), "{}", model.name);
                }
                (Build::Sized(_), other) => {
                    let (network, other) = (model.network().unwrap(), other.unwrap());
                    assert_eq!(other.input_shape()[..], [3, 96, 80]);
                    assert!(other.parameters().eq(network.parameters()), "{}", model.name);
                }
            }
            assert!(model.network_for([0, 1]).is_err(), "{}", model.name);
            assert!(model.network_for([usize::MAX, 2]).is_err(), "{}", model.name);
        }
    }

    #[test]
    fn classifiers_on_the_side_are_left_out_of_published_weights() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("googlenet.safetensors");
        let mut weights = Weights::new();
        for name in ["conv1.bn.weight", "aux1.fc2.bias", "aux2.conv.conv.weight"] {
            weights.insert(name, Tensor::zeros([1]).unwrap());
        }
        weights_file::write(&path, &weights, DType::F32).unwrap();
        let names = |model: &str| {
            let weights = find(model).unwrap().weights_from(&path).unwrap();
            weights.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("googlenet"), ["conv1.bn.weight"]);
        assert_eq!(names("resnet18").len(), 3);
    }
}
