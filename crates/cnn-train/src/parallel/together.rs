//! What workers that share layers have in common: they are backends, and go through the epoch loop together.

use std::sync::{Arc, Mutex};

use cnn_core::backend::{Backend, CompileOptions, DeviceInfo, Plan, Recipe, StepStats, Trainer};
use cnn_core::{Network, Tensor, Weights};

use super::handshake::Introduction;
use super::message::Kind;
use super::sink::unwrapped;
use super::wire::{ValueCodecs, Wire, lock};
use super::{Compression, Hybrid, ModelParallel, Splitting, Transport, report};
use crate::company::Company;
use crate::data::{Piece, Share};
use crate::{Checkpoint, EpochReport, Error, Fit, Observer, Result, Settings};

/// What the workers of model-parallel and hybrid trainings have in common: each is a backend with a wire to the others, and runs on
/// another one whatever no worker needs the others for. `train` compiles what they train together.
macro_rules! shares_layers {
    ($worker:ident) => {
        impl $worker {
            /// A worker that computes on `backend` and reaches the others by `transport`. Errors where no threads can be had to
            /// encode with.
            pub fn new(
                backend: Arc<dyn Backend>,
                transport: Box<dyn Transport>,
                codecs: ValueCodecs,
                splitting: Splitting,
            ) -> Result<Self> {
                let wire = Arc::new(Mutex::new(Wire::new(transport, codecs, backend.device().threads)?));
                Ok($worker { backend, wire, splitting })
            }

            /// As [`Fit::run`], together: all with the same weights, settings and images. `fit`'s backend is replaced by this. Worker 0
            /// tests, saves and tells its observer; whatever ends one worker ends all.
            pub fn run(&self, fit: &Fit<'_>, observer: &mut dyn Observer) -> Result<Checkpoint> {
                let fit = Fit { backend: self, settings: fit.settings.clone(), save: fit.save.clone(), ..*fit };
                fit.run_in(&mut Together { wire: self.wire.clone() }, observer)
            }

            /// As [`Fit::resume`], together: all from the same checkpoint. The number of workers may be another.
            pub fn resume(
                &self,
                fit: &Fit<'_>,
                checkpoint: &Checkpoint,
                observer: &mut dyn Observer,
            ) -> Result<Checkpoint> {
                let fit = Fit { backend: self, settings: fit.settings.clone(), save: fit.save.clone(), ..*fit };
                fit.resume_in(&mut Together { wire: self.wire.clone() }, checkpoint, observer)
            }
        }

        impl Backend for $worker {
            fn name(&self) -> &str {
                self.backend.name()
            }

            fn device(&self) -> &DeviceInfo {
                self.backend.device()
            }

            fn compile(
                &self,
                network: &Network,
                weights: &Weights,
                options: &CompileOptions,
            ) -> cnn_core::Result<Arc<dyn Plan>> {
                self.backend.compile(network, weights, options)
            }

            fn compile_training(
                &self,
                network: &Network,
                weights: &Weights,
                recipe: &Recipe,
            ) -> cnn_core::Result<Box<dyn Trainer>> {
                self.train(network, weights, recipe)
            }
        }
    };
}
shares_layers!(ModelParallel);
shares_layers!(Hybrid);

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
        report::agree(own, self.leads(), |told| lock(&self.wire).tell(Kind::Notice, told))
    }

    fn part(&mut self, failed: Option<&Error>) {
        if let Some(error) = failed {
            lock(&self.wire).fail(error);
        }
    }
}
