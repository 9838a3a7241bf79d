//! Models, weights and backends from the command line's words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use cnn::compress::rebuild;
use cnn::models::onnx::{ImportOptions, Imported};
use cnn::models::{self, Model, weights_file};
use cnn::train::TrainedOn;
use cnn::{Backend, BackendOptions, CompileOptions, Network, Plan, Weights};

/// A model by name.
pub(crate) fn model(name: &str) -> anyhow::Result<&'static Model> {
    if onnx_file(name).is_some() {
        bail!("{name}: only bench, classify and inspect take ONNX files; name a model: {}", model_names());
    }
    Ok(models::find(name)?)
}

/// The path that a word is, where it ends as the names of ONNX files do.
pub(crate) fn onnx_file(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")).then_some(path)
}

/// What an ONNX file leaves open.
#[derive(Args)]
pub(crate) struct Import {
    /// The shape of one input, such as 3,48,320, where an ONNX file leaves it open.
    #[arg(long, value_name = "C,H,W", value_delimiter = ',')]
    input_shape: Option<Vec<usize>>,
}

impl Import {
    /// Imports a file.
    pub(crate) fn read(&self, path: &Path) -> anyhow::Result<Imported> {
        let options = ImportOptions::default();
        let options = match &self.input_shape {
            Some(shape) => options.input_shape(&shape[..]),
            None => options,
        };
        Ok(models::onnx::read(path, &options)?)
    }

    /// Errors where a shape is given for what is no ONNX file.
    pub(crate) fn check_unused(&self, what: &str) -> anyhow::Result<()> {
        match self.input_shape {
            Some(_) => bail!("{what}: --input-shape is for ONNX files"),
            None => Ok(()),
        }
    }
}

/// The network of an ONNX file, with its weights, or with those of another file.
pub(crate) fn onnx(path: &Path, import: &Import, weights: Option<&Path>) -> anyhow::Result<(Network, Weights)> {
    let imported = import.read(path)?;
    let own = match weights {
        Some(file) => weights_file::map(file)?,
        None => imported.weights,
    };
    Ok((imported.network, own))
}

fn model_names() -> String {
    models::models().iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}

/// The weights of a file, mapped into memory, or those that come with the model; with the network that they belong to, which
/// is the model's, or what it was compressed to.
pub(crate) fn weights(model: &Model, file: Option<&Path>) -> anyhow::Result<(Network, Weights)> {
    let network = model.network()?;
    match (file, model.shipped_weights()) {
        (Some(path), _) => {
            let weights = model.weights_from(path)?;
            let network = rebuild(&network, &weights).with_context(|| path.display().to_string())?;
            Ok((network, weights))
        }
        (None, Some(shipped)) => Ok((network, shipped?)),
        (None, None) => bail!("`{}` comes without weights; pass --weights FILE.safetensors", model.name),
    }
}

/// What weights say of the images that they were trained on.
pub(crate) fn trained_on(weights: &Weights, file: Option<&Path>) -> anyhow::Result<TrainedOn> {
    let trained_on = TrainedOn::of(weights);
    match file {
        Some(file) => trained_on.with_context(|| file.display().to_string()),
        None => Ok(trained_on?),
    }
}

/// A backend by name, on so many threads.
pub(crate) fn backend(name: &str, threads: Option<usize>) -> anyhow::Result<Arc<dyn Backend>> {
    if threads == Some(0) {
        bail!("--threads must be at least 1");
    }
    Ok(cnn::backend_with(name, &BackendOptions::default().threads(threads).cache(cache_folder()))?)
}

/// Where the parameters of tuned OpenCL devices are kept.
pub(crate) fn tuning_file() -> Option<PathBuf> {
    Some(cache_folder()?.join("tuning.toml"))
}

/// Where compiled kernels are kept: the user's cache folder, where there is one.
fn cache_folder() -> Option<PathBuf> {
    let folder = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("cnn").join("ocl"))
}

/// A plan; what is wrong with the weights is told with the name of their file.
pub(crate) fn plan(
    backend: &dyn Backend,
    network: &Network,
    (weights, file): (&Weights, Option<&Path>),
    options: &CompileOptions,
) -> anyhow::Result<Arc<dyn Plan>> {
    let plan = backend.compile(network, weights, options);
    match file {
        Some(file) => plan.with_context(|| file.display().to_string()),
        None => Ok(plan?),
    }
}
