//! What a training does by itself, and otherwise with others.

use cnn_core::{StepStats, Tensor, Trainer};

use crate::checkpoint::Checkpoint;
use crate::data::{Piece, Share};
use crate::{EpochReport, Error, Fit, Result, Settings};

/// Who else there is. The defaults are a training's that is alone.
pub(crate) trait Company {
    /// An error where these settings cannot be had.
    fn check(&self, _settings: &Settings) -> Result<()> {
        Ok(())
    }

    /// Before the first step: an error where the others are about to do something else.
    fn meet(&mut self, _fit: &Fit<'_>, _begin: &Checkpoint) -> Result<()> {
        Ok(())
    }

    /// Whether it is this worker that tests, writes and tells.
    fn leads(&self) -> bool {
        true
    }

    /// Which of how many workers this is.
    fn place(&self) -> (usize, usize) {
        (0, 1)
    }

    /// Whether a trainer that shares its threads may.
    fn shares_threads(&self) -> bool {
        true
    }

    /// An epoch begins.
    fn begin_epoch(&mut self) {}

    /// A step with the samples of a share; what it shows is of those that count.
    fn step(
        &mut self,
        trainer: &mut dyn Trainer,
        (images, labels): (&Tensor, &[u32]),
        _share: &Share,
        learning_rate: f32,
        piece: Piece<'_>,
    ) -> Result<StepStats> {
        Ok(trainer.step_sharing(images, labels, learning_rate, piece)?)
    }

    /// The sum over all workers.
    fn total(&mut self, own: Total) -> Result<Total> {
        Ok(own)
    }

    /// Everyone's report, which the leader knows.
    fn agree(&mut self, own: EpochReport) -> Result<EpochReport> {
        Ok(own)
    }

    /// The training is over, for this reason where it failed.
    fn part(&mut self, _failed: Option<&Error>) {}
}

/// A training by itself.
#[derive(Debug)]
pub(crate) struct Alone;

impl Company for Alone {}

/// What an epoch showed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Total {
    /// Sum over images.
    pub(crate) loss: f64,
    pub(crate) correct: usize,
    pub(crate) images: usize,
}

impl Total {
    pub(crate) fn add(&mut self, stats: StepStats) {
        self.loss += stats.loss * stats.images as f64;
        self.correct += stats.correct;
        self.images += stats.images;
    }
}
