//! How values of split layers, and their gradients, get from worker to worker.
//!
//! Layers cannot fail, messages can: what goes wrong is kept, the layer makes NaN of it, and the trainer around the network tells.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::ThreadPool;

use super::Transport;
use super::communicator::gather;
use super::exchange::Exchange;
use super::message::{Kind, Link};
use crate::codec::{self, Codec, Scaling, mantissa, one_bit, static_tree, uncompressed};
use crate::{Error, Result};

/// What values between the parts of split layers are sent as. There is no error feedback: what is lost of one batch's values is no part
/// of the next one's.
#[derive(Debug, Clone)]
pub struct ValueCodecs {
    /// Values, on the way forward.
    pub values: Arc<dyn Codec>,
    /// Their gradients, on the way back.
    pub gradients: Arc<dyn Codec>,
}

impl ValueCodecs {
    /// The codec of this name for both; where it has an exponent offset, values get 2, as Dettmers (2016), section 3.1, advises for model
    /// parallelism. Errors where there is none of this name, and for one bit a number, which is "too high" an error for values (its
    /// section 4.2).
    pub fn find(name: &str) -> Result<Self> {
        let gradients = codec::find(name)?;
        let values = match name {
            one_bit::NAME => {
                let reason = "one-bit needs error feedback, which values between layers cannot have";
                return Err(Error::Setting(format!("{reason}; it compresses gradients of weights alone")));
            }
            mantissa::NAME | static_tree::NAME => codec::find_scaled(name, Scaling::Offset(2))?,
            _ => gradients.clone(),
        };
        Ok(ValueCodecs { values, gradients })
    }

    /// Every bit of them.
    pub fn uncompressed() -> Self {
        let codec: Arc<dyn Codec> = Arc::new(uncompressed::Uncompressed);
        ValueCodecs { values: codec.clone(), gradients: codec }
    }
}

/// Which of the two passes values belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Forward,
    Back,
}

/// A worker's end of what all layers of its network send.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) link: Link,
    pub(super) codecs: ValueCodecs,
    forward: Exchange,
    back: Exchange,
    pub(super) pool: Arc<ThreadPool>,
    failure: Failure,
}

/// What became of the exchange.
#[derive(Debug)]
enum Failure {
    None,
    Untold(Error),
    Told,
}

impl Wire {
    /// Encodes on so many threads of its own. Errors where they cannot be had.
    pub(super) fn new(transport: Box<dyn Transport>, codecs: ValueCodecs, threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
        let pool = Arc::new(pool.map_err(|error| Error::Setting(format!("{threads} threads: {error}")))?);
        let exchange = |codec: &Arc<dyn Codec>| Exchange::new(codec.clone(), false, pool.clone());
        let (forward, back) = (exchange(&codecs.values), exchange(&codecs.gradients));
        Ok(Wire { link: Link::new(transport), codecs, forward, back, pool, failure: Failure::None })
    }

    /// Does some of the exchange unless something went wrong before; whether it went well.
    pub(super) fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> bool {
        if !matches!(self.failure, Failure::None) {
            return false;
        }
        let result = work(self);
        let is_well = result.is_ok();
        if let Err(error) = result {
            self.failure = Failure::Untold(error);
        }
        is_well
    }

    /// What went wrong, to be asked after every pass: instead of `result`, whose error may only be what became of it. Tells all other
    /// workers, once.
    pub(super) fn told<T>(&mut self, result: cnn_core::Result<T>) -> cnn_core::Result<T> {
        let error = match (std::mem::replace(&mut self.failure, Failure::Told), result) {
            (Failure::None, Ok(value)) => {
                self.failure = Failure::None;
                return Ok(value);
            }
            (Failure::None, Err(error)) => Error::Core(error),
            (Failure::Untold(error), _) => error,
            (Failure::Told, _) => {
                let reason = "a training that had failed was gone on with".to_string();
                return Err(other(Error::Worker { worker: self.link.rank(), reason }));
            }
        };
        self.link.fail(&error);
        Err(match error {
            Error::Core(error) => error,
            error => other(error),
        })
    }

    /// Tells all other workers that this one gives up, unless they were told before.
    pub(super) fn fail(&mut self, error: &Error) {
        if !matches!(self.failure, Failure::Told) {
            self.failure = Failure::Told;
            self.link.fail(error);
        }
    }

    /// Tells everyone these bytes, and gives back what each told, by rank.
    pub(super) fn tell(&mut self, kind: Kind, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        gather(&mut self.link, kind, bytes)
    }

    /// Replaces `values` by their sums over all workers.
    pub(super) fn sum(&mut self, way: Way, values: &mut [f32]) -> Result<()> {
        let Wire { link, forward, back, .. } = self;
        match way {
            Way::Forward => forward.sum(link, 0, values),
            Way::Back => back.sum(link, 0, values),
        }
    }

    /// Puts every worker's features beside one another: `own` is `[batch, of this worker]`, `all` `[batch, of all]`. Each worker takes its
    /// own as those who receive them do, so that all have the same bits.
    pub(super) fn gather(&mut self, way: Way, own: &[f32], parts: &[Range<usize>], all: &mut [f32]) -> Result<()> {
        let Wire { link, codecs, pool, .. } = self;
        if link.workers() == 1 {
            all.copy_from_slice(own);
            return Ok(());
        }
        let codec = if way == Way::Forward { &codecs.values } else { &codecs.gradients };
        link.write(codec.encoded_bytes(own.len()), |bytes| codec.encode_into(pool, own, bytes))?;
        link.others().try_for_each(|to| link.send(to, Kind::Values))?;
        let features = parts.last().map_or(0, |part| part.end).max(1);
        let batch = all.len() / features;
        let mut received = Vec::new();
        for (from, part) in parts.iter().enumerate() {
            received.resize(batch * part.len(), 0.0);
            match from == link.rank() {
                true => codec.decode(pool, link.written(), &mut received)?,
                false => codec.decode(pool, link.receive(from, Kind::Values)?, &mut received).map_err(blame(from))?,
            }
            for (all, received) in all.chunks_mut(features).zip(received.chunks(part.len().max(1))) {
                all[part.clone()].copy_from_slice(received);
            }
        }
        Ok(())
    }

    /// Gives `values` of worker `from` to all others. It takes them as the others receive them.
    pub(super) fn share(&mut self, from: usize, values: &mut [f32]) -> Result<()> {
        let Wire { link, codecs, pool, .. } = self;
        let codec = &codecs.values;
        match (link.workers(), from == link.rank()) {
            (1, _) => Ok(()),
            (_, true) => {
                link.write(codec.encoded_bytes(values.len()), |bytes| codec.encode_into(pool, values, bytes))?;
                link.others().try_for_each(|to| link.send(to, Kind::Values))?;
                codec.decode(pool, link.written(), values)
            }
            (_, false) => codec.decode(pool, link.receive(from, Kind::Values)?, values).map_err(blame(from)),
        }
    }

    /// Takes some numbers of every worker's, as they are; `counts` says how many. The others need none where they are not asked for
    /// theirs.
    pub(super) fn collect(&mut self, own: &[f32], counts: &[usize]) -> Result<Vec<Vec<f32>>> {
        let Wire { link, pool, .. } = self;
        let codec = uncompressed::Uncompressed;
        if counts[link.rank()] > 0 {
            link.write(codec.encoded_bytes(own.len()), |bytes| codec.encode_into(pool, own, bytes))?;
            link.others().try_for_each(|to| link.send(to, Kind::Values))?;
        }
        let mut all = Vec::new();
        for (from, &count) in counts.iter().enumerate() {
            let mut numbers = vec![0.0; count];
            match (count, from == link.rank()) {
                (0, _) => {}
                (_, true) => numbers.copy_from_slice(own),
                (_, false) => {
                    codec.decode(pool, link.receive(from, Kind::Values)?, &mut numbers).map_err(blame(from))?
                }
            }
            all.push(numbers);
        }
        Ok(all)
    }
}

/// The wire that a network's layers share.
pub(super) fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of this crate as one of a trainer.
pub(super) fn other(error: Error) -> cnn_core::Error {
    cnn_core::Error::Other(Box::new(error))
}

/// An error in numbers that a worker sent.
fn blame(worker: usize) -> impl Fn(Error) -> Error {
    move |error| Error::Worker { worker, reason: error.to_string() }
}
