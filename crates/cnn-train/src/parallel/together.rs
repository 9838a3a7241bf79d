//! The epoch loop of workers that share layers.

use std::sync::{Arc, Mutex};

use cnn_core::{StepStats, Tensor, Trainer};

use super::handshake::Introduction;
use super::message::Kind;
use super::sink::unwrapped;
use super::wire::{Wire, lock};
use super::{Compression, Hybrid, ModelParallel};
use crate::company::Company;
use crate::data::{Piece, Share};
use crate::{Checkpoint, EpochReport, Error, Fit, Observer, Result, Settings};

macro_rules! fits_together {
    ($worker:ident) => {
        impl $worker {
            /// As [`Fit::run`], together: all with the same weights, settings and images. `fit`'s backend is replaced by this. Worker 0
            /// tests, saves and tells its observer; whatever ends one worker ends all.
            pub fn run(&self, fit: &Fit<'_>, observer: &mut dyn Observer) -> Result<Checkpoint> {
                let fit = Fit { backend: self, settings: fit.settings.clone(), save: fit.save.clone(), ..*fit };
                fit.run_in(&mut Together { wire: self.wire() }, observer)
            }

            /// As [`Fit::resume`], together: all from the same checkpoint. The number of workers may be another.
            pub fn resume(
                &self,
                fit: &Fit<'_>,
                checkpoint: &Checkpoint,
                observer: &mut dyn Observer,
            ) -> Result<Checkpoint> {
                let fit = Fit { backend: self, settings: fit.settings.clone(), save: fit.save.clone(), ..*fit };
                fit.resume_in(&mut Together { wire: self.wire() }, checkpoint, observer)
            }
        }
    };
}
fits_together!(ModelParallel);
fits_together!(Hybrid);

/// The workers at the other ends of a wire.
struct Together {
    wire: Arc<Mutex<Wire>>,
}

impl Company for Together {
    fn check(&self, settings: &Settings) -> Result<()> {
        match settings.asynchronous {
            Some(_) => Err(Error::Setting("asynchronous updates are made by one worker alone".to_string())),
            None => Ok(()),
        }
    }

    fn meet(&mut self, fit: &Fit<'_>, begin: &Checkpoint) -> Result<()> {
        let mut wire = lock(&self.wire);
        let compression = Compression { codec: wire.codecs.gradients.clone(), error_feedback: false };
        let own = Introduction::of(fit, begin, &compression, &wire.pool)?;
        let all = wire.tell(Kind::Introduction, own.bytes()?)?;
        all.iter().enumerate().try_for_each(|(worker, theirs)| own.compare(worker, theirs))
    }

    fn leads(&self) -> bool {
        lock(&self.wire).link.rank() == 0
    }

    fn shares_threads(&self) -> bool {
        false
    }

    fn step(
        &mut self,
        trainer: &mut dyn Trainer,
        (images, labels): (&Tensor, &[u32]),
        _share: &Share,
        learning_rate: f32,
        piece: Piece<'_>,
    ) -> Result<StepStats> {
        trainer.step_sharing(images, labels, learning_rate, piece).map_err(unwrapped)
    }

    fn agree(&mut self, own: EpochReport) -> Result<EpochReport> {
        let told = if self.leads() { serde_json::to_vec(&own) } else { Ok(Vec::new()) };
        let told = told.map_err(|error| Error::Data(format!("the report of an epoch: {error}")))?;
        let all = lock(&self.wire).tell(Kind::Notice, told)?;
        let wrong = |error| Error::Worker { worker: 0, reason: format!("the report of an epoch: {error}") };
        serde_json::from_slice(&all[0]).map_err(wrong)
    }

    fn part(&mut self, failed: Option<&Error>) {
        if let Some(error) = failed {
            lock(&self.wire).fail(error);
        }
    }
}
