//! Table 1: weights of the convolutions of the dense network and of its twin, in both orders of the one-dimensional filters.

use std::path::Path;

use anyhow::Context;
use cnn::layers::Conv2d;
use cnn::network::{FilterOrder, FlattenedConv};
use cnn::{Layer, Network, Shape, models};
use serde::Serialize;

use crate::output::Output;
use crate::sheet::Sheet;

/// The paper's flattened layers. It leaves the first one dense.
const PAPER: [usize; 3] = [7_200, 30_912, 102_144];

#[derive(Serialize)]
struct Row {
    layer: String,
    dense: usize,
    lateral_first: usize,
    lateral_first_reduction: f64,
    lateral_last: usize,
    lateral_last_reduction: f64,
    paper: usize,
    paper_reduction: f64,
}

pub(super) fn run(output: &Output, folder: &Path) -> anyhow::Result<()> {
    let rows = rows()?;
    let mut sheet = Sheet::new(&[
        "layer",
        "dense",
        "lateral first",
        "lateral first reduction %",
        "lateral last",
        "lateral last reduction %",
        "paper",
        "paper reduction %",
    ]);
    for row in &rows {
        let percent = |reduction: f64| format!("{reduction:.1}");
        sheet.add([
            row.layer.clone(),
            row.dense.to_string(),
            row.lateral_first.to_string(),
            percent(row.lateral_first_reduction),
            row.lateral_last.to_string(),
            percent(row.lateral_last_reduction),
            row.paper.to_string(),
            percent(row.paper_reduction),
        ]);
    }
    sheet.print(output);
    let files = [sheet.write(folder, "table1")?];
    output.finish(&serde_json::json!({ "layers": rows, "files": files }))
}

fn rows() -> anyhow::Result<Vec<Row>> {
    let (baseline, twin) = (models::baseline_cifar()?, models::flattened_cifar()?);
    let convolutions = baseline.nodes().iter().enumerate().filter_map(|(at, node)| match &node.layer {
        Layer::Conv2d(conv) => Some((&node.name, conv, baseline.input_shapes(at)[0])),
        _ => None,
    });
    convolutions
        .zip(PAPER)
        .map(|((name, conv, input), paper)| {
            let (dense, lateral_first) = (weights(&baseline, name), weights(&twin, name));
            let lateral_last = if lateral_first == dense { dense } else { lateral_last(conv, input)? };
            let reduction = |left: usize| 100.0 * (1.0 - left as f64 / dense as f64);
            Ok(Row {
                layer: name.clone(),
                dense,
                lateral_first,
                lateral_first_reduction: reduction(lateral_first),
                lateral_last,
                lateral_last_reduction: reduction(lateral_last),
                paper,
                paper_reduction: reduction(paper),
            })
        })
        .collect()
}

/// The weights of a layer or of the one-dimensional ones that it became, without biases.
fn weights(network: &Network, layer: &str) -> usize {
    let of_layer = |name: &str| name.split('.').next() == Some(layer) && name.ends_with(".weight");
    network.parameters().filter(|p| of_layer(&p.name)).map(|p| p.shape.elements()).sum()
}

/// Those of a convolution's stages in the order that the paper's numbers come from.
fn lateral_last(conv: &Conv2d, input: &Shape) -> anyhow::Result<usize> {
    let (channels, [rows, columns]) =
        input.channels_and_plane().context("a convolution of something else than planes")?;
    let stages = FlattenedConv::new(conv.out_channels, conv.window.kernel).order(FilterOrder::LateralLast);
    let mut net = Network::builder("lateral-last", [channels, rows, columns]);
    net.flattened_conv("conv", &stages)?;
    Ok(weights(&net.finish()?, "conv"))
}
