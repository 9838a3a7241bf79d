//! Figure 7: how many times faster the flattened layer runs, by image size, forward and backward.
//!
//! Forward: the layer's own steps in sessions that run in turns; the dense one by whichever row of the backend's table turns out to
//! be the fastest, the flattened one as the backend chooses. Values lie as the rows want them, as they do between layers of a
//! network; what it takes to bring them there from the caller's planes and back is in neither time.
//!
//! Backward: [`Trainer::gradients`](cnn::Trainer::gradients) of the layer between learned factors of its channels and the
//! smallest classifier, less the time that the same network, compiled for inference, takes forward. So gradients of weights and of
//! the layer's input are in it, as is what else the trainer does in a step; the optimiser is not. Where the trainer's own forward
//! pass is slower than inference, the difference counts as backward.

use cnn::interface::{KeepGradients, Recipe};
use cnn::{Backend, CompileOptions, Network, Session, Tensor, Weights};

use super::Flattened;
use super::layer::{self, CHANNELS, Kind};
use super::turns::{in_turns, ms};
use crate::chart::{Scale, chart};
use crate::load;
use crate::output::Output;
use crate::sheet::{Sheet, cell};

const BATCH: usize = 128;
/// What the paper found, about.
const PAPER: f64 = 2.0;

/// Milliseconds, dense and flattened.
struct Point {
    size: usize,
    dense_algorithm: String,
    forward: [f64; 2],
    gradients: [f64; 2],
    inference: [f64; 2],
}

impl Point {
    fn forward_speedup(&self) -> f64 {
        self.forward[0] / self.forward[1]
    }

    fn backward(&self, kind: Kind) -> f64 {
        self.gradients[kind as usize] - self.inference[kind as usize]
    }

    /// Nothing where noise is larger than a pass.
    fn backward_speedup(&self) -> Option<f64> {
        let [dense, flattened] = Kind::BOTH.map(|kind| self.backward(kind));
        (dense > 0.0 && flattened > 0.0).then(|| dense / flattened)
    }
}

pub(super) fn run(output: &Output, command: &Flattened) -> anyhow::Result<()> {
    let backend = load::backend(&command.backend, command.threads)?;
    let batch = command.batch.unwrap_or(BATCH);
    let mut points = Vec::new();
    let mut sheet = Sheet::new(&[
        "image size",
        "forward speed-up",
        "backward speed-up",
        "dense algorithm",
        "dense forward ms",
        "flattened forward ms",
        "dense backward ms",
        "flattened backward ms",
        "dense gradients ms",
        "flattened gradients ms",
    ]);
    for &size in &command.sizes {
        let point = point(output, backend.as_ref(), batch, size)?;
        let [dense, flattened] = Kind::BOTH.map(|kind| point.backward(kind));
        let times = [point.forward[0], point.forward[1], dense, flattened, point.gradients[0], point.gradients[1]];
        let speedups = [Some(point.forward_speedup()), point.backward_speedup()].map(cell);
        let row = [size.to_string()].into_iter().chain(speedups).chain([point.dense_algorithm.clone()]);
        sheet.add(row.chain(times.map(|time| cell(Some(time)))));
        points.push(point);
        // What is measured is kept where a larger size fails.
        sheet.write(&command.output, "figure7")?;
    }
    sheet.print(output);
    let title = format!(
        "{CHANNELS} to {CHANNELS} channels by 5x5, {batch} images, {} of {} threads: times faster flattened",
        backend.name(),
        backend.device().threads
    );
    let svg = command.output.join("figure7.svg");
    draw(&svg, &title, &points)?;
    let files = [sheet.write(&command.output, "figure7")?, svg];
    let column = |value: fn(&Point) -> f64| points.iter().map(value).collect::<Vec<_>>();
    output.finish(&serde_json::json!({
        "backend": backend.name(),
        "device": backend.device().name,
        "threads": backend.device().threads,
        "batch": batch,
        "image_size": command.sizes,
        "forward_speedup": column(Point::forward_speedup),
        "backward_speedup": points.iter().map(Point::backward_speedup).collect::<Vec<_>>(),
        "dense_algorithm": points.iter().map(|point| &point.dense_algorithm).collect::<Vec<_>>(),
        "dense_forward_ms": column(|point| point.forward[0]),
        "flattened_forward_ms": column(|point| point.forward[1]),
        "dense_backward_ms": column(|point| point.backward(Kind::Dense)),
        "flattened_backward_ms": column(|point| point.backward(Kind::Flattened)),
        "dense_gradients_ms": column(|point| point.gradients[0]),
        "flattened_gradients_ms": column(|point| point.gradients[1]),
        "files": files,
    }))
}

fn draw(path: &std::path::Path, title: &str, points: &[Point]) -> anyhow::Result<()> {
    let places: Vec<String> = points.iter().map(|point| format!("{0}x{0}", point.size)).collect();
    let mut lines = vec![("forward", points.iter().map(Point::forward_speedup).collect())];
    if let Some(backward) = points.iter().map(Point::backward_speedup).collect() {
        lines.push(("backward", backward));
    }
    lines.push(("the paper, forward", vec![PAPER; points.len()]));
    chart(path, title, Scale::Linear, &places, &lines)
}

fn point(output: &Output, backend: &dyn Backend, batch: usize, size: usize) -> anyhow::Result<Point> {
    let [dense, flattened] =
        [with_weights(Kind::Dense.in_classifier(size)?)?, with_weights(Kind::Flattened.in_classifier(size)?)?];
    let images = layer::images(batch, size)?;
    let (dense_algorithm, forward) = forward(output, backend, &images, size)?;
    let gradients = {
        let trainer =
            |(network, weights): &(Network, Weights)| backend.compile_training(network, weights, &Recipe::default());
        let labels = layer::labels(batch);
        in_turns(&mut [trainer(&dense)?, trainer(&flattened)?], |trainer| {
            ms(|| trainer.gradients(&images, &labels, &mut KeepGradients))
        })?
    };
    let session = |model: &(Network, Weights)| session(backend, model, &options(batch));
    let inference = in_turns(&mut [session(&dense)?, session(&flattened)?], |session| ms(|| session.run(&images)))?;
    let point = Point { size, dense_algorithm, forward, gradients, inference };
    let speedups = [Some(point.forward_speedup()), point.backward_speedup()].map(cell);
    output.say(format!("{size}x{size}: forward {}, backward {} times faster", speedups[0], speedups[1]));
    Ok(point)
}

fn with_weights(network: Network) -> anyhow::Result<(Network, Weights)> {
    let weights = layer::weights(&network)?;
    Ok((network, weights))
}

fn options(batch: usize) -> CompileOptions {
    CompileOptions::default().batch(batch)
}

fn session(
    backend: &dyn Backend,
    (network, weights): &(Network, Weights),
    options: &CompileOptions,
) -> anyhow::Result<Box<dyn Session>> {
    Ok(backend.compile(network, weights, options)?.session()?)
}

/// Milliseconds of a run's steps that are layers.
fn once(session: &mut dyn Session, images: &Tensor) -> anyhow::Result<f64> {
    let steps = session.profile(images)?.steps;
    Ok(steps.iter().filter(|step| !step.layer.is_empty()).map(|step| 1e3 * step.time.as_secs_f64()).sum())
}

/// The row that made the dense layer fastest, and both layers' times.
fn forward(output: &Output, backend: &dyn Backend, images: &Tensor, size: usize) -> anyhow::Result<(String, [f64; 2])> {
    let alone = |kind: Kind| with_weights(kind.alone(CHANNELS, size)?);
    let (row, dense) = fastest(output, backend, &alone(Kind::Dense)?, images)?;
    let flattened = session(backend, &alone(Kind::Flattened)?, &options(images.batch()))?;
    let times = in_turns(&mut [dense, flattened], |session| once(session.as_mut(), images))?;
    Ok((row, times))
}

/// The dense layer by the backend's own choice and by every other row that takes it: the fastest, with its name.
fn fastest(
    output: &Output,
    backend: &dyn Backend,
    model: &(Network, Weights),
    images: &Tensor,
) -> anyhow::Result<(String, Box<dyn Session>)> {
    let options = options(images.batch());
    let auto = backend.compile(&model.0, &model.1, &options)?;
    let step = auto.report().steps.iter().find(|step| step.layer == layer::NAME);
    let chosen = step.map_or(String::from("auto"), |step| step.algorithm.clone());
    let considered = step.into_iter().flat_map(|step| &step.considered).map(|row| row.algorithm.clone());
    let others: Vec<String> = considered.filter(|row| *row != chosen).collect();
    let mut best = (chosen, auto.session()?);
    let mut best_ms = trial(best.1.as_mut(), images, f64::INFINITY)?;
    output.say(format!("{}: {best_ms:.1} ms, the backend's choice", best.0));
    for row in others {
        let tried = session(backend, model, &options.clone().algorithm(&row).strict()).and_then(|mut session| {
            let ms = trial(session.as_mut(), images, best_ms)?;
            Ok((session, ms))
        });
        match tried {
            Ok((session, ms)) => {
                output.say(format!("{row}: {ms:.1} ms"));
                if ms < best_ms {
                    (best, best_ms) = ((row, session), ms);
                }
            }
            Err(error) => output.say(format!("{row}: {error:#}")),
        }
    }
    Ok(best)
}

/// Milliseconds of the best of three runs. For what is hopeless beside `best`, of fewer, or of as many times one image.
fn trial(session: &mut dyn Session, images: &Tensor, best: f64) -> anyhow::Result<f64> {
    const HOPELESS: f64 = 8.0;
    const SLOW: f64 = 2.0;
    let mut run = |images: &Tensor| once(session, images);
    let mut shape = images.shape().to_vec();
    shape[0] = 1;
    let one = Tensor::zeros(&shape[..])?;
    // The first run of a session does more than the others.
    run(&one)?;
    let reckoned = run(&one)? * images.batch() as f64;
    if reckoned > HOPELESS * best {
        return Ok(reckoned);
    }
    let first = run(images)?;
    if first > SLOW * best {
        return Ok(first);
    }
    Ok(first.min(run(images)?).min(run(images)?))
}
