//! A bound on the norm of all gradients (Pascanu et al. 2013) where workers share layers, so that each has some of them. Each adds up the
//! squares of its own; of layers that all have alike, the first worker alone. The sum is everyone's, and so is what gradients are
//! multiplied by.

use std::collections::HashSet;
use std::sync::Mutex;

use cnn_core::Trainer;
use cnn_core::backend::GradientSink;
use cnn_core::training::Clip;

use super::message::Kind;
use super::wire::{Wire, lock};
use crate::{Error, Result};

/// What a worker knows of the norm.
#[derive(Debug)]
pub(super) struct SharedNorm {
    clip: Clip,
    /// Parameters that another worker counts.
    elsewhere: HashSet<String>,
    squares: f64,
}

impl SharedNorm {
    pub(super) fn new(clip: Clip, elsewhere: HashSet<String>) -> Self {
        SharedNorm { clip, elsewhere, squares: 0.0 }
    }

    /// A batch begins.
    pub(super) fn begin(&mut self) {
        self.squares = 0.0;
    }

    /// Counts a gradient that is learned from.
    pub(super) fn count(&mut self, name: &str, gradient: &[f32]) {
        if !self.elsewhere.contains(name) {
            self.squares += gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        }
    }

    /// Bounds the gradients of these trainers, when all of them are counted. Where the exchange failed, the wire tells.
    pub(super) fn bound<const N: usize>(
        &self,
        wire: &Mutex<Wire>,
        trainers: [&mut dyn Trainer; N],
    ) -> cnn_core::Result<()> {
        let (mut wire, mut sum) = (lock(wire), 0.0);
        wire.attempt(|wire| {
            let all = wire.tell(Kind::Notice, self.squares.to_le_bytes().to_vec())?;
            sum = all.iter().enumerate().map(|(worker, bytes)| number(worker, bytes)).sum::<Result<f64>>()?;
            Ok(())
        });
        drop(wire);
        match self.clip.bounds(sum.sqrt()) {
            (1.0, _) => Ok(()),
            (factor, _) => trainers.into_iter().try_for_each(|trainer| trainer.scale_gradients(factor)),
        }
    }
}

/// What a worker told.
fn number(worker: usize, bytes: &[u8]) -> Result<f64> {
    let wrong = |_| Error::Worker { worker, reason: format!("a sum of squares of {} bytes", bytes.len()) };
    bytes.try_into().map(f64::from_le_bytes).map_err(wrong)
}

/// Counts gradients as another sink leaves them.
pub(super) struct CountSink<'a> {
    pub(super) norm: &'a mut SharedNorm,
    pub(super) inner: &'a mut dyn GradientSink,
}

impl GradientSink for CountSink<'_> {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        self.inner.ready(name, gradient)
    }

    fn settle(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        self.inner.settle(name, gradient)?;
        self.norm.count(name, gradient);
        Ok(())
    }
}
