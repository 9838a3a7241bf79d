//! Labelled images: bytes in memory, or files that are decoded as they are taken.

use std::path::PathBuf;

use cnn_core::Network;
use cnn_models::{Normalization, Pixels, Preprocess};

use crate::{Error, Result};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the network learns from.
    Train,
    /// What it is judged by.
    Test,
}

/// Labelled images, and what their classes are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    images: Images,
    labels: Vec<u32>,
    classes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Images {
    /// Of `[channels, rows, columns]`, one after the other.
    Bytes { shape: [usize; 3], bytes: Vec<u8> },
    /// Pictures of any size.
    Files(Vec<PathBuf>),
}

impl Dataset {
    /// Images of `[channels, rows, columns]`, one after the other, and their labels. Each image is planes (grey, or red,
    /// green and blue), row by row, a byte a pixel. Errors where the counts differ, or where there is no image.
    pub fn new(shape: [usize; 3], bytes: Vec<u8>, labels: Vec<u32>) -> Result<Self> {
        let all = shape.iter().try_fold(labels.len(), |product, &extent| product.checked_mul(extent));
        if bytes.is_empty() || all != Some(bytes.len()) {
            let ([channels, rows, columns], bytes, labels) = (shape, bytes.len(), labels.len());
            let reason = format!("{bytes} bytes for {labels} labels of {channels}x{rows}x{columns} images");
            return Err(Error::Data(reason));
        }
        Ok(Dataset { images: Images::Bytes { shape, bytes }, labels, classes: Vec::new() })
    }

    /// PNG or JPEG files, decoded each time that they are taken, and their labels. Errors where the counts differ, or
    /// where there is no file.
    pub fn of_files(files: Vec<PathBuf>, labels: Vec<u32>) -> Result<Self> {
        match files.is_empty() || files.len() != labels.len() {
            true => Err(Error::Data(format!("{} files for {} labels", files.len(), labels.len()))),
            false => Ok(Dataset { images: Images::Files(files), labels, classes: Vec::new() }),
        }
    }

    /// The same with names for its classes. Errors where an image is of a class beyond the last.
    pub fn with_classes(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        self.classes = names.into_iter().map(Into::into).collect();
        self.check_classes(self.classes.len())?;
        Ok(self)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none; never so.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels of every image; `None` where they are files, which give as many as a model takes.
    pub fn channels(&self) -> Option<usize> {
        match self.images {
            Images::Bytes { shape, .. } => Some(shape[0]),
            Images::Files(_) => None,
        }
    }

    /// Whether images are decoded as they are taken.
    pub(super) fn is_decoded_late(&self) -> bool {
        matches!(self.images, Images::Files(_))
    }

    /// Names of the classes in their order; none where the data set does not tell them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Image number `index` at the model's size. Errors where a file holds no picture that the model takes.
    pub fn image(&self, index: usize, preprocess: &Preprocess) -> Result<Pixels<'_>> {
        match &self.images {
            Images::Bytes { shape, bytes } => {
                let length: usize = shape.iter().product();
                Ok(preprocess.fit(Pixels::new(*shape, &bytes[index * length..(index + 1) * length])?)?)
            }
            Images::Files(files) => Ok(preprocess.fit_picture(&files[index])?),
        }
    }

    /// The class of image number `index`.
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count.max(1));
        match &mut self.images {
            Images::Bytes { shape, bytes } => bytes.truncate(self.labels.len() * shape.iter().product::<usize>()),
            Images::Files(files) => files.truncate(self.labels.len()),
        }
    }

    /// Errors unless every label is below `classes`.
    pub fn check_classes(&self, classes: usize) -> Result<()> {
        match self.labels.iter().position(|&label| label as usize >= classes) {
            Some(i) => Err(Error::Data(format!("image {i} is of class {}, there are {classes}", self.labels[i]))),
            None => Ok(()),
        }
    }

    /// Errors unless the network takes images of as many channels, and knows as many classes.
    pub fn check(&self, network: &Network) -> Result<()> {
        let taken = network.input_shape()[0];
        if let Some(channels) = self.channels().filter(|&channels| channels != taken) {
            let name = network.name();
            return Err(Error::Data(format!("images of {}, `{name}` takes {}", count(channels), count(taken))));
        }
        self.check_classes(network.output_shape().elements())
    }

    /// Mean and deviation of each channel over all pixels at the model's size. Takes, and decodes, every image once.
    /// Errors where a channel is the same everywhere.
    pub fn normalization(&self, preprocess: &Preprocess) -> Result<Normalization> {
        let channels = preprocess.fitted_shape()[0];
        let mut sums = vec![[0u128; 3]; channels];
        for index in 0..self.len() {
            for ([count, sum, squares], plane) in sums.iter_mut().zip(self.image(index, preprocess)?.planes()) {
                *count += plane.len() as u128;
                *sum += u128::from(plane.iter().map(|&byte| u64::from(byte)).sum::<u64>());
                *squares += u128::from(plane.iter().map(|&byte| u64::from(byte).pow(2)).sum::<u64>());
            }
        }
        let mut normalization = Normalization { mean: Vec::new(), deviation: Vec::new() };
        for [count, sum, squares] in sums {
            // Whole numbers, so that nothing is lost where the deviation is small.
            let variance = (count * squares - sum * sum) as f64;
            normalization.mean.push((sum as f64 / count as f64 / 255.0) as f32);
            normalization.deviation.push((variance.sqrt() / count as f64 / 255.0) as f32);
        }
        match normalization.deviation.iter().position(|&deviation| deviation == 0.0) {
            Some(channel) => Err(Error::Data(format!("channel {channel} of all images has the same value everywhere"))),
            None => Ok(normalization),
        }
    }

    /// The bytes of an image that lies in memory, as it lies there.
    #[cfg(test)]
    pub(super) fn raw(&self, index: usize) -> &[u8] {
        let Images::Bytes { shape, bytes } = &self.images else { return &[] };
        bytes.chunks(shape.iter().product()).nth(index).unwrap()
    }
}

/// `3 channels`
fn count(channels: usize) -> String {
    format!("{channels} channel{}", if channels == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use cnn_models::{Digit, Interpolation, Photo};

    use super::*;

    #[test]
    fn counts_and_classes_are_checked() {
        let data = Dataset::new([1, 1, 3], vec![1, 2, 3, 4, 5, 6], vec![3, 9]).unwrap();
        assert_eq!((data.len(), data.channels(), data.raw(1), data.label(1)), (2, Some(1), &[4, 5, 6][..], 9));
        assert!(data.check_classes(9).is_err() && data.check_classes(10).is_ok());
        assert!(data.clone().with_classes(["a"; 9]).is_err());
        assert_eq!(data.clone().with_classes(["a"; 10]).unwrap().classes().len(), 10);
        let mut first = data.clone();
        first.truncate(1);
        assert_eq!((first.len(), first.raw(0)), (1, &[1, 2, 3][..]));
        for shape in [[1, 1, 2], [0, 1, 3], [usize::MAX, 2, 3]] {
            assert!(Dataset::new(shape, vec![0; 6], vec![0, 0]).is_err(), "{shape:?}");
        }
        assert!(Dataset::new([1, 1, 1], vec![], vec![]).is_err());
        assert!(Dataset::of_files(vec![], vec![]).is_err());
        assert!(Dataset::of_files(vec![PathBuf::new()], vec![]).is_err());
    }

    #[test]
    fn a_network_takes_its_channels_and_classes() {
        let network = cnn_models::find("lenet5").unwrap().network().unwrap();
        let error = |channels, label| {
            let data = Dataset::new([channels, 1, 1], vec![0; channels], vec![label]).unwrap();
            data.check(&network).unwrap_err().to_string()
        };
        assert_eq!(error(3, 0), "data: images of 3 channels, `lenet5` takes 1 channel");
        assert_eq!(error(1, 10), "data: image 0 is of class 10, there are 10");
        assert!(Dataset::of_files(vec![PathBuf::new()], vec![9]).unwrap().check(&network).is_ok());
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_pixels() {
        let digit = Preprocess::Digit(Digit { side: 2, border: 3, mean: 0.0, deviation: 1.0 });
        let data = Dataset::new([1, 2, 2], vec![0, 0, 0, 0, 255, 255, 255, 255], vec![0, 1]).unwrap();
        let expected = Normalization { mean: vec![0.5], deviation: vec![0.5] };
        assert_eq!(data.normalization(&digit).unwrap(), expected);

        let photo = Preprocess::Photo(Photo {
            shorter_side: 1,
            interpolation: Interpolation::Bilinear,
            crop: 1,
            mean: [0.0; 3],
            deviation: [1.0; 3],
        });
        let data = Dataset::new([3, 1, 1], vec![0, 51, 100, 102, 51, 200], vec![0, 0]).unwrap();
        let error = data.normalization(&photo).unwrap_err().to_string();
        assert_eq!(error, "data: channel 1 of all images has the same value everywhere");
        let data = Dataset::new([3, 1, 1], vec![0, 51, 100, 102, 153, 200], vec![0, 0]).unwrap();
        let Normalization { mean, deviation } = data.normalization(&photo).unwrap();
        assert_eq!((mean, deviation), (vec![0.2, 0.4, 150.0 / 255.0], vec![0.2, 0.2, 50.0 / 255.0]));
    }
}
