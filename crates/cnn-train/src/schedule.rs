//! Learning rates over the course of a training.

use std::f64::consts::PI;

/// The learning rate as a function of how much of the training is done.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Schedule {
    /// The same throughout.
    Constant,
    /// Half a cosine, from the full rate down to 0 (Loshchilov and Hutter 2017, without restarts).
    Cosine,
}

impl Schedule {
    /// The factor of the learning rate when the share `done` (from 0 to 1) of all steps has been made.
    pub fn factor(self, done: f64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => (1.0 + (PI * done.clamp(0.0, 1.0)).cos()) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn cosine_goes_from_one_to_zero() {
        let factors = [0.0, 0.5, 1.0].map(|done| Schedule::Cosine.factor(done));
        assert!(factors.iter().zip([1.0, 0.5, 0.0]).all(|(f, e)| (f - e).abs() < 1e-12), "{factors:?}");
        assert_eq!(Schedule::Constant.factor(0.9), 1.0);
    }
}
