//! Colour photographs.

use image::DynamicImage;
use image::imageops::FilterType;

use super::pixels::Pixels;
use crate::Result;

/// Colour photographs: the shorter side resized, the middle cropped out, each channel normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Photo {
    /// Pixels of the shorter side after resizing.
    pub shorter_side: u32,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// Pixels of the square that is cropped out of the middle.
    pub crop: u32,
    /// Subtracted from red, green and blue in [0, 1].
    pub mean: [f32; 3],
    /// What they are divided by.
    pub deviation: [f32; 3],
}

/// What stands between pixels. Both are widened when they shrink a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// Straight lines.
    Bilinear,
    /// Cubic polynomials (Catmull and Rom 1974).
    Bicubic,
}

impl Interpolation {
    fn filter(self) -> FilterType {
        match self {
            Interpolation::Bilinear => FilterType::Triangle,
            Interpolation::Bicubic => FilterType::CatmullRom,
        }
    }
}

impl Photo {
    /// `crop` x `crop` pixels.
    pub(super) fn fit(&self, picture: &DynamicImage) -> Result<Pixels<'static>> {
        let picture = middle(picture);
        let (width, height) = self.resized(picture.width(), picture.height());
        let picture = picture.to_rgb8();
        let picture = image::imageops::resize(&picture, width, height, self.interpolation.filter());
        let (left, top) = (half_to_even(width - self.crop), half_to_even(height - self.crop));
        let side = self.crop as usize;
        let mut bytes = Vec::with_capacity(3 * side * side);
        for channel in 0..3 {
            for y in 0..self.crop {
                bytes.extend((0..self.crop).map(|x| picture.get_pixel(left + x, top + y).0[channel]));
            }
        }
        Pixels::new([3, side, side], bytes)
    }

    /// Width and height with the shorter side as asked for; the longer is cut down to whole pixels.
    fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        let scaled =
            |longer: u32, shorter: u32| (u64::from(longer) * u64::from(self.shorter_side) / u64::from(shorter)) as u32;
        match width <= height {
            true => (self.shorter_side, scaled(height, width)),
            false => (scaled(width, height), self.shorter_side),
        }
    }
}

/// Half of `room`, rounded as Python rounds: to the even neighbour.
fn half_to_even(room: u32) -> u32 {
    let half = room / 2;
    half + u32::from(room % 2 == 1 && half % 2 == 1)
}

/// Cuts the ends off a long picture. The crop takes less than a square from its middle, so a middle of two squares
/// gives the same result, and a strip of 8 x 10,000 pixels does not grow to 256 x 320,000.
fn middle(picture: &DynamicImage) -> DynamicImage {
    let (width, height) = (picture.width(), picture.height());
    let (most_width, most_height) = (width.min(2 * height), height.min(2 * width));
    picture.crop_imm((width - most_width) / 2, (height - most_height) / 2, most_width, most_height)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;
    use crate::Preprocess;

    fn values(picture: DynamicImage) -> Vec<f32> {
        Preprocess::IMAGENET.decoded(&picture).unwrap().to_f32().into_owned()
    }

    #[test]
    fn channels_are_planes_and_normalised() {
        let values = values(DynamicImage::from(RgbImage::from_pixel(300, 400, Rgb([255, 0, 128]))));
        assert_eq!(values.len(), 3 * 224 * 224);
        let expected = [(1.0 - 0.485) / 0.229, (0.0 - 0.456) / 0.224, (128.0 / 255.0 - 0.406) / 0.225];
        for (plane, expected) in values.chunks(224 * 224).zip(expected) {
            assert!(plane.iter().all(|v| (v - expected).abs() < 1e-5), "{} {expected}", plane[0]);
        }
    }

    #[test]
    fn the_crop_is_the_middle() {
        // As large as the resized picture, so that only the crop is left: its first pixel is (16, 16).
        let picture = RgbImage::from_fn(256, 256, |x, y| Rgb([x as u8, y as u8, 0]));
        let values = values(DynamicImage::from(picture));
        assert!((values[0] - (16.0 / 255.0 - 0.485) / 0.229).abs() < 1e-5);
        assert!((values[224 * 224] - (16.0 / 255.0 - 0.456) / 0.224).abs() < 1e-5);
    }

    #[test]
    fn interpolations_are_those_of_pillow() {
        let value = |x: u32, y: u32| ((x * x * 7 + y * 31 + 13 * x * y) % 256) as u8;
        let picture = DynamicImage::from(RgbImage::from_fn(9, 9, |x, y| Rgb([value(x, y); 3])));
        for (interpolation, row) in [
            (Interpolation::Bilinear, [141, 106, 140, 154, 145, 152]),
            (Interpolation::Bicubic, [136, 97, 148, 162, 149, 150]),
        ] {
            let photo = Photo { shorter_side: 6, interpolation, crop: 6, mean: [0.0; 3], deviation: [1.0; 3] };
            let fitted = photo.fit(&picture).unwrap();
            let got = &fitted.bytes()[4 * 6..5 * 6];
            assert!(got.iter().zip(row).all(|(&a, b)| a.abs_diff(b) <= 1), "{interpolation:?}: {got:?}");
        }
    }

    #[test]
    fn grey_and_long_and_deep_pictures_work() {
        assert_eq!(values(DynamicImage::from(GrayImage::from_pixel(9, 9, Luma([7])))).len(), 150_528);
        assert_eq!(values(DynamicImage::new_rgb16(8, 10_000)).len(), 150_528);
        assert_eq!(values(DynamicImage::new_rgb8(10_000, 8)).len(), 150_528);
    }

    #[test]
    fn a_data_set_goes_the_way_of_a_file() {
        let picture = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8, 3 * y as u8, 7]));
        let planes: Vec<u8> = (0..3).flat_map(|c| picture.pixels().map(move |pixel| pixel.0[c])).collect();
        let pixels = Pixels::new([3, 30, 40], planes).unwrap();
        let photo = Photo {
            shorter_side: 32,
            interpolation: Interpolation::Bilinear,
            crop: 32,
            mean: [0.5; 3],
            deviation: [0.25; 3],
        };
        let preprocess = Preprocess::Photo(photo);
        assert_eq!(preprocess.fit(pixels).unwrap(), photo.fit(&DynamicImage::from(picture)).unwrap());
        // One that is as it should be is not looked at.
        let exact = Pixels::new([3, 32, 32], (0..3072).map(|i| i as u8).collect::<Vec<_>>()).unwrap();
        assert_eq!(preprocess.fit(exact.clone()).unwrap(), exact);
        let mut values = vec![9.0; 3072];
        preprocess.normalize(&[exact], &mut values).unwrap();
        assert_eq!((values.len(), values[1025]), (3072, (1.0 / 255.0 - 0.5) / 0.25));
    }
}
