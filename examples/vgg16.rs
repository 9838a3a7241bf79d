//! VGG-16 on every backend in turn: its time, its steps, and the class, which is the same for all.
//!
//! `cargo run --release --example vgg16 [WEIGHTS.safetensors]`, without an argument with random weights.

use std::path::Path;

use anyhow::ensure;
use cnn::models::{self, weights_file};
use cnn::{BackendOptions, CompileOptions, Tensor, Weights, backends};

fn main() -> anyhow::Result<()> {
    let network = models::find("vgg16")?.network()?;
    let weights = match std::env::args().nth(1) {
        Some(path) => weights_file::map(Path::new(&path))?,
        None => Weights::random(&network, 0)?,
    };
    let pixels = (0..3 * 224 * 224).map(|i| (i as f32 * 0.37).sin());
    let input = Tensor::new([1, 3, 224, 224], pixels.collect())?;

    let mut classes = Vec::new();
    for entry in backends() {
        let backend = match entry.create(&BackendOptions::default()) {
            Ok(backend) => backend,
            Err(error) => {
                println!("{}: {error}", entry.name);
                continue;
            }
        };
        let plan = backend.compile(&network, &weights, &CompileOptions::default())?;
        let profile = plan.session()?.profile(&input)?;
        println!("\n{}: {:.1} ms", entry.name, 1e3 * profile.total.as_secs_f64());
        for step in &profile.steps {
            let ms = 1e3 * step.time.as_secs_f64();
            println!("  {:<14} {:<16} {ms:>9.3} ms {:>8.1} GFLOP/s", step.layer, step.algorithm, step.gflops());
        }
        classes.push(profile.output.argmax()[0]);
    }
    println!("\nclasses: {classes:?}");
    ensure!(classes.windows(2).all(|pair| pair[0] == pair[1]), "the backends disagree");
    Ok(())
}
