//! Names of classes, and the most probable ones of an output.
//!
//! ImageNet's 1,000 names lie in `assets/imagenet-labels.txt`, one a line in the order of the classes: the list
//! `_IMAGENET_CATEGORIES` of torchvision's `torchvision/models/_meta.py`, which `scripts/imagenet-labels` takes
//! out of the published wheel.

use std::cmp::Ordering;
use std::sync::LazyLock;

use cnn_core::Tensor;

use crate::{Error, Result};

/// Names of the classes of a model, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
}

/// A class with its probability.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// Index of the class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its probability, 0 to 1.
    pub probability: f32,
}

impl Labels {
    /// The classes of a network of one's own.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Labels { names: names.into_iter().map(Into::into).collect() }
    }

    /// The digits `0` to `9`.
    pub fn digits() -> &'static Labels {
        static DIGITS: LazyLock<Labels> = LazyLock::new(|| Labels::new((0..10).map(|digit| digit.to_string())));
        &DIGITS
    }

    /// The ten classes of CIFAR-10 (Krizhevsky 2009).
    pub fn cifar10() -> &'static Labels {
        static CIFAR10: LazyLock<Labels> = LazyLock::new(|| {
            Labels::new(["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"])
        });
        &CIFAR10
    }

    /// The 1,000 classes of the ImageNet challenge (Russakovsky et al. 2015), as torchvision spells them.
    pub fn imagenet() -> &'static Labels {
        static IMAGENET: LazyLock<Labels> =
            LazyLock::new(|| Labels::new(include_str!("../assets/imagenet-labels.txt").lines()));
        &IMAGENET
    }

    /// The name of a class; `None` beyond the last.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.names.get(class).map(String::as_str)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The `k` most probable classes of each sample, the most probable first; fewer where there are fewer classes.
    /// Of equals the lower class comes first, NaN comes last. Errors when there is not one probability a label.
    ///
    /// # Shapes
    /// `probabilities` is `[N, classes]`, or `[N, classes, 1, 1]`.
    pub fn top_k(&self, probabilities: &Tensor, k: usize) -> Result<Vec<Vec<Prediction>>> {
        let shape = probabilities.shape();
        let per_sample = shape.get(1..).map(|dims| dims.iter().product());
        if self.is_empty() || per_sample != Some(self.len()) {
            return Err(Error::Classes { classes: self.len(), got: shape.clone() });
        }
        let values = probabilities.to_f32();
        Ok(values.chunks_exact(self.len()).map(|sample| self.best(sample, k)).collect())
    }

    fn best(&self, sample: &[f32], k: usize) -> Vec<Prediction> {
        let mut classes: Vec<usize> = (0..sample.len()).collect();
        // Stable, so that equals stay in the order of their classes.
        classes.sort_by(|&a, &b| descending(sample[a], sample[b]));
        let prediction = |class| Prediction { class, label: self.names[class].clone(), probability: sample[class] };
        classes.into_iter().take(k).map(prediction).collect()
    }
}

fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(labels: &Labels, values: &[f32], k: usize) -> Vec<usize> {
        let tensor = Tensor::new([1, values.len()], values.to_vec()).unwrap();
        labels.top_k(&tensor, k).unwrap()[0].iter().map(|p| p.class).collect()
    }

    #[test]
    fn imagenet_has_a_thousand_names_in_their_places() {
        let labels = Labels::imagenet();
        assert_eq!(labels.len(), 1000);
        let names = [0, 281, 717, 999, 1000].map(|class| labels.name(class));
        assert_eq!(names, [Some("tench"), Some("tabby"), Some("pickup"), Some("toilet tissue"), None]);
        assert!((0..1000).all(|class| labels.name(class).is_some_and(|name| !name.is_empty() && name.trim() == name)));
    }

    #[test]
    fn the_best_come_first_equals_by_class_and_nan_last() {
        let labels = Labels::new(["a", "b", "c", "d", "e"]);
        let values = [0.1, f32::NAN, 0.4, 0.1, 0.4];
        assert_eq!(classes(&labels, &values, 5), [2, 4, 0, 3, 1]);
        assert_eq!(classes(&labels, &values, 2), [2, 4]);
        assert_eq!(classes(&labels, &values, usize::MAX), [2, 4, 0, 3, 1]);
        assert_eq!(classes(&labels, &values, 0), [0usize; 0]);
        assert_eq!(classes(&labels, &[f32::NAN; 5], 3), [0, 1, 2]);
    }

    #[test]
    fn every_sample_has_a_list_of_its_own() {
        let tensor = Tensor::new([2, 2, 1, 1], vec![0.25, 0.75, 1.0, 0.0]).unwrap();
        let lists = Labels::new(["cat", "dog"]).top_k(&tensor, 1).unwrap();
        let expected = [
            [Prediction { class: 1, label: "dog".to_string(), probability: 0.75 }],
            [Prediction { class: 0, label: "cat".to_string(), probability: 1.0 }],
        ];
        assert_eq!(lists, expected);
    }

    #[test]
    fn another_number_of_classes_is_an_error() {
        for shape in [&[2, 9][..], &[10], &[], &[1, 10, 2], &[0]] {
            let error = Labels::digits().top_k(&Tensor::zeros(shape).unwrap(), 1).unwrap_err().to_string();
            let expected = format!("probabilities of shape {shape:?} for 10 labels; expected shape [N, 10]");
            assert_eq!(error, expected);
        }
        assert!(Labels::new([""; 0]).top_k(&Tensor::zeros([1, 0]).unwrap(), 1).is_err());
        assert_eq!(Labels::digits().top_k(&Tensor::zeros([0, 10]).unwrap(), 1).unwrap().len(), 0);
    }
}
