//! Gradients on their way to the other workers and back. They leave in buckets while the backward pass goes on.

use std::collections::VecDeque;

use cnn_core::GradientSink;

use super::communicator::Communicator;
use crate::{Error, Result};

/// Numbers of a bucket. Fewer are more messages, and more leave later.
const BUCKET: usize = 1 << 17;

/// The memory of sinks, step after step.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    filling: Vec<f32>,
    spare: Vec<Vec<f32>>,
}

/// What one step tells of its gradients. One after another they are a row of numbers, which is cut into buckets of one length.
pub(super) struct SharedGradients<'a> {
    communicator: &'a mut Communicator,
    buckets: &'a mut Buckets,
    /// This worker's part of the mean over all samples.
    weight: f32,
    /// Names and lengths of gradients that were told of and not settled yet.
    told: VecDeque<(String, usize)>,
    /// Buckets that were sent off.
    sent: usize,
    /// The bucket that came last, and how much of it was taken.
    current: (Vec<f32>, usize),
}

impl<'a> SharedGradients<'a> {
    pub(super) fn new(communicator: &'a mut Communicator, buckets: &'a mut Buckets, weight: f32) -> Self {
        let (told, current) = (VecDeque::new(), (Vec::new(), 0));
        SharedGradients { communicator, buckets, weight, told, sent: 0, current }
    }

    /// That every gradient was settled: a backend that does not ask for them would learn from its own.
    pub(super) fn finish(self) -> Result<()> {
        match self.told.front() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::Setting(format!("the backend does not settle gradients, such as that of `{name}`")))
            }
        }
    }

    fn send_off(&mut self) {
        let next = self.buckets.spare.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.buckets.filling, next);
        self.communicator.begin_sum(self.sent, full);
        self.sent += 1;
    }

    fn take(&mut self, mut gradient: &mut [f32]) -> Result<()> {
        if !self.buckets.filling.is_empty() {
            self.send_off();
        }
        while !gradient.is_empty() {
            let (bucket, taken) = &mut self.current;
            if *taken == bucket.len() {
                let mut old = std::mem::replace(bucket, self.communicator.next_sum()?);
                *taken = 0;
                if old.capacity() > 0 {
                    old.clear();
                    self.buckets.spare.push(old);
                }
                continue;
            }
            let count = gradient.len().min(bucket.len() - *taken);
            let (now, later) = gradient.split_at_mut(count);
            now.copy_from_slice(&bucket[*taken..][..count]);
            *taken += count;
            gradient = later;
        }
        Ok(())
    }
}

/// After an error the next step begins afresh.
impl Drop for SharedGradients<'_> {
    fn drop(&mut self) {
        self.buckets.filling.clear();
        let mut last = std::mem::take(&mut self.current.0);
        if last.capacity() > 0 {
            last.clear();
            self.buckets.spare.push(last);
        }
    }
}

impl GradientSink for SharedGradients<'_> {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        self.told.push_back((name.to_string(), gradient.len()));
        let mut rest = &*gradient;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BUCKET - self.buckets.filling.len()));
            match self.weight == 0.0 {
                // Not even what is no number counts.
                true => self.buckets.filling.resize(self.buckets.filling.len() + now.len(), 0.0),
                false => self.buckets.filling.extend(now.iter().map(|g| g * self.weight)),
            }
            if self.buckets.filling.len() == BUCKET {
                self.send_off();
            }
            rest = later;
        }
        Ok(())
    }

    fn settle(&mut self, name: &str, gradient: &mut [f32]) -> cnn_core::Result<()> {
        let due = self.told.pop_front();
        if due.as_ref().is_none_or(|(due, length)| due != name || *length != gradient.len()) {
            let reason = format!("the backend settles `{name}` where {due:?} is due");
            return Err(cnn_core::Error::Other(Box::new(Error::Setting(reason))));
        }
        self.take(gradient).map_err(|error| cnn_core::Error::Other(Box::new(error)))
    }
}

/// This crate's error, where a sink passed it through a trainer.
pub(super) fn unwrapped(error: cnn_core::Error) -> Error {
    match error {
        cnn_core::Error::Other(other) => match other.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::Core(cnn_core::Error::Other(other)),
        },
        error => Error::Core(error),
    }
}
