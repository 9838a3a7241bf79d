//! The part of `cnn train` that several workers do together.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use clap::{Args, ValueEnum};
use cnn::Backend;
use cnn::train::codec;
use cnn::train::parallel::{Compression, Thread, Transport, Worker, on_threads};
use cnn::train::{Checkpoint, Fit, Observer, Silent};

use crate::load;

/// How a training is spread.
#[derive(Args)]
pub(super) struct Parallel {
    /// Let several workers train together. data: each learns from its share of every batch.
    #[arg(long, value_name = "HOW", value_enum, requires = "workers")]
    parallel: Option<How>,
    /// Workers, which are threads of this program, each with a backend of its own; those of cpu have an equal part of --threads.
    #[arg(long, value_name = "N", requires = "parallel")]
    workers: Option<usize>,
    /// Send gradients as this type.
    #[arg(long, value_name = "TYPE", requires = "parallel", value_parser = codec::NAMES)]
    compress: Option<String>,
    /// Send what that loses with the next gradients.
    #[arg(long, requires = "compress")]
    error_feedback: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    Data,
}

impl Parallel {
    /// How many workers there are; nothing where a training is alone.
    pub(super) fn workers(&self) -> anyhow::Result<Option<usize>> {
        match (self.parallel, self.workers) {
            (None, _) => Ok(None),
            (Some(How::Data), Some(0) | None) => bail!("--workers must be at least 1"),
            (Some(How::Data), workers) => Ok(workers),
        }
    }

    /// How gradients are sent.
    pub(super) fn compress(&self) -> &str {
        self.compress.as_deref().unwrap_or(codec::uncompressed::NAME)
    }

    /// A backend for each worker, or for the one that is alone. Threads are shared among them.
    pub(super) fn backends(&self, name: &str, threads: Option<usize>) -> anyhow::Result<Vec<Arc<dyn Backend>>> {
        let first = load::backend(name, threads)?;
        match self.workers()? {
            None => Ok(vec![first]),
            Some(workers) => {
                let threads = (first.device().threads / workers).max(1);
                drop(first);
                (0..workers).map(|_| load::backend(name, Some(threads))).collect()
            }
        }
    }

    /// Trains with as many workers as there are backends; `fit` is what each does on its own. `observer` hears of the first.
    pub(super) fn train<'a>(
        &self,
        fit: impl Fn(&'a dyn Backend) -> Fit<'a> + Sync,
        backends: &'a [Arc<dyn Backend>],
        from: Option<&Checkpoint>,
        observer: &mut (dyn Observer + Send),
    ) -> anyhow::Result<Checkpoint> {
        let Some(workers) = self.workers()? else {
            let fit = fit(backends[0].as_ref());
            return Ok(match from {
                Some(checkpoint) => fit.resume(checkpoint, observer)?,
                None => fit.run(observer)?,
            });
        };
        let compression = Compression::find(self.compress(), self.error_feedback)?;
        let observer = Mutex::new(observer);
        let work = |end: Thread| {
            let rank = end.rank();
            let mut worker = Worker::new(Box::new(end), compression.clone())?;
            let fit = fit(backends[rank].as_ref());
            let mut together = |observer: &mut dyn Observer| match from {
                Some(checkpoint) => worker.resume(&fit, checkpoint, observer),
                None => worker.run(&fit, observer),
            };
            match rank {
                0 => together(*observer.lock().unwrap_or_else(PoisonError::into_inner)),
                _ => together(&mut Silent),
            }
        };
        Ok(on_threads(workers, work)?)
    }
}
