//! Data sets, and the batches that training takes from them: read, decoded and augmented beside the training.
//!
//! [`Dataset::open`] reads a directory in any of these formats:
//!
//! | format | files |
//! |---|---|
//! | MNIST, Fashion-MNIST, .. | `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the `t10k` pair |
//! | EMNIST | `emnist-letters-train-images-idx3-ubyte`, .., of any of its six sets |
//! | CIFAR-10 | `data_batch_1.bin` .. `data_batch_5.bin`, `test_batch.bin` |
//! | CIFAR-100 | `train.bin`, `test.bin` |
//! | folders of pictures | `train/CLASS/*.png`, `test/CLASS/*.png` or `val/CLASS/*.png`, JPEG too |
//!
//! IDX files are plain or compressed (`.gz`), and may have a dot in their names (`train-images.idx3-ubyte`). Those of
//! CIFAR lie in the directory or in the folder that their archive unpacks to.

mod augmentation;
mod batches;
mod beside;
pub mod cifar;
mod dataset;
mod emnist;
mod folders;
pub mod idx;
mod mnist;
mod open;
mod share;

pub use augmentation::Augmentation;
pub use batches::{Batches, Order};
pub use beside::{Batch, Beside, Piece, beside, for_each_batch};
pub use dataset::{Dataset, Split};
pub(crate) use share::Share;
