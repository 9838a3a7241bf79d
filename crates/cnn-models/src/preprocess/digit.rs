//! Handwritten digits.

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};

use super::pixels::Pixels;
use crate::Result;

/// Handwritten digits, bright on dark, in the middle of a dark border.
///
/// A picture of another size is resized to fit. One whose edge is bright is taken for ink on paper and inverted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Digit {
    /// Pixels of a side of the data set's pictures.
    pub side: usize,
    /// Dark pixels that are put around them.
    pub border: usize,
    /// Subtracted from values in [0, 1].
    pub mean: f32,
    /// What they are divided by.
    pub deviation: f32,
}

impl Digit {
    /// Pixels of a side with its border.
    pub(super) fn padded(&self) -> usize {
        self.side + 2 * self.border
    }

    /// `side` x `side` pixels.
    pub(super) fn fit(&self, picture: &DynamicImage) -> Result<Pixels<'static>> {
        let mut grey = picture.to_luma8();
        if edge_mean(&grey) > 127 {
            image::imageops::invert(&mut grey);
        }
        let side = self.side as u32;
        if grey.dimensions() != (side, side) {
            grey = fit(&grey, side);
        }
        Pixels::of_grey(grey)
    }
}

/// Mean of the pixels at the edge.
fn edge_mean(grey: &GrayImage) -> u64 {
    let (width, height) = grey.dimensions();
    let at_edge = |x: u32, y: u32| x == 0 || y == 0 || x == width - 1 || y == height - 1;
    let edge = grey.enumerate_pixels().filter(|(x, y, _)| at_edge(*x, *y)).map(|(.., pixel)| u64::from(pixel.0[0]));
    let (sum, count) = edge.fold((0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / u64::max(count, 1)
}

/// The picture resized to `side` at its longer side, in the middle of a dark square.
fn fit(grey: &GrayImage, side: u32) -> GrayImage {
    let (width, height) = grey.dimensions();
    let longer = u64::from(width.max(height));
    let scaled = |extent: u32| ((u64::from(extent) * u64::from(side) + longer / 2) / longer).max(1) as u32;
    let small = image::imageops::resize(grey, scaled(width), scaled(height), FilterType::Triangle);
    let mut square = GrayImage::new(side, side);
    let (left, top) = ((side - small.width()) / 2, (side - small.height()) / 2);
    image::imageops::replace(&mut square, &small, i64::from(left), i64::from(top));
    square
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;
    use crate::Preprocess;

    fn stroke(width: u32, height: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, _| Luma([if x == width / 2 { 200 } else { 0 }]))
    }

    fn picture(grey: GrayImage) -> Vec<f32> {
        Preprocess::MNIST.decoded(&DynamicImage::from(grey)).unwrap().to_f32().into_owned()
    }

    fn of_data_set(grey: &GrayImage) -> Vec<f32> {
        let shape = [1, grey.height() as usize, grey.width() as usize];
        let fitted = Preprocess::MNIST.fit(Pixels::new(shape, grey.as_raw()).unwrap()).unwrap();
        let mut values = vec![9.0; 1024];
        Preprocess::MNIST.normalize(std::slice::from_ref(&fitted), &mut values).unwrap();
        values
    }

    #[test]
    fn a_file_and_a_data_set_give_the_same_bits() {
        let values = of_data_set(&stroke(28, 28));
        assert_eq!(values, picture(stroke(28, 28)));
        assert_eq!(values[0], (0.0 - 0.1307) / 0.3081);
        assert_eq!(values[2 * 32 + 2 + 14], (200.0 / 255.0 - 0.1307) / 0.3081);
    }

    #[test]
    fn ink_on_paper_is_inverted() {
        let mut paper = stroke(28, 28);
        image::imageops::invert(&mut paper);
        assert_eq!(picture(paper), picture(stroke(28, 28)));
    }

    #[test]
    fn other_sizes_are_fitted() {
        for (width, height) in [(56, 56), (300, 20), (8, 9), (20, 300)] {
            assert_eq!(picture(stroke(width, height)).len(), 1024);
        }
        assert_eq!(of_data_set(&stroke(40, 30)), picture(stroke(40, 30)));
        assert!(Preprocess::MNIST.fit(Pixels::new([1, 2, 2], vec![0; 4]).unwrap()).is_err());
    }
}
