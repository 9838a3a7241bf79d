//! `cnn bench`

use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use cnn::interface::{Ceilings, Precision};
use cnn::models::npy;
use cnn::{CompileOptions, Network, Plan, Session, Tensor, Weights};
use serde::Serialize;

use super::{bench_accuracy, bench_codec, bench_exchange, bench_scaling, bench_training, flattened, ladder};
use crate::load;
use crate::memory::peak_rss_mib;
use crate::output::{Output, table};

/// Times a network on a backend. Loading, compiling and up to two first runs are not counted.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    other: Option<Other>,
    /// The network: a model's name, or an ONNX file.
    #[arg(required = true)]
    model: Option<String>,
    #[command(flatten)]
    import: load::Import,
    /// Its weights, a safetensors file; those that come with the model or file, or random ones, otherwise.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The input, a .npy file of float32 [N, C, H, W]; grey everywhere otherwise.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// auto, cpu, ocl, ocl:N for the device of this number, ocl:NAME for one whose name has this in it, or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// A row of the backend's table, used wherever it accepts, such as conv2d/direct.
    #[arg(long)]
    algorithm: Option<String>,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Images a run, without --input.
    #[arg(long)]
    batch: Option<usize>,
    /// Runs that are counted.
    #[arg(long, default_value_t = 7)]
    reps: usize,
    /// Print every step: its time, the multiply-adds a second that its definition asks for, and the percent of the
    /// device's measured roofline that its algorithm reaches.
    #[arg(long)]
    per_layer: bool,
    /// Compare every row of the ocl backend's convolution table, the plain loops and the cpu backend, layer by layer.
    #[arg(long, conflicts_with_all = ["algorithm", "per_layer", "half", "timed", "tolerance", "save_output"])]
    ladder: bool,
    /// The folder that --ladder writes its two figures to.
    #[arg(long, value_name = "FOLDER", default_value = ".", requires = "ladder")]
    figures: PathBuf,
    /// Time training: the plain loops, cpu with one thread and more, ocl, or --backend alone; without --batch at 64 images a
    /// step.
    #[arg(long, conflicts_with_all = ["ladder", "algorithm", "per_layer", "half", "timed", "tolerance", "save_output", "weights", "input"])]
    training: bool,
    /// A data set to time training on, as for `cnn train`; noise otherwise.
    #[arg(long, value_name = "DIR", requires = "training")]
    data: Option<PathBuf>,
    /// Use half precision for fully connected layers' weights; for all values and weights; or for arithmetic too.
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "weights")]
    half: Option<Half>,
    /// Time the candidates for each layer while compiling, instead of trusting the model.
    #[arg(long)]
    timed: bool,
    /// Largest relative error that an algorithm may add to a layer's output.
    #[arg(long, value_name = "RMS")]
    tolerance: Option<f32>,
    /// Write the output as a .npy file.
    #[arg(long, value_name = "FILE")]
    save_output: Option<PathBuf>,
}

/// What is timed that is no network.
#[derive(Subcommand)]
enum Other {
    Accuracy(bench_accuracy::Accuracy),
    Codec(bench_codec::Codecs),
    Exchange(bench_exchange::Exchanges),
    Scaling(bench_scaling::Scaling),
    Flattened(Box<flattened::Flattened>),
}

/// What is in half precision.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Half {
    /// Fully connected layers' weights.
    Weights,
    /// Values between layers and all weights.
    Values,
    /// Arithmetic, values and weights.
    Arithmetic,
}

#[derive(Serialize)]
struct Report {
    model: String,
    backend: String,
    device: String,
    threads: usize,
    batch: usize,
    median_ms: f64,
    min_ms: f64,
    images_per_s: f64,
    peak_rss_mib: Option<f64>,
    argmax: usize,
    algorithms: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    layer: String,
    algorithm: String,
    ms: Option<f64>,
}

impl Bench {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        match &self.other {
            Some(Other::Accuracy(accuracy)) => return accuracy.run(output),
            Some(Other::Codec(codecs)) => return codecs.run(output),
            Some(Other::Exchange(exchanges)) => return exchanges.run(output),
            Some(Other::Scaling(scaling)) => return scaling.run(output),
            Some(Other::Flattened(flattened)) => return flattened.run(output),
            None => {}
        }
        if self.batch == Some(0) || self.reps == 0 {
            bail!("--batch and --reps must be at least 1");
        }
        let name = self.model.as_deref().unwrap_or_default();
        if self.training {
            self.import.check_unused(name)?;
            let model = load::model(name)?;
            let network = model.network()?;
            let (data, batch) = (self.data.as_deref(), self.batch.unwrap_or(64));
            let backend = Some(&self.backend[..]).filter(|&name| name != "auto");
            return bench_training::run(output, (model, &network), data, (batch, self.threads), backend);
        }
        let (network, weights) = self.weights(output, name)?;
        let input = self.input(&network)?;
        let backend = load::backend(&self.backend, self.threads)?;
        if self.ladder {
            if backend.name() != "ocl" {
                bail!("--ladder compares the rows of `ocl`; pass --backend ocl");
            }
            return ladder::run(output, backend.as_ref(), (&network, &weights), &input, &self.figures);
        }
        let mut options = CompileOptions::default().batch(input.batch());
        if let Some(algorithm) = &self.algorithm {
            options = options.algorithm(algorithm.as_str());
        }
        if let Some(tolerance) = self.tolerance {
            options = options.tolerance(tolerance);
        }
        options = match self.half {
            None => options,
            Some(Half::Weights) => options.linear_weights(Precision::Half),
            Some(Half::Values) => options.values(Precision::Half),
            Some(Half::Arithmetic) => options.arithmetic(Precision::Half),
        };
        if self.timed {
            options = options.timed();
        }
        let plan = load::plan(backend.as_ref(), &network, (&weights, self.weights.as_deref()), &options)?;
        drop(weights);
        let mut session = plan.session()?;
        let (times, result) = self.time(session.as_mut(), &input)?;
        if let Some(path) = &self.save_output {
            npy::write(path, &result)?;
        }
        let report = Report {
            model: network.name().to_string(),
            backend: backend.name().to_string(),
            device: backend.device().name.clone(),
            threads: backend.device().threads,
            batch: input.batch(),
            median_ms: times[times.len() / 2],
            min_ms: times[0],
            images_per_s: 1e3 * input.batch() as f64 / times[times.len() / 2],
            peak_rss_mib: peak_rss_mib(),
            argmax: result.argmax()[0],
            algorithms: self.steps(output, (plan.as_ref(), backend.ceilings()), session.as_mut(), &input)?,
        };
        output.say(format!(
            "{} on {} ({}, {} threads), batch {}: median {:.3} ms, fastest {:.3} ms, {:.1} images/s, class {}",
            report.model,
            report.backend,
            report.device,
            report.threads,
            report.batch,
            report.median_ms,
            report.min_ms,
            report.images_per_s,
            report.argmax
        ));
        output.finish(&report)
    }

    fn weights(&self, output: &Output, name: &str) -> anyhow::Result<(Network, Weights)> {
        if let Some(path) = load::onnx_file(name) {
            return load::onnx(path, &self.import, self.weights.as_deref());
        }
        self.import.check_unused(name)?;
        let model = load::model(name)?;
        if self.weights.is_none() && model.shipped_weights().is_none() {
            output.say(format!("`{}` comes without weights: random ones", model.name));
            let network = model.network()?;
            let weights = Weights::random(&network, 0)?;
            return Ok((network, weights));
        }
        load::weights(model, self.weights.as_deref())
    }

    fn input(&self, network: &Network) -> anyhow::Result<Tensor> {
        match &self.input {
            Some(path) => Ok(npy::read(path)?),
            None => {
                let mut grey = Tensor::zeros(network.input_shape().with_batch(self.batch.unwrap_or(1)))?;
                grey.as_f32_mut()?.fill(0.5);
                Ok(grey)
            }
        }
    }

    /// Sorted times in milliseconds, and the last run's output.
    fn time(&self, session: &mut dyn Session, input: &Tensor) -> anyhow::Result<(Vec<f64>, Tensor)> {
        for _ in 0..2.min(self.reps - 1) {
            session.run(input)?;
        }
        let mut timed = || -> anyhow::Result<(f64, Tensor)> {
            let start = Instant::now();
            let result = session.run(input)?;
            Ok((1e3 * start.elapsed().as_secs_f64(), result))
        };
        let (first, mut result) = timed()?;
        let mut times = vec![first];
        for _ in 1..self.reps {
            let (time, next) = timed()?;
            times.push(time);
            result = next;
        }
        times.sort_by(f64::total_cmp);
        Ok((times, result))
    }

    /// The plan's steps, with the times of one more run where they were asked for.
    fn steps(
        &self,
        output: &Output,
        (plan, ceilings): (&dyn Plan, Option<Ceilings>),
        session: &mut dyn Session,
        input: &Tensor,
    ) -> anyhow::Result<Vec<Step>> {
        if !self.per_layer {
            let steps = plan.report().steps.iter();
            let step = |s: &cnn::interface::StepReport| Step {
                layer: s.layer.clone(),
                algorithm: s.algorithm.clone(),
                ms: None,
            };
            return Ok(steps.map(step).collect());
        }
        let profile = session.profile(input)?;
        let mut rows = table(&["layer", "algorithm", "output", "ms", "share", "GMAC/s", "% roof"], 3..7);
        let total = profile.total.as_secs_f64();
        for (step, report) in profile.steps.iter().zip(&plan.report().steps) {
            let seconds = step.time.as_secs_f64();
            rows.add_row([
                std::iter::once(&report.layer).chain(&report.fused).map(String::as_str).collect::<Vec<_>>().join("+"),
                step.algorithm.clone(),
                report.output.to_string(),
                format!("{:.3}", 1e3 * seconds),
                format!("{:.1} %", 100.0 * seconds / total),
                format!("{:.1}", 0.5 * step.gflops()),
                ceilings.map_or(String::new(), |ceilings| {
                    let bytes = report.weight_bytes + report.value_bytes * input.batch() as u64;
                    let floor = ceilings.seconds(report.macs * input.batch() as u64, bytes);
                    format!("{:.0}", 100.0 * floor / seconds)
                }),
            ]);
        }
        output.say(rows.trim_fmt());
        if let Some(Ceilings { macs_per_second, bytes_per_second }) = ceilings {
            let (macs, bytes) = (macs_per_second / 1e9, bytes_per_second / 1e9);
            let flops: u64 = profile.steps.iter().map(|step| step.flops).sum();
            let device: f64 = profile.steps.iter().map(|step| step.time.as_secs_f64()).sum();
            let reached = 0.5 * flops as f64 / device.max(1e-9) / 1e9;
            output.say(format!(
                "roofline: {macs:.0} GMAC/s, {bytes:.0} GB/s; the network's definition runs at {reached:.0} GMAC/s, {:.0} % of the peak",
                100.0 * reached / macs
            ));
        }
        let step = |s: &cnn::interface::StepProfile| Step {
            layer: s.layer.clone(),
            algorithm: s.algorithm.clone(),
            ms: Some(1e3 * s.time.as_secs_f64()),
        };
        Ok(profile.steps.iter().map(step).collect())
    }
}
