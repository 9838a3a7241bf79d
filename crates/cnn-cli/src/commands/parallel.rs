//! The part of `cnn train` that several workers do together.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use clap::{Args, ValueEnum};
use cnn::Backend;
use cnn::train::codec;
use cnn::train::parallel::{
    Compression, Hybrid, ModelParallel, Splitting, Thread, Transport, ValueCodecs, Worker, on_threads,
};
use cnn::train::{Checkpoint, Fit, Observer, Silent};

use crate::{load, processes};

/// How a training is spread.
#[derive(Args)]
pub(super) struct Parallel {
    /// Let several workers train together. data: each learns from its share of every batch. model: each has a share
    /// of every large fully connected layer. hybrid: data before those layers, model from there on.
    #[arg(long, value_name = "HOW", value_enum)]
    parallel: Option<How>,
    /// Workers, which are threads of this program, each with a backend of its own; those of cpu have an equal part of --threads.
    /// Where mpirun started this program (feature mpi), its processes are the workers, with --threads each.
    #[arg(long, value_name = "N", requires = "parallel")]
    workers: Option<usize>,
    /// Send gradients as this type; and values between the shares of layers.
    #[arg(long, value_name = "TYPE", requires = "parallel", value_parser = codec::NAMES)]
    compress: Option<String>,
    /// Send what that loses with the next gradients.
    #[arg(long, requires = "compress")]
    error_feedback: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    Data,
    Model,
    Hybrid,
}

impl Parallel {
    /// How many workers there are; nothing where a training is alone.
    pub(super) fn workers(&self) -> anyhow::Result<Option<usize>> {
        match (self.parallel, self.workers, processes::started()?) {
            (None, _, Some(2..)) => {
                bail!("mpirun started processes that would each train alone; pass --parallel data, model or hybrid")
            }
            (None, ..) => Ok(None),
            (Some(_), Some(0), _) => bail!("--workers must be at least 1"),
            (Some(_), Some(workers), Some(started)) if workers != started => {
                bail!("--workers {workers}, but mpirun started {started} processes")
            }
            (Some(_), _, Some(started)) => Ok(Some(started)),
            (Some(_), None, None) => bail!("--parallel needs --workers, or to be started by mpirun"),
            (Some(_), workers, None) => Ok(workers),
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

    fn how(&self) -> anyhow::Result<Spread> {
        Ok(match self.parallel {
            Some(How::Model | How::Hybrid) if self.error_feedback => {
                bail!("--error-feedback is for --parallel data: values between layers are not sent again")
            }
            Some(How::Model) => Spread::Model(ValueCodecs::find(self.compress())?),
            Some(How::Hybrid) => Spread::Hybrid(ValueCodecs::find(self.compress())?),
            Some(How::Data) | None => Spread::Data(Compression::find(self.compress(), self.error_feedback)?),
        })
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
        let how = self.how()?;
        let work = |end: Box<dyn Transport>, backend: &'a Arc<dyn Backend>, observer: &mut dyn Observer| {
            how.worker(backend.clone(), end)?.train(&fit(backend.as_ref()), from, observer)
        };
        if let Some(mpi) = mpi {
            return Ok(match mpi.rank() {
                0 => work(mpi, &backends[0], observer)?,
                _ => work(mpi, &backends[0], &mut Silent)?,
            });
        }
        let observer = Mutex::new(observer);
        let thread = |end: Thread| match end.rank() {
            0 => work(Box::new(end), &backends[0], *observer.lock().unwrap_or_else(PoisonError::into_inner)),
            rank => work(Box::new(end), &backends[rank], &mut Silent),
        };
        Ok(on_threads(workers, thread)?)
    }
}

/// How a training is spread, and what is sent.
enum Spread {
    Data(Compression),
    Model(ValueCodecs),
    Hybrid(ValueCodecs),
}

impl Spread {
    fn worker(&self, backend: Arc<dyn Backend>, end: Box<dyn Transport>) -> cnn::train::Result<AnyWorker> {
        let splitting = Splitting::default();
        Ok(match self {
            Spread::Data(compression) => AnyWorker::Data(Box::new(Worker::new(end, compression.clone())?)),
            Spread::Model(codecs) => AnyWorker::Model(ModelParallel::new(backend, end, codecs.clone(), splitting)?),
            Spread::Hybrid(codecs) => AnyWorker::Hybrid(Hybrid::new(backend, end, codecs.clone(), splitting)?),
        })
    }
}

enum AnyWorker {
    Data(Box<Worker>),
    Model(ModelParallel),
    Hybrid(Hybrid),
}

impl AnyWorker {
    fn train(
        &mut self,
        fit: &Fit<'_>,
        from: Option<&Checkpoint>,
        observer: &mut dyn Observer,
    ) -> cnn::train::Result<Checkpoint> {
        match (self, from) {
            (AnyWorker::Data(worker), Some(checkpoint)) => worker.resume(fit, checkpoint, observer),
            (AnyWorker::Data(worker), None) => worker.run(fit, observer),
            (AnyWorker::Model(worker), Some(checkpoint)) => worker.resume(fit, checkpoint, observer),
            (AnyWorker::Model(worker), None) => worker.run(fit, observer),
            (AnyWorker::Hybrid(worker), Some(checkpoint)) => worker.resume(fit, checkpoint, observer),
            (AnyWorker::Hybrid(worker), None) => worker.run(fit, observer),
        }
    }
}
