//! The pairs of IDX files that MNIST and Fashion-MNIST are published as.

use std::path::{Path, PathBuf};

use super::idx::Idx;
use super::{Dataset, Split};
use crate::{Error, Result};

/// What the names of a split's files begin with.
fn stem(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "t10k",
    }
}

pub(super) fn is_in(directory: &Path, split: Split) -> bool {
    has_pair(directory, stem(split))
}

pub(super) fn looked_for(split: Split) -> String {
    format!("{}-images-idx3-ubyte, plain or .gz", stem(split))
}

pub(super) fn read(directory: &Path, split: Split, _variant: Option<&str>) -> Result<Dataset> {
    let Pair { shape, images, labels, .. } = Pair::read(directory, stem(split))?;
    Dataset::new(shape, images, labels.into_iter().map(u32::from).collect())
}

/// Whether there is the file of images.
pub(super) fn has_pair(directory: &Path, stem: &str) -> bool {
    find(directory, stem, "images", "idx3").is_ok()
}

/// What is in two files.
pub(super) struct Pair {
    /// `[1, rows, columns]`.
    pub(super) shape: [usize; 3],
    pub(super) images: Vec<u8>,
    /// As many as images.
    pub(super) labels: Vec<u8>,
    pub(super) labels_path: PathBuf,
}

impl Pair {
    pub(super) fn read(directory: &Path, stem: &str) -> Result<Pair> {
        let images_path = find(directory, stem, "images", "idx3")?;
        let labels_path = find(directory, stem, "labels", "idx1")?;
        let (images, labels) = (Idx::read(&images_path)?, Idx::read(&labels_path)?);
        let wrong = |path: PathBuf, reason: String| Err(Error::Format { path, reason });
        match (&images.shape[..], &labels.shape[..]) {
            (&[n, rows, columns], &[m]) if n == m && n * rows * columns > 0 => {
                Ok(Pair { shape: [1, rows, columns], images: images.data, labels: labels.data, labels_path })
            }
            (&[n, ..], &[m]) if n != m => wrong(labels_path, format!("{m} labels for {n} images")),
            (shape, &[_]) => wrong(images_path, format!("shape {shape:?}, expected [images, rows, columns]")),
            (_, shape) => wrong(labels_path, format!("shape {shape:?}, expected [labels]")),
        }
    }
}

/// `train-images-idx3-ubyte`, or with a dot as some archives have it, plain or compressed.
fn find(directory: &Path, stem: &str, part: &str, rank: &str) -> Result<PathBuf> {
    let name = format!("{stem}-{part}-{rank}-ubyte");
    let dotted = format!("{stem}-{part}.{rank}-ubyte");
    let candidates = [&name, &dotted].into_iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let missing = || Error::NoDataset { path: directory.to_path_buf(), missing: format!("{name}, plain or .gz") };
    candidates.map(|name| directory.join(name)).find(|path| path.is_file()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, images: &[u8], labels: &[u8]) {
        std::fs::write(directory.join("t10k-images-idx3-ubyte"), images).unwrap();
        std::fs::write(directory.join("t10k-labels-idx1-ubyte"), labels).unwrap();
    }

    const TWO_LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 3, 9];
    const TWO_IMAGES: [u8; 22] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];

    #[test]
    fn a_pair_of_files_becomes_a_data_set() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &TWO_IMAGES, &TWO_LABELS);
        let data = Dataset::open(directory.path(), Split::Test).unwrap();
        assert_eq!((data.len(), data.channels(), data.raw(1), data.label(1)), (2, Some(1), &[4, 5, 6][..], 9));
        assert_eq!(data.classes().len(), 0);
    }

    #[test]
    fn names_may_have_a_dot() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("train-images.idx3-ubyte"), TWO_IMAGES).unwrap();
        std::fs::write(directory.path().join("train-labels.idx1-ubyte"), TWO_LABELS).unwrap();
        assert_eq!(Dataset::open(directory.path(), Split::Train).unwrap().label(0), 3);
    }

    #[test]
    fn files_that_do_not_belong_together_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let images = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3];
        write(directory.path(), &images, &TWO_LABELS);
        let error = || read(directory.path(), Split::Test, None).unwrap_err().to_string();
        assert!(error().ends_with("t10k-labels-idx1-ubyte: 2 labels for 1 images"), "{}", error());
        write(directory.path(), &TWO_LABELS, &TWO_LABELS);
        assert!(error().contains("shape [2], expected [images, rows, columns]"), "{}", error());
        std::fs::remove_file(directory.path().join("t10k-labels-idx1-ubyte")).unwrap();
        assert!(error().ends_with("no t10k-labels-idx1-ubyte, plain or .gz"), "{}", error());
    }
}
