//! `cnn bench MODEL --backend ocl --ladder`: every row of the convolution table beside the plain loops and the cpu backend, layer
//! by layer, as figures 3 and 7 of Loukadakis et al. 2018 have it.

use std::path::{Path, PathBuf};

use cnn::interface::Profile;
use cnn::{Backend, CompileOptions, Layer, Network, Tensor, Weights, backend, opencl};
use serde::Serialize;

use crate::chart::{Scale, chart};
use crate::load;
use crate::output::{Output, table};

/// The rung that the others are compared with, as in the paper.
const BASELINE: &str = "direct";

/// A way to run the network, with its times in milliseconds by layer.
#[derive(Serialize)]
pub(crate) struct Rung {
    name: String,
    ms: Vec<f64>,
    total_ms: f64,
}

#[derive(Serialize)]
pub(crate) struct Ladder {
    model: String,
    device: String,
    layers: Vec<String>,
    rungs: Vec<Rung>,
    figures: Vec<PathBuf>,
}

pub(crate) fn run(
    output: &Output,
    ocl: &dyn Backend,
    (network, weights): (&Network, &Weights),
    input: &Tensor,
    folder: &Path,
) -> anyhow::Result<()> {
    let layers = layers(network);
    let mut rungs = Vec::new();
    let mut climb = |name: &str, backend: &dyn Backend, algorithm: Option<&str>| -> anyhow::Result<()> {
        let mut options = CompileOptions::default().batch(input.batch());
        options.algorithm = algorithm.map(str::to_string);
        if let Some(rung) = rung(name, backend, (network, weights), input, &options, &layers)? {
            output.say(format!("{name}: {:.1} ms", rung.total_ms));
            rungs.push(rung);
        }
        Ok(())
    };
    climb("reference", backend("reference")?.as_ref(), None)?;
    // From the baseline up.
    for row in opencl::convolution_rows().iter().rev() {
        climb(row, ocl, Some(row))?;
    }
    climb("auto", ocl, None)?;
    climb("cpu", load::backend("cpu", None)?.as_ref(), None)?;
    print(output, &layers, &rungs);
    let figures = vec![folder.join("ladder-times.svg"), folder.join("ladder-speedups.svg")];
    std::fs::create_dir_all(folder)?;
    let times: Vec<&Rung> =
        rungs.iter().filter(|r| ["reference", "cpu", BASELINE].contains(&r.name.as_str())).collect();
    let title = format!("{} on {}: milliseconds", network.name(), ocl.device().name);
    chart(
        &figures[0],
        &title,
        Scale::Logarithmic,
        &layers,
        &times.iter().map(|r| (&*r.name, r.ms.clone())).collect::<Vec<_>>(),
    )?;
    let speedups = speedups(&rungs);
    let title = format!("{} on {}: times faster than `{BASELINE}`", network.name(), ocl.device().name);
    chart(&figures[1], &title, Scale::Logarithmic, &layers, &speedups)?;
    for figure in &figures {
        output.say(format!("wrote {}", figure.display()));
    }
    let (model, device) = (network.name().to_string(), ocl.device().name.clone());
    output.finish(&Ladder { model, device, layers, rungs, figures })
}

/// The layers that count: convolutions and fully connected ones. What follows one of them is counted with it.
fn layers(network: &Network) -> Vec<String> {
    let counts = |layer: &Layer| matches!(layer, Layer::Conv2d(_) | Layer::Linear(_));
    network.nodes().iter().filter(|node| counts(&node.layer)).map(|node| node.name.clone()).collect()
}

/// A rung, or nothing where the row that was asked for takes no layer of the network.
fn rung(
    name: &str,
    backend: &dyn Backend,
    (network, weights): (&Network, &Weights),
    input: &Tensor,
    options: &CompileOptions,
    layers: &[String],
) -> anyhow::Result<Option<Rung>> {
    /// Slow rungs run once after the first, others a few times.
    const SLOW_MS: f64 = 1000.0;
    const RUNS: usize = 5;
    // A row that refuses a layer is no news here: the next one takes it.
    let quiet = tracing::subscriber::NoSubscriber::default();
    let plan = tracing::subscriber::with_default(quiet, || backend.compile(network, weights, options))?;
    let takes = |row: &str| plan.report().steps.iter().any(|step| step.algorithm == format!("conv2d/{row}"));
    if options.algorithm.as_deref().is_some_and(|row| !takes(row)) {
        return Ok(None);
    }
    let mut session = plan.session()?;
    session.run(input)?;
    let mut best: Option<Vec<f64>> = None;
    for _ in 0..RUNS {
        let ms = by_layer(&session.profile(input)?, layers);
        let total = ms.iter().sum::<f64>();
        if best.as_ref().is_none_or(|best| total < best.iter().sum()) {
            best = Some(ms);
        }
        if total > SLOW_MS {
            break;
        }
    }
    let ms = best.unwrap_or_default();
    Ok(Some(Rung { name: name.to_string(), total_ms: ms.iter().sum(), ms }))
}

/// Times by layer; steps that are none of these, such as pooling and changes of layout, count with the one before.
fn by_layer(profile: &Profile, layers: &[String]) -> Vec<f64> {
    let mut ms = vec![0.0; layers.len()];
    let mut at = 0;
    for step in &profile.steps {
        at = layers.iter().position(|layer| *layer == step.layer).unwrap_or(at);
        ms[at] += 1e3 * step.time.as_secs_f64();
    }
    ms
}

/// Each rung's times under the baseline's, for the rungs of the device.
fn speedups(rungs: &[Rung]) -> Vec<(&str, Vec<f64>)> {
    let Some(baseline) = rungs.iter().find(|rung| rung.name == BASELINE) else { return Vec::new() };
    let of_device = rungs.iter().filter(|rung| !["reference", "cpu", BASELINE].contains(&rung.name.as_str()));
    let faster = |rung: &Rung| baseline.ms.iter().zip(&rung.ms).map(|(slow, fast)| slow / fast.max(1e-6)).collect();
    of_device.map(|rung| (&*rung.name, faster(rung))).collect()
}

fn print(output: &Output, layers: &[String], rungs: &[Rung]) {
    let header: Vec<&str> = ["layer"].into_iter().chain(rungs.iter().map(|rung| &*rung.name)).collect();
    let mut rows = table(&header, 1..header.len());
    for (i, layer) in layers.iter().enumerate() {
        rows.add_row([layer.clone()].into_iter().chain(rungs.iter().map(|rung| format!("{:.2}", rung.ms[i]))));
    }
    rows.add_row(["all, ms".to_string()].into_iter().chain(rungs.iter().map(|rung| format!("{:.1}", rung.total_ms))));
    if let Some(baseline) = rungs.iter().find(|rung| rung.name == BASELINE) {
        let faster = rungs.iter().map(|rung| format!("{:.1}x", baseline.total_ms / rung.total_ms));
        rows.add_row([format!("against {BASELINE}")].into_iter().chain(faster));
    }
    output.say(rows.trim_fmt());
}
