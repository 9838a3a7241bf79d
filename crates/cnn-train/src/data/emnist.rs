//! EMNIST (Cohen, Afshar, Tapson and van Schaik 2017, "EMNIST: an extension of MNIST to handwritten letters"), as
//! published on <https://www.nist.gov/itl/products-and-services/emnist-dataset>: IDX files of six sets.
//!
//! Its files hold every image column by column, and the labels of `letters` begin at 1. Both are put right here:
//! images stand upright as those of MNIST do, and labels begin at 0.

use std::path::Path;

use super::mnist::{Pair, has_pair};
use super::{Dataset, Split};
use crate::{Error, Result};

/// The sets, as `--variant` and the files' names have them.
pub(super) const SETS: [&str; 6] = ["byclass", "bymerge", "balanced", "letters", "digits", "mnist"];

const DIGITS: &str = "0123456789";
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
/// Capitals stand for the letters that look alike in both cases.
const MERGED: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt";
const ALL: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A set's classes, and the label of the first.
fn classes(set: &str) -> (&'static str, u8) {
    match set {
        "byclass" => (ALL, 0),
        "bymerge" | "balanced" => (MERGED, 0),
        "letters" => (LETTERS, 1),
        _ => (DIGITS, 0),
    }
}

fn stem(set: &str, split: Split) -> String {
    let split = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    format!("emnist-{set}-{split}")
}

pub(super) fn is_in(directory: &Path, split: Split) -> bool {
    SETS.iter().any(|set| has_pair(directory, &stem(set, split)))
}

pub(super) fn looked_for(split: Split) -> String {
    format!("{}-images-idx3-ubyte", stem("*", split))
}

/// The named set; without a name, the only one that is there.
pub(super) fn read(directory: &Path, split: Split, set: Option<&str>) -> Result<Dataset> {
    let there: Vec<&str> = SETS.into_iter().filter(|set| has_pair(directory, &stem(set, split))).collect();
    match (set, &there[..]) {
        (Some(set), _) | (None, &[set]) => read_set(directory, split, set),
        (None, _) => {
            let reason = format!("holds several sets of EMNIST; name a variant: {}", there.join(", "));
            Err(Error::Format { path: directory.to_path_buf(), reason })
        }
    }
}

fn read_set(directory: &Path, split: Split, set: &str) -> Result<Dataset> {
    let Pair { shape: [channels, rows, columns], images, labels, labels_path } =
        Pair::read(directory, &stem(set, split))?;
    let (classes, first) = classes(set);
    let place = |(i, label): (usize, u8)| match label.checked_sub(first) {
        Some(label) if usize::from(label) < classes.len() => Ok(u32::from(label)),
        _ => {
            let last = usize::from(first) + classes.len() - 1;
            let reason = format!("image {i} has label {label}; {first} to {last} are expected");
            Err(Error::Format { path: labels_path.clone(), reason })
        }
    };
    let labels = labels.into_iter().enumerate().map(place).collect::<Result<Vec<u32>>>()?;
    let upright = images.chunks(rows * columns).flat_map(|image| transposed(image, columns));
    Dataset::new([channels, columns, rows], upright.collect(), labels)?.with_classes(classes.chars())
}

/// Of an image that lies in columns of `column` pixels, the pixels row by row.
fn transposed(image: &[u8], column: usize) -> impl Iterator<Item = u8> {
    (0..column).flat_map(move |row| image.iter().skip(row).step_by(column).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of two columns of three pixels.
    fn write(directory: &Path, set: &str, labels: [u8; 2]) {
        let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        let images = [&header[..], &[1, 2, 3, 4, 5, 6], &[11, 12, 13, 14, 15, 16]].concat();
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 2][..], &labels].concat();
        std::fs::write(directory.join(format!("emnist-{set}-test-images-idx3-ubyte")), images).unwrap();
        std::fs::write(directory.join(format!("emnist-{set}-test-labels-idx1-ubyte")), labels).unwrap();
    }

    #[test]
    fn images_stand_upright_and_letters_begin_at_a() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "letters", [1, 26]);
        let data = Dataset::open(directory.path(), Split::Test).unwrap();
        assert_eq!(data.raw(1), [11, 14, 12, 15, 13, 16]);
        let names = [0, 1].map(|i| data.classes()[data.label(i) as usize].as_str());
        assert_eq!((names, data.classes().len()), (["a", "z"], 26));
    }

    #[test]
    fn labels_out_of_range_are_told() {
        let directory = tempfile::tempdir().unwrap();
        for (set, labels, told) in [
            ("letters", [0, 1], "image 0 has label 0; 1 to 26"),
            ("letters", [1, 27], "image 1 has label 27; 1 to 26"),
            ("balanced", [46, 47], "image 1 has label 47; 0 to 46"),
        ] {
            write(directory.path(), set, labels);
            let error = Dataset::open_variant(directory.path(), Split::Test, Some(set)).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains(set), "{error}");
        }
    }

    #[test]
    fn of_several_sets_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "letters", [1, 2]);
        write(directory.path(), "byclass", [60, 61]);
        let error = Dataset::open(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("several sets of EMNIST; name a variant: byclass, letters"), "{error}");
        let open = |set| Dataset::open_variant(directory.path(), Split::Test, Some(set));
        assert_eq!(open("byclass").unwrap().classes()[61], "z");
        assert_eq!(open("letters").unwrap().label(1), 1);
        let error = open("mnist").unwrap_err().to_string();
        assert!(error.ends_with("no emnist-mnist-test-images-idx3-ubyte, plain or .gz"), "{error}");
        let error = open("coarse").unwrap_err().to_string();
        assert!(error.contains("no variant `coarse`") && error.contains("byclass, bymerge"), "{error}");
    }

    #[test]
    fn classes_are_as_many_as_published() {
        assert_eq!(SETS.map(|set| classes(set).0.len()), [62, 47, 47, 26, 10, 10]);
    }
}
