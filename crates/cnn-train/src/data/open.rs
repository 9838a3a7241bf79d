//! Finds out in which format a directory holds a data set.

use std::path::Path;

use super::{Dataset, Split, cifar, emnist, folders, mnist};
use crate::{Error, Result};

/// A way in which data sets are published.
struct Format {
    name: &'static str,
    /// What [`Dataset::open_variant`] chooses from.
    variants: &'static [&'static str],
    is_in: fn(&Path, Split) -> bool,
    /// What has to be there, for who finds that it is not.
    looked_for: fn(Split) -> String,
    read: fn(&Path, Split, Option<&str>) -> Result<Dataset>,
}

static FORMATS: [Format; 5] = [
    Format { name: "MNIST", variants: &[], is_in: mnist::is_in, looked_for: mnist::looked_for, read: mnist::read },
    Format {
        name: "EMNIST",
        variants: &emnist::SETS,
        is_in: emnist::is_in,
        looked_for: emnist::looked_for,
        read: emnist::read,
    },
    Format {
        name: "CIFAR-10",
        variants: &[],
        is_in: cifar::ten_is_in,
        looked_for: cifar::ten_looked_for,
        read: cifar::read_ten,
    },
    Format {
        name: "CIFAR-100",
        variants: &cifar::LABELS,
        is_in: cifar::hundred_is_in,
        looked_for: cifar::hundred_looked_for,
        read: cifar::read_hundred,
    },
    Format {
        name: "folders of pictures",
        variants: &[],
        is_in: folders::is_in,
        looked_for: folders::looked_for,
        read: folders::read,
    },
];

impl Dataset {
    /// Reads a data set in any of the formats of [`data`](crate::data). Errors where there is none, or several, or where
    /// a file of it is wrong; the pictures of folders are looked at when they are taken.
    pub fn open(directory: &Path, split: Split) -> Result<Self> {
        Self::open_variant(directory, split, None)
    }

    /// Reads the named set of EMNIST (`byclass`, `bymerge`, `balanced`, `letters`, `digits`, `mnist`), where a directory
    /// holds several, or the `fine` or `coarse` labels of CIFAR-100, which are `fine` otherwise. Errors as for
    /// [`open`](Self::open), and where there is no such variant.
    pub fn open_variant(directory: &Path, split: Split, variant: Option<&str>) -> Result<Self> {
        let path = || directory.to_path_buf();
        let there: Vec<&Format> = FORMATS.iter().filter(|format| (format.is_in)(directory, split)).collect();
        if there.is_empty() {
            let missing = FORMATS.iter().map(|format| (format.looked_for)(split)).collect::<Vec<_>>().join(", no ");
            return Err(Error::NoDataset { path: path(), missing });
        }
        let has = |format: &&Format| variant.is_none_or(|variant| format.variants.contains(&variant));
        let fitting: Vec<&Format> = there.iter().copied().filter(has).collect();
        let reason = match fitting[..] {
            [format] => return (format.read)(directory, split, variant),
            [] => {
                let known = |format: &&Format| match format.variants {
                    [] => format!("{} has none", format.name),
                    variants => format!("{} has {}", format.name, variants.join(", ")),
                };
                let known = there.iter().map(known).collect::<Vec<_>>().join("; ");
                format!("no variant `{}`: {known}", variant.unwrap_or_default())
            }
            _ => {
                let names = fitting.iter().map(|format| format.name).collect::<Vec<_>>().join(" and ");
                format!("holds several data sets, {names}; give the folder of one")
            }
        };
        Err(Error::Format { path: path(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_for_is_told() {
        let error = |split| Dataset::open(Path::new("nowhere"), split).unwrap_err().to_string();
        let train = "nowhere: no train-images-idx3-ubyte, plain or .gz, no emnist-*-train-images-idx3-ubyte, \
                     no data_batch_1.bin or cifar-10-batches-bin/data_batch_1.bin, \
                     no train.bin or cifar-100-binary/train.bin, no folder train/ of folders of pictures";
        assert_eq!(error(Split::Train), train);
        assert!(error(Split::Test).ends_with("no folder test/ or val/ of folders of pictures"));
    }

    #[test]
    fn one_of_several_is_not_guessed() {
        let directory = tempfile::tempdir().unwrap();
        for (file, labels) in [("test_batch.bin", 1), ("test.bin", 2)] {
            std::fs::write(directory.path().join(file), vec![1; labels + 3072]).unwrap();
        }
        let error = Dataset::open(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("holds several data sets, CIFAR-10 and CIFAR-100; give the folder of one"), "{error}");
        assert!(Dataset::open_variant(directory.path(), Split::Test, Some("fine")).is_ok());
        let error = Dataset::open_variant(directory.path(), Split::Test, Some("letters")).unwrap_err().to_string();
        assert!(error.ends_with("no variant `letters`: CIFAR-10 has none; CIFAR-100 has fine, coarse"), "{error}");
    }
}
