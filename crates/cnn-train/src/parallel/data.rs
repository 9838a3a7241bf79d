//! Data parallelism: every worker has the whole network, and learns from its share of every batch. Gradients are averaged over the
//! whole batch before each makes the same step.
//!
//! As long as nothing is compressed, the weights are those of one worker with the same batch but for rounding: images are changed and
//! units dropped as they would be by one. Batch norms are the exception: their statistics are those of a worker's own samples, and the
//! ones that are tested and saved are worker 0's.

use std::sync::Arc;

use cnn_core::{StepStats, Tensor, Trainer, Weights};
use rayon::ThreadPool;

use super::communicator::Communicator;
use super::handshake::Introduction;
use super::sink::{Buckets, SharedGradients, unwrapped};
use super::{Exchange, Kind, Link, Transport, report};
use crate::codec::uncompressed::Uncompressed;
use crate::codec::{self, Codec, Scaling};
use crate::company::{Company, Total};
use crate::data::{Piece, Share};
use crate::{Checkpoint, EpochReport, Error, Fit, Observer, Result, Settings};

/// How gradients are written on their way to other workers.
#[derive(Debug, Clone)]
pub struct Compression {
    /// As what.
    pub codec: Arc<dyn Codec>,
    /// Whether what encoding loses is sent with the next gradients. It is forgotten after each epoch, so that a training that goes on from a
    /// checkpoint is the one that was not interrupted.
    pub error_feedback: bool,
}

impl Default for Compression {
    /// None.
    fn default() -> Self {
        Compression { codec: Arc::new(Uncompressed), error_feedback: false }
    }
}

impl Compression {
    /// By the codec's name. A bucket holds gradients of several layers, so types that divide by the largest of all numbers
    /// ([`codec::find`]) divide by that of each block instead.
    pub fn find(name: &str, error_feedback: bool) -> Result<Self> {
        let codec = match name {
            codec::dynamic_tree::NAME | codec::linear::NAME => codec::find_scaled(name, Scaling::Block)?,
            name => codec::find(name)?,
        };
        Ok(Compression { codec, error_feedback })
    }
}

/// One of several workers that train one network together. All of them run the same [`Fit`] with the same weights and settings, each
/// on any backend; differences are found before the first step, whichever worker has them. [`Settings::batch`] is that of all workers together.
///
/// Worker 0 tests, saves and tells its observer; [`Fit::save`] and the observers of others are not used. Whatever ends one
/// worker ends all, with an error that names it.
///
/// ```
/// use cnn_core::Reference;
/// use cnn_train::parallel::{Compression, Worker, on_threads};
/// use cnn_train::{Fit, Settings, Silent, data::Dataset};
///
/// let model = cnn_models::find("lenet5")?;
/// let network = model.network()?;
/// let images = Dataset::new([1, 28, 28], vec![7; 4 * 784], vec![0, 1, 2, 3])?;
/// let done = on_threads(2, |end| {
///     let mut worker = Worker::new(Box::new(end), Compression::find("dynamic-tree", true)?)?;
///     let (backend, preprocess) = (&Reference::new(), model.preprocess());
///     let settings = Settings { epochs: 1, batch: 4, ..Settings::default() };
///     let fit = Fit { backend, network: &network, preprocess, train: &images, test: &images, settings, save: None };
///     worker.run(&fit, &mut Silent)
/// })?;
/// assert_eq!(done.record.epochs.len(), 1);
/// # Ok::<(), cnn_train::Error>(())
/// ```
#[derive(Debug)]
pub struct Worker {
    communicator: Communicator,
    compression: Compression,
    pool: Arc<ThreadPool>,
    buckets: Buckets,
    /// Whether all are known to tell of gradients in one order.
    agree_on_order: bool,
}

impl Worker {
    /// The worker at this end. Errors where there can be no thread for the exchange.
    pub fn new(transport: Box<dyn Transport>, compression: Compression) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = Arc::new(pool.map_err(|error| Error::Setting(format!("no thread for the exchange: {error}")))?);
        let exchange = Exchange::new(compression.codec.clone(), compression.error_feedback, pool.clone());
        let communicator = Communicator::new(Link::new(transport), exchange)?;
        Ok(Worker { communicator, compression, pool, buckets: Buckets::default(), agree_on_order: false })
    }

    /// Which of the workers this is, from 0.
    pub fn rank(&self) -> usize {
        self.communicator.rank()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.communicator.workers()
    }

    /// As [`Fit::run`], together.
    pub fn run(&mut self, fit: &Fit<'_>, observer: &mut dyn Observer) -> Result<Checkpoint> {
        fit.run_in(self, observer)
    }

    /// As [`Fit::run_from`], together.
    pub fn run_from(&mut self, fit: &Fit<'_>, weights: &Weights, observer: &mut dyn Observer) -> Result<Checkpoint> {
        fit.run_from_in(self, weights, observer)
    }

    /// As [`Fit::resume`], together: all from the same checkpoint. The number of workers may be another.
    pub fn resume(
        &mut self,
        fit: &Fit<'_>,
        checkpoint: &Checkpoint,
        observer: &mut dyn Observer,
    ) -> Result<Checkpoint> {
        fit.resume_in(self, checkpoint, observer)
    }
}

impl Worker {
    /// Backends that tell of gradients in different orders would sum up what does not belong together. The first step shows it.
    fn compare_order(&mut self, own: u32) -> Result<()> {
        if !self.agree_on_order {
            let all = self.communicator.gather(Kind::Notice, own.to_le_bytes().to_vec())?;
            if let Some(worker) = all.iter().position(|theirs| theirs[..] != own.to_le_bytes()) {
                let reason = "its backend tells of gradients in another order than this worker's";
                return Err(Error::Worker { worker, reason: reason.to_string() });
            }
            self.agree_on_order = true;
        }
        Ok(())
    }
}

impl Company for Worker {
    fn check(&self, settings: &Settings) -> Result<()> {
        if settings.asynchronous.is_some() {
            let reason = "asynchronous updates have no gradients of a batch that workers could share";
            return Err(Error::Setting(reason.to_string()));
        }
        if settings.partial.is_some() && self.compression.error_feedback {
            let reason = "error feedback needs all layers to learn at each step, not a part of them";
            return Err(Error::Setting(reason.to_string()));
        }
        Ok(())
    }

    fn meet(&mut self, fit: &Fit<'_>, begin: &Checkpoint) -> Result<()> {
        self.communicator.expect(true);
        self.agree_on_order = false;
        let own = Introduction::of(fit, begin, &self.compression, &self.pool)?;
        let all = self.communicator.gather(Kind::Introduction, own.bytes()?)?;
        all.iter().enumerate().try_for_each(|(worker, theirs)| own.compare(worker, theirs))
    }

    fn leads(&self) -> bool {
        self.rank() == 0
    }

    fn place(&self) -> (usize, usize) {
        (self.rank(), self.workers())
    }

    fn shares_threads(&self) -> bool {
        false
    }

    fn begin_epoch(&mut self) {
        self.communicator.forget();
    }

    fn step(
        &mut self,
        trainer: &mut dyn Trainer,
        (images, labels): (&Tensor, &[u32]),
        share: &Share,
        learning_rate: f32,
        _piece: Piece<'_>,
    ) -> Result<StepStats> {
        trainer.count_samples_from(share.samples.start);
        let mut gradients = SharedGradients::new(&mut self.communicator, &mut self.buckets, share.weight);
        let stats = trainer.gradients(images, labels, &mut gradients).map_err(unwrapped)?;
        let order = gradients.finish()?;
        self.compare_order(order)?;
        trainer.update(learning_rate)?;
        Ok(if share.counts() { stats } else { StepStats::default() })
    }

    fn total(&mut self, own: Total) -> Result<Total> {
        let counts = [own.loss.to_bits(), own.correct as u64, own.images as u64];
        let bytes = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        let mut sum = Total::default();
        for (worker, bytes) in self.communicator.gather(Kind::Notice, bytes)?.iter().enumerate() {
            let counts: Vec<u64> =
                bytes.chunks_exact(8).filter_map(|eight| eight.try_into().ok()).map(u64::from_le_bytes).collect();
            let [loss, correct, images] = counts[..] else {
                return Err(Error::Worker { worker, reason: format!("{} bytes of counts", bytes.len()) });
            };
            sum.loss += f64::from_bits(loss);
            sum.correct = sum.correct.saturating_add(correct as usize);
            sum.images = sum.images.saturating_add(images as usize);
        }
        Ok(sum)
    }

    fn agree(&mut self, own: EpochReport) -> Result<EpochReport> {
        report::agree(own, self.leads(), |told| self.communicator.gather(Kind::Notice, told))
    }

    fn part(&mut self, failed: Option<&Error>) {
        match failed {
            Some(error) => self.communicator.fail(error),
            None => self.communicator.expect(false),
        }
    }
}
