//! What the model says of workers on this machine, beside their measured steps.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use cnn::Network;
use cnn::models::Model;
use cnn::train::parallel::{ExchangeTime, StepTime};

use super::super::bench_exchange::INSTANT;
use super::measured::{Steps, Workers};
use super::{MOST, Scaling};
use crate::chart::{Scale, chart_with_rings};
use crate::output::Output;
use crate::sheet::{Sheet, cell};
use crate::{load, processes};

/// The steps of real workers, and what a prediction of them is made from.
pub(super) struct Measured {
    kind: &'static str,
    /// How many, from 1.
    workers: Vec<usize>,
    /// By codec, then as `workers`.
    seconds: Vec<Vec<f64>>,
    link: ExchangeTime,
    /// How many workers find free cores.
    at_a_time: f64,
}

impl Measured {
    /// Nothing where this process is not the first of the workers.
    pub(super) fn new(
        scaling: &Scaling,
        model: (&Model, &Network),
        place: &Workers,
        (counts, names): (&[usize], &[String]),
    ) -> anyhow::Result<Option<Measured>> {
        let Scaling { batch, threads, reps, .. } = *scaling;
        let (cores, started) = (load::backend("cpu", None)?.device().threads, processes::started()?);
        let most = started.unwrap_or(MOST).min(batch);
        let workers = counted(counts, started.unwrap_or(cores), most);
        ensure!(
            workers.iter().all(|workers| (1..=most).contains(workers)),
            "--measure takes from 1 up to {most} workers, as many as there can be, or as --batch has images"
        );
        // Other machines are taken to be as this one.
        let machines = match started {
            Some(processes) => processes as f64 / processes::on_this_machine()? as f64,
            None => 1.0,
        };
        let at_a_time = (machines * cores as f64 / threads as f64).max(1.0);
        let steps = Steps::new(model, (batch, threads, reps))?;
        let link = if most > 1 { place.link()? } else { None };
        let mut seconds: Vec<Vec<f64>> = Vec::new();
        for name in names {
            let of_codec = workers.iter().map(|&workers| steps.seconds(place, workers, name));
            seconds.extend(of_codec.collect::<anyhow::Result<Vec<_>>>()?.into_iter().collect::<Option<Vec<_>>>());
        }
        let (kind, link, is_first) = (place.kind(), link.unwrap_or(INSTANT), seconds.len() == names.len());
        Ok(is_first.then_some(Measured { kind, workers, seconds, link, at_a_time }))
    }

    /// Seconds of a step of one worker, who sends nothing whatever the codec.
    pub(super) fn alone(&self) -> f64 {
        self.seconds.iter().map(|of_codec| of_codec[0]).sum::<f64>() / self.seconds.len() as f64
    }

    /// What such a step takes here by the model.
    fn predicted(&self, step: StepTime) -> Vec<f64> {
        let StepTime { flops, exchange, .. } = step;
        let exchange = ExchangeTime { bandwidth: self.link.bandwidth, latency: self.link.latency, ..exchange };
        let here = StepTime { flops_per_s: flops / self.alone(), exchange, at_a_time: self.at_a_time, ..step };
        self.workers.iter().map(|&workers| 1e3 * here.seconds(workers)).collect()
    }

    /// Prints both beside each other, and writes them to scaling-measured.csv and .svg.
    pub(super) fn show(
        &self,
        output: &Output,
        scaling: &Scaling,
        steps: &[(&str, StepTime)],
    ) -> anyhow::Result<serde_json::Value> {
        let ExchangeTime { bandwidth, latency, .. } = self.link;
        let (mb, us) = (bandwidth / 1e6, 1e6 * latency);
        output.say(format!(
            "measured with workers that are {}, of {} threads each; predicted for them from the step of one, links of {mb:.0} MB/s \
             with a latency of {us:.0} us, and cores for {:.1} workers at a time",
            self.kind, scaling.threads, self.at_a_time
        ));
        let mut sheet = Sheet::new(&["workers", "type", "predicted_ms", "measured_ms", "measured_by_predicted"]);
        let (mut lines, mut rings, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for ((name, step), seconds) in steps.iter().zip(&self.seconds) {
            let (predicted, measured) = (self.predicted(*step), seconds.iter().map(|s| 1e3 * s).collect::<Vec<_>>());
            for ((workers, predicted), measured) in self.workers.iter().zip(&predicted).zip(&measured) {
                let numbers = [*predicted, *measured, measured / predicted].map(|number| cell(Some(number)));
                sheet.add([workers.to_string(), name.to_string()].into_iter().chain(numbers));
            }
            rings.push(measured.iter().copied().map(Some).collect());
            types.push(serde_json::json!({"name": name, "predicted_ms": predicted, "measured_ms": measured}));
            lines.push((*name, predicted));
        }
        sheet.print(output);
        let path = scaling.figures.join("scaling-measured.svg");
        let title = format!("{}: milliseconds of a step by workers on this machine; rings: measured", scaling.model);
        let places: Vec<String> = self.workers.iter().map(usize::to_string).collect();
        chart_with_rings(&path, &title, Scale::Logarithmic, &places, (&lines, &rings))
            .with_context(|| path.display().to_string())?;
        let files: [PathBuf; 2] = [path, sheet.write(&scaling.figures, "scaling-measured")?];
        Ok(serde_json::json!({
            "transport": self.kind,
            "threads": scaling.threads,
            "reps": scaling.reps,
            "workers_at_a_time": self.at_a_time,
            "bandwidth_mb_per_s": mb,
            "latency_us": us,
            "workers": self.workers,
            "types": types,
            "files": files,
        }))
    }
}

/// How many workers are measured: one, and those that are asked for; or two and `all` where nothing is said, if there can be as many.
fn counted(asked: &[usize], all: usize, most: usize) -> Vec<usize> {
    let mut counts = match asked {
        [] => vec![2.min(most), all.min(most)],
        asked => asked.to_vec(),
    };
    counts.push(1);
    counts.sort_unstable();
    counts.dedup();
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_always_counted() {
        assert_eq!(counted(&[], 8, 96), [1, 2, 8]);
        assert_eq!(counted(&[], 1, 96), [1, 2]);
        assert_eq!(counted(&[], 1, 1), [1]);
        assert_eq!(counted(&[4, 2, 4], 8, 96), [1, 2, 4]);
        assert_eq!(counted(&[0], 8, 96), [0, 1]);
    }

    #[test]
    fn what_is_predicted_here_is_of_this_machines_speeds() {
        let link = ExchangeTime { bandwidth: 4e9, latency: 0.0, ..INSTANT };
        let (workers, seconds) = (vec![1, 2, 4], vec![vec![0.8, 0.5, 0.6], vec![1.0, 0.6, 0.7]]);
        let measured = Measured { kind: "threads", workers, seconds, link, at_a_time: 2.0 };
        // Speeds that belong to other machines.
        let exchange = ExchangeTime { bytes: 4.0, encode: 1e-9, decode: 2e-9, bandwidth: 1.0, latency: 9.0 };
        let (parameters, bucket) = (1e7, 1e5);
        let step = StepTime { parameters, flops: 9e9, flops_per_s: 1.0, bucket, exchange, at_a_time: f64::INFINITY };
        // One takes 0.9 s, the mean over types; two share it and add 10^7 numbers of 5 ns, four twice 6 ns.
        for (predicted, want) in measured.predicted(step).into_iter().zip([900.0, 500.0, 570.0]) {
            assert!((predicted - want).abs() < 1e-6, "{predicted} {want}");
        }
    }
}
