//! Batches made beside the work on them: threads of their own read, decode and transform ahead.

use std::sync::mpsc::{Receiver, sync_channel};

use cnn_core::Tensor;

use super::Batches;
use crate::{Error, Result};

/// Images and labels of a batch.
pub type Batch = (Tensor, Vec<u32>);

/// Does a piece of other work; `false` where nothing was left.
pub type Piece<'a> = &'a (dyn Fn() -> bool + Sync);

/// Takes a step with each batch in their order. `shares_threads` is what the trainer says of itself
/// ([`Trainer::shares_threads`](cnn_core::Trainer::shares_threads)): it is then handed the making of the next batch piece by piece,
/// so that no more threads work than it was given. Where it does not, or where images are files, batches are made [`beside`] it.
/// Ends with the first error.
pub fn for_each_batch<E: From<Error>>(
    batches: Batches<'_>,
    shares_threads: bool,
    mut step: impl FnMut(&Tensor, &[u32], Piece<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    if !shares_threads || batches.is_decoded_late() {
        return beside(batches, |ready| {
            while let Some((images, labels)) = ready.next_batch()? {
                step(&images, &labels, &|| false)?;
            }
            Ok(())
        });
    }
    let (mut batch, mut old) = (batches.batch(0)?, None);
    for next in 1.. {
        let Some((images, labels)) = batch else { break };
        batch = batches.blank(next, old)?;
        match &mut batch {
            Some((next_images, _)) => {
                let pieces = batches.pieces(next, next_images)?;
                step(&images, &labels, &|| pieces.make_one())?;
                pieces.finish()?;
            }
            None => step(&images, &labels, &|| false)?,
        }
        old = Some(images);
    }
    Ok(())
}

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
    use cnn_models::Preprocess;

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
    fn a_trainer_that_shares_its_threads_gets_the_same_batches() {
        let bytes = (0..784 * 100).map(|i| (i % 253) as u8).collect();
        let data = Dataset::new([1, 28, 28], bytes, (0..100).map(|i| i % 10).collect()).unwrap();
        let order = Order::Shuffled { seed: 3, epoch: 1 };
        let augmentation = Augmentation { crop: 2, flip: true };
        let batches = || Batches::new(&data, &Preprocess::MNIST, 40, order).augmented(augmentation, 3, 1);
        // How many pieces the trainer does: none, some, all.
        for pieces in [0, 1, usize::MAX] {
            for shares in [false, true] {
                let mut plain = batches();
                let step = |images: &Tensor, labels: &[u32], piece: Piece<'_>| -> Result<()> {
                    assert_eq!(Some((images.clone(), labels.to_vec())), plain.next_batch()?);
                    (0..pieces).take_while(|_| piece()).for_each(drop);
                    Ok(())
                };
                for_each_batch(batches(), shares, step).unwrap();
                assert!(plain.next_batch().unwrap().is_none());
            }
        }
    }

    #[test]
    fn an_error_of_a_piece_or_of_a_step_ends_the_training() {
        let data = |side: usize| Dataset::new([1, side, side], vec![0; 9 * side * side], vec![0; 9]).unwrap();
        // A crop that is too large for these images.
        let augmentation = Augmentation { crop: 90, flip: false };
        let (wrong, right) = (data(28), data(28));
        let wrong = || Batches::new(&wrong, &Preprocess::MNIST, 4, Order::Given).augmented(augmentation, 1, 1);
        for shares in [false, true] {
            let error = for_each_batch::<Error>(wrong(), shares, |_, _, _| unreachable!()).unwrap_err();
            assert!(error.to_string().contains("crop"), "{error}");
            let batches = Batches::new(&right, &Preprocess::MNIST, 4, Order::Given);
            let error = for_each_batch(batches, shares, |_, _, _| Err(Error::Data("third".to_string()))).unwrap_err();
            assert!(error.to_string().contains("third"), "{error}");
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
