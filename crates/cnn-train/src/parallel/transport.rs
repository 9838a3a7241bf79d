//! What carries bytes between workers.

use std::fmt::Debug;

use crate::Result;

/// One worker's way to all others. Messages from one worker to another arrive whole, once and in the order in which they were
/// sent; between different workers there is no order.
pub trait Transport: Debug + Send {
    /// Which of the workers this is, from 0.
    fn rank(&self) -> usize;

    /// How many workers there are.
    fn workers(&self) -> usize;

    /// Sends `message` to worker `to`, which may be this one. Comes back as soon as `message` can be used again, be it received
    /// yet or not: two workers that send to each other first and receive then do not wait for ever.
    fn send(&mut self, to: usize, message: &[u8]) -> Result<()>;

    /// Waits for the next message of worker `from`; what was in `message` is gone. An error where that worker has ended.
    fn receive(&mut self, from: usize, message: &mut Vec<u8>) -> Result<()>;
}
