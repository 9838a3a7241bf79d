//! A picture goes in, a class comes out.
//!
//! `cargo run --release --example classify [PICTURE [MODEL [WEIGHTS.safetensors]]]`, without arguments a shipped digit.

use std::path::Path;

use anyhow::Context;
use cnn::{CompileOptions, backend, models};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = models::find(arguments.get(1).map_or("lenet5", String::as_str))?;
    let weights = match arguments.get(2) {
        Some(path) => model.weights_from(Path::new(path))?,
        None => model.shipped_weights().context("this model needs a weights file")??,
    };
    let picture = match arguments.first() {
        Some(path) => model.preprocess().picture(Path::new(path))?,
        None => model.preprocess().bytes(models::digits()[4].1)?,
    };

    let plan = backend("auto")?.compile(&model.network()?, &weights, &CompileOptions::default())?;
    let probabilities = plan.session()?.run(&picture)?;
    for prediction in &model.labels().top_k(&probabilities, 5)?[0] {
        println!("{:>6.2} %  {}", 100.0 * prediction.probability, prediction.label);
    }
    Ok(())
}
