//! The epoch loop.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use cnn_core::training::{Clip, Partial};
use cnn_core::{Backend, Initialization, Network, Optimizer, Recipe, Trainer, Weights};
use cnn_models::{Normalization, Preprocess};

use crate::checkpoint::{Checkpoint, Record};
use crate::company::{Alone, Company, Total};
use crate::data::{Augmentation, Batches, Dataset, Order, Share, for_each_batch};
use crate::metrics::{Confusion, evaluate};
use crate::schedule::{Course, Schedule, warm_up};
use crate::{Error, Result};

/// What a training is set to.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Images of a mini-batch.
    pub batch: usize,
    /// Passes over the training set.
    pub epochs: usize,
    /// Learning rate before the schedule's factor.
    pub learning_rate: f32,
    /// The factor's course.
    pub schedule: Schedule,
    /// Epochs over which the rate rises from 0; they need not be whole.
    pub warm_up: f64,
    /// How gradients change the weights.
    pub optimizer: Optimizer,
    /// A bound on gradients.
    pub clip: Option<Clip>,
    /// How the first weights are spread.
    pub initialization: Initialization,
    /// Stops after so many epochs without a better test accuracy.
    pub patience: Option<usize>,
    /// Of the first weights, the order of the images, their changes, whatever layers draw and which of them learn.
    pub seed: u64,
    /// How the images that are learned from are changed.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Mean and deviation of the images, where they are not those of the model's preprocessing.
    #[serde(default)]
    pub normalization: Option<Normalization>,
    /// Which part of the layers learns at a step; all where nothing is said.
    #[serde(default)]
    pub partial: Option<Partial>,
    /// Images of an update where threads make them without waiting for one another, several of each batch: see
    /// [`Recipe::asynchronous`]. On more than one thread not deterministic.
    #[serde(default)]
    pub asynchronous: Option<NonZeroUsize>,
}

impl Default for Settings {
    /// What LeNet-5 learns MNIST with.
    fn default() -> Self {
        Settings {
            batch: 64,
            epochs: 12,
            learning_rate: 0.02,
            schedule: Schedule::Cosine,
            warm_up: 0.0,
            optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 5e-4 },
            clip: None,
            initialization: Initialization::He,
            patience: None,
            seed: 1,
            augmentation: Augmentation::default(),
            normalization: None,
            partial: None,
            asynchronous: None,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let positive = |what: &str, value: f32| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(format!("{what} {value} is not a positive number")),
        };
        let clip = match self.clip {
            Some(Clip::Norm(bound) | Clip::Value(bound)) => positive("bound of gradients", bound),
            None => Ok(()),
        };
        let warm_up = match self.warm_up >= 0.0 && self.warm_up.is_finite() {
            true => Ok(()),
            false => Err(format!("warm-up of {} epochs", self.warm_up)),
        };
        let sizes = match (self.batch, self.epochs) {
            (0, _) | (_, 0) => Err("batch and epochs must be at least 1".to_string()),
            _ => Ok(()),
        };
        let rate = positive("learning rate", self.learning_rate);
        let normalization = self.normalization.as_ref().map_or(Ok(()), Normalization::check);
        let partial = self.partial.as_ref().map_or(Ok(()), Partial::check);
        let all = [sizes, rate, self.optimizer.check(), clip, self.schedule.check(), warm_up, normalization, partial];
        all.into_iter().collect::<std::result::Result<(), String>>().map_err(Error::Setting)
    }

    fn recipe(&self) -> Recipe {
        let recipe = Recipe::new(self.optimizer).clip(self.clip).seed(self.seed);
        recipe.partial(self.partial).asynchronous(self.asynchronous)
    }

    fn rate(&self, course: Course<'_>) -> f32 {
        let factor = self.schedule.factor(course) * warm_up(self.warm_up, course);
        (f64::from(self.learning_rate) * factor) as f32
    }

    /// Whether the test accuracy has not risen for as long as is waited.
    fn is_over(&self, epochs: &[EpochReport]) -> bool {
        let best = epochs.iter().map(|e| e.test_accuracy).fold(0.0, f64::max);
        let last_better = epochs.iter().position(|e| e.test_accuracy == best).unwrap_or(0);
        self.patience.is_some_and(|patience| epochs.len() > last_better + patience)
    }
}

/// What an epoch showed.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EpochReport {
    /// Mean loss over the epoch's batches, as they were learned from.
    pub train_loss: f64,
    /// Share of the training images that were right when they were learned from.
    pub train_accuracy: f64,
    /// Share of the test images that were right after the epoch.
    pub test_accuracy: f64,
    /// Images a second, training.
    pub train_images_per_s: f64,
    /// Images a second, testing.
    pub test_images_per_s: f64,
}

/// Is told how a training goes.
pub trait Observer {
    /// The training begins; `method` says how the backend trains this network.
    fn start(&mut self, _method: &str) {}

    /// `images` of the epoch's are done; `loss` is the last batch's.
    fn batch(&mut self, _epoch: usize, _images: usize, _loss: f64) {}

    /// An epoch is done, tested and saved.
    fn epoch(&mut self, _epoch: usize, _report: &EpochReport, _test: &Confusion) {}
}

/// Is told nothing worth its while.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// A training to be run.
#[derive(Debug)]
pub struct Fit<'a> {
    /// Where it runs.
    pub backend: &'a dyn Backend,
    /// What learns. The model's name is the network's.
    pub network: &'a Network,
    /// How images become the network's input, but for a normalisation in `settings`.
    pub preprocess: &'a Preprocess,
    /// What is learned from.
    pub train: &'a Dataset,
    /// What it is judged by after every epoch.
    pub test: &'a Dataset,
    /// How.
    pub settings: Settings,
    /// Written after every epoch: a checkpoint, which is a weights file too.
    pub save: Option<PathBuf>,
}

/// Images of a batch of the test after each epoch.
const TEST_BATCH: usize = 250;

impl Fit<'_> {
    /// Trains from fresh weights.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Checkpoint> {
        self.run_in(&mut Alone, observer)
    }

    /// Trains from given weights: fine-tuning. Nothing is known of how they came about, and the first epoch is the first.
    pub fn run_from(&self, weights: &Weights, observer: &mut dyn Observer) -> Result<Checkpoint> {
        self.run_from_in(&mut Alone, weights, observer)
    }

    /// Goes on where `checkpoint` stopped. The settings may differ in the number of epochs and in the patience only.
    pub fn resume(&self, checkpoint: &Checkpoint, observer: &mut dyn Observer) -> Result<Checkpoint> {
        self.resume_in(&mut Alone, checkpoint, observer)
    }

    /// As [`run`](Self::run), in company.
    pub(crate) fn run_in(&self, company: &mut dyn Company, observer: &mut dyn Observer) -> Result<Checkpoint> {
        let begin = || {
            self.settings.check()?;
            let weights = Weights::initial(self.network, self.settings.seed, self.settings.initialization)?;
            Ok((self.trainer(&weights)?, Vec::new()))
        };
        self.go_through(begin, company, observer)
    }

    /// As [`run_from`](Self::run_from), in company.
    pub(crate) fn run_from_in(
        &self,
        company: &mut dyn Company,
        weights: &Weights,
        observer: &mut dyn Observer,
    ) -> Result<Checkpoint> {
        self.go_through(|| Ok((self.trainer(weights)?, Vec::new())), company, observer)
    }

    /// As [`resume`](Self::resume), in company.
    pub(crate) fn resume_in(
        &self,
        company: &mut dyn Company,
        checkpoint: &Checkpoint,
        observer: &mut dyn Observer,
    ) -> Result<Checkpoint> {
        let begin = || {
            self.check_resumed(&checkpoint.record)?;
            let mut trainer = self.trainer(&checkpoint.weights)?;
            trainer.restore(&checkpoint.state)?;
            Ok((trainer, checkpoint.record.epochs.clone()))
        };
        self.go_through(begin, company, observer)
    }

    fn trainer(&self, weights: &Weights) -> Result<Box<dyn Trainer>> {
        self.settings.check()?;
        Ok(self.backend.compile_training(self.network, weights, &self.settings.recipe())?)
    }

    /// Whatever goes wrong, the company hears of it.
    fn go_through(
        &self,
        begin: impl FnOnce() -> Result<(Box<dyn Trainer>, Vec<EpochReport>)>,
        company: &mut dyn Company,
        observer: &mut dyn Observer,
    ) -> Result<Checkpoint> {
        let result = begin().and_then(|(trainer, done)| self.epochs(trainer, done, company, observer));
        company.part(result.as_ref().err());
        result
    }

    /// That what a checkpoint is of is what this training goes on with.
    fn check_resumed(&self, record: &Record) -> Result<()> {
        let Record { model, images, classes, settings, .. } = record;
        let Settings { epochs: wanted, patience, .. } = self.settings;
        let same = Settings { epochs: wanted, patience, ..settings.clone() } == self.settings;
        if !same || model != self.network.name() || *images != self.train.len() {
            let reason = format!(
                "the checkpoint is of `{model}` on {images} images with {settings:?}, \
                 which is not `{}` on {} with {:?}",
                self.network.name(),
                self.train.len(),
                self.settings
            );
            return Err(Error::Setting(reason));
        }
        if classes != self.train.classes() {
            let reason = format!("the checkpoint's classes {classes:?} are not {:?}", self.train.classes());
            return Err(Error::Setting(reason));
        }
        Ok(())
    }

    fn epochs(
        &self,
        mut trainer: Box<dyn Trainer>,
        done: Vec<EpochReport>,
        company: &mut dyn Company,
        observer: &mut dyn Observer,
    ) -> Result<Checkpoint> {
        let (leads, mut silent) = (company.leads(), Silent);
        let observer: &mut dyn Observer = if leads { observer } else { &mut silent };
        company.check(&self.settings)?;
        if leads {
            self.check_save()?;
        }
        self.train.check(self.network)?;
        self.test.check(self.network)?;
        self.settings.augmentation.check(self.preprocess.fitted_shape())?;
        let preprocess = match &self.settings.normalization {
            Some(normalization) => self.preprocess.with_normalization(normalization)?,
            None => *self.preprocess,
        };
        let record = Record {
            model: self.network.name().to_string(),
            backend: self.backend.name().to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            images: self.train.len(),
            classes: self.train.classes().to_vec(),
            settings: self.settings.clone(),
            epochs: done,
        };
        let mut checkpoint = Checkpoint { weights: trainer.weights()?, state: trainer.state()?, record };
        company.meet(self, &checkpoint)?;
        observer.start(&trainer.method());
        for epoch in checkpoint.record.epochs.len()..self.settings.epochs {
            if self.settings.is_over(&checkpoint.record.epochs) {
                break;
            }
            let report = self.epoch((trainer.as_mut(), company), &preprocess, &checkpoint.record.epochs, observer)?;
            checkpoint.weights = trainer.weights()?;
            checkpoint.state = trainer.state()?;
            if !leads {
                checkpoint.record.epochs.push(company.agree(report)?);
                continue;
            }
            let (report, confusion) = self.judge(&checkpoint.weights, &preprocess, report)?;
            checkpoint.record.epochs.push(company.agree(report)?);
            if let Some(path) = &self.save {
                checkpoint.write(path)?;
            }
            observer.epoch(epoch, &report, &confusion);
        }
        Ok(checkpoint)
    }

    /// Finds out before the first epoch, not after it, that there is nowhere to save to.
    fn check_save(&self) -> Result<()> {
        let Some(path) = &self.save else { return Ok(()) };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match directory.is_none_or(|directory| directory.is_dir()) && !path.is_dir() {
            true => Ok(()),
            false => Err(Error::Format { path: path.clone(), reason: "no file can be written there".to_string() }),
        }
    }

    fn epoch(
        &self,
        (trainer, company): (&mut dyn Trainer, &mut dyn Company),
        preprocess: &Preprocess,
        done: &[EpochReport],
        observer: &mut dyn Observer,
    ) -> Result<EpochReport> {
        let (start, epoch) = (Instant::now(), done.len());
        let losses: Vec<f64> = done.iter().map(|report| report.train_loss).collect();
        let Settings { seed, batch: size, augmentation, .. } = self.settings;
        let order = Order::Shuffled { seed, epoch: epoch as u64 };
        let (rank, workers) = company.place();
        let batches = Batches::new(self.train, preprocess, size, order).augmented(augmentation, seed, epoch as u64);
        let batches = batches.shared(rank, workers);
        let (per_epoch, mut made, mut total) = (batches.count(), 0, Total::default());
        company.begin_epoch();
        let shares_threads = company.shares_threads() && trainer.shares_threads();
        for_each_batch(batches, shares_threads, |images, labels, piece| -> Result<()> {
            let epochs = (epoch * per_epoch + made) as f64 / per_epoch as f64;
            let rate = self.settings.rate(Course { epochs, of: self.settings.epochs, losses: &losses });
            let first = made * size;
            let count = size.min(self.train.len() - first);
            let share = Share::of(count, rank, workers);
            let stats = company.step(trainer, (images, labels), &share, rate, piece)?;
            total.add(stats);
            made += 1;
            observer.batch(epoch, first + count, stats.loss);
            Ok(())
        })?;
        let Total { loss, correct, images } = company.total(total)?;
        Ok(EpochReport {
            train_loss: loss / images as f64,
            train_accuracy: correct as f64 / images as f64,
            train_images_per_s: images as f64 / start.elapsed().as_secs_f64(),
            test_accuracy: 0.0,
            test_images_per_s: 0.0,
        })
    }

    fn judge(
        &self,
        weights: &Weights,
        preprocess: &Preprocess,
        report: EpochReport,
    ) -> Result<(EpochReport, Confusion)> {
        let start = Instant::now();
        let model = (self.network, weights);
        let confusion = evaluate(self.backend, model, preprocess, self.test, TEST_BATCH, |_| {})?;
        let test_images_per_s = confusion.total() as f64 / start.elapsed().as_secs_f64();
        Ok((EpochReport { test_accuracy: confusion.accuracy(), test_images_per_s, ..report }, confusion))
    }
}
