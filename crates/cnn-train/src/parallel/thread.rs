//! Workers that are threads of one process.

use std::any::Any;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::Transport;
use crate::{Error, Result};

/// A worker that is a thread: see [`threads`].
#[derive(Debug)]
pub struct Thread {
    rank: usize,
    /// To each worker.
    to: Vec<Sender<Vec<u8>>>,
    /// From each worker.
    from: Vec<Receiver<Vec<u8>>>,
}

/// The ends of `workers` workers, to be moved to a thread each. A worker has ended when its `Thread` was dropped.
pub fn threads(workers: usize) -> Vec<Thread> {
    let mut ends: Vec<Thread> = (0..workers).map(|rank| Thread { rank, to: Vec::new(), from: Vec::new() }).collect();
    for receiving in 0..workers {
        let (to, from): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        ends[receiving].from = from;
        for (sending, to) in ends.iter_mut().zip(to) {
            sending.to.push(to);
        }
    }
    ends
}

/// Does `work` as each of `workers` workers, at least 1, on a thread for each, and gives what worker 0 made of it. Where one fails or panics, the error is the
/// first cause, not what the others heard of it.
pub fn on_threads<R: Send>(workers: usize, work: impl Fn(Thread) -> Result<R> + Sync) -> Result<R> {
    let (work, workers) = (&work, workers.max(1));
    let results: Vec<_> = std::thread::scope(|scope| {
        let start = |end| scope.spawn(move || work(end));
        let started: Vec<_> = threads(workers).into_iter().map(start).collect();
        started.into_iter().map(|thread| thread.join().map_err(panicked)).collect()
    });
    let (mut done, mut heard, mut causes) = (None, None, Vec::new());
    for (worker, result) in results.into_iter().enumerate() {
        match result {
            Ok(Ok(result)) if worker == 0 => done = Some(result),
            Ok(Ok(_)) => {}
            Ok(Err(error @ Error::Worker { .. })) => heard = heard.or(Some(error)),
            Ok(Err(error)) => causes.push((worker, error)),
            Err(reason) => return Err(Error::Worker { worker, reason }),
        }
    }
    match (causes.len() == workers, causes.into_iter().next(), heard, done) {
        // What all find wrong is nobody's.
        (true, Some((_, error)), ..) => Err(error),
        (false, Some((worker, error)), ..) => Err(Error::Worker { worker, reason: error.to_string() }),
        (_, None, Some(error), _) => Err(error),
        (_, None, None, Some(done)) => Ok(done),
        (_, None, None, None) => Err(ended(0)),
    }
}

fn panicked(message: Box<dyn Any + Send>) -> String {
    let text = message.downcast_ref::<&str>().copied().or(message.downcast_ref::<String>().map(String::as_str));
    format!("has panicked: {}", text.unwrap_or("no text"))
}

impl Transport for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn workers(&self) -> usize {
        self.to.len()
    }

    fn send(&mut self, to: usize, message: &[u8]) -> Result<()> {
        self.to.get(to).ok_or_else(|| stranger(to))?.send(message.to_vec()).map_err(|_| ended(to))
    }

    fn receive(&mut self, from: usize, message: &mut Vec<u8>) -> Result<()> {
        *message = self.from.get(from).ok_or_else(|| stranger(from))?.recv().map_err(|_| ended(from))?;
        Ok(())
    }
}

pub(super) fn ended(worker: usize) -> Error {
    Error::Worker { worker, reason: "has ended before the others".to_string() }
}

pub(super) fn stranger(worker: usize) -> Error {
    Error::Worker { worker, reason: "there is none of this number".to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_from_each_worker_apart() {
        let mut ends = threads(3);
        for sent in [[1, 7].as_slice(), &[2], &[]] {
            ends[0].send(2, sent).unwrap();
        }
        ends[1].send(2, &[3]).unwrap();
        ends[2].send(2, &[4]).unwrap();
        let mut message = vec![9];
        for (from, expected) in [(1, [3].as_slice()), (0, &[1, 7]), (0, &[2]), (2, &[4]), (0, &[])] {
            ends[2].receive(from, &mut message).unwrap();
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_worker_that_has_ended_is_named() {
        let mut ends = threads(2);
        drop(ends.pop());
        let sent = ends[0].send(1, &[1]).unwrap_err().to_string();
        let received = ends[0].receive(1, &mut Vec::new()).unwrap_err().to_string();
        assert!(sent.contains("worker 1") && received.contains("worker 1"), "{sent}; {received}");
        let nobody = ends[0].send(2, &[1]).unwrap_err().to_string();
        assert!(nobody.contains("worker 2"), "{nobody}");
    }
}
