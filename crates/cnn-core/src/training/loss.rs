//! Softmax cross-entropy.

use crate::backend::StepStats;

/// Mean over the batch of `-log softmax(logits)[label]`, or a part's share of it: the logits are those of some of the `batch`
/// samples, `[N, C]`. Writes its gradient with respect to them.
pub fn softmax_cross_entropy(logits: &[f32], labels: &[u32], batch: usize, gradient: &mut [f32]) -> StepStats {
    let classes = logits.len() / labels.len().max(1);
    let mut stats = StepStats { images: labels.len(), ..Default::default() };
    for ((row, gradient), &label) in logits.chunks(classes).zip(gradient.chunks_mut(classes)).zip(labels) {
        let largest = row.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
        let sum: f64 = row.iter().map(|&v| (f64::from(v) - largest).exp()).sum();
        let label = label as usize;
        for (c, (g, &v)) in gradient.iter_mut().zip(row).enumerate() {
            let probability = (f64::from(v) - largest).exp() / sum;
            *g = ((probability - f64::from(u8::from(c == label))) / batch as f64) as f32;
        }
        stats.loss += (sum.ln() + largest - f64::from(row[label])) / batch as f64;
        stats.correct += usize::from(row.iter().enumerate().all(|(c, &v)| c == label || v < row[label]));
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.cross_entropy(torch.tensor([[1., 2., 3.], [0., 0., 0.]]), torch.tensor([2, 0]))`
    #[test]
    fn agrees_with_pytorch() {
        let mut gradient = [0.0; 6];
        let stats = softmax_cross_entropy(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[2, 0], 2, &mut gradient);
        assert!((stats.loss - 0.753_109).abs() < 1e-5, "{}", stats.loss);
        assert_eq!((stats.correct, stats.images), (1, 2));
        let expected = [0.045_015, 0.122_364, -0.167_380, -0.333_333, 0.166_667, 0.166_667];
        assert!(gradient.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5), "{gradient:?}");
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut gradient = [0.0; 2];
        let stats = softmax_cross_entropy(&[1e30, -1e30], &[0], 1, &mut gradient);
        assert_eq!((stats.loss, gradient), (0.0, [0.0, 0.0]));
    }
}
