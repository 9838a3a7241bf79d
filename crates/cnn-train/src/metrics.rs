//! How good a classifier is.

use cnn_core::{Backend, CompileOptions, Network, Weights};
use cnn_models::Preprocess;

use crate::Result;
use crate::data::{Batches, Dataset, Order, beside};

/// How often images of each class were taken for each class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Confusion { classes, counts: vec![0; classes * classes] }
    }

    /// Counts an image of class `truth` that was taken for `guess`. Classes out of range are not counted.
    pub fn add(&mut self, truth: usize, guess: usize) {
        if truth < self.classes && guess < self.classes {
            self.counts[truth * self.classes + guess] += 1;
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often images of class `truth` were taken for each class.
    pub fn row(&self, truth: usize) -> &[u64] {
        &self.counts[truth * self.classes..(truth + 1) * self.classes]
    }

    /// Images counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Share of images that were taken for what they are; 0 where there is none.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.row(c)[c]).sum();
        right as f64 / self.total().max(1) as f64
    }
}

/// Runs a whole data set and compares the largest outputs with the labels. `seen` is told how many images are done.
pub fn evaluate(
    backend: &dyn Backend,
    (network, weights): (&Network, &Weights),
    preprocess: &Preprocess,
    data: &Dataset,
    batch: usize,
    mut seen: impl FnMut(usize),
) -> Result<Confusion> {
    data.check(network)?;
    let classes = network.output_shape().elements();
    let plan = backend.compile(network, weights, &CompileOptions::default().batch(batch))?;
    let mut session = plan.session()?;
    let mut confusion = Confusion::new(classes);
    let mut done = 0;
    beside(Batches::new(data, preprocess, batch, Order::Given), |batches| {
        while let Some((images, labels)) = batches.next_batch()? {
            let guesses = session.run(&images)?.argmax();
            labels.iter().zip(guesses).for_each(|(&label, guess)| confusion.add(label as usize, guess));
            done += labels.len();
            seen(done);
        }
        Ok(confusion)
    })
}

#[cfg(test)]
mod tests {
    use super::Confusion;

    #[test]
    fn accuracy_is_the_share_on_the_diagonal() {
        let mut confusion = Confusion::new(2);
        assert_eq!(confusion.accuracy(), 0.0);
        for (truth, guess) in [(0, 0), (0, 1), (1, 1), (1, 1), (5, 0)] {
            confusion.add(truth, guess);
        }
        assert_eq!((confusion.total(), confusion.accuracy(), confusion.row(0)), (4, 0.75, &[1, 1][..]));
    }
}
