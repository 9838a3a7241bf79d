//! How gradients change weights.

/// How gradients change weights: `w` a weight, `g` its gradient, `r` the learning rate. The loops here define each; a
/// backend may run its own.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent: `v = momentum * v + g + weight_decay * w`, `w = w - r * v`.
    Sgd {
        /// Share of the last step's velocity, from 0 up to 1.
        momentum: f32,
        /// Pull towards 0.
        weight_decay: f32,
    },
    /// Nesterov's momentum (Sutskever et al. 2013): as `Sgd`, but `w = w - r * (g + weight_decay * w + momentum * v)`.
    Nesterov {
        /// Share of the last step's velocity, from 0 up to 1.
        momentum: f32,
        /// Pull towards 0.
        weight_decay: f32,
    },
    /// AdaGrad (Duchi et al. 2011): `s = s + g^2`, `w = w - r * g / (sqrt(s) + epsilon)`.
    AdaGrad {
        /// Keeps the first steps finite.
        epsilon: f32,
        /// Pull towards 0, added to the gradient.
        weight_decay: f32,
    },
    /// RMSProp (Tieleman and Hinton 2012): as AdaGrad with `s = decay * s + (1 - decay) * g^2`.
    RmsProp {
        /// Share of the old mean, from 0 up to 1.
        decay: f32,
        /// Keeps the first steps finite.
        epsilon: f32,
        /// Pull towards 0, added to the gradient.
        weight_decay: f32,
    },
    /// AdaDelta (Zeiler 2012): steps as large as earlier ones, `d = g * sqrt(u + epsilon) / sqrt(s + epsilon)`, where `s` and `u`
    /// are decaying means of `g^2` and `d^2`; `w = w - r * d`.
    AdaDelta {
        /// Share of the old means, from 0 up to 1.
        decay: f32,
        /// Lets the first steps be made.
        epsilon: f32,
        /// Pull towards 0, added to the gradient.
        weight_decay: f32,
    },
    /// Adam (Kingma and Ba 2015): decaying means of `g` and `g^2`, both corrected for their start from 0.
    Adam {
        /// Share of the old mean of gradients, from 0 up to 1.
        beta1: f32,
        /// Share of the old mean of squares, from 0 up to 1.
        beta2: f32,
        /// Keeps steps finite.
        epsilon: f32,
        /// Pull towards 0, added to the gradient.
        weight_decay: f32,
    },
    /// Adam whose pull towards 0 is apart from the gradient: `w = w * (1 - r * weight_decay)` first (Loshchilov and Hutter 2019).
    AdamW {
        /// Share of the old mean of gradients, from 0 up to 1.
        beta1: f32,
        /// Share of the old mean of squares, from 0 up to 1.
        beta2: f32,
        /// Keeps steps finite.
        epsilon: f32,
        /// Pull towards 0.
        weight_decay: f32,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::sgd(0.9)
    }
}

/// What an optimiser's step takes besides its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The learning rate.
    pub learning_rate: f32,
    /// Number of the parameter's step, the first is 1.
    pub step: u64,
    /// What gradients are multiplied by, and the largest that then counts: see [`Clip`].
    pub clip: (f32, f32),
}

impl Moment {
    /// A step with gradients as they are.
    pub fn new(learning_rate: f32, step: u64) -> Self {
        Moment { learning_rate, step, clip: (1.0, f32::INFINITY) }
    }
}

/// A bound on gradients, against steps that undo what was learned.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clip {
    /// All gradients together are scaled down to this Euclidean norm where theirs is larger (Pascanu et al. 2013).
    Norm(f32),
    /// Each gradient is cut off at this absolute value.
    Value(f32),
}

impl Clip {
    /// What gradients of this norm are multiplied by, and the largest that then counts.
    pub fn bounds(self, norm: f64) -> (f32, f32) {
        match self {
            Clip::Norm(most) if norm > f64::from(most) => ((f64::from(most) / norm) as f32, f32::INFINITY),
            Clip::Norm(_) => (1.0, f32::INFINITY),
            Clip::Value(most) => (1.0, most),
        }
    }
}

impl Optimizer {
    /// Stochastic gradient descent with momentum, without weight decay.
    pub fn sgd(momentum: f32) -> Self {
        Optimizer::Sgd { momentum, weight_decay: 0.0 }
    }

    /// Every optimiser with the settings of its paper or, where that has none, of common use.
    pub fn all() -> [Optimizer; 7] {
        let (beta1, beta2, epsilon, weight_decay) = (0.9, 0.999, 1e-8, 0.0);
        [
            Optimizer::Sgd { momentum: 0.9, weight_decay },
            Optimizer::Nesterov { momentum: 0.9, weight_decay },
            Optimizer::AdaGrad { epsilon: 1e-10, weight_decay },
            Optimizer::RmsProp { decay: 0.99, epsilon, weight_decay },
            Optimizer::AdaDelta { decay: 0.9, epsilon: 1e-6, weight_decay },
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay },
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay: 0.01 },
        ]
    }

    /// Its name: `sgd`, `nesterov`, `adagrad`, `rmsprop`, `adadelta`, `adam` or `adamw`.
    pub fn name(&self) -> &'static str {
        match self {
            Optimizer::Sgd { .. } => "sgd",
            Optimizer::Nesterov { .. } => "nesterov",
            Optimizer::AdaGrad { .. } => "adagrad",
            Optimizer::RmsProp { .. } => "rmsprop",
            Optimizer::AdaDelta { .. } => "adadelta",
            Optimizer::Adam { .. } => "adam",
            Optimizer::AdamW { .. } => "adamw",
        }
    }

    /// Sets the pull towards 0.
    pub fn with_weight_decay(mut self, pull: f32) -> Self {
        match &mut self {
            Optimizer::Sgd { weight_decay, .. }
            | Optimizer::Nesterov { weight_decay, .. }
            | Optimizer::AdaGrad { weight_decay, .. }
            | Optimizer::RmsProp { weight_decay, .. }
            | Optimizer::AdaDelta { weight_decay, .. }
            | Optimizer::Adam { weight_decay, .. }
            | Optimizer::AdamW { weight_decay, .. } => *weight_decay = pull,
        }
        self
    }

    /// What is out of range, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f32| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} {value} is not in [0, 1)")),
        };
        let positive = |name: &str, value: f32| match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(format!("{name} {value} is not a number of at least 0")),
        };
        match *self {
            Optimizer::Sgd { momentum, weight_decay } | Optimizer::Nesterov { momentum, weight_decay } => {
                share("momentum", momentum)?;
                positive("weight decay", weight_decay)
            }
            Optimizer::AdaGrad { epsilon, weight_decay } => {
                positive("epsilon", epsilon)?;
                positive("weight decay", weight_decay)
            }
            Optimizer::RmsProp { decay, epsilon, weight_decay }
            | Optimizer::AdaDelta { decay, epsilon, weight_decay } => {
                share("decay", decay)?;
                positive("epsilon", epsilon)?;
                positive("weight decay", weight_decay)
            }
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
            | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                positive("weight decay", weight_decay)
            }
        }
    }

    /// Names of the tensors that it remembers for each parameter, each of the parameter's shape and 0 at the start.
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd { .. } | Optimizer::Nesterov { .. } => &["velocity"],
            Optimizer::AdaGrad { .. } | Optimizer::RmsProp { .. } => &["squares"],
            Optimizer::AdaDelta { .. } => &["squares", "steps"],
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => &["mean", "squares"],
        }
    }

    /// One step over a parameter or a part of one. `slots` are in the order of [`slots`](Self::slots). (Inlined, so that backends
    /// compile it for their processor.)
    #[inline(always)]
    pub fn update(&self, moment: Moment, weight: &mut [f32], gradient: &[f32], slots: &mut [&mut [f32]]) {
        let Moment { learning_rate: rate, step, clip: (scale, most) } = moment;
        // A comparison with NaN is false: NaN stays.
        let clipped = |g: f32| {
            let g = g * scale;
            if g > most {
                most
            } else if g < -most {
                -most
            } else {
                g
            }
        };
        match *self {
            Optimizer::Sgd { momentum, weight_decay } => {
                for ((w, v), &g) in weight.iter_mut().zip(&mut *slots[0]).zip(gradient) {
                    *v = momentum * *v + clipped(g) + weight_decay * *w;
                    *w -= rate * *v;
                }
            }
            Optimizer::Nesterov { momentum, weight_decay } => {
                for ((w, v), &g) in weight.iter_mut().zip(&mut *slots[0]).zip(gradient) {
                    let g = clipped(g) + weight_decay * *w;
                    *v = momentum * *v + g;
                    *w -= rate * (g + momentum * *v);
                }
            }
            Optimizer::AdaGrad { epsilon, weight_decay } => {
                for ((w, s), &g) in weight.iter_mut().zip(&mut *slots[0]).zip(gradient) {
                    let g = clipped(g) + weight_decay * *w;
                    *s += g * g;
                    *w -= rate * g / (s.sqrt() + epsilon);
                }
            }
            Optimizer::RmsProp { decay, epsilon, weight_decay } => {
                for ((w, s), &g) in weight.iter_mut().zip(&mut *slots[0]).zip(gradient) {
                    let g = clipped(g) + weight_decay * *w;
                    *s = decay * *s + (1.0 - decay) * g * g;
                    *w -= rate * g / (s.sqrt() + epsilon);
                }
            }
            Optimizer::AdaDelta { decay, epsilon, weight_decay } => {
                let [squares, steps] = slots else { unreachable!("AdaDelta has two slots") };
                for (((w, s), u), &g) in weight.iter_mut().zip(&mut **squares).zip(&mut **steps).zip(gradient) {
                    let g = clipped(g) + weight_decay * *w;
                    *s = decay * *s + (1.0 - decay) * g * g;
                    let d = g * ((*u + epsilon).sqrt() / (*s + epsilon).sqrt());
                    *u = decay * *u + (1.0 - decay) * d * d;
                    *w -= rate * d;
                }
            }
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
            | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let apart = matches!(self, Optimizer::AdamW { .. });
                let (pull, shrink) = if apart { (0.0, 1.0 - rate * weight_decay) } else { (weight_decay, 1.0) };
                let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
                let (of_mean, of_squares) = ((1.0 / correction(beta1)) as f32, (1.0 / correction(beta2)) as f32);
                let [mean, squares] = slots else { unreachable!("Adam has two slots") };
                for (((w, m), s), &g) in weight.iter_mut().zip(&mut **mean).zip(&mut **squares).zip(gradient) {
                    let g = clipped(g) + pull * *w;
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *s = beta2 * *s + (1.0 - beta2) * g * g;
                    *w = *w * shrink - rate * (*m * of_mean) / ((*s * of_squares).sqrt() + epsilon);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps from w = 1 with gradients 0.5, -0.25 and 1 at a rate of 0.1, weight decay 0.01, as `torch.optim` makes them
    /// (`scripts/golden-training`).
    #[test]
    fn all_agree_with_pytorch() {
        let want: [f32; 7] = [0.80656, 0.698189, 0.85543, -0.430425, 0.999455, 0.804614, 0.804785];
        for (optimizer, want) in Optimizer::all().into_iter().zip(want) {
            let optimizer = optimizer.with_weight_decay(0.01);
            let (mut weight, mut slots) = ([1.0], [[0.0], [0.0]]);
            for (gradient, step) in [0.5, -0.25, 1.0].into_iter().zip(1..) {
                let [a, b] = &mut slots;
                let mut slots = [&mut a[..], &mut b[..]];
                let slots = &mut slots[..optimizer.slots().len()];
                optimizer.update(Moment::new(0.1, step), &mut weight, &[gradient], slots);
            }
            assert!((weight[0] - want).abs() < 1e-6, "{}: {} {want}", optimizer.name(), weight[0]);
        }
    }

    #[test]
    fn names_are_those_of_the_checkpoints() {
        for optimizer in Optimizer::all() {
            let text = serde_json::to_string(&optimizer).unwrap();
            assert!(text.contains(&format!("\"name\":\"{}\"", optimizer.name())), "{text}");
            assert_eq!(serde_json::from_str::<Optimizer>(&text).unwrap(), optimizer);
        }
    }

    #[test]
    fn gradients_are_clipped_by_norm_or_value() {
        assert_eq!(Clip::Norm(2.0).bounds(8.0), (0.25, f32::INFINITY));
        assert_eq!(Clip::Norm(2.0).bounds(1.0), (1.0, f32::INFINITY));
        let moment = Moment { clip: Clip::Value(0.5).bounds(100.0), ..Moment::new(1.0, 1) };
        let mut weight = [0.0; 3];
        Optimizer::sgd(0.0).update(moment, &mut weight, &[3.0, -3.0, 0.25], &mut [&mut [0.0; 3]]);
        assert_eq!(weight, [-0.5, 0.5, -0.25]);
    }

    #[test]
    fn settings_out_of_range_are_told() {
        assert_eq!(Optimizer::sgd(1.0).check().unwrap_err(), "momentum 1 is not in [0, 1)");
        for optimizer in Optimizer::all() {
            assert!(optimizer.check().is_ok() && optimizer.with_weight_decay(f32::NAN).check().is_err());
        }
    }
}
