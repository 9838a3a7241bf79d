//! `cnn compress`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use cnn::compress::{self, FlattenOptions, Flattened, LayerReport, Outcome, Terms};
use cnn::models::{Model, weights_file};
use cnn::train::data::{Dataset, Split};
use cnn::train::metrics::evaluate;
use cnn::train::{Fit, Settings, TrainedOn};
use cnn::{Backend, CompileOptions, DType, Layer, Network, Tensor, Weights};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::inspect::thousands;
use super::train::Show;
use crate::data::check_classes;
use crate::load;
use crate::output::{Output, table};

/// Makes a trained network smaller. `test`, `classify`, `bench` and `train --resume` take the file that it saves as they take any.
#[derive(Args)]
pub(crate) struct Compress {
    /// The network.
    model: String,
    #[command(subcommand)]
    method: Method,
}

#[derive(Subcommand)]
enum Method {
    Flatten(Flatten),
}

/// Replaces each convolution by a sum of one-dimensional ones.
#[derive(Args)]
struct Flatten {
    /// Its weights, a safetensors file; those that come with the model otherwise.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Largest relative error of a layer's weights; the fewest terms within it are looked for.
    #[arg(long, default_value_t = 0.3, conflicts_with = "rank")]
    error: f64,
    /// So many terms for each layer.
    #[arg(long)]
    rank: Option<usize>,
    /// Only these layers.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    layers: Option<Vec<String>>,
    /// Write the weights here.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// What layers are timed on, and trained: auto, cpu, ocl, ocl:N, ocl:NAME or reference.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
    /// Test both networks on this data set, any that `cnn test` takes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which set of EMNIST (letters, balanced, ..), or the fine or the coarse labels of CIFAR-100.
    #[arg(long, requires = "data")]
    variant: Option<String>,
    #[command(flatten)]
    tuning: Tuning,
}

/// How the flat network is trained a little more, with --data.
#[derive(Args)]
struct Tuning {
    /// Passes over the training images.
    #[arg(long, default_value_t = 0, requires = "data")]
    epochs: usize,
    /// Images of a mini-batch.
    #[arg(long, default_value_t = Settings::default().batch)]
    batch: usize,
    /// Learning rate at the start; a tenth of what fresh weights take.
    #[arg(long, default_value_t = 0.002)]
    learning_rate: f32,
    /// Only so many training images, from the first.
    #[arg(long, requires = "data")]
    limit: Option<usize>,
    /// Of the order of the images and of dropout.
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
}

/// Milliseconds of an image.
#[derive(Clone, Copy, Serialize)]
struct Times {
    dense_ms: f64,
    flat_ms: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    report: &'a LayerReport,
    #[serde(flatten)]
    times: Times,
}

/// Shares of test images that are right.
#[derive(Serialize)]
struct Accuracies {
    dense: f64,
    flat: f64,
    tuned: Option<f64>,
}

impl Compress {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let model = load::model(&self.model)?;
        match &self.method {
            Method::Flatten(method) => method.run(model, output),
        }
    }
}

impl Flatten {
    fn run(&self, model: &Model, output: &Output) -> anyhow::Result<()> {
        let backend = load::backend(&self.backend, self.threads)?;
        let (network, weights) = load::weights(model, self.weights.as_deref())?;
        let trained_on = load::trained_on(&weights, self.weights.as_deref())?;
        let test = self.dataset(Split::Test)?;
        let terms = self.rank.map_or(Terms::Error(self.error), Terms::Fixed);
        let options = FlattenOptions { terms, layers: self.layers.clone(), ..Default::default() };
        let convolutions = network.nodes().iter().filter(|node| matches!(node.layer, Layer::Conv2d(_))).count();
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} convolutions  {elapsed}  {msg}")?;
        let bar = ProgressBar::new(convolutions as u64).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        let mut begun = 0;
        let flat = compress::flatten_with(&network, &weights, &options, |layer| {
            bar.set_position(begun);
            bar.set_message(layer.to_string());
            begun += 1;
        });
        bar.finish_and_clear();
        let flat = match &self.weights {
            Some(path) => flat.with_context(|| path.display().to_string())?,
            None => flat?,
        };
        if let Some(path) = &self.save {
            weights_file::write(path, &flat.weights, DType::F32)?;
        }
        let (dense_times, flat_times) =
            (times(backend.as_ref(), &network, &weights)?, times(backend.as_ref(), &flat.network, &flat.weights)?);
        let line = |report| Line { report, times: layer_times(report, &dense_times, &flat_times) };
        let lines: Vec<Line<'_>> = flat.layers.iter().map(line).collect();
        let total = Times { dense_ms: sum(&dense_times, |_| true), flat_ms: sum(&flat_times, |_| true) };
        print(output, &lines, (&network, &flat.network), total);
        let accuracies = match &test {
            Some(test) => {
                let dense = (&network, &weights);
                Some(self.judge(output, backend.as_ref(), model, &trained_on, (dense, &flat, test))?)
            }
            None => None,
        };
        output.finish(&serde_json::json!({
            "model": network.name(),
            "method": "flatten",
            "backend": backend.name(),
            "threads": backend.device().threads,
            "parameters": [network.parameter_count(), flat.network.parameter_count()],
            "flops": [network.flops(), flat.network.flops()],
            "ms": [total.dense_ms, total.flat_ms],
            "layers": lines,
            "test_accuracy": accuracies,
        }))
    }

    fn dataset(&self, split: Split) -> anyhow::Result<Option<Dataset>> {
        let open = |directory: &PathBuf| Dataset::open_variant(directory, split, self.variant.as_deref());
        Ok(self.data.as_ref().map(open).transpose()?)
    }

    /// Tests the dense network and the flat one, and trains that a little more where this was asked for.
    fn judge(
        &self,
        output: &Output,
        backend: &dyn Backend,
        model: &Model,
        trained_on: &TrainedOn,
        (dense, flat, test): ((&Network, &Weights), &Flattened, &Dataset),
    ) -> anyhow::Result<Accuracies> {
        check_classes(trained_on, test)?;
        let preprocess = trained_on.preprocess(model.preprocess())?;
        let accuracy = |model: (&Network, &Weights)| -> anyhow::Result<f64> {
            Ok(evaluate(backend, model, &preprocess, test, 250, |_| ())?.accuracy())
        };
        let (dense, flat_accuracy) = (accuracy(dense)?, accuracy((&flat.network, &flat.weights))?);
        let train = if self.tuning.epochs > 0 { self.dataset(Split::Train)? } else { None };
        let tuned = match train {
            Some(mut train) => {
                train.truncate(self.tuning.limit.unwrap_or(usize::MAX));
                let settings =
                    Settings { normalization: trained_on.normalization().cloned(), ..self.tuning.settings() };
                let (network, preprocess) = (&flat.network, model.preprocess());
                let fit = Fit { backend, network, preprocess, train: &train, test, settings, save: None };
                let mut show = Show::new(output, train.len())?;
                let done = fit.run_from(&flat.weights, &mut show)?;
                show.bar.finish_and_clear();
                if let Some(path) = &self.save {
                    done.write_weights(path)?;
                }
                done.record.epochs.last().map(|epoch| epoch.test_accuracy)
            }
            None => None,
        };
        let tuning = tuned.map_or(String::new(), |tuned| format!(", {:.2} % after fine-tuning", 100.0 * tuned));
        let (before, after) = (100.0 * dense, 100.0 * flat_accuracy);
        output.say(format!("{before:.2} % of {} images right, {after:.2} % flattened{tuning}", test.len()));
        Ok(Accuracies { dense, flat: flat_accuracy, tuned })
    }
}

impl Tuning {
    fn settings(&self) -> Settings {
        let Tuning { epochs, batch, learning_rate, seed, .. } = *self;
        Settings { epochs, batch, learning_rate, seed, ..Settings::default() }
    }
}

/// The steps of a network with the names of their layers and the fastest time of each over a few runs of one image, in milliseconds.
fn times(backend: &dyn Backend, network: &Network, weights: &Weights) -> anyhow::Result<Vec<(Vec<String>, f64)>> {
    let plan = backend.compile(network, weights, &CompileOptions::default())?;
    let mut session = plan.session()?;
    let mut grey = Tensor::zeros(network.input_shape().with_batch(1))?;
    grey.as_f32_mut()?.fill(0.5);
    let named = |step: &cnn::interface::StepReport| std::iter::once(&step.layer).chain(&step.fused).cloned().collect();
    let mut times: Vec<(Vec<String>, f64)> = plan.report().steps.iter().map(|step| (named(step), f64::MAX)).collect();
    for _ in 0..5 {
        for (step, (_, fastest)) in session.profile(&grey)?.steps.iter().zip(&mut times) {
            *fastest = fastest.min(1e3 * step.time.as_secs_f64());
        }
    }
    Ok(times)
}

fn sum(times: &[(Vec<String>, f64)], is_meant: impl Fn(&String) -> bool) -> f64 {
    times.iter().filter(|(names, _)| names.iter().any(&is_meant)).map(|(_, ms)| ms).sum()
}

fn layer_times(report: &LayerReport, dense: &[(Vec<String>, f64)], flat: &[(Vec<String>, f64)]) -> Times {
    let flat_ms = match &report.outcome {
        Outcome::Flattened { layers, .. } => sum(flat, |name| layers.contains(name)),
        Outcome::Left { .. } => sum(flat, |name| *name == report.layer),
    };
    Times { dense_ms: sum(dense, |name| *name == report.layer), flat_ms }
}

fn print(output: &Output, lines: &[Line<'_>], (dense, flat): (&Network, &Network), total: Times) {
    let mut rows = table(&["layer", "terms", "error", "parameters", "", "MFLOP", "", "ms", "", ""], 1..9);
    let numbers = |parameters: u64, flops: u64, ms: f64| {
        [thousands(parameters), format!("{:.2}", flops as f64 / 1e6), format!("{ms:.3}")]
    };
    for Line { report, times } in lines {
        let before = numbers(report.dense.parameters, report.dense.flops, times.dense_ms);
        let (terms, error, cost, reason) = match &report.outcome {
            Outcome::Flattened { rank, error, cost, .. } => {
                (rank.to_string(), format!("{error:.3}"), cost, String::new())
            }
            Outcome::Left { reason } => (String::new(), String::new(), &report.dense, format!("left: {reason}")),
        };
        let after = numbers(cost.parameters, cost.flops, times.flat_ms);
        rows.add_row([vec![report.layer.clone(), terms, error], between(before, after), vec![reason]].concat());
    }
    let before = numbers(dense.parameter_count(), dense.flops(), total.dense_ms);
    let after = numbers(flat.parameter_count(), flat.flops(), total.flat_ms);
    rows.add_row([vec!["all".to_string(), String::new(), String::new()], between(before, after)].concat());
    output.say(rows.trim_fmt());
}

/// Each number before beside the same one after.
fn between(before: [String; 3], after: [String; 3]) -> Vec<String> {
    before.into_iter().zip(after).flat_map(|(before, after)| [before, format!("-> {after}")]).collect()
}
