//! Gradients on their way to the other workers and back. They leave in buckets while the backward pass goes on.

use std::collections::VecDeque;

use cnn_core::GradientSink;
use flate2::Crc;

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
    /// Of all names and lengths in their order.
    order: Crc,
    /// Buckets that were sent off.
    sent: usize,
    /// The bucket that came last, and how much of it was taken.
    current: (Vec<f32>, usize),
}

impl<'a> SharedGradients<'a> {
    pub(super) fn new(communicator: &'a mut Communicator, buckets: &'a mut Buckets, weight: f32) -> Self {
        let (told, order, current) = (VecDeque::new(), Crc::new(), (Vec::new(), 0));
        SharedGradients { communicator, buckets, weight, told, order, sent: 0, current }
    }

    /// A checksum of what was told of, in its order, which has to be that of all workers. An error where a gradient was not
    /// settled: a backend that does not ask for them would learn from its own.
    pub(super) fn finish(self) -> Result<u32> {
        match self.told.front() {
            None => Ok(self.order.sum()),
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
        self.order.update(name.as_bytes());
        self.order.update(&(gradient.len() as u64).to_le_bytes());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Exchange, Link, threads};
    use super::*;
    use crate::codec;

    fn alone() -> Communicator {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let exchange = Exchange::new(codec::find("none").unwrap(), false, pool);
        Communicator::new(Link::new(Box::new(threads(1).remove(0))), exchange).unwrap()
    }

    #[test]
    fn gradients_of_any_length_come_back_in_their_order() {
        let (mut communicator, mut buckets) = (alone(), Buckets::default());
        let lengths = [3, 0, BUCKET - 3, 2 * BUCKET + 7, 1];
        for weight in [0.5, 0.0, 1.0] {
            let mut gradients = lengths.map(|length| (0..length).map(|i| (i % 1000) as f32).collect::<Vec<_>>());
            let mut sink = SharedGradients::new(&mut communicator, &mut buckets, weight);
            for (name, gradient) in ["a", "b", "c", "d", "e"].into_iter().zip(&mut gradients) {
                sink.ready(name, gradient).unwrap();
                gradient.fill(f32::NAN);
            }
            for (name, gradient) in ["a", "b", "c", "d", "e"].into_iter().zip(&mut gradients) {
                sink.settle(name, gradient).unwrap();
            }
            sink.finish().unwrap();
            let expected = |i: usize| weight * (i % 1000) as f32;
            assert!(gradients.iter().flat_map(|g| g.iter().enumerate()).all(|(i, &value)| value == expected(i)));
        }
    }

    #[test]
    fn what_does_not_count_is_not_even_looked_at() {
        let (mut communicator, mut buckets) = (alone(), Buckets::default());
        let mut sink = SharedGradients::new(&mut communicator, &mut buckets, 0.0);
        let mut gradient = [f32::NAN, f32::INFINITY];
        sink.ready("a", &mut gradient).unwrap();
        sink.settle("a", &mut gradient).unwrap();
        assert_eq!(gradient, [0.0; 2]);
    }

    #[test]
    fn a_backend_has_to_settle_what_it_told_of_in_order() {
        let (mut communicator, mut buckets) = (alone(), Buckets::default());
        let mut sink = SharedGradients::new(&mut communicator, &mut buckets, 1.0);
        sink.ready("a", &mut [1.0]).unwrap();
        sink.ready("b", &mut [1.0]).unwrap();
        assert!(unwrapped(sink.settle("b", &mut [1.0]).unwrap_err()).to_string().contains("`b` where"));
        assert!(sink.finish().unwrap_err().to_string().contains("does not settle gradients, such as that of `b`"));
        let mut sum = |names: [&str; 2]| {
            let mut sink = SharedGradients::new(&mut communicator, &mut buckets, 1.0);
            names.iter().for_each(|name| sink.ready(name, &mut [1.0]).unwrap());
            names.iter().for_each(|name| sink.settle(name, &mut [1.0]).unwrap());
            sink.finish().unwrap()
        };
        assert_eq!(sum(["a", "b"]), sum(["a", "b"]));
        assert_ne!(sum(["a", "b"]), sum(["b", "a"]));
    }
}
