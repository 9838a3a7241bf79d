//! Batches of a data set, in order or shuffled, decoded, augmented and preprocessed as they are taken.

use std::iter::Zip;
use std::slice::{Chunks, ChunksMut};
use std::sync::{Mutex, PoisonError};

use cnn_core::{Shape, Tensor};
use cnn_models::{Pixels, Preprocess};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{Augmentation, Batch, Dataset, Share};
use crate::{Error, Result};

/// The order in which images are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they lie in the data set.
    Given,
    /// Shuffled: each epoch of a seed in an order of its own, the same on every machine.
    Shuffled {
        /// Seed of the training.
        seed: u64,
        /// Number of the epoch.
        epoch: u64,
    },
}

/// A data set batch by batch. The last batch may be smaller.
#[derive(Debug)]
pub struct Batches<'a> {
    data: &'a Dataset,
    preprocess: &'a Preprocess,
    order: Vec<usize>,
    size: usize,
    /// With the seed and the epoch.
    augmentation: Option<(Augmentation, [u64; 2])>,
    /// Which of how many workers that share each batch.
    place: (usize, usize),
    next: usize,
}

impl<'a> Batches<'a> {
    /// Batches of `size`, at least 1.
    pub fn new(data: &'a Dataset, preprocess: &'a Preprocess, size: usize, order: Order) -> Self {
        let mut indices: Vec<usize> = (0..data.len()).collect();
        if let Order::Shuffled { seed, epoch } = order {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(epoch);
            indices.shuffle(&mut rng);
        }
        Batches { data, preprocess, order: indices, size: size.max(1), augmentation: None, place: (0, 1), next: 0 }
    }

    /// The same with images changed by chance. What becomes of an image depends on the seed, the epoch and its number
    /// in the data set, not on its batch.
    pub fn augmented(self, augmentation: Augmentation, seed: u64, epoch: u64) -> Self {
        let changes = augmentation != Augmentation::default();
        Batches { augmentation: changes.then_some((augmentation, [seed, epoch])), ..self }
    }

    /// Of each batch a worker's share.
    pub(crate) fn shared(self, rank: usize, workers: usize) -> Self {
        Batches { place: (rank, workers), ..self }
    }

    /// Number of batches.
    pub fn count(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }

    /// How many threads of their own have work enough to make them.
    pub(super) fn threads(&self) -> usize {
        /// Decoding files is work for several; more of them would take the cores from the training.
        const MOST: usize = 4;
        match self.is_decoded_late() {
            true => std::thread::available_parallelism().map_or(1, |threads| threads.get().min(MOST)),
            false => 1,
        }
    }

    /// Whether images are files, which take long to decode, and some longer than others.
    pub(super) fn is_decoded_late(&self) -> bool {
        self.data.is_decoded_late()
    }

    /// The next images and labels; `None` at the end. Errors where the model does not take such images.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        self.next += 1;
        self.batch(self.next - 1)
    }

    /// The images and labels of batch `number`; `None` beyond the last.
    pub(super) fn batch(&self, number: usize) -> Result<Option<Batch>> {
        let Some((mut images, labels)) = self.blank(number, None)? else { return Ok(None) };
        self.pieces(number, &mut images)?.finish()?;
        Ok(Some((images, labels)))
    }

    /// Room for the images of batch `number`, and their labels; `None` beyond the last. Old room is taken where it fits.
    pub(super) fn blank(&self, number: usize, old: Option<Tensor>) -> Result<Option<Batch>> {
        let Some(indices) = self.indices(number) else { return Ok(None) };
        let shape: Shape = self.preprocess.output_shape().with_batch(indices.len());
        let images = match old.filter(|old| *old.shape() == shape) {
            Some(old) => old,
            None => Tensor::zeros(shape)?,
        };
        Ok(Some((images, indices.iter().map(|&index| self.data.label(index)).collect())))
    }

    /// The work of making the images of batch `number`, in room for them.
    pub(super) fn pieces<'b>(&'b self, number: usize, images: &'b mut Tensor) -> Result<Pieces<'b>> {
        let indices = self.indices(number).unwrap_or_default();
        let values = images.as_f32_mut()?.chunks_mut(PIECE * self.preprocess.output_shape().elements());
        Ok(Pieces { batches: self, left: Mutex::new(indices.chunks(PIECE).zip(values)), failed: Mutex::new(None) })
    }

    fn indices(&self, number: usize) -> Option<&[usize]> {
        let batch = self.order.chunks(self.size).nth(number)?;
        let (rank, workers) = self.place;
        Some(&batch[Share::of(batch.len(), rank, workers).samples])
    }

    /// Writes images by their numbers in the data set.
    fn fill(&self, indices: &[usize], values: &mut [f32]) -> Result<()> {
        let picture = |&index: &usize| -> Result<Pixels<'_>> {
            let pixels = self.data.image(index, self.preprocess)?;
            match self.augmentation {
                Some((augmentation, [seed, epoch])) => augmentation.apply(pixels, [seed, epoch, index as u64]),
                None => Ok(pixels),
            }
        };
        let pictures = indices.iter().map(picture).collect::<Result<Vec<_>>>()?;
        Ok(self.preprocess.normalize(&pictures, values)?)
    }
}

/// Images that one thread makes at a time.
const PIECE: usize = 16;

/// A batch in the making, by any threads.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    batches: &'a Batches<'a>,
    left: Mutex<Zip<Chunks<'a, usize>, ChunksMut<'a, f32>>>,
    failed: Mutex<Option<Error>>,
}

impl Pieces<'_> {
    /// Makes a piece; `false` where none was left.
    pub(super) fn make_one(&self) -> bool {
        let piece = self.left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((indices, values)) = piece else { return false };
        if let Err(error) = self.batches.fill(indices, values) {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        true
    }

    /// Makes what is left. Errors where an image could not be made, by whomever.
    pub(super) fn finish(self) -> Result<()> {
        while self.make_one() {}
        self.failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn labels(order: Order) -> Vec<u32> {
        let data = Dataset::new([1, 28, 28], vec![0; 784 * 10], (0..10).collect()).unwrap();
        let model = cnn_models::find("lenet5").unwrap();
        let mut batches = Batches::new(&data, model.preprocess(), 4, order);
        assert_eq!(batches.count(), 3);
        let mut all = Vec::new();
        while let Some((images, labels)) = batches.next_batch().unwrap() {
            assert_eq!(images.shape()[..], [labels.len(), 1, 32, 32]);
            all.extend(labels);
        }
        all
    }

    #[test]
    fn each_epoch_takes_every_image_once_in_an_order_of_its_own() {
        assert_eq!(labels(Order::Given), (0..10).collect::<Vec<_>>());
        let (a, b) = (Order::Shuffled { seed: 1, epoch: 0 }, Order::Shuffled { seed: 1, epoch: 1 });
        let mut first = labels(a);
        assert_eq!(first, labels(a));
        assert_ne!(first, labels(b));
        assert_ne!(first, labels(Order::Shuffled { seed: 2, epoch: 0 }));
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn an_image_is_changed_alike_in_any_batch_and_order() {
        let bytes = (0..784 * 10).map(|i| (i % 251) as u8).collect();
        let data = Dataset::new([1, 28, 28], bytes, (0..10).collect()).unwrap();
        let images = |size, order, augmentation| -> BTreeMap<u32, Vec<f32>> {
            let mut batches = Batches::new(&data, &Preprocess::MNIST, size, order).augmented(augmentation, 9, 2);
            let mut all = BTreeMap::new();
            while let Some((images, labels)) = batches.next_batch().unwrap() {
                let images: Vec<Vec<f32>> = images.to_f32().chunks(1024).map(<[f32]>::to_vec).collect();
                all.extend(labels.into_iter().zip(images));
            }
            all
        };
        let augmentation = Augmentation { crop: 3, flip: true };
        let given = images(3, Order::Given, augmentation);
        assert_eq!(given, images(4, Order::Shuffled { seed: 1, epoch: 1 }, augmentation));
        assert_ne!(given, images(3, Order::Given, Augmentation::default()));
        // What comes in from outside is what the border is.
        let dark = (0.0 - 0.1307) / 0.3081;
        assert!(given.values().all(|image| image[..64].iter().all(|&value| value == dark)));
    }
}
