//! Before the first step every worker tells what it is about to do, and compares what the others tell.

use std::fmt::Debug;

use cnn_core::Weights;
use flate2::Crc;
use rayon::ThreadPool;

use super::Compression;
use crate::{Checkpoint, Error, Fit, Result};

/// What has to be the same everywhere: what it is called, and what it is or its checksum. The most telling comes first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Introduction(Vec<(String, String)>);

impl Introduction {
    /// Of a training that begins with `begin`.
    pub(super) fn of(fit: &Fit<'_>, begin: &Checkpoint, compression: &Compression, pool: &ThreadPool) -> Result<Self> {
        let mut all = vec![("version".to_string(), env!("CARGO_PKG_VERSION").to_string())];
        let mut tell = |what: &str, is: String| all.push((what.to_string(), is));
        tell("model", fit.network.name().to_string());
        let parameters = fit.network.parameters().map(|p| format!("{} {}", p.name, p.shape));
        tell("parameters", checksum_of_text(&parameters.collect::<Vec<_>>()));
        tell("layers", checksum_of_text(fit.network.nodes()));
        tell("codec", compression.codec.name().to_string());
        tell("error feedback", compression.error_feedback.to_string());
        tell("encoding", encoding(compression, pool)?);
        let settings = serde_json::to_value(&fit.settings).map_err(|error| Error::Setting(error.to_string()))?;
        for (name, value) in settings.as_object().into_iter().flatten() {
            tell(&name.replace('_', " "), value.to_string());
        }
        tell("training images", fit.train.len().to_string());
        let labels: Vec<u8> = (0..fit.train.len()).flat_map(|image| fit.train.label(image).to_le_bytes()).collect();
        tell("labels", checksum(&labels));
        tell("classes", format!("{:?}", fit.train.classes()));
        tell("preprocessing", checksum_of_text(&[fit.preprocess]));
        tell("epochs made", begin.record.epochs.len().to_string());
        tell("weights", checksum_of_weights(&begin.weights));
        tell("training state", checksum_of_weights(&begin.state));
        tell("step", format!("{:?}", begin.state.metadata().get("step")));
        Ok(Introduction(all))
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.0).map_err(|error| Error::Setting(error.to_string()))
    }

    /// An error that names `worker` and all that is different there.
    pub(super) fn compare(&self, worker: usize, theirs: &[u8]) -> Result<()> {
        let wrong = |reason: String| Error::Worker { worker, reason };
        let theirs: Vec<(String, String)> = serde_json::from_slice(theirs)
            .map_err(|error| wrong(format!("its introduction cannot be read: {error}")))?;
        let find = |all: &[(String, String)], what: &str| {
            all.iter().find(|(known, _)| known == what).map_or("not told".to_string(), |(_, is)| is.clone())
        };
        let unknown = theirs.iter().filter(|(what, _)| self.0.iter().all(|(known, _)| known != what));
        let names = self.0.iter().chain(unknown).map(|(what, _)| what);
        let differs = names.map(|what| (what, find(&theirs, what), find(&self.0, what))).filter(|(_, a, b)| a != b);
        let differences: Vec<String> =
            differs.map(|(what, there, here)| format!("{what}: {there} there, {here} here")).collect();
        match differences.is_empty() {
            true => Ok(()),
            false => Err(wrong(format!("is about to do something else: {}", differences.join("; ")))),
        }
    }
}

/// The checksum of what a codec makes of some numbers: scalings have no names.
fn encoding(compression: &Compression, pool: &ThreadPool) -> Result<String> {
    let numbers: Vec<f32> = (0..5000u32).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) * (i / 1000 + 1) as f32).collect();
    let mut bytes = Vec::new();
    compression.codec.encode(pool, &numbers, &mut bytes)?;
    Ok(checksum(&bytes))
}

fn checksum(bytes: &[u8]) -> String {
    let mut crc = Crc::new();
    crc.update(bytes);
    format!("{:08x}", crc.sum())
}

fn checksum_of_text(items: &[impl Debug]) -> String {
    checksum(format!("{items:?}").as_bytes())
}

fn checksum_of_weights(weights: &Weights) -> String {
    let mut crc = Crc::new();
    for (name, view) in weights.iter() {
        crc.update(name.as_bytes());
        let values: Vec<u8> = view.to_f32().iter().flat_map(|value| value.to_le_bytes()).collect();
        crc.update(&values);
    }
    format!("{:08x}", crc.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(pairs: &[(&str, &str)]) -> Introduction {
        Introduction(pairs.iter().map(|(what, is)| (what.to_string(), is.to_string())).collect())
    }

    #[test]
    fn all_that_differs_is_told() {
        let here = introduction(&[("version", "1"), ("seed", "3"), ("batch", "64")]);
        let there = introduction(&[("version", "1"), ("batch", "32"), ("new", "7")]);
        here.compare(1, &here.bytes().unwrap()).unwrap();
        let error = here.compare(1, &there.bytes().unwrap()).unwrap_err().to_string();
        let told = "seed: not told there, 3 here; batch: 32 there, 64 here; new: 7 there, not told here".to_string();
        assert_eq!(error, format!("worker 1: is about to do something else: {told}"));
        for bytes in [b"".as_slice(), b"[", b"{}", b"[[1]]", &[0xff; 9]] {
            assert!(here.compare(1, bytes).unwrap_err().to_string().contains("cannot be read"));
        }
    }
}
