//! A picture in bytes.

use std::borrow::Cow;

use image::{DynamicImage, GrayImage, RgbImage};

use super::decode;
use crate::{Error, Result};

/// A picture in bytes, `[channels, rows, columns]`: one plane a channel (grey, or red, green and blue), row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels<'a> {
    shape: [usize; 3],
    bytes: Cow<'a, [u8]>,
}

impl<'a> Pixels<'a> {
    /// A picture of `[channels, rows, columns]`. Errors where there is no pixel, or another number of bytes.
    pub fn new(shape: [usize; 3], bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let expected = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        match expected == Some(bytes.len()) && !bytes.is_empty() {
            true => Ok(Pixels { shape, bytes }),
            false => Err(Error::Picture(format!("{} bytes for {}", bytes.len(), show(shape)))),
        }
    }

    /// Channels, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The bytes, plane by plane.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The planes.
    pub fn planes(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.shape[1] * self.shape[2])
    }

    pub(super) fn of_grey(grey: GrayImage) -> Result<Pixels<'static>> {
        Pixels::new([1, grey.height() as usize, grey.width() as usize], grey.into_raw())
    }

    /// As a picture of a file would be. Errors where a file could not have this size, or these channels.
    pub(super) fn to_image(&self) -> Result<DynamicImage> {
        let [channels, rows, columns] = self.shape;
        let too_large = |_| Error::Picture(format!("{} is too large", show(self.shape)));
        let (width, height) = (u32::try_from(columns).map_err(too_large)?, u32::try_from(rows).map_err(too_large)?);
        decode::check_size(width, height)?;
        let plane = rows * columns;
        let image = match channels {
            1 => GrayImage::from_raw(width, height, self.bytes.to_vec()).map(DynamicImage::from),
            3 => {
                let colours =
                    (0..plane).flat_map(|i| [self.bytes[i], self.bytes[plane + i], self.bytes[2 * plane + i]]);
                RgbImage::from_raw(width, height, colours.collect()).map(DynamicImage::from)
            }
            _ => None,
        };
        image.ok_or_else(|| Error::Picture(format!("{} is neither grey nor red, green and blue", show(self.shape))))
    }
}

/// `3x32x32`, channels first.
pub(super) fn show([channels, rows, columns]: [usize; 3]) -> String {
    format!("{channels}x{rows}x{columns}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_lie_one_after_the_other() {
        let bytes: Vec<u8> = (0..192).collect();
        let pixels = Pixels::new([3, 8, 8], &bytes[..]).unwrap();
        assert_eq!(pixels.planes().map(|plane| plane[1]).collect::<Vec<_>>(), [1, 65, 129]);
        assert_eq!(pixels.to_image().unwrap().into_rgb8().get_pixel(1, 2).0, [17, 81, 145]);
    }

    #[test]
    fn other_counts_and_channels_are_refused() {
        for shape in [[1, 2, 2], [0, 5, 5], [1, usize::MAX, 2], [3, 1, 1]] {
            assert!(Pixels::new(shape, vec![0; 5]).is_err(), "{shape:?}");
        }
        assert!(Pixels::new([0, 0, 0], vec![]).is_err());
        assert!(Pixels::new([2, 8, 8], vec![0; 128]).unwrap().to_image().is_err());
        assert!(Pixels::new([1, 2, 2], vec![0; 4]).unwrap().to_image().is_err());
    }
}
