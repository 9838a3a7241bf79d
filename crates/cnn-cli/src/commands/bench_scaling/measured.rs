//! Steps of real workers, on threads of this program or as the processes that `mpirun` started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow};
use cnn::models::Model;
use cnn::train::data::Dataset;
use cnn::train::parallel::{Compression, ExchangeTime, Thread, Transport, Worker, threads};
use cnn::train::{Fit, Observer, Result, Schedule, Settings};
use cnn::{Backend, Network};

use super::super::bench_exchange::link;
use super::super::bench_training::images;
use super::BUCKET;
use crate::load;

/// Steps that are made before those that count, the first of which only starts the clock.
const BEFORE: usize = 3;

/// Exchanges of a size whose median tells of a link.
const EXCHANGES: usize = 15;

/// What workers are.
#[derive(Clone)]
pub(super) enum Workers {
    Threads,
    /// This process's way to all others, for one worker after another.
    Processes(Arc<Mutex<Box<dyn Transport>>>),
}

impl Workers {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Workers::Threads => "threads",
            Workers::Processes(_) => "processes",
        }
    }

    /// The link between the first two of them; nothing where this process is neither.
    pub(super) fn link(&self) -> anyhow::Result<Option<ExchangeTime>> {
        match self {
            Workers::Threads => link(None, BUCKET, EXCHANGES).map(Some),
            Workers::Processes(all) => {
                Few::of(all, 2).map(|few| link(Some(Box::new(few)), BUCKET, EXCHANGES)).transpose()
            }
        }
    }
}

/// The first of all processes, of which this is one.
#[derive(Debug)]
struct Few {
    all: Arc<Mutex<Box<dyn Transport>>>,
    workers: usize,
}

impl Few {
    /// Nothing where this process is none of them.
    fn of(all: &Arc<Mutex<Box<dyn Transport>>>, workers: usize) -> Option<Few> {
        let few = Few { all: Arc::clone(all), workers };
        let is_one = few.rank() < workers;
        is_one.then_some(few)
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Transport>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Few {
    fn rank(&self) -> usize {
        self.lock().rank()
    }

    fn workers(&self) -> usize {
        self.workers
    }

    fn send(&mut self, to: usize, message: &[u8]) -> Result<()> {
        self.lock().send(to, message)
    }

    fn receive(&mut self, from: usize, message: &mut Vec<u8>) -> Result<()> {
        self.lock().receive(from, message)
    }
}

/// What each step is of.
pub(super) struct Steps<'a> {
    model: &'a Model,
    network: &'a Network,
    images: Dataset,
    /// One, as each epoch ends with a test.
    test: Dataset,
    batch: usize,
    /// Of each worker.
    threads: usize,
    reps: usize,
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        (model, network): (&'a Model, &'a Network),
        (batch, threads, reps): (usize, usize, usize),
    ) -> anyhow::Result<Self> {
        let count = batch.checked_mul(reps.saturating_add(BEFORE)).context("--batch and --reps are too large")?;
        let bytes = count.saturating_mul(model.preprocess().fitted_shape().iter().product());
        Vec::<u8>::new().try_reserve_exact(bytes).with_context(|| format!("no memory for {count} images"))?;
        let noise = |count| images(None, model.preprocess(), network.output_shape().elements(), count);
        Ok(Steps { model, network, images: noise(count)?, test: noise(1)?, batch, threads, reps })
    }

    /// The median of a step's seconds on so many workers; nothing where this process is not the first of them.
    pub(super) fn seconds(&self, place: &Workers, workers: usize, codec: &str) -> anyhow::Result<Option<f64>> {
        let all = match place {
            Workers::Threads => std::thread::scope(|scope| {
                let start = |end: Thread| scope.spawn(move || self.train(Box::new(end), codec));
                let workers: Vec<_> = threads(workers).into_iter().map(start).collect();
                let times =
                    workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?);
                times.collect::<anyhow::Result<Vec<_>>>()
            })?,
            Workers::Processes(all) => match Few::of(all, workers) {
                Some(few) => vec![self.train(Box::new(few), codec)?],
                None => return Ok(None),
            },
        };
        let mut times = all.into_iter().next().unwrap_or_default();
        times.sort_by(f64::total_cmp);
        Ok(times.get(times.len() / 2).copied())
    }

    /// The seconds of each step that counts, where this worker is the first.
    fn train(&self, end: Box<dyn Transport>, codec: &str) -> anyhow::Result<Vec<f64>> {
        let backend: Arc<dyn Backend> = load::backend("cpu", Some(self.threads))?;
        // Small enough to stay finite on noise too.
        let (batch, schedule) = (self.batch, Schedule::Constant);
        let settings = Settings { batch, epochs: 1, learning_rate: 1e-3, schedule, ..Settings::default() };
        let (backend, network, preprocess) = (backend.as_ref(), self.network, self.model.preprocess());
        let fit = Fit { backend, network, preprocess, train: &self.images, test: &self.test, settings, save: None };
        let mut clock = Clock::default();
        Worker::new(end, compression(codec)?)?.run(&fit, &mut clock)?;
        let steps = clock.0.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        Ok(steps.skip(BEFORE - 1).take(self.reps).collect())
    }
}

/// As in training: one bit does not do without error feedback.
pub(super) fn compression(codec: &str) -> Result<Compression> {
    Compression::find(codec, codec == cnn::train::codec::one_bit::NAME)
}

/// When each step was done.
#[derive(Default)]
struct Clock(Vec<Instant>);

impl Observer for Clock {
    fn batch(&mut self, _epoch: usize, _images: usize, _loss: f64) {
        self.0.push(Instant::now());
    }
}
