//! Learning rates over the course of a training.

use std::f64::consts::PI;

/// The learning rate as a function of how a training goes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Schedule {
    /// The same throughout.
    Constant,
    /// Half a cosine, from the full rate down to 0 (Loshchilov and Hutter 2017, without restarts).
    Cosine,
    /// Lowered by a factor after every so many epochs.
    Step {
        /// Epochs of a step, at least 1.
        every: usize,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// Lowered by a factor whenever the training loss has not fallen by a ten-thousandth for more than so many epochs.
    Plateau {
        /// Epochs that are waited.
        patience: usize,
        /// What the rate is multiplied by.
        factor: f64,
    },
}

/// How far a training is.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// Epochs made, the part of the one that is under way included.
    pub epochs: f64,
    /// Epochs asked for.
    pub of: usize,
    /// The training loss of each whole epoch.
    pub losses: &'a [f64],
}

impl Schedule {
    /// The factor of the learning rate.
    pub fn factor(self, course: Course<'_>) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => (1.0 + (PI * (course.epochs / course.of as f64).clamp(0.0, 1.0)).cos()) / 2.0,
            Schedule::Step { every, factor } => factor.powi((course.epochs as usize / every.max(1)) as i32),
            Schedule::Plateau { patience, factor } => factor.powi(plateaus(course.losses, patience)),
        }
    }

    /// What is out of range, if anything is.
    pub fn check(self) -> Result<(), String> {
        match self {
            Schedule::Step { every: 0, .. } => Err("a step of the learning rate takes at least 1 epoch".to_string()),
            Schedule::Step { factor, .. } | Schedule::Plateau { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                Err(format!("the learning rate's factor {factor} is not in (0, 1]"))
            }
            _ => Ok(()),
        }
    }
}

/// How often the loss has stopped falling.
fn plateaus(losses: &[f64], patience: usize) -> i32 {
    const WORTH: f64 = 1e-4;
    let (mut best, mut waited, mut count) = (f64::INFINITY, 0, 0);
    for &loss in losses {
        if loss < best * (1.0 - WORTH) {
            (best, waited) = (loss, 0);
        } else {
            waited += 1;
        }
        if waited > patience {
            (waited, count) = (0, count + 1);
        }
    }
    count
}

/// The factor of the first `epochs`, in which the rate rises in a line (Goyal et al. 2017, section 2.2); 1 after them.
pub(crate) fn warm_up(epochs: f64, course: Course<'_>) -> f64 {
    if course.epochs < epochs { course.epochs / epochs } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epochs: f64) -> Course<'static> {
        Course { epochs, of: 10, losses: &[] }
    }

    #[test]
    fn cosine_goes_from_one_to_zero() {
        let factors = [0.0, 5.0, 10.0].map(|epochs| Schedule::Cosine.factor(at(epochs)));
        assert!(factors.iter().zip([1.0, 0.5, 0.0]).all(|(f, e)| (f - e).abs() < 1e-12), "{factors:?}");
        assert_eq!(Schedule::Constant.factor(at(9.0)), 1.0);
    }

    #[test]
    fn steps_come_every_so_many_epochs() {
        let step = Schedule::Step { every: 3, factor: 0.5 };
        assert_eq!([0.0, 2.9, 3.0, 6.5].map(|epochs| step.factor(at(epochs))), [1.0, 1.0, 0.5, 0.25]);
        assert!(Schedule::Step { every: 0, factor: 0.5 }.check().is_err());
        assert!(Schedule::Plateau { patience: 1, factor: 1.5 }.check().is_err() && step.check().is_ok());
    }

    /// As `torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1)`.
    #[test]
    fn the_rate_falls_when_the_loss_does_not() {
        let plateau = Schedule::Plateau { patience: 1, factor: 0.1 };
        let losses = [1.0, 0.8, 0.8, 0.9, 0.7, 0.71, 0.72, 0.73, 0.74];
        let factor =
            |epochs: usize| plateau.factor(Course { epochs: epochs as f64, of: 20, losses: &losses[..epochs] });
        assert_eq!([2, 3, 4, 5, 7, 9].map(factor), [1.0, 1.0, 0.1, 0.1, 0.1f64.powi(2), 0.1f64.powi(3)]);
    }

    #[test]
    fn the_rate_warms_up_in_a_line() {
        assert_eq!([0.0, 0.5, 1.0, 2.0, 9.0].map(|epochs| warm_up(2.0, at(epochs))), [0.0, 0.25, 0.5, 1.0, 1.0]);
        assert_eq!(warm_up(0.0, at(0.0)), 1.0);
    }
}
