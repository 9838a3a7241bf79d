//! The tuner: tries the space of each subject, checks every candidate against the reference, times it with the device's clock,
//! and keeps the fastest.

use std::path::Path;
use std::time::{Duration, Instant};

use cnn_core::backend::Ceilings;
use cnn_core::{Backend, CompileOptions, Network, Reference, Result, Tensor, Weights};

use super::space::{self, SUBJECTS, Subject};
use super::{Database, Entry, Tuning};
use crate::Ocl;
use crate::device::Found;

/// What became of a candidate.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Its time.
    Timed(Duration),
    /// Why it was skipped: it does not compile or run, or its results are wrong.
    Skipped(String),
}

/// A candidate that was tried.
#[derive(Debug)]
pub struct Tried<'a> {
    /// What was timed.
    pub subject: &'a str,
    /// Its number among the subject's candidates.
    pub number: usize,
    /// The subject's candidates.
    pub candidates: usize,
    /// Its parameters.
    pub tuning: &'a Tuning,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// Whether it is the best so far.
    pub is_best: bool,
}

/// The most that a candidate's results may be off, relative to their root mean square.
const TOLERANCE: f64 = 2e-5;

/// The part by which a candidate has to be faster than the best so far.
const NOISE: f64 = 0.03;

/// Finds the best parameters for a backend's device. `tried` is told of every candidate; after `limit` for a subject the rest
/// of its space is left out.
pub fn tune(ocl: &Ocl, limit: Duration, mut tried: impl FnMut(&Tried<'_>)) -> Result<Tuning> {
    let traits = &ocl.found().traits;
    let mut best = ocl.tuning().clone();
    for subject in SUBJECTS {
        let work = Work::new(subject)?;
        let start = Instant::now();
        let plain = (subject.plain)(&best);
        let variants = (subject.variants)(&best).into_iter().filter(|c| space::fits(c, traits) && *c != plain);
        let mut candidates = vec![plain.clone()];
        candidates.extend(variants);
        spread(&mut candidates[1..]);
        let mut fastest = Duration::MAX;
        let beats = |time: Duration, other: Duration| time < other.mul_f64(1.0 - NOISE);
        for (number, tuning) in candidates.iter().enumerate() {
            if number > 0 && start.elapsed() > limit {
                break;
            }
            let outcome = work.run(ocl, tuning);
            let mut is_best = false;
            if let Outcome::Timed(time) = outcome {
                if number > 0 && beats(time, fastest) {
                    // What it beats may have had a bad moment.
                    if let Outcome::Timed(again) = work.run(ocl, &best) {
                        fastest = fastest.min(again);
                    }
                }
                is_best = number == 0 || beats(time, fastest);
                if is_best {
                    (fastest, best) = (time, tuning.clone());
                }
            }
            let candidates = candidates.len();
            tried(&Tried { subject: subject.name, number, candidates, tuning, outcome: &outcome, is_best });
        }
    }
    let Ceilings { macs_per_second, bytes_per_second } = ocl.with_tuning(best.clone())?.measure()?;
    // Rounded to a power of two: the choice of algorithms shall not hang on the noise of a measurement.
    best.macs_per_byte = 2f64.powi((macs_per_second / bytes_per_second).log2().round() as i32);
    Ok(best)
}

/// Writes a device's parameters to a user's file, in place of older ones; what the file says of other devices stays.
pub fn write_tuning(path: &Path, ocl: &Ocl, tuning: &Tuning) -> std::io::Result<()> {
    let Found { info, traits, .. } = ocl.found();
    let old = std::fs::read_to_string(path).ok().and_then(|text| toml::from_str::<Database>(&text).ok());
    let mut entries = old.map_or(Vec::new(), |database| database.entry);
    entries.retain(|entry| entry.device.as_ref() != Some(&traits.name));
    entries.push(Entry {
        device: Some(traits.name.clone()),
        architecture: None,
        vendor: None,
        source: format!("measured on {}, {}", info.name, info.driver),
        parameters: tuning.clone(),
    });
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, super::text(&entries).map_err(std::io::Error::other)?)
}

/// Mixes candidates in a fixed order, so that a search that is cut short has looked everywhere.
fn spread(candidates: &mut [Tuning]) {
    let count = candidates.len();
    for i in (1..count).rev() {
        candidates.swap(i, (i.wrapping_mul(2_654_435_761) >> 7) % (i + 1));
    }
}

/// A subject's network with random weights and input, and what the reference makes of it.
struct Work {
    network: Network,
    weights: Weights,
    input: Tensor,
    want: Tensor,
    options: CompileOptions,
}

impl Work {
    fn new(subject: &Subject) -> Result<Self> {
        let network = (subject.network)()?;
        let weights = Weights::random(&network, 1)?;
        let shape = network.input_shape().with_batch(1);
        let numbers = (0..shape.elements()).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0);
        let input = Tensor::new(shape.clone(), numbers.collect())?;
        let want = Reference::new().compile(&network, &weights, &CompileOptions::default())?.session()?.run(&input)?;
        let options = match subject.algorithm {
            Some(algorithm) => CompileOptions::default().algorithm(algorithm).strict(),
            None => CompileOptions::default(),
        };
        Ok(Work { network, weights, input, want, options })
    }

    fn run(&self, ocl: &Ocl, tuning: &Tuning) -> Outcome {
        /// As long as noise takes to pass, and no longer for what is slow.
        const LEAST: Duration = Duration::from_millis(100);
        const RUNS: usize = 3;
        let timed = || -> Result<(Duration, f64)> {
            let candidate = ocl.with_tuning(tuning.clone())?;
            let mut session = candidate.compile(&self.network, &self.weights, &self.options)?.session()?;
            let mut fastest = Duration::MAX;
            let off = self.off(&session.profile(&self.input)?.output);
            let start = Instant::now();
            let mut runs = 0;
            while off <= TOLERANCE && (runs < RUNS || start.elapsed() < LEAST) {
                runs += 1;
                let profile = session.profile(&self.input)?;
                // The layer with what its algorithm asks for: conversions count too.
                fastest = fastest.min(profile.steps.iter().map(|step| step.time).sum());
            }
            Ok((fastest, off))
        };
        match timed() {
            Ok((time, off)) if off <= TOLERANCE => Outcome::Timed(time),
            Ok((_, off)) => Outcome::Skipped(format!("wrong results: {off:.0e} off")),
            Err(error) => Outcome::Skipped(error.to_string()),
        }
    }

    /// The root mean square of the differences, relative to that of what is right.
    fn off(&self, got: &Tensor) -> f64 {
        let (got, want) = (got.to_f32(), self.want.to_f32());
        let square = |v: f64| v * v;
        let apart: f64 = got.iter().zip(want.iter()).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
        let size: f64 = want.iter().map(|&b| square(f64::from(b))).sum();
        (apart / size).sqrt()
    }
}
