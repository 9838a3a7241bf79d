//! Pictures -> the input of a model.

mod decode;
mod digit;
mod photo;

use std::path::Path;

use cnn_core::{Shape, Tensor};
use image::DynamicImage;

use crate::{Error, Result};

pub use digit::Digit;
pub use photo::Photo;

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
        crop: 224,
        mean: [0.485, 0.456, 0.406],
        deviation: [0.229, 0.224, 0.225],
    });

    /// What models trained on MNIST want: 28x28 in the middle of 32x32, the set's own mean and deviation.
    pub const MNIST: Preprocess = Preprocess::Digit(Digit { side: 28, border: 2, mean: 0.1307, deviation: 0.3081 });

    /// Shape of a picture's tensor without the batch.
    pub fn output_shape(&self) -> Shape {
        match self {
            Preprocess::Photo(photo) => Shape::from([3, photo.crop as usize, photo.crop as usize]),
            Preprocess::Digit(digit) => Shape::from([1, digit.padded(), digit.padded()]),
        }
    }

    /// A PNG or JPEG file as a batch of one. Errors where it is no picture, smaller than 8x8, wider or higher than
    /// 10,000 pixels, or larger than 64 million pixels.
    pub fn picture(&self, path: &Path) -> Result<Tensor> {
        let bytes = std::fs::read(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
        self.bytes(&bytes).map_err(|error| error.in_file(path))
    }

    /// The bytes of a PNG or JPEG file as a batch of one. Errors as for [`picture`](Self::picture).
    pub fn bytes(&self, bytes: &[u8]) -> Result<Tensor> {
        self.decoded(&decode::decode(bytes)?)
    }

    fn decoded(&self, picture: &DynamicImage) -> Result<Tensor> {
        let shape = self.output_shape();
        let mut values = Vec::with_capacity(shape.elements());
        match self {
            Preprocess::Photo(photo) => photo.append(picture, &mut values),
            Preprocess::Digit(digit) => digit.append_picture(picture, &mut values),
        }
        Ok(Tensor::new(shape.with_batch(1), values)?)
    }

    /// Appends one grey picture, a byte a pixel, row by row, as data sets hold them: to put a batch together. A digit
    /// of the data set's own size is taken as it is; everything else goes the way of a picture from a file.
    pub fn grey(&self, pixels: &[u8], [rows, columns]: [usize; 2], values: &mut Vec<f32>) -> Result<()> {
        let size = || Error::Picture(format!("{} pixels for {rows}x{columns}", pixels.len()));
        match self {
            Preprocess::Digit(digit) if [rows, columns] == [digit.side; 2] && pixels.len() == rows * columns => {
                digit.append(pixels, values);
            }
            _ => {
                let (height, width) = (u32::try_from(rows), u32::try_from(columns));
                let (Ok(height), Ok(width)) = (height, width) else { return Err(size()) };
                decode::check_size(width, height)?;
                let grey = image::GrayImage::from_raw(width, height, pixels.to_vec()).ok_or_else(size)?;
                values.extend_from_slice(self.decoded(&DynamicImage::from(grey))?.as_f32()?);
            }
        }
        Ok(())
    }
}
