//! Labelled grey images in memory.

use std::path::{Path, PathBuf};

use super::idx::Idx;
use crate::{Error, Result};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the network learns from.
    Train,
    /// What it is judged by.
    Test,
}

impl Split {
    fn prefix(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "t10k",
        }
    }
}

/// Labelled grey images, a byte a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    rows: usize,
    columns: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Dataset {
    /// Images of `[rows, columns]`, one after the other, and their labels. Errors where the counts differ, or where
    /// there is no image.
    pub fn new([rows, columns]: [usize; 2], pixels: Vec<u8>, labels: Vec<u32>) -> Result<Self> {
        let expected = rows.checked_mul(columns).and_then(|plane| plane.checked_mul(labels.len()));
        if labels.is_empty() || rows * columns == 0 || expected != Some(pixels.len()) {
            let (pixels, labels) = (pixels.len(), labels.len());
            return Err(Error::Data(format!("{pixels} pixels for {labels} labels of {rows}x{columns} images")));
        }
        Ok(Dataset { rows, columns, pixels, labels })
    }

    /// Reads `<split>-images-idx3-ubyte` and `<split>-labels-idx1-ubyte`, plain or with `.gz`, from a directory.
    pub fn from_idx(directory: &Path, split: Split) -> Result<Self> {
        let images_path = find(directory, &format!("{}-images-idx3-ubyte", split.prefix()))?;
        let labels_path = find(directory, &format!("{}-labels-idx1-ubyte", split.prefix()))?;
        let (images, labels) = (Idx::read(&images_path)?, Idx::read(&labels_path)?);
        let wrong = |path: PathBuf, reason: String| Err(Error::Format { path, reason });
        match (&images.shape[..], &labels.shape[..]) {
            (&[n, rows, columns], &[m]) if n == m && n * rows * columns > 0 => {
                Dataset::new([rows, columns], images.data, labels.data.into_iter().map(u32::from).collect())
            }
            (&[n, ..], &[m]) if n != m => wrong(labels_path, format!("{m} labels for {n} images")),
            (shape, &[_]) => wrong(images_path, format!("shape {shape:?}, expected [images, rows, columns]")),
            (_, shape) => wrong(labels_path, format!("shape {shape:?}, expected [labels]")),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none; never so.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Rows and columns of an image.
    pub fn extent(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The pixels of image number `index`, row-major.
    pub fn image(&self, index: usize) -> &[u8] {
        let plane = self.rows * self.columns;
        &self.pixels[index * plane..(index + 1) * plane]
    }

    /// The class of image number `index`.
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count.max(1));
        self.pixels.truncate(self.labels.len() * self.rows * self.columns);
    }

    /// Errors unless every label is below `classes`.
    pub fn check_classes(&self, classes: usize) -> Result<()> {
        match self.labels.iter().position(|&label| label as usize >= classes) {
            Some(i) => Err(Error::Data(format!("image {i} is of class {}, the network has {classes}", self.labels[i]))),
            None => Ok(()),
        }
    }
}

fn find(directory: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [directory.join(name), directory.join(format!("{name}.gz"))];
    let missing = || Error::NoDataset { path: directory.to_path_buf(), missing: name.to_string() };
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, images: &[u8], labels: &[u8]) {
        std::fs::write(directory.join("t10k-images-idx3-ubyte"), images).unwrap();
        std::fs::write(directory.join("t10k-labels-idx1-ubyte"), labels).unwrap();
    }

    const TWO_LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 3, 9];

    #[test]
    fn a_pair_of_files_becomes_a_data_set() {
        let directory = tempfile::tempdir().unwrap();
        let images = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];
        write(directory.path(), &images, &TWO_LABELS);
        let mut data = Dataset::from_idx(directory.path(), Split::Test).unwrap();
        assert_eq!((data.len(), data.extent(), data.image(1), data.label(1)), (2, [1, 3], &[4, 5, 6][..], 9));
        assert!(data.check_classes(9).is_err() && data.check_classes(10).is_ok());
        data.truncate(1);
        assert_eq!((data.len(), data.image(0)), (1, &[1, 2, 3][..]));
    }

    #[test]
    fn files_that_do_not_belong_together_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let images = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3];
        write(directory.path(), &images, &TWO_LABELS);
        let error = Dataset::from_idx(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("t10k-labels-idx1-ubyte: 2 labels for 1 images"), "{error}");
        let error = Dataset::from_idx(directory.path(), Split::Train).unwrap_err().to_string();
        assert!(error.ends_with("no train-images-idx3-ubyte, plain or .gz"), "{error}");
        write(directory.path(), &TWO_LABELS, &TWO_LABELS);
        let error = Dataset::from_idx(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(error.contains("shape [2], expected [images, rows, columns]"), "{error}");
    }
}
