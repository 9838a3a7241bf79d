//! `cnn bench accuracy`: what sending fewer bytes costs in accuracy, as "8-bit approximations for parallelism in deep learning"
//! (Dettmers 2016) compares it in section 4: a network trained by several workers with each codec, and with several seeds, since
//! seeds alone make a difference.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use cnn::train::codec;
use serde::Serialize;
use serde_json::Value;

use super::child;
use crate::output::Output;
use crate::sheet::{Sheet, cell};

/// Compares the accuracy of trainings over several workers by codec, as a paper on 8-bit approximations (2016) does: its network of
/// 784, 1024, 1024 and 10 with dropout, and RMSProp, unless told otherwise.
#[derive(Args)]
pub(crate) struct Accuracy {
    /// The network.
    #[arg(default_value = "mlp-mnist")]
    model: String,
    /// The data set, as for `cnn train`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which codecs; the eight-bit types otherwise. What is not compressed comes first in any case.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = codec::NAMES, default_values_t = EIGHT_BIT.map(String::from))]
    types: Vec<String>,
    /// How trainings are spread.
    #[arg(long, value_name = "HOW", value_enum, value_delimiter = ',', default_values = ["data", "model"])]
    parallel: Vec<How>,
    /// Workers of a training.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Trainings of each kind, with the seeds from 1 on.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Passes over the training images.
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Images of a mini-batch.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Only so many training images, from the first.
    #[arg(long)]
    limit: Option<usize>,
    /// How gradients change the weights.
    #[arg(long, default_value = "rmsprop")]
    optimizer: String,
    /// Learning rate at the start.
    #[arg(long, default_value_t = 0.003)]
    learning_rate: f32,
    /// Pull of the weights towards 0.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f32,
    /// auto, cpu, ocl or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Threads that the workers of cpu share; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// The folder that accuracy.csv is written to.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    figures: PathBuf,
}

const EIGHT_BIT: [&str; 4] =
    [codec::dynamic_tree::NAME, codec::linear::NAME, codec::mantissa::NAME, codec::static_tree::NAME];

/// Each worker has its share of a batch; or of every large fully connected layer; or of the one before those layers and of the other there.
#[derive(Clone, Copy, ValueEnum)]
enum How {
    Data,
    Model,
    Hybrid,
}

/// The trainings that differ in their seed alone.
#[derive(Serialize)]
struct Trainings {
    parallel: &'static str,
    compress: String,
    /// On the test images, by seed.
    test_error_percent: Vec<f64>,
    mean: f64,
    lowest: f64,
    highest: f64,
    /// The mean less that of what is not compressed.
    difference: f64,
}

impl Accuracy {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        ensure!(self.seeds > 0, "--seeds must be at least 1");
        std::fs::create_dir_all(&self.figures).with_context(|| self.figures.display().to_string())?;
        let folder = self.data.to_str().context("--data is no UTF-8")?;
        let uncompressed = codec::uncompressed::NAME.to_string();
        let compressed = self.types.iter().filter(|name| **name != uncompressed);
        let types: Vec<&String> = std::iter::once(&uncompressed).chain(compressed).collect();
        let mut rows: Vec<Trainings> = Vec::new();
        for how in self.parallel.iter().map(How::name) {
            let mut baseline = None;
            for &compress in &types {
                let errors = self.errors(output, folder, how, compress)?;
                let mean = errors.iter().sum::<f64>() / errors.len() as f64;
                rows.push(Trainings {
                    parallel: how,
                    compress: compress.clone(),
                    mean,
                    lowest: errors.iter().copied().fold(f64::INFINITY, f64::min),
                    highest: errors.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    difference: mean - *baseline.get_or_insert(mean),
                    test_error_percent: errors,
                });
            }
        }
        let sheet = sheet(&rows);
        sheet.print(output);
        let file = sheet.write(&self.figures, "accuracy")?;
        output.finish(&serde_json::json!({
            "model": self.model,
            "workers": self.workers,
            "epochs": self.epochs,
            "batch": self.batch,
            "trainings": rows,
            "file": file,
        }))
    }

    /// The test errors in percent, by seed.
    fn errors(&self, output: &Output, folder: &str, how: &str, compress: &str) -> anyhow::Result<Vec<f64>> {
        let training = |seed| {
            let result = child::run(output, &self.words(folder, how, compress, seed))?;
            let accuracy =
                result.get("test_accuracy").and_then(Value::as_f64).context("a training without accuracy")?;
            let error = 100.0 * (1.0 - accuracy);
            output.say(format!("{how}-parallel, {compress}, seed {seed}: {error:.2} % test error"));
            Ok(error)
        };
        (1..=self.seeds).map(training).collect()
    }

    /// The words that make `cnn` train.
    fn words(&self, folder: &str, how: &str, compress: &str, seed: u64) -> Vec<String> {
        let settings = [
            ("data", Some(folder.to_string())),
            ("parallel", Some(how.to_string())),
            ("compress", Some(compress.to_string())),
            ("workers", Some(self.workers.to_string())),
            ("seed", Some(seed.to_string())),
            ("epochs", Some(self.epochs.to_string())),
            ("batch", Some(self.batch.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("optimizer", Some(self.optimizer.clone())),
            ("learning-rate", Some(self.learning_rate.to_string())),
            ("weight-decay", Some(self.weight_decay.to_string())),
            ("backend", Some(self.backend.clone())),
            ("threads", self.threads.map(|threads| threads.to_string())),
        ];
        let given = settings.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?)));
        ["train".to_string(), self.model.clone()].into_iter().chain(given).collect()
    }
}

impl How {
    /// As `cnn train --parallel` calls it.
    fn name(&self) -> &'static str {
        match self {
            How::Data => "data",
            How::Model => "model",
            How::Hybrid => "hybrid",
        }
    }
}

fn sheet(rows: &[Trainings]) -> Sheet {
    let mut sheet = Sheet::new(&["parallel", "codec", "mean error %", "lowest", "highest", "less that of 32 bits"]);
    for row in rows {
        let numbers = [row.mean, row.lowest, row.highest, row.difference];
        sheet.add([row.parallel.to_string(), row.compress.clone()].into_iter().chain(numbers.map(|n| cell(Some(n)))));
    }
    sheet
}
