//! How gradients change weights.

/// How gradients change weights. The loops here define each; a backend may run its own.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent: `v = momentum * v + g + weight_decay * w`, `w = w - learning_rate * v`.
    Sgd {
        /// Share of the last step's velocity, from 0 up to 1.
        momentum: f32,
        /// Pull towards 0.
        weight_decay: f32,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::sgd(0.9)
    }
}

impl Optimizer {
    /// Stochastic gradient descent with momentum, without weight decay.
    pub fn sgd(momentum: f32) -> Self {
        Optimizer::Sgd { momentum, weight_decay: 0.0 }
    }

    /// Names of the tensors that it remembers for each parameter, each of the parameter's shape and 0 at the start.
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd { .. } => &["velocity"],
        }
    }

    /// One step over a parameter or a part of one. (Inlined, so that backends compile it for their processor.) `slots` are in the order of [`slots`](Self::slots).
    #[inline(always)]
    pub fn update(&self, learning_rate: f32, weight: &mut [f32], gradient: &[f32], slots: &mut [&mut [f32]]) {
        match *self {
            Optimizer::Sgd { momentum, weight_decay } => {
                for ((w, v), &g) in weight.iter_mut().zip(&mut *slots[0]).zip(gradient) {
                    *v = momentum * *v + g + weight_decay * *w;
                    *w -= learning_rate * *v;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps of `torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.01)` from w = 1 with gradient 0.5.
    #[test]
    fn sgd_agrees_with_pytorch() {
        let optimizer = Optimizer::Sgd { momentum: 0.9, weight_decay: 0.01 };
        let (mut weight, mut velocity) = ([1.0], [0.0]);
        for _ in 0..2 {
            optimizer.update(0.1, &mut weight, &[0.5], &mut [&mut velocity]);
        }
        assert!((weight[0] - 0.852_151).abs() < 1e-6, "{}", weight[0]);
    }
}
