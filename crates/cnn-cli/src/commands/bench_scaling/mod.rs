//! `cnn bench scaling`: how long a step of data parallelism would take on 1 to 96 workers, by codec, predicted from a network's parameters and
//! operations and from speeds that are given; and how long it takes on this machine, beside what is predicted for that.

mod here;
mod measured;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use cnn::Network;
use cnn::models::Model;
use cnn::train::codec;
use cnn::train::parallel::{ExchangeTime, StepTime};
use rayon::ThreadPoolBuilder;

use super::bench_exchange::{coding_ns, gradients};
use crate::chart::{Scale, chart};
use crate::output::{Output, table};
use crate::sheet::Sheet;
use crate::{load, processes};
use here::Measured;
use measured::{Workers, compression};

/// Workers of a prediction at most.
const MOST: usize = 96;
const WORKERS: [usize; 10] = [1, 2, 4, 8, 16, 24, 32, 48, 64, MOST];
/// Numbers that codecs are timed on, which are those of a bucket in training.
const BUCKET: usize = 1 << 17;

/// Predicts the time of a training step on 1 to 96 workers, by codec. Codecs are timed here; `cnn bench exchange` tells of links and
/// `cnn bench --training` of a worker's speed. With --measure, real workers beside what is predicted for this machine.
#[derive(clap::Args)]
pub(crate) struct Scaling {
    /// The network.
    model: String,
    /// Images of a step, all workers together.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Floating-point operations of a worker, in 10^9 a second; with --measure, those of one here unless told otherwise.
    #[arg(long, required_unless_present = "measure")]
    gflops: Option<f64>,
    /// Of each worker's link, in 10^6 bytes a second; 1 Gbit/s unless told otherwise.
    #[arg(long, value_name = "MB_PER_S", default_value_t = 125.0)]
    bandwidth: f64,
    /// Of a message, in 10^-6 seconds.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100.0)]
    latency: f64,
    /// Which codecs; all otherwise.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    types: Vec<String>,
    /// Measure steps of so many workers too, which are threads, or the first of the processes that mpirun started: 1 always, and unless
    /// told otherwise 2 and as many as there are cores, or processes.
    #[arg(long, value_name = "WORKERS", value_delimiter = ',', num_args = 0..=1, require_equals = true)]
    measure: Option<Vec<usize>>,
    /// Threads of each worker that is measured.
    #[arg(long, default_value_t = 1, requires = "measure")]
    threads: usize,
    /// Steps whose median counts.
    #[arg(long, default_value_t = 5, requires = "measure")]
    reps: usize,
    /// The folder that scaling.csv and scaling.svg are written to, and scaling-measured.csv and .svg.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    figures: PathBuf,
}

impl Scaling {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let gflops = self.gflops.unwrap_or(1.0);
        ensure!(positive(gflops) && positive(self.bandwidth), "--gflops and --bandwidth must be positive");
        ensure!(
            self.latency >= 0.0 && self.latency.is_finite() && self.batch > 0,
            "--latency is from 0 up, --batch from 1"
        );
        ensure!(self.threads > 0 && self.reps > 0, "--threads and --reps must be at least 1");
        let model = load::model(&self.model)?;
        let network = model.network()?;
        let names = match self.types.is_empty() {
            true => codec::NAMES.map(str::to_string).into(),
            false => self.types.clone(),
        };
        match (&self.measure, processes::started()?) {
            (None, _) => self.predict(output, &network, &names, None),
            (Some(counts), None) => self.compare(output, (model, &network), &Workers::Threads, (counts, &names)),
            (Some(counts), Some(_)) => processes::run(|mpi| {
                let output = output.of_rank(mpi.rank());
                let place = Workers::Processes(Arc::new(Mutex::new(mpi)));
                self.compare(&output, (model, &network), &place, (counts, &names))
            }),
        }
    }

    fn compare(
        &self,
        output: &Output,
        (model, network): (&Model, &Network),
        place: &Workers,
        (counts, names): (&[usize], &[String]),
    ) -> anyhow::Result<()> {
        match Measured::new(self, (model, network), place, (counts, names))? {
            Some(measured) => self.predict(output, network, names, Some(&measured)),
            None => Ok(()),
        }
    }

    fn predict(
        &self,
        output: &Output,
        network: &Network,
        names: &[String],
        measured: Option<&Measured>,
    ) -> anyhow::Result<()> {
        // Backward, a layer does its work twice: for its weights and for its input.
        let flops = 3.0 * network.flops() as f64 * self.batch as f64;
        let parameters = network.parameter_count() as f64;
        // One of both is there.
        let flops_per_s = match (self.gflops, measured) {
            (None, Some(measured)) => flops / measured.alone(),
            (gflops, _) => 1e9 * gflops.unwrap_or(1.0),
        };
        let mut steps = Vec::new();
        for name in names {
            let exchange = self.exchange(name)?;
            let (bucket, at_a_time) = (BUCKET as f64, f64::INFINITY);
            steps.push((name.as_str(), StepTime { parameters, flops, flops_per_s, bucket, exchange, at_a_time }));
        }
        let of = |step: &StepTime| WORKERS.map(|workers| 1e3 * step.seconds(workers)).to_vec();
        let lines: Vec<(&str, Vec<f64>)> = steps.iter().map(|(name, step)| (*name, of(step))).collect();
        output.say(format!("{}: {parameters} parameters, {:.3} GFLOP a step", network.name(), 1e-9 * flops));
        let files = self.show(output, network.name(), &lines)?;
        let types: Vec<_> = lines.iter().map(|(name, ms)| serde_json::json!({"name": name, "step_ms": ms})).collect();
        let measured = measured.map(|measured| measured.show(output, self, &steps)).transpose()?;
        output.finish(&serde_json::json!({
            "model": network.name(),
            "parameters": parameters,
            "flops": flops,
            "gflops": 1e-9 * flops_per_s,
            "workers": WORKERS,
            "types": types,
            "files": files,
            "measured": measured,
        }))
    }

    /// How numbers of this type are exchanged over the given links, its coding as it is timed here.
    fn exchange(&self, name: &str) -> anyhow::Result<ExchangeTime> {
        let codec = compression(name)?.codec;
        let pool = ThreadPoolBuilder::new().num_threads(1).build()?;
        let (encode, decode) = coding_ns(codec.as_ref(), &pool, &gradients(BUCKET, 1)?, 9)?;
        Ok(ExchangeTime {
            bytes: codec.encoded_bytes(BUCKET) as f64 / BUCKET as f64,
            encode: 1e-9 * encode,
            decode: 1e-9 * decode,
            bandwidth: 1e6 * self.bandwidth,
            latency: 1e-6 * self.latency,
        })
    }

    fn show(&self, output: &Output, model: &str, lines: &[(&str, Vec<f64>)]) -> anyhow::Result<[PathBuf; 2]> {
        let header: Vec<&str> = std::iter::once("ms a step").chain(lines.iter().map(|(name, _)| *name)).collect();
        let mut shown = table(&header, 0..header.len());
        let mut sheet = Sheet::new(&["workers", "type", "step_ms", "speedup"]);
        for (i, workers) in WORKERS.iter().enumerate() {
            shown.add_row(
                std::iter::once(workers.to_string()).chain(lines.iter().map(|(_, ms)| format!("{:.3}", ms[i]))),
            );
            for (name, ms) in lines {
                let numbers = [ms[i], ms[0] / ms[i]].map(|number| format!("{number:.4}"));
                sheet.add([workers.to_string(), name.to_string()].into_iter().chain(numbers));
            }
        }
        output.say(shown.trim_fmt());
        let path = self.figures.join("scaling.svg");
        let title = format!("{model}: predicted milliseconds of a step of {} images by workers", self.batch);
        let places = WORKERS.map(|workers| workers.to_string());
        chart(&path, &title, Scale::Logarithmic, &places, lines).with_context(|| path.display().to_string())?;
        Ok([path, sheet.write(&self.figures, "scaling")?])
    }
}
