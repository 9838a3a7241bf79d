//! The part of `cnn train` that several workers do together.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use clap::{Args, ValueEnum};
use cnn::Backend;
use cnn::train::codec;
use cnn::train::parallel::{Compression, Thread, Transport, Worker, on_threads};
use cnn::train::{Checkpoint, Fit, Observer, Silent};

use crate::{load, processes};

/// How a training is spread.
#[derive(Args)]
pub(super) struct Parallel {
    /// Let several workers train together. data: each learns from its share of every batch.
    #[arg(long, value_name = "HOW", value_enum)]
    parallel: Option<How>,
    /// Workers, which are threads of this program, each with a backend of its own; those of cpu have an equal part of --threads.
    /// Where mpirun started this program (feature mpi), its processes are the workers, with --threads each.
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
        match (self.parallel, self.workers, processes::started()?) {
            (None, _, Some(2..)) => bail!("mpirun started processes that would each train alone; pass --parallel data"),
            (None, ..) => Ok(None),
            (Some(How::Data), Some(0), _) => bail!("--workers must be at least 1"),
            (Some(How::Data), Some(workers), Some(started)) if workers != started => {
                bail!("--workers {workers}, but mpirun started {started} processes")
            }
            (Some(How::Data), _, Some(started)) => Ok(Some(started)),
            (Some(How::Data), None, None) => bail!("--parallel needs --workers, or to be started by mpirun"),
            (Some(How::Data), workers, None) => Ok(workers),
        }
    }

    /// Whether the workers are processes.
    pub(super) fn is_over_processes(&self) -> anyhow::Result<bool> {
        Ok(self.workers()?.is_some() && processes::started()?.is_some())
    }

    /// How gradients are sent.
    pub(super) fn compress(&self) -> &str {
        self.compress.as_deref().unwrap_or(codec::uncompressed::NAME)
    }

    /// A backend for each worker of this process, or for the one that is alone. Threads are shared among them.
    pub(super) fn backends(&self, name: &str, threads: Option<usize>) -> anyhow::Result<Vec<Arc<dyn Backend>>> {
        let first = load::backend(name, threads)?;
        match self.workers()? {
            Some(_) if self.is_over_processes()? => match threads {
                Some(_) => Ok(vec![first]),
                None => {
                    let threads = (first.device().threads / processes::on_this_machine()?).max(1);
                    drop(first);
                    Ok(vec![load::backend(name, Some(threads))?])
                }
            },
            None => Ok(vec![first]),
            Some(workers) => {
                let threads = (first.device().threads / workers).max(1);
                drop(first);
                (0..workers).map(|_| load::backend(name, Some(threads))).collect()
            }
        }
    }

    /// Trains with as many workers as there are backends, or with the one that `mpi` is; `fit` is what each does on its own.
    /// `observer` hears of the first.
    pub(super) fn train<'a>(
        &self,
        fit: impl Fn(&'a dyn Backend) -> Fit<'a> + Sync,
        backends: &'a [Arc<dyn Backend>],
        (from, mpi): (Option<&Checkpoint>, Option<Box<dyn Transport>>),
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
        let work = |end: Box<dyn Transport>, backend: &'a dyn Backend, observer: &mut dyn Observer| {
            let mut worker = Worker::new(end, compression.clone())?;
            match from {
                Some(checkpoint) => worker.resume(&fit(backend), checkpoint, observer),
                None => worker.run(&fit(backend), observer),
            }
        };
        if let Some(mpi) = mpi {
            return Ok(match mpi.rank() {
                0 => work(mpi, backends[0].as_ref(), observer)?,
                _ => work(mpi, backends[0].as_ref(), &mut Silent)?,
            });
        }
        let observer = Mutex::new(observer);
        let thread = |end: Thread| match end.rank() {
            0 => work(Box::new(end), backends[0].as_ref(), *observer.lock().unwrap_or_else(PoisonError::into_inner)),
            rank => work(Box::new(end), backends[rank].as_ref(), &mut Silent),
        };
        Ok(on_threads(workers, thread)?)
    }
}
