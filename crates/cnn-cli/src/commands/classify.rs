//! `cnn classify`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use cnn::models::{Labels, Photo, Prediction, Preprocess, digits};
use cnn::{Backend, CompileOptions, Network, Tensor, Weights, backends};
use serde::Serialize;

use crate::load;
use crate::output::{Output, table};

/// Says what is on pictures. Without pictures: the ten handwritten digits that come with the program.
#[derive(Args)]
pub(crate) struct Classify {
    /// PNG or JPEG files.
    images: Vec<PathBuf>,
    /// The network: a model's name, or an ONNX file of one for pictures prepared as for ImageNet.
    #[arg(long, default_value = "lenet5")]
    model: String,
    #[command(flatten)]
    import: load::Import,
    /// Its weights, a safetensors file; those that come with the model otherwise.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// A text file of class names, one a line; those of the model otherwise, or ImageNet's.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// auto, cpu, ocl, ocl:N, ocl:NAME, reference, or all that this machine can run in turn.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// How many classes to name, the likeliest first.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Threads of the cpu backend; the physical cores otherwise.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Serialize)]
struct Classified {
    image: String,
    backend: String,
    ms: f64,
    predictions: Vec<Prediction>,
}

impl Classify {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        if self.top == 0 {
            bail!("--top must be at least 1");
        }
        let (network, weights, labels, preprocess) = self.load()?;
        let pictures = self.pictures(&preprocess)?;
        let mut results = Vec::new();
        for backend in self.backends()? {
            let options = CompileOptions::default();
            let weights = (&weights, self.weights.as_deref());
            let mut session = load::plan(backend.as_ref(), &network, weights, &options)?.session()?;
            for (image, picture) in &pictures {
                let start = Instant::now();
                let probabilities = session.run(picture)?;
                let ms = 1e3 * start.elapsed().as_secs_f64();
                let predictions = labels.top_k(&as_probabilities(probabilities)?, self.top)?.swap_remove(0);
                results.push(Classified { image: image.clone(), backend: backend.name().to_string(), ms, predictions });
            }
        }
        self.print(output, &results);
        output.finish(&serde_json::json!({ "model": self.model, "results": results }))
    }

    /// The network, its weights, names of its classes, and how it wants its pictures.
    fn load(&self) -> anyhow::Result<(Network, Weights, Labels, Preprocess)> {
        let given = self.labels.as_deref().map(read_labels).transpose()?;
        if let Some(path) = load::onnx_file(&self.model) {
            let (network, weights) = load::onnx(path, &self.import, self.weights.as_deref())?;
            let labels = given.unwrap_or_else(|| Labels::imagenet().clone());
            let classes = network.output_shape().elements();
            if labels.len() != classes {
                bail!(
                    "{} makes {classes} classes, but there are {} labels; pass --labels FILE",
                    self.model,
                    labels.len()
                );
            }
            let preprocess = photo(&network).with_context(|| self.model.clone())?;
            return Ok((network, weights, labels, preprocess));
        }
        self.import.check_unused(&self.model)?;
        let model = load::model(&self.model)?;
        let (network, weights) = load::weights(model, self.weights.as_deref())?;
        let trained_on = load::trained_on(&weights, self.weights.as_deref())?;
        let labels = given.unwrap_or_else(|| trained_on.labels(model.labels()));
        Ok((network, weights, labels, trained_on.preprocess(model.preprocess())?))
    }

    /// The pictures as the model wants them, with their names. All of them, so that a bad one is told at once.
    fn pictures(&self, preprocess: &Preprocess) -> anyhow::Result<Vec<(String, Tensor)>> {
        let shipped = digits().into_iter().map(|(digit, bytes)| {
            let picture = preprocess.bytes(bytes);
            (format!("digit {digit}"), picture)
        });
        let given = self.images.iter().map(|path: &PathBuf| {
            let picture = preprocess.picture(Path::new(path));
            (path.display().to_string(), picture)
        });
        let all: Vec<_> = if self.images.is_empty() { shipped.collect() } else { given.collect() };
        all.into_iter().map(|(name, picture)| Ok((name, picture?))).collect()
    }

    fn backends(&self) -> anyhow::Result<Vec<Arc<dyn Backend>>> {
        match self.backend.as_str() {
            "all" => Ok(backends()
                .iter()
                .filter_map(|entry| match load::backend(entry.name, self.threads) {
                    Ok(backend) => Some(backend),
                    Err(error) => {
                        tracing::warn!("{error}");
                        None
                    }
                })
                .collect()),
            name => Ok(vec![load::backend(name, self.threads)?]),
        }
    }

    fn print(&self, output: &Output, results: &[Classified]) {
        let mut rows = table(&["picture", "backend", "class", "", "ms"], 3..5);
        for result in results {
            for (i, prediction) in result.predictions.iter().enumerate() {
                let percent = format!("{:.2} %", 100.0 * prediction.probability);
                let label = prediction.label.clone();
                rows.add_row(match i {
                    0 => {
                        vec![result.image.clone(), result.backend.clone(), label, percent, format!("{:.3}", result.ms)]
                    }
                    _ => vec![String::new(), String::new(), label, percent],
                });
            }
        }
        output.say(rows.trim_fmt());
    }
}

/// Names of classes from a file, one a line.
fn read_labels(path: &Path) -> anyhow::Result<Labels> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(Labels::new(text.lines()))
}

/// ImageNet's preprocessing, at the size that a network of photographs wants.
fn photo(network: &Network) -> anyhow::Result<Preprocess> {
    match (&network.input_shape()[..], Preprocess::IMAGENET) {
        (&[3, h, w], Preprocess::Photo(imagenet)) if h == w && (1..=4096).contains(&h) => {
            let (crop, shorter_side) = (h as u32, (h * 256).div_ceil(224) as u32);
            Ok(Preprocess::Photo(Photo { shorter_side, crop, ..imagenet }))
        }
        (shape, _) => bail!("takes {shape:?} instead of square colour pictures"),
    }
}

/// Probabilities as they are; the softmax of what are none.
fn as_probabilities(output: Tensor) -> anyhow::Result<Tensor> {
    let (shape, values) = (output.shape().clone(), output.to_f32().into_owned());
    let classes = values.len() / output.batch().max(1);
    let are = |sample: &[f32]| {
        let sum: f32 = sample.iter().sum();
        sample.iter().all(|&v| v >= 0.0) && (sum - 1.0).abs() < 1e-3
    };
    if values.chunks(classes).all(are) {
        return Ok(output);
    }
    let softmax = |sample: &[f32]| {
        let largest = sample.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = sample.iter().map(|v| (v - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.into_iter().map(move |power| power / sum)
    };
    Ok(Tensor::new(shape, values.chunks(classes).flat_map(softmax).collect())?)
}
