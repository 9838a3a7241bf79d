//! Batches made beside the work on them: threads of their own read, decode and transform ahead.

use std::sync::mpsc::{Receiver, sync_channel};

use cnn_core::Tensor;

use super::Batches;
use crate::Result;

/// Images and labels of a batch.
pub type Batch = (Tensor, Vec<u32>);

/// Batches that lie ready, or are about to.
#[derive(Debug)]
pub struct Beside {
    /// One for each thread. Each makes every so manyth batch, so that they are taken in turn.
    ready: Vec<Receiver<Result<Batch>>>,
    next: usize,
}

impl Beside {
    /// The next images and labels; `None` at the end. Errors where the model does not take such images.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        let thread = self.next % self.ready.len();
        self.next += 1;
        self.ready[thread].recv().ok().transpose()
    }
}

/// Calls `work` with the batches in their order, which are made meanwhile, a few ahead: by one thread where images lie in
/// memory, by up to four where they are files. The batches are the same for any number of threads.
pub fn beside<R>(batches: Batches<'_>, work: impl FnOnce(&mut Beside) -> R) -> R {
    let threads = batches.threads();
    on_threads(batches, threads, work)
}

fn on_threads<R>(batches: Batches<'_>, threads: usize, work: impl FnOnce(&mut Beside) -> R) -> R {
    /// Batches that lie ready, a thread's share of them rounded up.
    const AHEAD: usize = 4;
    std::thread::scope(|scope| {
        let batches = &batches;
        let start = |first: usize| {
            let (sender, ready) = sync_channel(AHEAD.div_ceil(threads));
            scope.spawn(move || {
                for number in (first..).step_by(threads) {
                    let Some(batch) = batches.batch(number).transpose() else { break };
                    let failed = batch.is_err();
                    // Where nobody listens any more, the work is done.
                    if sender.send(batch).is_err() || failed {
                        break;
                    }
                }
            });
            ready
        };
        // Dropped before the scope waits for the threads, which then end.
        let mut beside = Beside { ready: (0..threads).map(start).collect(), next: 0 };
        work(&mut beside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Augmentation, Dataset, Order};

    #[test]
    fn batches_come_in_their_order_and_an_early_end_ends_the_threads() {
        let bytes = (0..784 * 40).map(|i| (i % 253) as u8).collect();
        let data = Dataset::new([1, 28, 28], bytes, (0..40).map(|i| i % 10).collect()).unwrap();
        let model = cnn_models::find("lenet5").unwrap();
        let order = Order::Shuffled { seed: 3, epoch: 1 };
        let augmentation = Augmentation { crop: 2, flip: true };
        let batches = || Batches::new(&data, model.preprocess(), 7, order).augmented(augmentation, 3, 1);
        for threads in 1..9 {
            let mut plain = batches();
            on_threads(batches(), threads, |beside| {
                while let Some(want) = plain.next_batch().unwrap() {
                    assert_eq!(beside.next_batch().unwrap().unwrap(), want);
                }
                assert!(beside.next_batch().unwrap().is_none());
                assert!(beside.next_batch().unwrap().is_none());
            });
            on_threads(batches(), threads, |beside| assert!(beside.next_batch().unwrap().is_some()));
        }
    }

    #[test]
    fn what_cannot_be_made_is_an_error_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().join("good.png");
        image::GrayImage::new(28, 28).save(&good).unwrap();
        let mut files = vec![good; 5];
        files.push(directory.path().join("missing.png"));
        let data = Dataset::of_files(files, vec![0; 6]).unwrap();
        let model = cnn_models::find("lenet5").unwrap();
        for threads in [1, 2, 4] {
            let batches = Batches::new(&data, model.preprocess(), 2, Order::Given);
            on_threads(batches, threads, |beside| {
                assert!((0..2).all(|_| beside.next_batch().unwrap().is_some()));
                assert!(beside.next_batch().unwrap_err().to_string().contains("missing.png"));
            });
        }
        // Pictures that the model does not take.
        let wrong = Dataset::new([1, 5, 5], vec![0; 25], vec![1]).unwrap();
        let batches = Batches::new(&wrong, model.preprocess(), 7, Order::Given);
        assert!(beside(batches, |beside| beside.next_batch()).is_err());
    }
}
