//! Batches made beside the work on them: a thread of its own reads, decodes and transforms ahead.

use std::sync::mpsc::{Receiver, sync_channel};

use cnn_core::Tensor;

use super::Batches;
use crate::Result;

/// Images and labels of a batch.
pub type Batch = (Tensor, Vec<u32>);

/// Batches that lie ready, or are about to.
#[derive(Debug)]
pub struct Beside {
    ready: Receiver<Result<Batch>>,
}

impl Beside {
    /// The next images and labels; `None` at the end. Errors where the model does not take such images.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        self.ready.recv().ok().transpose()
    }
}

/// Calls `work` with the batches in their order, which are made meanwhile, a few ahead.
pub fn beside<R>(mut batches: Batches<'_>, work: impl FnOnce(&mut Beside) -> R) -> R {
    /// Batches that lie ready at most.
    const AHEAD: usize = 4;
    let (sender, ready) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Some(batch) = batches.next_batch().transpose() {
                let failed = batch.is_err();
                // Where nobody listens any more, the work is done.
                if sender.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        // Dropped before the scope waits for the thread, which then ends.
        let mut beside = Beside { ready };
        work(&mut beside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Order};

    #[test]
    fn batches_come_in_their_order_and_an_early_end_ends_the_thread() {
        let data = Dataset::new([28, 28], vec![0; 784 * 40], (0..40).map(|i| i % 10).collect()).unwrap();
        let model = cnn_models::find("lenet5").unwrap();
        let order = Order::Shuffled { seed: 3, epoch: 1 };
        let batches = || Batches::new(&data, model.preprocess(), 7, order);
        let mut plain = batches();
        beside(batches(), |beside| {
            while let Some(want) = plain.next_batch().unwrap() {
                assert_eq!(beside.next_batch().unwrap().unwrap(), want);
            }
            assert!(beside.next_batch().unwrap().is_none());
        });
        beside(batches(), |beside| assert!(beside.next_batch().unwrap().is_some()));
        // Pictures that the model does not take end with an error.
        let wrong = Dataset::new([5, 5], vec![0; 25], vec![1]).unwrap();
        let batches = Batches::new(&wrong, model.preprocess(), 7, Order::Given);
        assert!(beside(batches, |beside| beside.next_batch()).is_err());
    }
}
