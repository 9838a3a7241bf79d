//! Pictures -> the input of a model, in two steps: [`fit`](Preprocess::fit) brings a picture to the model's size, in
//! bytes, and [`normalize`](Preprocess::normalize) makes values of it. Training changes pictures between the two.

mod decode;
mod digit;
mod normalization;
mod photo;
mod pixels;

use std::path::Path;

use cnn_core::{Shape, Tensor};
use image::DynamicImage;

use crate::{Error, Result};

pub use digit::Digit;
pub use normalization::Normalization;
pub use photo::{Interpolation, Photo};
pub use pixels::Pixels;

/// How a model wants its pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preprocess {
    /// Colour photographs.
    Photo(Photo),
    /// Handwritten digits, bright on dark.
    Digit(Digit),
}

impl Preprocess {
    /// What models trained on ImageNet want: torchvision's published evaluation transform.
    pub const IMAGENET: Preprocess = Preprocess::Photo(Photo {
        shorter_side: 256,
        interpolation: Interpolation::Bilinear,
        crop: 224,
        mean: [0.485, 0.456, 0.406],
        deviation: [0.229, 0.224, 0.225],
    });

    /// What torchvision's GoogLeNet wants, whose weights are from another framework: values in [-1, 1].
    pub const GOOGLENET: Preprocess = Preprocess::Photo(Photo {
        shorter_side: 256,
        interpolation: Interpolation::Bilinear,
        crop: 224,
        mean: [0.5; 3],
        deviation: [0.5; 3],
    });

    /// What timm's Xception wants: larger pictures, values in [-1, 1].
    pub const XCEPTION: Preprocess = Preprocess::Photo(Photo {
        shorter_side: 333,
        interpolation: Interpolation::Bicubic,
        crop: 299,
        mean: [0.5; 3],
        deviation: [0.5; 3],
    });

    /// What Caffe's networks want, but red first: values in [0, 255] less a mean that is commonly given for ImageNet.
    pub const NIN: Preprocess = Preprocess::Photo(Photo {
        shorter_side: 256,
        interpolation: Interpolation::Bilinear,
        crop: 224,
        mean: [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0],
        deviation: [1.0 / 255.0; 3],
    });

    /// What models trained on MNIST want: 28x28 in the middle of 32x32, the set's own mean and deviation.
    pub const MNIST: Preprocess = Preprocess::Digit(Digit { side: 28, border: 2, mean: 0.1307, deviation: 0.3081 });

    /// Digits at MNIST's own size, 28x28, without a border.
    pub const MNIST_BARE: Preprocess =
        Preprocess::Digit(Digit { side: 28, border: 0, mean: 0.1307, deviation: 0.3081 });

    /// What models trained on CIFAR-10 want: 32x32, with the mean and deviation of its training pictures as they are commonly given.
    pub const CIFAR: Preprocess = Preprocess::Photo(Photo {
        shorter_side: 32,
        interpolation: Interpolation::Bilinear,
        crop: 32,
        mean: [0.4914, 0.4822, 0.4465],
        deviation: [0.2470, 0.2435, 0.2616],
    });

    /// Shape of a picture's tensor without the batch.
    pub fn output_shape(&self) -> Shape {
        match self {
            Preprocess::Photo(photo) => Shape::from([3, photo.crop as usize, photo.crop as usize]),
            Preprocess::Digit(digit) => Shape::from([1, digit.padded(), digit.padded()]),
        }
    }

    /// Channels, rows and columns of a picture before it is normalised.
    pub fn fitted_shape(&self) -> [usize; 3] {
        match self {
            Preprocess::Photo(photo) => [3, photo.crop as usize, photo.crop as usize],
            Preprocess::Digit(digit) => [1, digit.side, digit.side],
        }
    }

    /// The same with another mean and deviation. Errors unless there is one of each a channel.
    pub fn with_normalization(mut self, normalization: &Normalization) -> Result<Preprocess> {
        let Normalization { mean, deviation } = normalization;
        let pictures = pixels::show(self.fitted_shape());
        let fitting = || Error::Picture(format!("{} means and deviations for pictures of {pictures}", mean.len()));
        normalization.check().map_err(Error::Picture)?;
        match &mut self {
            Preprocess::Photo(photo) => {
                photo.mean = mean[..].try_into().map_err(|_| fitting())?;
                photo.deviation = deviation[..].try_into().map_err(|_| fitting())?;
            }
            Preprocess::Digit(digit) => {
                [digit.mean] = mean[..].try_into().map_err(|_| fitting())?;
                [digit.deviation] = deviation[..].try_into().map_err(|_| fitting())?;
            }
        }
        Ok(self)
    }

    /// A PNG or JPEG file as a batch of one. Errors where it is no picture, smaller than 8x8, wider or higher than
    /// 10,000 pixels, or larger than 64 million pixels.
    pub fn picture(&self, path: &Path) -> Result<Tensor> {
        self.batch_of_one(&self.fit_picture(path)?)
    }

    /// The bytes of a PNG or JPEG file as a batch of one. Errors as for [`picture`](Self::picture).
    pub fn bytes(&self, bytes: &[u8]) -> Result<Tensor> {
        self.decoded(&decode::decode(bytes)?)
    }

    fn decoded(&self, picture: &DynamicImage) -> Result<Tensor> {
        self.batch_of_one(&self.fit_image(picture)?)
    }

    fn batch_of_one(&self, pixels: &Pixels<'_>) -> Result<Tensor> {
        let shape = self.output_shape();
        let mut values = vec![0.0; shape.elements()];
        self.normalize(std::slice::from_ref(pixels), &mut values)?;
        Ok(Tensor::new(shape.with_batch(1), values)?)
    }

    /// A PNG or JPEG file at the model's size. Errors as for [`picture`](Self::picture).
    pub fn fit_picture(&self, path: &Path) -> Result<Pixels<'static>> {
        let bytes = std::fs::read(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
        decode::decode(&bytes).and_then(|image| self.fit_image(&image)).map_err(|error| error.in_file(path))
    }

    /// A data set's picture at the model's size. One that has it is taken as it is; every other goes the way of a
    /// picture from a file. Errors where the model takes other channels, and as for [`picture`](Self::picture).
    pub fn fit<'a>(&self, pixels: Pixels<'a>) -> Result<Pixels<'a>> {
        let (got, fitted) = (pixels.shape(), self.fitted_shape());
        if got[0] != fitted[0] {
            return Err(Error::Picture(format!("{} channels, the model takes {}", got[0], fitted[0])));
        }
        let untouched = match self {
            Preprocess::Photo(photo) => photo.shorter_side == photo.crop,
            Preprocess::Digit(_) => true,
        };
        if got == fitted && untouched { Ok(pixels) } else { self.fit_image(&pixels.to_image()?) }
    }

    fn fit_image(&self, picture: &DynamicImage) -> Result<Pixels<'static>> {
        match self {
            Preprocess::Photo(photo) => photo.fit(picture),
            Preprocess::Digit(digit) => digit.fit(picture),
        }
    }

    /// Writes the values of pictures of [`fitted_shape`](Self::fitted_shape), each with the border that the model wants, one
    /// after the other: to put a batch together. Errors for another shape, and where the values are not as many as
    /// [`output_shape`](Self::output_shape) has for so many pictures.
    pub fn normalize(&self, pictures: &[Pixels<'_>], values: &mut [f32]) -> Result<()> {
        /// As many as processors have reads under way.
        const AT_ONCE: usize = 16;
        let fitted = self.fitted_shape();
        if let Some(other) = pictures.iter().map(Pixels::shape).find(|&got| got != fitted) {
            let (got, fitted) = (pixels::show(other), pixels::show(fitted));
            return Err(Error::Picture(format!("{got}, the model takes {fitted}")));
        }
        let (border, mean, deviation) = match self {
            Preprocess::Photo(photo) => (0, &photo.mean[..], &photo.deviation[..]),
            Preprocess::Digit(digit) => (digit.border, &[digit.mean][..], &[digit.deviation][..]),
        };
        let (length, got) = (self.output_shape().elements(), values.len());
        if got != length * pictures.len() {
            return Err(Error::Picture(format!("{got} values for {} pictures of {length} each", pictures.len())));
        }
        let levels = normalization::levels(mean, deviation);
        for (pictures, values) in pictures.chunks(AT_ONCE).zip(values.chunks_mut(AT_ONCE * length)) {
            normalization::fetch(pictures);
            for (pixels, values) in pictures.iter().zip(values.chunks_exact_mut(length)) {
                normalization::write(pixels, border, &levels, values);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalization(mean: &[f32], deviation: &[f32]) -> Normalization {
        Normalization { mean: mean.to_vec(), deviation: deviation.to_vec() }
    }

    #[test]
    fn a_normalization_has_one_of_each_a_channel() {
        let digit = Preprocess::MNIST.with_normalization(&normalization(&[0.5], &[0.25])).unwrap();
        assert_eq!(digit, Preprocess::Digit(Digit { side: 28, border: 2, mean: 0.5, deviation: 0.25 }));
        let photo =
            Preprocess::IMAGENET.with_normalization(&normalization(&[0.1, 0.2, 0.3], &[1.0, 2.0, 3.0])).unwrap();
        assert!(matches!(photo, Preprocess::Photo(Photo { mean: [_, _, 0.3], deviation: [_, 2.0, _], .. })));
        for (mean, deviation) in
            [(&[0.5, 0.5][..], &[0.5, 0.5][..]), (&[0.5], &[0.0]), (&[0.5], &[]), (&[f32::NAN], &[1.0])]
        {
            assert!(Preprocess::MNIST.with_normalization(&normalization(mean, deviation)).is_err(), "{mean:?}");
        }
    }

    #[test]
    fn other_channels_are_refused() {
        let colours = Pixels::new([3, 28, 28], vec![0; 3 * 784]).unwrap();
        let error = Preprocess::MNIST.fit(colours.clone()).unwrap_err().to_string();
        assert_eq!(error, "picture: 3 channels, the model takes 1");
        let error = Preprocess::MNIST.normalize(&[colours], &mut []).unwrap_err().to_string();
        assert_eq!(error, "picture: 3x28x28, the model takes 1x28x28");
        let grey = Pixels::new([1, 28, 28], vec![0; 784]).unwrap();
        let error = Preprocess::MNIST.normalize(&[grey], &mut [0.0; 784]).unwrap_err().to_string();
        assert_eq!(error, "picture: 784 values for 1 pictures of 1024 each");
        assert!(Preprocess::IMAGENET.fit(Pixels::new([1, 28, 28], vec![0; 784]).unwrap()).is_err());
    }
}
