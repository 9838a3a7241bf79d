//! Lists the backends, prefers one, and reports what was chosen for each layer.
//!
//! `cargo run --release --example choose_backend [PREFERRED ..]`, such as `ocl cpu`.

use cnn::models;
use cnn::{BackendOptions, CompileOptions, Tensor, Weights, backend, backends};

fn main() -> anyhow::Result<()> {
    for entry in backends() {
        match entry.create(&BackendOptions::default()) {
            Ok(backend) => println!("{:<10} {} ({})", entry.name, backend.device().name, entry.summary),
            Err(error) => println!("{:<10} not here: {error}", entry.name),
        }
    }

    // The first of the wanted that this machine has, else the fastest.
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let backend = match wanted.iter().find_map(|name| backend(name).ok()) {
        Some(backend) => backend,
        None => backend("auto")?,
    };

    let network = models::find("lenet5")?.network()?;
    let weights = Weights::random(&network, 0)?;
    let plan = backend.compile(&network, &weights, &CompileOptions::default().batch(8))?;
    print!("\n{}", plan.report());

    // One algorithm by name, wherever it accepts; `strict` makes an error of a layer that refuses it.
    if backend.name() == "cpu" {
        let options = CompileOptions::default().algorithm("conv2d/direct").strict();
        let direct = backend.compile(&network, &weights, &options)?;
        let input = Tensor::zeros([8, 1, 32, 32])?;
        let (a, b) = (plan.session()?.run(&input)?, direct.session()?.run(&input)?);
        println!("\nthe same classes by both: {}", a.argmax() == b.argmax());
    }
    Ok(())
}
