//! Errors of the eight-bit types on what workers of a training send one another: gradients where they share the samples, outputs of
//! layers where they share the layers. The rows on MNIST of the paper's Table 1.

use std::collections::BTreeMap;
use std::path::Path;

use cnn::interface::GradientSink;
use cnn::models::{self, Model};
use cnn::train::codec::{self, CodeTable, Scaling};
use cnn::train::data::{Batches, Dataset, Order, Split};
use cnn::{Backend, Layer, Network, NetworkBuilder, Optimizer, Recipe, Tensor, Weights};
use rayon::ThreadPool;
use serde::Serialize;

use super::errors;
use crate::load;
use crate::output::{Output, table};

/// The network that the paper measured, and how it was trained.
const MODEL: &str = "mlp-mnist";
const BATCH: usize = 128;
const LEARNING_RATE: f32 = 0.003;

/// About how many steps' numbers are looked at, evenly spread over the epoch.
const LOOKS: usize = 20;

const TYPES: [&str; 4] =
    [codec::dynamic_tree::NAME, codec::linear::NAME, codec::mantissa::NAME, codec::static_tree::NAME];

/// Errors of a type on the numbers of a layer.
#[derive(Serialize)]
pub(super) struct Row {
    /// `gradients` or `activations`.
    what: &'static str,
    layer: String,
    name: &'static str,
    mean_absolute_error: f64,
    relative_error_percent: f64,
}

/// Sums over the steps that are looked at: the absolute and the relative error, and how many there were.
type Sums = BTreeMap<(&'static str, usize, &'static str), (f64, f64, usize)>;

/// Trains over the data set once.
pub(super) fn rows(output: &Output, pool: &ThreadPool, (folder, seed): (&Path, u64)) -> anyhow::Result<Vec<Row>> {
    let model = models::find(MODEL)?;
    let network = model.network()?;
    let data = Dataset::open(folder, Split::Train)?;
    data.check(&network)?;
    let backend = load::backend("cpu", Some(pool.current_num_threads()))?;
    let optimizer = Optimizer::all().into_iter().find(|optimizer| optimizer.name() == "rmsprop").unwrap_or_default();
    let recipe = Recipe::new(optimizer.with_weight_decay(0.0)).seed(seed);
    let weights = Weights::initial(&network, seed, model.initialization())?;
    let mut trainer = backend.compile_training(&network, &weights, &recipe)?;
    let layers: Vec<usize> = (0..network.nodes().len()).filter(|&node| has_weights(&network, node)).collect();
    let mut sums = Sums::new();
    let mut batches = Batches::new(&data, model.preprocess(), BATCH, Order::Shuffled { seed, epoch: 0 });
    let every = (batches.count() / LOOKS).max(1);
    for step in 1.. {
        let Some((images, labels)) = batches.next_batch()? else { break };
        let mut seen = Gradients::default();
        trainer.step(&images, &labels, LEARNING_RATE, &mut seen)?;
        if step % every != 0 {
            continue;
        }
        let weights = trainer.weights()?;
        for (place, &node) in layers.iter().enumerate() {
            let name = &network.parameters_of(node)[0].name;
            if let Some(gradient) = seen.0.get(name) {
                add(pool, &mut sums, ("gradients", place), gradient)?;
            }
            let outputs = outputs(backend.as_ref(), (&network, &weights), node, &images)?;
            add(pool, &mut sums, ("activations", place), &outputs)?;
        }
    }
    let rows: Vec<Row> = sums.into_iter().map(|(key, sums)| row(&network, &layers, key, sums)).collect();
    show(output, model, &rows);
    Ok(rows)
}

fn has_weights(network: &Network, node: usize) -> bool {
    matches!(network.nodes()[node].layer, Layer::Conv2d(_) | Layer::Linear(_))
}

/// The gradients of a step, by parameter.
#[derive(Default)]
struct Gradients(BTreeMap<String, Vec<f32>>);

impl GradientSink for Gradients {
    fn ready(&mut self, name: &str, gradient: &mut [f32]) -> Result<(), cnn::CoreError> {
        self.0.insert(name.to_string(), gradient.to_vec());
        Ok(())
    }
}

/// What a layer makes of images, after the activation behind it.
fn outputs(
    backend: &dyn Backend,
    (network, weights): (&Network, &Weights),
    node: usize,
    images: &Tensor,
) -> anyhow::Result<Vec<f32>> {
    let nodes = network.nodes();
    let follows = nodes.get(node + 1).is_some_and(|next| matches!(next.layer, Layer::Activation(_)));
    let mut first: NetworkBuilder = Network::builder(network.name(), network.input_shape().clone());
    for node in &nodes[..=node + usize::from(follows)] {
        first.push_with(&node.name, node.layer.clone(), &node.inputs)?;
    }
    let (first, mut own) = (first.finish()?, weights.clone());
    let known: Vec<String> = first.parameters().map(|parameter| parameter.name).collect();
    for parameter in network.parameters().filter(|parameter| !known.contains(&parameter.name)) {
        own.remove(&parameter.name);
    }
    let plan = backend.compile(&first, &own, &Default::default())?;
    Ok(plan.session()?.run(images)?.to_f32().into_owned())
}

fn add(
    pool: &ThreadPool,
    sums: &mut Sums,
    (what, place): (&'static str, usize),
    numbers: &[f32],
) -> anyhow::Result<()> {
    for table in TYPES.iter().filter_map(|name| codec::table(name)) {
        let codec = codec::find_scaled(table.name(), fitting(&table, numbers))?;
        let [absolute, relative] = errors(pool, codec.as_ref(), numbers)?;
        let sum = sums.entry((what, place, table.name())).or_default();
        *sum = (sum.0 + absolute, sum.1 + relative, sum.2 + 1);
    }
    Ok(())
}

/// The largest magnitude for the types that the paper divides by it; for the others the smallest exponent offset that cuts nothing off.
fn fitting(table: &CodeTable, numbers: &[f32]) -> Scaling {
    if [codec::dynamic_tree::NAME, codec::linear::NAME].contains(&table.name()) {
        return Scaling::Tensor;
    }
    let largest = numbers.iter().fold(0f32, |largest, number| largest.max(number.abs()));
    let most = table.values().iter().fold(0f32, |most, value| most.max(*value));
    Scaling::Offset((largest / most).log10().ceil().clamp(-30.0, 30.0) as i8)
}

fn row(
    network: &Network,
    layers: &[usize],
    (what, place, name): (&'static str, usize, &'static str),
    (absolute, relative, steps): (f64, f64, usize),
) -> Row {
    let steps = steps as f64;
    Row {
        what,
        layer: network.nodes()[layers[place]].name.clone(),
        name,
        mean_absolute_error: absolute / steps,
        relative_error_percent: 100.0 * relative / steps,
    }
}

fn show(output: &Output, model: &Model, rows: &[Row]) {
    let mut shown = table(&[model.name, "layer", "type", "absolute error", "relative error"], 3..5);
    for row in rows {
        let errors = [format!("{:.2e}", row.mean_absolute_error), format!("{:.2} %", row.relative_error_percent)];
        shown.add_row([row.what.to_string(), row.layer.clone(), row.name.to_string()].into_iter().chain(errors));
    }
    output.say(shown.trim_fmt());
}
