//! Figure 6: memory of a layer in training, by image size: by two formulas, and as a process held it that did nothing else.
//!
//! Formulas, for a batch, 4 bytes a number. Naive: weights, the input, and the output of every convolution, which the backward pass
//! reads: one where the layer is dense, six where it is flattened. BLAS: besides, for the dense layer the windows of every image
//! side by side, C X Y numbers a pixel; for the flattened one another set of planes, F numbers a pixel, since one dimension at a
//! time can be done in place forward and needs a sum over pixels backward.
//!
//! Measured: what the most resident memory of a process grows by in a few steps on the layer between factors of its channels and the smallest
//! classifier: values, gradients, packed weights, and all that the backend works with. Of a device that is not the processor, the
//! host's share.

use anyhow::Context;
use cnn::interface::{KeepGradients, Recipe};
use serde_json::Value;

use super::Flattened;
use super::layer::{self, CHANNELS, KERNEL, Kind};
use crate::chart::{Scale, chart};
use crate::commands::child;
use crate::load;
use crate::memory::peak_rss_mib;
use crate::output::Output;
use crate::sheet::{Sheet, cell};

const BATCH: usize = 16;
const STEPS: usize = 3;
const HEADER: [&str; 7] = [
    "image size",
    "dense naive MiB",
    "flattened naive MiB",
    "dense BLAS MiB",
    "flattened BLAS MiB",
    "dense measured MiB",
    "flattened measured MiB",
];

pub(super) fn run(output: &Output, command: &Flattened) -> anyhow::Result<()> {
    let batch = command.batch.unwrap_or(BATCH);
    let mut sheet = Sheet::new(&HEADER);
    let mut columns: [Vec<Option<f64>>; 6] = Default::default();
    for &size in &command.sizes {
        let [dense, flattened] = [formulas(Kind::Dense, batch, size)?, formulas(Kind::Flattened, batch, size)?];
        let mut row = vec![Some(dense[0]), Some(flattened[0]), Some(dense[1]), Some(flattened[1])];
        for kind in Kind::BOTH {
            row.push(measured(output, command, kind, size)?);
        }
        sheet.add([size.to_string()].into_iter().chain(row.iter().copied().map(cell)));
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    sheet.print(output);
    let svg = command.output.join("figure6.svg");
    let places: Vec<String> = command.sizes.iter().map(|size| format!("{size}x{size}")).collect();
    let line = |(name, column): (&&'static str, &Vec<Option<f64>>)| {
        Some((name.trim_end_matches(" MiB"), column.iter().copied().collect::<Option<Vec<f64>>>()?))
    };
    let lines: Vec<(&str, Vec<f64>)> = HEADER[1..].iter().zip(&columns).filter_map(line).collect();
    chart(&svg, &format!("MiB of a layer in training, {batch} images"), Scale::Logarithmic, &places, &lines)?;
    let files = [sheet.write(&command.output, "figure6")?, svg];
    output.finish(&serde_json::json!({
        "batch": batch,
        "image_size": command.sizes,
        "dense_naive_mib": columns[0],
        "flattened_naive_mib": columns[1],
        "dense_blas_mib": columns[2],
        "flattened_blas_mib": columns[3],
        "dense_measured_mib": columns[4],
        "flattened_measured_mib": columns[5],
        "files": files,
    }))
}

/// MiB of the naive and of the BLAS form.
fn formulas(kind: Kind, batch: usize, size: usize) -> anyhow::Result<[f64; 2]> {
    let network = kind.alone(CHANNELS, size)?;
    let values: usize = network.values().map(|value| network.shape(value).elements()).sum();
    let windows = match kind {
        Kind::Dense => CHANNELS * KERNEL * KERNEL,
        Kind::Flattened => CHANNELS,
    };
    let mib = |numbers: f64| 4.0 * numbers / f64::from(1 << 20);
    let naive = layer::weight_count(&network) as f64 + batch as f64 * values as f64;
    Ok([mib(naive), mib(naive + batch as f64 * windows as f64 * (size * size) as f64)])
}

fn measured(output: &Output, command: &Flattened, kind: Kind, size: usize) -> anyhow::Result<Option<f64>> {
    let batch = command.batch.unwrap_or(BATCH);
    let words = format!("bench flattened --held-by {} --sizes {size} --batch {batch}", kind.name());
    let words: Vec<String> = words.split(' ').map(str::to_string).chain(command.backend_words()).collect();
    let told = child::run(output, &words)?;
    let held = told.get("held_mib").and_then(Value::as_f64);
    let method = told.get("method").and_then(Value::as_str).unwrap_or_default();
    output.say(format!("{size}x{size} {}: {} MiB, training {method}", kind.name(), cell(held)));
    Ok(held)
}

/// What the process of its own does.
pub(super) fn hold(output: &Output, command: &Flattened, kind: Kind) -> anyhow::Result<()> {
    let batch = command.batch.unwrap_or(BATCH);
    let &size = command.sizes.first().context("--sizes is empty")?;
    let backend = load::backend(&command.backend, command.threads)?;
    let network = kind.in_classifier(size)?;
    let before = peak_rss_mib();
    let mut trainer = backend.compile_training(&network, &layer::weights(&network)?, &Recipe::default())?;
    let (images, labels) = (layer::images(batch, size)?, layer::labels(batch));
    for _ in 0..STEPS {
        trainer.step(&images, &labels, 1e-3, &mut KeepGradients)?;
    }
    let held = peak_rss_mib().zip(before).map(|(peak, before)| peak - before);
    output.finish(&serde_json::json!({ "held_mib": held, "method": trainer.method() }))
}
