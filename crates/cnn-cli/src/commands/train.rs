//! `cnn train`

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use cnn::compress::rebuild;
use cnn::models::Model;
use cnn::train::data::{Augmentation, Dataset, Split};
use cnn::train::metrics::Confusion;
use cnn::train::parallel::Transport;
use cnn::train::{Checkpoint, EpochReport, Fit, Observer, Schedule, Settings};
use cnn::training::{Clip, Partial};
use cnn::{Backend, Initialization, Optimizer};
use indicatif::{ProgressBar, ProgressStyle};

use super::parallel::Parallel;
use crate::chart::{Scale, chart};
use crate::data::{Data, Normalize};
use crate::load;
use crate::memory::peak_rss_mib;
use crate::output::{Output, confusion_table};
use crate::processes;

/// Trains a network on a data set.
#[derive(Args)]
pub(crate) struct Train {
    /// The network.
    model: String,
    #[command(flatten)]
    data: Data,
    /// auto, cpu, ocl or reference.
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
    #[arg(long, default_value = "sgd", value_parser = optimizer_names())]
    optimizer: String,
    /// Learning rate at the start.
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    learning_rate: f32,
    /// Course of the learning rate.
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Epochs of a step of --schedule step; those that --schedule plateau waits.
    #[arg(long, value_name = "EPOCHS", default_value_t = 3)]
    every: usize,
    /// What --schedule step and plateau multiply the learning rate by.
    #[arg(long, default_value_t = 0.3)]
    factor: f64,
    /// Epochs over which the learning rate rises from 0.
    #[arg(long, value_name = "EPOCHS", default_value_t = 0.0)]
    warm_up: f64,
    /// Momentum of sgd and nesterov.
    #[arg(long, default_value_t = 0.9)]
    momentum: f32,
    /// Pull of the weights towards 0.
    #[arg(long, default_value_t = 5e-4)]
    weight_decay: f32,
    /// Scale all gradients down to this Euclidean norm.
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f32>,
    /// Cut each gradient off at this value.
    #[arg(long, value_name = "VALUE", conflicts_with = "clip_norm")]
    clip_value: Option<f32>,
    /// Learn this share of the layers at each step, by turns, above 0 up to 1.
    #[arg(long, value_name = "SHARE")]
    partial: Option<f64>,
    /// Let each thread update the weights after so many images of a batch, without waiting for the others (16 unless told
    /// otherwise). For sgd, networks without batch norm, and large batches. Not deterministic on more than one thread.
    #[arg(long, value_name = "IMAGES", num_args = 0..=1, default_missing_value = "16")]
    asynchronous: Option<NonZeroUsize>,
    /// How the first weights are spread; as the model wants it unless told otherwise.
    #[arg(long, value_enum)]
    initialization: Option<InitializationName>,
    /// Put so many pixels around each training image, and cut one of its size out of that anywhere.
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    crop: usize,
    /// Mirror every other training image, by chance.
    #[arg(long)]
    flip: bool,
    /// Mean and deviation of the images: data for those of the training set, or one of each a channel, as in
    /// 0.5,0.5,0.5:0.2,0.2,0.2; the model's otherwise.
    #[arg(long, value_name = "MEAN:DEVIATION")]
    normalize: Option<Normalize>,
    /// Stop after so many epochs without a better test accuracy.
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<usize>,
    /// Of first weights, order and changes of images, dropout, turns of layers: the same seed gives the same bits, but for --asynchronous.
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Write weights and training state here after every epoch.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// In the end leave the training state out of the file: smaller, but --resume cannot go on from it.
    #[arg(long, requires = "save")]
    weights_only: bool,
    /// Draw the course of loss and errors as an SVG.
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
    /// Go on from a file that --save wrote.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    parallel: Parallel,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Constant,
    Cosine,
    Step,
    Plateau,
}

#[derive(Clone, Copy, ValueEnum)]
enum InitializationName {
    He,
    Glorot,
    Lecun,
}

fn optimizer_names() -> Vec<&'static str> {
    Optimizer::all().iter().map(Optimizer::name).collect()
}

impl Train {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        match self.parallel.is_over_processes()? {
            true => processes::run(|mpi| self.train(&output.of_rank(mpi.rank()), Some(mpi))),
            false => self.train(output, None),
        }
    }

    /// Trains, alone or with others. Those of other ranks neither print nor write.
    fn train(&self, output: &Output, mpi: Option<Box<dyn Transport>>) -> anyhow::Result<()> {
        let model = load::model(&self.model)?;
        let checkpoint = self.resume.as_deref().map(Checkpoint::read).transpose()?;
        let network = match &checkpoint {
            Some(checkpoint) => rebuild(&model.network()?, &checkpoint.weights)?,
            None => model.network()?,
        };
        let backends = self.parallel.backends(&self.backend, self.threads)?;
        let train = self.data.open(Split::Train, self.limit)?;
        let test = self.data.open(Split::Test, None)?;
        train.check(&network)?;
        let settings = self.settings(&train, model)?;
        let mut show = Show::new(output, train.len())?;
        if let Some((path, checkpoint)) = self.resume.as_ref().zip(checkpoint.as_ref()) {
            let done = checkpoint.record.epochs.len();
            if done >= self.epochs {
                output.say(format!("{}: all {done} epochs are done; --epochs asks for more", path.display()));
            }
        }
        let fit = |backend| Fit {
            backend,
            network: &network,
            preprocess: model.preprocess(),
            train: &train,
            test: &test,
            settings: settings.clone(),
            save: self.save.clone(),
        };
        let done = self.parallel.train(fit, &backends, (checkpoint.as_ref(), mpi), &mut show)?;
        if output.is_silent() {
            return Ok(());
        }
        show.bar.finish_and_clear();
        if let Some(confusion) = &show.confusion {
            output.say(confusion_table(confusion, train.classes()).trim_fmt());
        }
        if let Some(path) = &self.curve {
            draw(path, network.name(), &done.record.epochs)?;
        }
        if let Some(path) = self.save.as_ref().filter(|_| self.weights_only) {
            done.write_weights(path)?;
        }
        let last = done.record.epochs.last();
        output.finish(&serde_json::json!({
            "model": network.name(),
            "backend": backends[0].name(),
            "threads": threads(&backends),
            "workers": self.parallel.workers()?.unwrap_or(1),
            "compress": self.parallel.compress(),
            "batch": self.batch,
            "epochs": done.record.epochs.len(),
            "train_images_per_s": last.map(|e| e.train_images_per_s),
            "test_images_per_s": last.map(|e| e.test_images_per_s),
            "test_accuracy": last.map(|e| e.test_accuracy),
            "train_loss": last.map(|e| e.train_loss),
            "peak_rss_mib": peak_rss_mib(),
        }))
    }

    fn settings(&self, train: &Dataset, model: &Model) -> anyhow::Result<Settings> {
        let schedule = match self.schedule {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Cosine => Schedule::Cosine,
            ScheduleName::Step => Schedule::Step { every: self.every, factor: self.factor },
            ScheduleName::Plateau => Schedule::Plateau { patience: self.every, factor: self.factor },
        };
        let initialization = match self.initialization {
            None => model.initialization(),
            Some(InitializationName::He) => Initialization::He,
            Some(InitializationName::Glorot) => Initialization::Glorot,
            Some(InitializationName::Lecun) => Initialization::LeCun,
        };
        let named = Optimizer::all().into_iter().find(|optimizer| optimizer.name() == self.optimizer);
        let mut optimizer = named.unwrap_or_default().with_weight_decay(self.weight_decay);
        if let Optimizer::Sgd { momentum, .. } | Optimizer::Nesterov { momentum, .. } = &mut optimizer {
            *momentum = self.momentum;
        }
        let normalization = self.normalize.as_ref().map(|normalize| normalize.of(train, model.preprocess()));
        Ok(Settings {
            batch: self.batch,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            schedule,
            warm_up: self.warm_up,
            optimizer,
            clip: self.clip_norm.map(Clip::Norm).or(self.clip_value.map(Clip::Value)),
            partial: self.partial.map(|share| Partial { share }),
            asynchronous: self.asynchronous,
            initialization,
            patience: self.patience,
            seed: self.seed,
            augmentation: Augmentation { crop: self.crop, flip: self.flip },
            normalization: normalization.transpose()?,
        })
    }
}

/// Threads that work at a time; those of an OpenCL device are the same for all workers.
fn threads(backends: &[Arc<dyn Backend>]) -> usize {
    match backends[0].name() {
        "ocl" => backends[0].device().threads,
        _ => backends.iter().map(|backend| backend.device().threads).sum(),
    }
}

/// Shows a bar within an epoch and a line after it.
pub(super) struct Show<'a> {
    output: &'a Output,
    pub(super) bar: ProgressBar,
    /// Of the last test.
    confusion: Option<Confusion>,
}

impl<'a> Show<'a> {
    /// Of a training on so many images.
    pub(super) fn new(output: &'a Output, images: usize) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} images, {per_sec}, loss {msg}")?;
        Ok(Show { output, bar: ProgressBar::new(images as u64).with_style(style), confusion: None })
    }
}

impl Observer for Show<'_> {
    fn start(&mut self, method: &str) {
        self.output.say(format!("training {method}"));
        self.output.say("epoch     loss  right %  test %  images/s   testing");
    }

    fn batch(&mut self, epoch: usize, images: usize, loss: f64) {
        if self.bar.position() > images as u64 {
            self.bar.reset();
        }
        self.bar.set_prefix(format!("epoch {}", epoch + 1));
        self.bar.set_message(format!("{loss:.4}"));
        self.bar.set_position(images as u64);
    }

    fn epoch(&mut self, epoch: usize, report: &EpochReport, test: &Confusion) {
        let line = format!(
            "{:>5} {:>8.4} {:>8.2} {:>7.2} {:>9.0} {:>9.0}",
            epoch + 1,
            report.train_loss,
            100.0 * report.train_accuracy,
            100.0 * report.test_accuracy,
            report.train_images_per_s,
            report.test_images_per_s,
        );
        self.bar.suspend(|| self.output.say(line));
        self.confusion = Some(test.clone());
    }
}

/// The course of a training: its loss, and the share of images that were wrong.
fn draw(path: &Path, model: &str, epochs: &[EpochReport]) -> anyhow::Result<()> {
    let places: Vec<String> = (1..=epochs.len()).map(|epoch| epoch.to_string()).collect();
    let of = |value: fn(&EpochReport) -> f64| epochs.iter().map(value).collect();
    let lines: [(&str, Vec<f64>); 3] = [
        ("loss", of(|e| e.train_loss)),
        ("wrong in training", of(|e| 1.0 - e.train_accuracy)),
        ("wrong in the test", of(|e| 1.0 - e.test_accuracy)),
    ];
    chart(path, &format!("{model}: loss and errors by epoch"), Scale::Logarithmic, &places, &lines)
}
