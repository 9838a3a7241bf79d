//! The report of an epoch, which all workers have to know: whether a training is over depends on it.

use crate::{EpochReport, Error, Result};

/// Worker 0's report, for all; `tell` gives everyone's bytes to everyone.
pub(super) fn agree(
    own: EpochReport,
    leads: bool,
    tell: impl FnOnce(Vec<u8>) -> Result<Vec<Vec<u8>>>,
) -> Result<EpochReport> {
    let told = if leads { serde_json::to_vec(&own) } else { Ok(Vec::new()) };
    let all = tell(told.map_err(|error| Error::Data(format!("the report of an epoch: {error}")))?)?;
    let wrong = |error| Error::Worker { worker: 0, reason: format!("the report of an epoch: {error}") };
    serde_json::from_slice(&all[0]).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(train_loss: f64) -> EpochReport {
        let [train_accuracy, test_accuracy] = [0.1 + 0.2, 1.0 / 3.0];
        EpochReport { train_loss, train_accuracy, test_accuracy, train_images_per_s: 1e9, test_images_per_s: 0.0 }
    }

    #[test]
    fn everyone_takes_up_the_report_of_worker_0() {
        let mut said = Vec::new();
        let own = |bytes: Vec<u8>| {
            said.clone_from(&bytes);
            Ok(vec![bytes, Vec::new()])
        };
        assert_eq!(agree(report(0.7), true, own).unwrap(), report(0.7));
        let heard = |own: Vec<u8>| Ok(vec![said, own]);
        assert_eq!(agree(report(9.0), false, heard).unwrap(), report(0.7));
    }

    #[test]
    fn a_report_that_is_none_is_the_fault_of_worker_0() {
        for bytes in [&b""[..], b"{}", b"[0.1,", &[0xff; 5]] {
            let error = agree(report(0.7), false, |own| Ok(vec![bytes.to_vec(), own])).unwrap_err();
            assert!(matches!(error, Error::Worker { worker: 0, .. }), "{error}");
        }
    }
}
