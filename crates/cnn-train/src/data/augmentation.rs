//! Changes to pictures that leave their class as it is: a network sees a data set's images a little different in every
//! epoch (He et al. 2016, "Deep residual learning for image recognition", section 4.2, has these two for CIFAR-10).

use cnn_models::Pixels;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{Error, Result};

/// How the images that are learned from are changed. They are at the model's size then, and bytes still: what comes in
/// from outside is 0, as is the border of digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Pixels that are put around an image before one of its size is cut out of it anywhere.
    pub crop: usize,
    /// Whether every other image, by chance, is mirrored: left becomes right.
    pub flip: bool,
}

impl Augmentation {
    /// What is out of range for images of `[channels, rows, columns]`, if anything is.
    pub fn check(self, [_, rows, columns]: [usize; 3]) -> Result<()> {
        match self.crop < rows.min(columns) || self.crop == 0 {
            true => Ok(()),
            false => Err(Error::Setting(format!("a crop of {} pixels from images of {rows}x{columns}", self.crop))),
        }
    }

    /// Image number `index`, changed as it is in that epoch of a training with that seed, whatever was changed before
    /// it. Errors as [`check`](Self::check) does.
    pub fn apply<'a>(self, pixels: Pixels<'a>, [seed, epoch, index]: [u64; 3]) -> Result<Pixels<'a>> {
        self.check(pixels.shape())?;
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, epoch, index]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let mut draw = |most: usize| rng.random_range(0..=most as u64) as usize;
        // Both options draw always, so that one changes nothing of the other.
        let (corner, mirror) = ([draw(2 * self.crop), draw(2 * self.crop)], draw(1) == 1 && self.flip);
        match corner == [self.crop; 2] && !mirror {
            true => Ok(pixels),
            false => self.cut(&pixels, corner, mirror),
        }
    }

    /// What is at `[top, left]` of the padded picture.
    fn cut(self, pixels: &Pixels<'_>, [top, left]: [usize; 2], mirror: bool) -> Result<Pixels<'static>> {
        let shape @ [_, rows, columns] = pixels.shape();
        let mut bytes = vec![0; pixels.bytes().len()];
        for (new, old) in bytes.chunks_exact_mut(rows * columns).zip(pixels.planes()) {
            let (to, from, count) = overlap(top, self.crop, rows);
            let lines = new[to * columns..].chunks_exact_mut(columns).zip(old[from * columns..].chunks_exact(columns));
            let (to, from, width) = overlap(left, self.crop, columns);
            for (new, old) in lines.take(count) {
                new[to..to + width].copy_from_slice(&old[from..from + width]);
                if mirror {
                    new.reverse();
                }
            }
        }
        Ok(Pixels::new(shape, bytes)?)
    }
}

/// Where the pixels that stay are afterwards, where they were, and how many they are, of `extent` with `border` pixels
/// on either side and the first `start` cut off.
fn overlap(start: usize, border: usize, extent: usize) -> (usize, usize, usize) {
    let (to, from) = (border.saturating_sub(start), start.saturating_sub(border));
    (to, from, extent - to - from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: the padded picture, its part, mirrored.
    fn plain(pixels: &Pixels<'_>, crop: usize, [top, left]: [usize; 2], mirror: bool) -> Vec<u8> {
        let [channels, rows, columns] = pixels.shape();
        let at = |channel: usize, y: usize, x: usize| match (y.checked_sub(crop), x.checked_sub(crop)) {
            (Some(y), Some(x)) if y < rows && x < columns => pixels.bytes()[(channel * rows + y) * columns + x],
            _ => 0,
        };
        let mut bytes = Vec::new();
        for channel in 0..channels {
            for y in 0..rows {
                bytes.extend((0..columns).map(|x| {
                    let x = if mirror { columns - 1 - x } else { x };
                    at(channel, top + y, left + x)
                }));
            }
        }
        bytes
    }

    fn picture(shape: [usize; 3]) -> Pixels<'static> {
        Pixels::new(shape, (0..shape.iter().product()).map(|i| i as u8 | 1).collect::<Vec<_>>()).unwrap()
    }

    proptest! {
        #[test]
        fn cutting_is_as_its_definition(
            shape in [1usize..4, 1usize..9, 1usize..9],
            crop in 0usize..8,
            corner in [0usize..15, 0usize..15],
            flip: bool,
        ) {
            let augmentation = Augmentation { crop: crop.min(shape[1].min(shape[2]) - 1), flip };
            let corner = corner.map(|at| at.min(2 * augmentation.crop));
            let pixels = picture(shape);
            let got = augmentation.cut(&pixels, corner, flip).unwrap();
            prop_assert_eq!(got.bytes(), plain(&pixels, augmentation.crop, corner, flip));
        }

        #[test]
        fn any_numbers_give_an_error_or_a_picture_of_the_same_shape(
            shape in [1usize..4, 1usize..9, 1usize..9],
            crop: usize,
            flip: bool,
            numbers: [u64; 3],
        ) {
            for crop in [crop, crop % 8] {
                let augmentation = Augmentation { crop, flip };
                match augmentation.apply(picture(shape), numbers) {
                    Ok(changed) => prop_assert_eq!(changed.shape(), shape),
                    Err(error) => prop_assert!(matches!(error, Error::Setting(_)) && crop >= shape[1].min(shape[2])),
                }
            }
        }
    }

    #[test]
    fn a_crop_shifts_and_a_flip_mirrors() {
        let pixels = Pixels::new([1, 2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap();
        let cut = |crop, corner, mirror| {
            Augmentation { crop, flip: true }.cut(&pixels, corner, mirror).unwrap().bytes().to_vec()
        };
        assert_eq!(cut(1, [0, 0], false), [0, 0, 0, 0, 1, 2]);
        assert_eq!(cut(1, [2, 1], false), [4, 5, 6, 0, 0, 0]);
        assert_eq!(cut(1, [1, 2], true), [0, 3, 2, 0, 6, 5]);
        assert_eq!(cut(0, [0, 0], true), [3, 2, 1, 6, 5, 4]);
    }

    #[test]
    fn draws_depend_on_seed_epoch_and_index() {
        let augmentation = Augmentation { crop: 4, flip: true };
        let first = |numbers| augmentation.apply(picture([3, 16, 16]), numbers).unwrap();
        assert_eq!(first([1, 2, 3]), first([1, 2, 3]));
        for other in [[2, 2, 3], [1, 3, 3], [1, 2, 4], [2, 1, 3]] {
            assert_ne!(first([1, 2, 3]), first(other));
        }
        let none = Augmentation::default();
        assert!((0..50).all(|i| none.apply(picture([1, 4, 4]), [1, 1, i]).unwrap() == picture([1, 4, 4])));
        // With the crop the flips stay the same ones.
        let flips = |crop: usize| -> Vec<bool> {
            let middle = Pixels::new([1, 9, 9], (0..81).map(|i| 20 + i % 9).collect::<Vec<u8>>()).unwrap();
            let changed = |i| Augmentation { crop, flip: true }.apply(middle.clone(), [7, 0, i]).unwrap();
            (0..50).map(|i| changed(i).bytes()[40] > changed(i).bytes()[41]).collect()
        };
        assert_eq!(flips(0), flips(3));
    }

    #[test]
    fn every_place_is_as_likely_as_any_other() {
        let augmentation = Augmentation { crop: 1, flip: true };
        let mut point = [0; 49];
        point[24] = 1;
        point[25] = 2;
        let mut counts = std::collections::BTreeMap::new();
        for index in 0..1800 {
            let changed = augmentation.apply(Pixels::new([1, 7, 7], &point[..]).unwrap(), [5, 0, index]).unwrap();
            *counts.entry(changed.bytes().to_vec()).or_insert(0) += 1;
        }
        // Nine places, mirrored or not, a hundred times each; the deviation of a count is below 10.
        assert_eq!(counts.len(), 18);
        assert!(counts.values().all(|&count| (55..145).contains(&count)), "{counts:?}");
    }
}
