//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny images"), the binary
//! versions of <https://www.cs.toronto.edu/~kriz/cifar.html>: records of one label (CIFAR-10) or of a coarse and a fine
//! one (CIFAR-100), then 32x32 pixels, red, green and blue planes.

use std::path::{Path, PathBuf};

use super::{Dataset, Split};
use crate::{Error, Result};

/// Channels, rows and columns of an image.
const SHAPE: [usize; 3] = [3, 32, 32];
const IMAGE: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];

/// What `--variant` calls the labels of CIFAR-100.
pub(super) const LABELS: [&str; 2] = ["fine", "coarse"];

/// Which labels are read of which data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The 10 classes of CIFAR-10.
    Ten,
    /// The 100 classes of CIFAR-100.
    Fine,
    /// The 20 superclasses of CIFAR-100.
    Coarse,
}

impl Kind {
    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Kind::Ten => 10,
            Kind::Fine => 100,
            Kind::Coarse => 20,
        }
    }

    /// Bytes of labels in front of an image, and which of them counts.
    fn labels(self) -> (usize, usize) {
        match self {
            Kind::Ten => (1, 0),
            Kind::Coarse => (2, 0),
            Kind::Fine => (2, 1),
        }
    }

    /// The folder that the archive unpacks to.
    fn folder(self) -> &'static str {
        match self {
            Kind::Ten => "cifar-10-batches-bin",
            Kind::Fine | Kind::Coarse => "cifar-100-binary",
        }
    }

    fn files(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (Kind::Ten, Split::Train) => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            (Kind::Ten, Split::Test) => &["test_batch.bin"],
            (_, Split::Train) => &["train.bin"],
            (_, Split::Test) => &["test.bin"],
        }
    }

    /// The file that names the classes, one a line.
    fn names(self) -> &'static str {
        match self {
            Kind::Ten => "batches.meta.txt",
            Kind::Fine => "fine_label_names.txt",
            Kind::Coarse => "coarse_label_names.txt",
        }
    }

    /// The directory itself, or the archive's folder in it: where the first file of the split is.
    fn place(self, directory: &Path, split: Split) -> Option<PathBuf> {
        let places = [directory.to_path_buf(), directory.join(self.folder())];
        places.into_iter().find(|place| place.join(self.files(split)[0]).is_file())
    }

    fn looked_for(self, split: Split) -> String {
        let (first, folder) = (self.files(split)[0], self.folder());
        format!("{first} or {folder}/{first}")
    }

    fn read(self, directory: &Path, split: Split) -> Result<Dataset> {
        let missing = || Error::NoDataset { path: directory.to_path_buf(), missing: self.looked_for(split) };
        let place = self.place(directory, split).ok_or_else(missing)?;
        let mut all = Records::default();
        for file in self.files(split) {
            let path = place.join(file);
            let bytes = std::fs::read(&path).map_err(|cause| Error::File { path: path.clone(), cause })?;
            all.append(self, &bytes).map_err(|reason| Error::Format { path, reason })?;
        }
        let data = Dataset::new(SHAPE, all.images, all.labels)?;
        match self.read_names(&place.join(self.names()))? {
            Some(names) => data.with_classes(names),
            None => Ok(data),
        }
    }

    /// The names of the classes, where there is such a file.
    fn read_names(self, path: &Path) -> Result<Option<Vec<String>>> {
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
        match names.len() == self.classes() {
            true => Ok(Some(names)),
            false => {
                let reason = format!("{} names for {} classes", names.len(), self.classes());
                Err(Error::Format { path: path.to_path_buf(), reason })
            }
        }
    }
}

/// The images and labels of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Images of `[3, 32, 32]`, one after the other.
    pub images: Vec<u8>,
    /// Their classes.
    pub labels: Vec<u32>,
}

impl Records {
    /// Reads the bytes of a file. The error says what is wrong with them.
    pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Result<Records, String> {
        let mut records = Records::default();
        records.append(kind, bytes)?;
        Ok(records)
    }

    fn append(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), String> {
        let (labels, which) = kind.labels();
        let record = labels + IMAGE;
        if bytes.is_empty() || bytes.len() % record != 0 {
            return Err(format!("{} bytes are not whole records of {record}", bytes.len()));
        }
        for (i, record) in bytes.chunks_exact(record).enumerate() {
            let (labels, image) = record.split_at(labels);
            let label = labels[which];
            if usize::from(label) >= kind.classes() {
                return Err(format!("record {i} has label {label}, there are {} classes", kind.classes()));
            }
            self.labels.push(u32::from(label));
            self.images.extend_from_slice(image);
        }
        Ok(())
    }
}

pub(super) fn ten_is_in(directory: &Path, split: Split) -> bool {
    Kind::Ten.place(directory, split).is_some()
}

pub(super) fn ten_looked_for(split: Split) -> String {
    Kind::Ten.looked_for(split)
}

pub(super) fn read_ten(directory: &Path, split: Split, _variant: Option<&str>) -> Result<Dataset> {
    Kind::Ten.read(directory, split)
}

pub(super) fn hundred_is_in(directory: &Path, split: Split) -> bool {
    Kind::Fine.place(directory, split).is_some()
}

pub(super) fn hundred_looked_for(split: Split) -> String {
    Kind::Fine.looked_for(split)
}

pub(super) fn read_hundred(directory: &Path, split: Split, labels: Option<&str>) -> Result<Dataset> {
    let kind = if labels == Some("coarse") { Kind::Coarse } else { Kind::Fine };
    kind.read(directory, split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], red: u8) -> Vec<u8> {
        [labels, &vec![red; 1024], &vec![red + 1; 1024], &vec![red + 2; 1024]].concat()
    }

    #[test]
    fn cifar_10_is_read_in_the_order_of_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&folder).unwrap();
        for (i, file) in Kind::Ten.files(Split::Train).iter().enumerate() {
            std::fs::write(folder.join(file), record(&[i as u8], 10 * i as u8)).unwrap();
        }
        for place in [directory.path(), &folder] {
            let data = Dataset::open(place, Split::Train).unwrap();
            assert_eq!((data.len(), data.channels(), data.label(4)), (5, Some(3), 4));
            assert_eq!([0, 1024, 3071].map(|i| data.raw(2)[i]), [20, 21, 22]);
            assert!(data.classes().is_empty());
        }
        std::fs::write(folder.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        assert_eq!(Dataset::open(&folder, Split::Train).unwrap().classes()[9], "j");
        std::fs::write(folder.join("batches.meta.txt"), "a\nb\n").unwrap();
        let error = Dataset::open(&folder, Split::Train).unwrap_err().to_string();
        assert!(error.ends_with("batches.meta.txt: 2 names for 10 classes"), "{error}");
        std::fs::remove_file(folder.join("batches.meta.txt")).unwrap();
        std::fs::remove_file(folder.join("data_batch_4.bin")).unwrap();
        let error = Dataset::open(&folder, Split::Train).unwrap_err().to_string();
        assert!(error.contains("data_batch_4.bin: "), "{error}");
    }

    #[test]
    fn cifar_100_has_two_labels() {
        let directory = tempfile::tempdir().unwrap();
        let both = [record(&[19, 99], 5), record(&[0, 42], 7)].concat();
        std::fs::write(directory.path().join("test.bin"), both).unwrap();
        let names: String = (0..20).map(|i| format!("group {i}\r\n")).collect();
        std::fs::write(directory.path().join("coarse_label_names.txt"), names).unwrap();
        let fine = Dataset::open(directory.path(), Split::Test).unwrap();
        assert_eq!((fine.label(0), fine.label(1), fine.classes().len()), (99, 42, 0));
        let coarse = Dataset::open_variant(directory.path(), Split::Test, Some("coarse")).unwrap();
        assert_eq!((coarse.label(0), coarse.classes()[19].as_str()), (19, "group 19"));
        assert_eq!(coarse.raw(1), fine.raw(1));
    }

    #[test]
    fn what_is_no_cifar_is_told() {
        let error = |kind, bytes: &[u8]| Records::from_bytes(kind, bytes).unwrap_err();
        let ten = record(&[9], 1);
        assert_eq!(error(Kind::Ten, &ten[..3000]), "3000 bytes are not whole records of 3073");
        assert_eq!(error(Kind::Fine, &ten), "3073 bytes are not whole records of 3074");
        assert!(error(Kind::Ten, &[]).starts_with("0 bytes"));
        assert_eq!(error(Kind::Ten, &[ten, record(&[10], 1)].concat()), "record 1 has label 10, there are 10 classes");
        assert!(error(Kind::Coarse, &record(&[20, 5], 1)).contains("label 20, there are 20"));
        assert!(error(Kind::Fine, &record(&[5, 100], 1)).contains("label 100, there are 100"));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("test_batch.bin"), [1, 2, 3]).unwrap();
        let error = Dataset::open(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("test_batch.bin: 3 bytes are not whole records of 3073"), "{error}");
    }
}
