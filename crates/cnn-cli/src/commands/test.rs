//! `cnn test`

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use cnn::train::data::Split;
use cnn::train::metrics::evaluate;
use indicatif::{ProgressBar, ProgressStyle};

use crate::data::{Data, check_classes};
use crate::load;
use crate::output::{Output, confusion_table};

/// Measures a network's accuracy on a data set.
#[derive(Args)]
pub(crate) struct Test {
    /// The network.
    model: String,
    #[command(flatten)]
    data: Data,
    /// Its weights, a safetensors file; those that come with the model otherwise.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// auto, cpu, ocl, ocl:N for the device of this number, ocl:NAME for one whose name has this in it, or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Images a run.
    #[arg(long, default_value_t = 250)]
    batch: usize,
    /// Only so many images, from the first.
    #[arg(long)]
    limit: Option<usize>,
}

impl Test {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let model = load::model(&self.model)?;
        let (network, weights) = load::weights(model, self.weights.as_deref())?;
        let backend = load::backend(&self.backend, self.threads)?;
        let data = self.data.open(Split::Test, self.limit)?;
        let trained_on = load::trained_on(&weights, self.weights.as_deref())?;
        let preprocess = trained_on.preprocess(model.preprocess())?;
        check_classes(&trained_on, &data)?;

        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {per_sec}")?;
        let bar = ProgressBar::new(data.len() as u64).with_style(style);
        let start = Instant::now();
        let model_and_weights = (&network, &weights);
        let evaluated = evaluate(backend.as_ref(), model_and_weights, &preprocess, &data, self.batch, |done| {
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        let confusion = match &self.weights {
            Some(path) => evaluated.with_context(|| path.display().to_string())?,
            None => evaluated?,
        };
        let images_per_s = confusion.total() as f64 / start.elapsed().as_secs_f64();
        output.say(confusion_table(&confusion, data.classes()).trim_fmt());
        let accuracy = confusion.accuracy();
        output.say(format!("{:.4} of {} images right, {images_per_s:.0} images/s", accuracy, confusion.total()));
        output.finish(&serde_json::json!({
            "model": network.name(),
            "backend": backend.name(),
            "images": confusion.total(),
            "test_accuracy": accuracy,
            "test_images_per_s": images_per_s,
            "confusion": (0..confusion.classes()).map(|c| confusion.row(c)).collect::<Vec<_>>(),
        }))
    }
}
