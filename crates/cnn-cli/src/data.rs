//! Data sets from the command line's words.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use cnn::models::{Normalization, Preprocess};
use cnn::train::TrainedOn;
use cnn::train::data::{Dataset, Split};

/// Where a data set is.
#[derive(Args)]
pub(crate) struct Data {
    /// Directory of a data set: MNIST and others in its format, EMNIST, CIFAR-10, CIFAR-100, or folders of pictures.
    #[arg(long = "data", value_name = "DIR")]
    directory: PathBuf,
    /// Which set of EMNIST (letters, balanced, ..), or the fine or the coarse labels of CIFAR-100.
    #[arg(long)]
    variant: Option<String>,
}

impl Data {
    /// The first `limit` images of a part of it.
    pub(crate) fn open(&self, split: Split, limit: Option<usize>) -> anyhow::Result<Dataset> {
        let mut data = Dataset::open_variant(&self.directory, split, self.variant.as_deref())?;
        data.truncate(limit.unwrap_or(usize::MAX));
        Ok(data)
    }
}

/// Checks that weights were trained on the classes of a data set, where both tell theirs.
pub(crate) fn check_classes(trained_on: &TrainedOn, data: &Dataset) -> anyhow::Result<()> {
    ensure!(
        trained_on.classes.is_empty() || data.classes().is_empty() || trained_on.classes == data.classes(),
        "the weights know the classes {:?}, the data set has {:?}",
        trained_on.classes,
        data.classes(),
    );
    Ok(())
}

/// Where mean and deviation of the images come from, if not from the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Normalize {
    Data,
    Given(Normalization),
}

impl Normalize {
    pub(crate) fn of(&self, data: &Dataset, preprocess: &Preprocess) -> anyhow::Result<Normalization> {
        match self {
            Normalize::Data => Ok(data.normalization(preprocess)?),
            Normalize::Given(normalization) => Ok(normalization.clone()),
        }
    }
}

impl FromStr for Normalize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "data" {
            return Ok(Normalize::Data);
        }
        let values = |text: &str| text.split(',').map(|value| value.trim().parse()).collect::<Result<Vec<f32>, _>>();
        let given = text.split_once(':').and_then(|(mean, deviation)| {
            Some(Normalization { mean: values(mean).ok()?, deviation: values(deviation).ok()? })
        });
        let given = given.filter(|given| given.check().is_ok()).map(Normalize::Given);
        given.context("expected data, or MEAN:DEVIATION with a value for each channel, deviations above 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalization_is_read_from_two_lists() {
        assert_eq!("data".parse::<Normalize>().unwrap(), Normalize::Data);
        let given = Normalization { mean: vec![0.5, 0.4], deviation: vec![0.2, 1.0] };
        assert_eq!("0.5,0.4:0.2, 1".parse::<Normalize>().unwrap(), Normalize::Given(given));
        for text in ["", "0.5", "0.5:0", "0.5:", "0.5,0.5:1", "a:b", "nan:1", "0.5:1:2"] {
            assert!(text.parse::<Normalize>().is_err(), "{text}");
        }
    }
}
