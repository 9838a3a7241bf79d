//! `cnn train`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cnn::train::data::{Dataset, Split};
use cnn::train::{Checkpoint, EpochReport, Fit, Observer, Schedule, Settings};
use indicatif::{ProgressBar, ProgressStyle};

use crate::load;
use crate::output::Output;

/// Trains a network on a data set.
#[derive(Args)]
pub(crate) struct Train {
    /// The network.
    model: String,
    /// Directory of train-images-idx3-ubyte, train-labels-idx1-ubyte and the t10k pair, plain or .gz.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// auto, cpu or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Images of a mini-batch.
    #[arg(long, default_value_t = Settings::default().batch)]
    batch: usize,
    /// Passes over the training images.
    #[arg(long, default_value_t = Settings::default().epochs)]
    epochs: usize,
    /// Only so many training images, from the first.
    #[arg(long)]
    limit: Option<usize>,
    /// How gradients change the weights.
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: OptimizerName,
    /// Learning rate at the start.
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    learning_rate: f32,
    /// Course of the learning rate.
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Momentum.
    #[arg(long, default_value_t = Settings::default().momentum)]
    momentum: f32,
    /// Pull of the weights towards 0.
    #[arg(long, default_value_t = Settings::default().weight_decay)]
    weight_decay: f32,
    /// Of first weights, order of images, dropout: the same seed gives the same bits.
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Write weights and training state here after every epoch.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// In the end leave the training state out of the file: smaller, but --resume cannot go on from it.
    #[arg(long, requires = "save")]
    weights_only: bool,
    /// Go on from a file that --save wrote.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Sgd,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Constant,
    Cosine,
}

impl Train {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let (model, network) = load::model(&self.model)?;
        let backend = load::backend(&self.backend, self.threads)?;
        let mut train = Dataset::from_idx(&self.data, Split::Train)?;
        train.truncate(self.limit.unwrap_or(usize::MAX));
        let test = Dataset::from_idx(&self.data, Split::Test)?;
        let mut fit = Fit {
            backend: backend.as_ref(),
            network: &network,
            preprocess: model.preprocess(),
            train: &train,
            test: &test,
            settings: self.settings(),
            save: self.save.clone(),
        };
        let mut show = Show { output, bar: progress_bar(train.len())? };
        let done = match &self.resume {
            Some(path) => {
                let checkpoint = Checkpoint::read(path)?;
                let done = checkpoint.record.epochs.len();
                if done >= self.epochs {
                    output.say(format!("{}: all {done} epochs are done; --epochs asks for more", path.display()));
                }
                fit.resume(&checkpoint, &mut show)?
            }
            None => fit.run(&mut show)?,
        };
        show.bar.finish_and_clear();
        if let Some(path) = fit.save.take().filter(|_| self.weights_only) {
            done.write_weights(&path)?;
        }
        let last = done.record.epochs.last();
        output.finish(&serde_json::json!({
            "model": network.name(),
            "backend": backend.name(),
            "threads": backend.device().threads,
            "batch": self.batch,
            "epochs": done.record.epochs.len(),
            "train_images_per_s": last.map(|e| e.train_images_per_s),
            "test_images_per_s": last.map(|e| e.test_images_per_s),
            "test_accuracy": last.map(|e| e.test_accuracy),
            "train_loss": last.map(|e| e.train_loss),
        }))
    }

    fn settings(&self) -> Settings {
        let OptimizerName::Sgd = self.optimizer;
        let schedule = match self.schedule {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Cosine => Schedule::Cosine,
        };
        Settings {
            batch: self.batch,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            schedule,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            seed: self.seed,
        }
    }
}

fn progress_bar(images: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} images, {per_sec}, loss {msg}")?;
    Ok(ProgressBar::new(images as u64).with_style(style))
}

/// Shows a bar within an epoch and a line after it.
struct Show<'a> {
    output: &'a Output,
    bar: ProgressBar,
}

impl Observer for Show<'_> {
    fn batch(&mut self, epoch: usize, images: usize, loss: f64) {
        if self.bar.position() > images as u64 {
            self.bar.reset();
        }
        self.bar.set_prefix(format!("epoch {}", epoch + 1));
        self.bar.set_message(format!("{loss:.4}"));
        self.bar.set_position(images as u64);
    }

    fn epoch(&mut self, epoch: usize, report: &EpochReport) {
        let line = format!(
            "epoch {:>2}: loss {:.4}, {:.2} % right in training, {:.2} % in the test; {:.0} images/s, testing {:.0}",
            epoch + 1,
            report.train_loss,
            100.0 * report.train_accuracy,
            100.0 * report.test_accuracy,
            report.train_images_per_s,
            report.test_images_per_s,
        );
        self.bar.suspend(|| self.output.say(line));
    }
}
