//! `cnn inspect`

use std::path::{Path, PathBuf};

use clap::Args;
use cnn::Network;
use cnn::models::{self, weights_file};
use serde::Serialize;

use crate::load;
use crate::output::{Output, table};

/// Lists the layers of a model or an ONNX file, or the tensors of a safetensors file.
#[derive(Args)]
pub(crate) struct Inspect {
    /// A model's name, or a file.
    what: String,
    #[command(flatten)]
    import: load::Import,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    kind: String,
    output: Vec<usize>,
    parameters: u64,
    flops: u64,
}

#[derive(Serialize)]
struct TensorLine {
    name: String,
    shape: Vec<usize>,
    dtype: String,
}

impl Inspect {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<()> {
        let path = Path::new(&self.what);
        if let Some(path) = load::onnx_file(&self.what) {
            let outline = self.import.read(path)?;
            let inputs: Vec<&str> = outline.inputs.iter().map(|(name, _)| &name[..]).collect();
            let batch = if outline.batched { "of any batch" } else { "of one sample, as it mixes those of a batch" };
            let summary = format!("from {} to {}, {batch}", inputs.join(", "), outline.output);
            return network(output, &self.what, &summary, &outline.network);
        }
        self.import.check_unused(&self.what)?;
        let is_model = models::models().iter().any(|model| model.name == self.what);
        match !is_model && (path.exists() || path.extension().is_some()) {
            true => self.file(path, output),
            false => self.model(output),
        }
    }

    fn model(&self, output: &Output) -> anyhow::Result<()> {
        let model = load::model(&self.what)?;
        network(output, model.name, model.summary, &model.network()?)
    }

    fn file(&self, path: &Path, output: &Output) -> anyhow::Result<()> {
        let weights = weights_file::map(path)?;
        let mut rows = table(&["tensor", "type", "shape"], 0..0);
        let line = |(name, view): (&str, cnn::WeightView<'_>)| TensorLine {
            name: name.to_string(),
            shape: view.shape.to_vec(),
            dtype: view.dtype.to_string(),
        };
        let tensors: Vec<TensorLine> = weights.iter().map(line).collect();
        for tensor in &tensors {
            rows.add_row([tensor.name.clone(), tensor.dtype.clone(), format!("{:?}", tensor.shape)]);
        }
        output.say(rows.trim_fmt());
        for (key, value) in weights.metadata() {
            output.say(format!("{key}: {value}"));
        }
        let elements: usize = weights.iter().map(|(_, view)| view.shape.elements()).sum();
        output.say(format!("{} tensors, {} numbers", tensors.len(), thousands(elements as u64)));
        output.finish(&serde_json::json!({
            "file": PathBuf::from(path),
            "numbers": elements,
            "metadata": weights.metadata(),
            "tensors": tensors,
        }))
    }
}

/// Lists the layers of a network.
fn network(output: &Output, name: &str, summary: &str, network: &Network) -> anyhow::Result<()> {
    output.say(format!("{name}: {summary}"));
    let mut rows = table(&["layer", "kind", "output", "parameters", "MFLOP"], 3..5);
    let layers = layers(network);
    for layer in &layers {
        rows.add_row([
            layer.name.clone(),
            layer.kind.clone(),
            format!("{:?}", layer.output),
            thousands(layer.parameters),
            format!("{:.2}", layer.flops as f64 / 1e6),
        ]);
    }
    output.say(rows.trim_fmt());
    let (parameters, flops) = (network.parameter_count(), network.flops());
    output.say(format!(
        "input {}, {} parameters, {:.2} MFLOP an image",
        network.input_shape(),
        thousands(parameters),
        flops as f64 / 1e6
    ));
    output.finish(&serde_json::json!({
        "model": name,
        "input": network.input_shape(),
        "parameters": parameters,
        "flops": flops,
        "layers": layers,
    }))
}

fn layers(network: &Network) -> Vec<Layer> {
    let layer = |(i, node): (usize, &cnn::network::Node)| Layer {
        name: node.name.clone(),
        kind: node.layer.operation().kind().to_string(),
        output: network.shape(network.output_of(i)).to_vec(),
        parameters: network.parameters_of(i).iter().map(|p| p.shape.elements() as u64).sum(),
        flops: network.flops_of(i),
    };
    network.nodes().iter().enumerate().map(layer).collect()
}

/// `138357544` as `138,357,544`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 138_357_544].map(super::thousands), ["0", "999", "1,000", "138,357,544"]);
    }
}
