//! A training in a file: weights under their own names, what the optimiser remembers under `optimizer/`, and the
//! course of the training in the metadata. Such a file is at the same time a plain weights file, as readers of
//! weights leave the `optimizer/` tensors out.

use std::path::Path;

use cnn_core::{DType, Tensor, Weights};
use cnn_models::weights_file;

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
