//! `cnn bench MODEL --training`: how long a training epoch and a test take, by the plain loops, by `cpu` with one thread
//! and more, and by `ocl`, as the tables of a paper on LeNet-5 with OpenMP and CUDA have it.

use std::path::Path;
use std::time::Instant;

use cnn::interface::Recipe;
use cnn::models::{Model, Preprocess};
use cnn::train::data::{Batches, Dataset, Order, Split, for_each_batch};
use cnn::train::metrics::evaluate;
use cnn::{Backend, Network, Weights};
use serde::Serialize;

use crate::load;
use crate::output::{Output, table};

/// What times are told for: the size of MNIST.
const TRAIN: f64 = 60_000.0;
const TEST: f64 = 10_000.0;

/// Images of a network as small as LeNet-5 that the plain loops are timed on, and all others.
const FEW: usize = 640;
const MANY: usize = 38_400;

/// As many of those as take the time that they take LeNet-5, but so many batches at least.
fn images_for(network: &Network, count: usize, batch: usize, batches: usize) -> usize {
    const LENET5: u64 = 850_000;
    let share = LENET5 as f64 / network.flops().max(1) as f64;
    ((count as f64 * share) as usize).min(MANY).max(batches * batch).next_multiple_of(batch)
}

#[derive(Serialize)]
struct Row {
    name: String,
    method: String,
    train_images_per_s: f64,
    test_images_per_s: f64,
}

/// The data set's images where there is one, else noise of the model's size.
pub(super) fn images(
    data: Option<&Path>,
    preprocess: &Preprocess,
    classes: usize,
    count: usize,
) -> anyhow::Result<Dataset> {
    if let Some(folder) = data {
        return Ok(Dataset::open(folder, Split::Train)?);
    }
    let shape = preprocess.fitted_shape();
    let noise = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    let labels = (0..count).map(|i| (i % classes) as u32).collect();
    Ok(Dataset::new(shape, (0..count * shape.iter().product::<usize>()).map(noise).collect(), labels)?)
}

/// `backend` alone where it is given, else all.
pub(super) fn run(
    output: &Output,
    (model, network): (&Model, &Network),
    data: Option<&Path>,
    (batch, threads): (usize, Option<usize>),
    backend: Option<&str>,
) -> anyhow::Result<()> {
    let (few, many) = (images_for(network, FEW, batch, 2), images_for(network, MANY, batch, 24));
    let all = images(data, model.preprocess(), network.output_shape().elements(), many)?;
    all.check(network)?;
    let part = |count: usize| {
        let mut part = all.clone();
        part.truncate(count);
        part
    };
    let most = load::backend("cpu", threads)?.device().threads;
    let mut rows = Vec::new();
    let mut add = |name: String, backend: &dyn Backend, images: usize| -> anyhow::Result<()> {
        let row = time(name, backend, (model, network), &part(images), batch)?;
        let seconds = TRAIN / row.train_images_per_s;
        output.say(format!("{}: {}, {seconds:.2} s for {TRAIN:.0} images", row.name, row.method));
        rows.push(row);
        Ok(())
    };
    if let Some(name) = backend {
        add(name.to_string(), load::backend(name, threads)?.as_ref(), if name == "reference" { few } else { many })?;
    } else {
        add("reference".to_string(), load::backend("reference", None)?.as_ref(), few)?;
        for threads in 1..=most {
            add(format!("cpu, {threads} threads"), load::backend("cpu", Some(threads))?.as_ref(), many)?;
        }
        match load::backend("ocl", None) {
            Ok(ocl) => {
                add("ocl".to_string(), ocl.as_ref(), many).unwrap_or_else(|error| output.say(format!("ocl: {error}")))
            }
            Err(error) => output.say(format!("ocl: {error}")),
        }
    }
    let header = ["", "training, s", "speed-up", "images/s", "testing, s", "speed-up", "images/s"];
    let mut shown = table(&header, 1..header.len());
    let base = (rows[0].train_images_per_s, rows[0].test_images_per_s);
    for row in &rows {
        let figures = |rate: f64, base: f64, count: f64| {
            [format!("{:.3}", count / rate), format!("{:.1}", rate / base), format!("{rate:.0}")]
        };
        let [train, test] =
            [figures(row.train_images_per_s, base.0, TRAIN), figures(row.test_images_per_s, base.1, TEST)];
        shown.add_row([row.name.clone()].into_iter().chain(train).chain(test));
    }
    output.say(shown.trim_fmt());
    output.finish(&serde_json::json!({ "model": network.name(), "batch": batch, "rows": rows }))
}

fn time(
    name: String,
    backend: &dyn Backend,
    (model, network): (&Model, &Network),
    data: &Dataset,
    batch: usize,
) -> anyhow::Result<Row> {
    let (weights, preprocess) = (Weights::initial(network, 1, model.initialization())?, model.preprocess());
    let mut trainer = backend.compile_training(network, &weights, &Recipe::default())?;
    let mut fastest = f64::INFINITY;
    for pass in 0..2 {
        let start = Instant::now();
        let order = Order::Shuffled { seed: 1, epoch: pass };
        let batches = Batches::new(data, preprocess, batch, order);
        for_each_batch(batches, trainer.shares_threads(), |images, labels, piece| -> anyhow::Result<()> {
            // Small enough to stay finite on noise too.
            trainer.step_sharing(images, labels, 1e-3, piece)?;
            Ok(())
        })?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    let mut test = data.clone();
    test.truncate(TEST as usize);
    let weights = trainer.weights()?;
    let mut tested = f64::INFINITY;
    for _ in 0..2 {
        let start = Instant::now();
        evaluate(backend, (network, &weights), preprocess, &test, 250, |_| {})?;
        tested = tested.min(start.elapsed().as_secs_f64());
    }
    Ok(Row {
        name,
        method: trainer.method(),
        train_images_per_s: data.len() as f64 / fastest,
        test_images_per_s: test.len() as f64 / tested,
    })
}
