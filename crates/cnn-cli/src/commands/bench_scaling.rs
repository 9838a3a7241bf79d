//! `cnn bench scaling`: how long a step of data parallelism would take on 1 to 96 workers, by codec, predicted from a network's parameters and
//! operations and from speeds that are given.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use cnn::train::codec;
use cnn::train::parallel::{ExchangeTime, StepTime};
use rayon::ThreadPoolBuilder;

use super::bench_exchange::{coding_ns, gradients};
use crate::chart::{Scale, chart};
use crate::load;
use crate::output::{Output, table};
use crate::sheet::Sheet;

const WORKERS: [usize; 10] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96];
/// Numbers that codecs are timed on, which are those of a bucket in training.
const BUCKET: usize = 1 << 17;

/// Predicts the time of a training step on 1 to 96 workers, by codec. Codecs are timed here; `cnn bench exchange` tells of links and
/// `cnn bench --training` of a worker's speed.
#[derive(clap::Args)]
pub(crate) struct Scaling {
    /// The network.
    model: String,
    /// Images of a step, all workers together.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Floating-point operations of a worker, in 10^9 a second.
    #[arg(long)]
    gflops: f64,
    /// Of each worker's link, in 10^6 bytes a second; 1 Gbit/s unless told otherwise.
    #[arg(long, value_name = "MB_PER_S", default_value_t = 125.0)]
    bandwidth: f64,
    /// Of a message, in 10^-6 seconds.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100.0)]
    latency: f64,
    /// Which codecs; all otherwise.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    types: Vec<String>,
    /// The folder that scaling.csv and scaling.svg are written to.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    figures: PathBuf,
}

impl Scaling {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        ensure!(positive(self.gflops) && positive(self.bandwidth), "--gflops and --bandwidth must be positive");
        ensure!(
            self.latency >= 0.0 && self.latency.is_finite() && self.batch > 0,
            "--latency is from 0 up, --batch from 1"
        );
        let network = load::model(&self.model)?.network()?;
        let names = match self.types.is_empty() {
            true => codec::NAMES.map(str::to_string).into(),
            false => self.types.clone(),
        };
        // Backward, a layer does its work twice: for its weights and for its input.
        let flops = 3.0 * network.flops() as f64 * self.batch as f64;
        let parameters = network.parameter_count() as f64;
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(1).build()?);
        let values = gradients(BUCKET, 1)?;
        let mut lines = Vec::new();
        for name in &names {
            let codec = codec::find(name)?;
            let (encode, decode) = coding_ns(codec.as_ref(), &pool, &values, 9)?;
            let exchange = ExchangeTime {
                bytes: codec.encoded_bytes(BUCKET) as f64 / BUCKET as f64,
                encode: 1e-9 * encode,
                decode: 1e-9 * decode,
                bandwidth: 1e6 * self.bandwidth,
                latency: 1e-6 * self.latency,
            };
            let flops_per_s = 1e9 * self.gflops;
            let step = StepTime { parameters, flops, flops_per_s, bucket: BUCKET as f64, exchange };
            lines.push((name.as_str(), WORKERS.map(|workers| 1e3 * step.seconds(workers)).to_vec()));
        }
        output.say(format!("{}: {parameters} parameters, {:.3} GFLOP a step", network.name(), 1e-9 * flops));
        let files = self.show(output, network.name(), &lines)?;
        let steps: Vec<_> = lines.iter().map(|(name, ms)| serde_json::json!({"name": name, "step_ms": ms})).collect();
        output.finish(&serde_json::json!({
            "model": network.name(),
            "parameters": parameters,
            "flops": flops,
            "workers": WORKERS,
            "types": steps,
            "files": files,
        }))
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
