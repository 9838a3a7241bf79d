//! Decodes a picture, after a look at its size.

use std::io::Cursor;

use image::{DynamicImage, ImageError, ImageReader, Limits, Rgba, RgbaImage};

use crate::{Error, Result};

const SMALLEST_SIDE: u32 = 8;
const LARGEST_SIDE: u32 = 10_000;
const MOST_PIXELS: u64 = 64_000_000;

/// Decodes PNG or JPEG. Transparent parts show white behind them.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let unreadable = |error: ImageError| Error::Picture(format!("no PNG or JPEG picture: {error}"));
    let header = reader().map_err(|error| unreadable(error.into()))?;
    if header.format().is_none() {
        return Err(Error::Picture("no PNG or JPEG picture".to_string()));
    }
    let (width, height) = header.into_dimensions().map_err(unreadable)?;
    check_size(width, height)?;
    let mut reader = reader().map_err(|error| unreadable(error.into()))?;
    let mut limits = Limits::default();
    // Eight bytes a pixel is the most that either format has.
    limits.max_alloc = Some(16 * MOST_PIXELS);
    reader.limits(limits);
    let picture = reader.decode().map_err(unreadable)?;
    Ok(if picture.color().has_alpha() { on_white(picture.into_rgba8()) } else { picture })
}

/// Errors unless a picture of this size can be dealt with.
pub(super) fn check_size(width: u32, height: u32) -> Result<()> {
    let (shorter, longer) = (width.min(height), width.max(height));
    let too_many = u64::from(width) * u64::from(height) > MOST_PIXELS;
    if shorter < SMALLEST_SIDE || longer > LARGEST_SIDE || too_many {
        let limits = format!(
            "sides of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels and at most {} million pixels are taken",
            MOST_PIXELS / 1_000_000
        );
        return Err(Error::Picture(format!("{width}x{height} pixels; {limits}")));
    }
    Ok(())
}

fn on_white(mut picture: RgbaImage) -> DynamicImage {
    for Rgba([channels @ .., alpha]) in picture.pixels_mut() {
        let opacity = u32::from(*alpha);
        for channel in channels {
            *channel = ((u32::from(*channel) * opacity + 255 * (255 - opacity) + 127) / 255) as u8;
        }
        *alpha = 255;
    }
    DynamicImage::from(DynamicImage::from(picture).into_rgb8())
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::*;

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a........"] {
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.starts_with("picture: no PNG or JPEG picture"), "{error}");
        }
        let mut cut = png(&DynamicImage::new_rgb8(64, 64));
        cut.truncate(cut.len() / 2);
        assert!(decode(&cut).is_err());
    }

    #[test]
    fn sizes_out_of_range_are_told_from_the_header() {
        let error = decode(&png(&DynamicImage::new_luma8(1, 1))).unwrap_err().to_string();
        assert!(error.starts_with("picture: 1x1 pixels; sides of 8 to 10000"), "{error}");
        // A header that claims 20000 x 20000, without the pixels.
        let mut claims = png(&DynamicImage::new_luma8(16, 16));
        claims[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
        let crc = crc32(&claims[12..29]);
        claims[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode(&claims).unwrap_err().to_string();
        assert!(error.starts_with("picture: 20000x20000 pixels"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
        })
    }

    #[test]
    fn transparent_parts_show_white() {
        let mut picture = RgbaImage::from_pixel(8, 8, Rgba([10, 20, 30, 255]));
        picture.put_pixel(3, 3, Rgba([0, 0, 0, 0]));
        let decoded = decode(&png(&DynamicImage::from(picture))).unwrap().into_rgb8();
        assert_eq!((decoded.get_pixel(3, 3).0, decoded.get_pixel(0, 0).0), ([255, 255, 255], [10, 20, 30]));
    }
}
