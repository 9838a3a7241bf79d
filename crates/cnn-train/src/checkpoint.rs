//! A training in a file: weights under their own names, what the optimiser remembers under `optimizer/`, and the
//! course of the training in the metadata. Such a file is at the same time a plain weights file, as readers of
//! weights leave the `optimizer/` tensors out.

use std::path::Path;

use cnn_core::{DType, Tensor, Weights};
use cnn_models::{Labels, Normalization, Preprocess, weights_file};

use crate::fit::EpochReport;
use crate::{Error, Result, Settings};

/// Where the optimiser's tensors are.
const STATE: &str = "optimizer/";
/// The metadata that hold the course of the training.
const RECORD: &str = "cnn.training";
/// Metadata of the optimiser's state.
const STEP: &str = "cnn.step";

/// A training after some of its epochs.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The weights.
    pub weights: Weights,
    /// What [`Trainer::state`](cnn_core::Trainer::state) gave.
    pub state: Weights,
    /// How the training goes, and how far it is.
    pub record: Record,
}

/// How a training goes, and how far it is: the metadata of a checkpoint and of trained weights.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The model's name.
    pub model: String,
    /// The backend's name.
    pub backend: String,
    /// Version of this library.
    pub version: String,
    /// Images in the training set.
    pub images: usize,
    /// What its classes are called, where it tells.
    #[serde(default)]
    pub classes: Vec<String>,
    /// What the training was set to.
    pub settings: Settings,
    /// The epochs that are done.
    pub epochs: Vec<EpochReport>,
}

impl Checkpoint {
    /// Writes the file, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut all = self.weights_with_record(path)?;
        for (name, view) in self.state.iter() {
            all.insert(format!("{STATE}{name}"), Tensor::new(view.shape.clone(), view.to_f32().into_owned())?);
        }
        if let Some(step) = self.state.metadata().get("step") {
            all.metadata_mut().insert(STEP.to_string(), step.clone());
        }
        Ok(weights_file::write(path, &all, DType::F32)?)
    }

    /// Writes the weights alone, with the record of their training.
    pub fn write_weights(&self, path: &Path) -> Result<()> {
        Ok(weights_file::write(path, &self.weights_with_record(path)?, DType::F32)?)
    }

    fn weights_with_record(&self, path: &Path) -> Result<Weights> {
        let mut all = self.weights.clone();
        let record = serde_json::to_string(&self.record)
            .map_err(|e| Error::Format { path: path.to_path_buf(), reason: e.to_string() })?;
        all.metadata_mut().insert(RECORD.to_string(), record);
        Ok(all)
    }

    /// Reads a file that [`write`](Self::write) wrote.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let wrong = |reason: String| Error::Format { path: path.to_path_buf(), reason };
        let all = weights_file::read_with_training_state(path)?;
        let no_checkpoint =
            || wrong("no checkpoint: it holds no training state; use --weights for weights".to_string());
        let record = all.metadata().get(RECORD).ok_or_else(no_checkpoint)?;
        let step = all.metadata().get(STEP).ok_or_else(no_checkpoint)?;
        let record = serde_json::from_str(record).map_err(|e| wrong(format!("the record of the training: {e}")))?;
        let (mut weights, mut state) = (Weights::new(), Weights::new());
        state.metadata_mut().insert("step".to_string(), step.clone());
        for (name, view) in all.iter() {
            let tensor = Tensor::new(view.shape.clone(), view.to_f32().into_owned())?;
            match name.strip_prefix(STATE) {
                Some(name) => state.insert(name, tensor),
                None => weights.insert(name, tensor),
            }
        }
        Ok(Checkpoint { weights, state, record })
    }
}

/// What trained weights say of the images that they were trained on: what inference has to know. Nothing where weights
/// come from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct TrainedOn {
    /// What the classes are called; none where the data set did not tell.
    pub classes: Vec<String>,
    settings: Normalized,
}

#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
struct Normalized {
    normalization: Option<Normalization>,
}

impl TrainedOn {
    /// Of weights with a record of their training. Errors where that is no JSON object of a training.
    pub fn of(weights: &Weights) -> Result<TrainedOn> {
        let unreadable = |error| Error::Data(format!("the record of the training: {error}"));
        weights
            .metadata()
            .get(RECORD)
            .map_or(Ok(Self::default()), |json| serde_json::from_str(json).map_err(unreadable))
    }

    /// Mean and deviation of the images, where they were not the model's.
    pub fn normalization(&self) -> Option<&Normalization> {
        self.settings.normalization.as_ref()
    }

    /// The model's preprocessing, normalised as it was in the training. Errors where that was of other channels.
    pub fn preprocess(&self, model: &Preprocess) -> Result<Preprocess> {
        match self.normalization() {
            Some(normalization) => Ok(model.with_normalization(normalization)?),
            None => Ok(*model),
        }
    }

    /// The model's labels with the names of the classes that it was trained on. Classes beyond those have numbers.
    pub fn labels(&self, model: &Labels) -> Labels {
        if self.classes.is_empty() {
            return model.clone();
        }
        Labels::new((0..model.len()).map(|class| self.classes.get(class).cloned().unwrap_or(class.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained_on(json: &str) -> Result<TrainedOn> {
        let mut weights = Weights::new();
        weights.metadata_mut().insert(RECORD.to_string(), json.to_string());
        TrainedOn::of(&weights)
    }

    #[test]
    fn weights_say_what_they_were_trained_on() {
        let model = &Preprocess::MNIST;
        let normalized = r#"{"classes":["a"],"settings":{"normalization":{"mean":[0.5],"deviation":[0.25]},"seed":1}}"#;
        let found = trained_on(normalized).unwrap();
        let expected = Normalization { mean: vec![0.5], deviation: vec![0.25] };
        assert_eq!(found.preprocess(model).unwrap(), model.with_normalization(&expected).unwrap());
        assert_eq!(found.labels(&Labels::new(["zero", "one"])), Labels::new(["a", "1"]));
        assert_eq!(TrainedOn::default().labels(Labels::digits()), *Labels::digits());
        assert!(found.preprocess(&Preprocess::IMAGENET).is_err());
        // Others say nothing of it, as those that come with LeNet-5 do.
        let shipped = cnn_models::find("lenet5").unwrap().shipped_weights().unwrap().unwrap();
        for weights in [shipped, Weights::new()] {
            assert_eq!(TrainedOn::of(&weights).unwrap(), TrainedOn::default());
        }
        assert_eq!(TrainedOn::default().preprocess(model).unwrap(), *model);
        assert!(trained_on("[").is_err() && trained_on(r#"{"settings":{"normalization":3}}"#).is_err());
    }
}
