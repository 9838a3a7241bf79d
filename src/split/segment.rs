//! Runs of layers that can be cut by channels together, and their parts on each backend.

use std::ops::Range;
use std::sync::Arc;

use cnn_core::backend::{Backend, CompileOptions, Plan, StepReport};
use cnn_core::layers::Conv2d;
use cnn_core::{Layer, Network, Result, Shape, Tensor, ValueId, Weights};

use super::step_report;

/// Channels are dealt out in units of this many, where there are enough: what vectors hold.
const UNIT: usize = 16;

/// Nodes that run one after the other without anybody else reading between them.
pub(super) struct Segment {
    pub(super) nodes: Vec<usize>,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// A plan for each backend's channels, which come one after the other.
    Parts(Vec<(Arc<dyn Plan>, Range<usize>)>),
    /// By the plain loops on the host, with the layer's parameters.
    Host(Vec<Vec<f32>>),
}

/// Each node with the channel-wise ones behind it, where it can be cut.
pub(super) fn segments(network: &Network) -> Vec<Vec<usize>> {
    let readers = |value: ValueId| {
        let nodes = network.nodes().iter().flat_map(|node| &node.inputs).filter(|&&v| v == value).count();
        nodes + usize::from(value == network.output())
    };
    let mut segments: Vec<Vec<usize>> = Vec::new();
    for (node, n) in network.nodes().iter().enumerate() {
        let joins = segments.last().is_some_and(|segment| {
            let last = segment[segment.len() - 1];
            let follows = n.inputs[..] == [network.output_of(last)] && readers(network.output_of(last)) == 1;
            follows && is_cut(&network.nodes()[segment[0]].layer) && is_channel_wise(&n.layer)
        });
        match segments.last_mut().filter(|_| joins) {
            Some(segment) => segment.push(node),
            None => segments.push(vec![node]),
        }
    }
    segments
}

/// Whether every output channel sees all inputs.
fn is_cut(layer: &Layer) -> bool {
    match layer {
        Layer::Conv2d(conv) => conv.groups == 1,
        Layer::Linear(_) => true,
        _ => false,
    }
}

/// Whether every output channel sees its own input channel alone.
fn is_channel_wise(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Activation(_)
            | Layer::MaxPool2d(_)
            | Layer::AvgPool2d(_)
            | Layer::GlobalAvgPool(_)
            | Layer::BatchNorm2d(_)
            | Layer::Prelu(_)
            | Layer::Dropout(_)
    )
}

/// The channels of each share, in units where there are enough of them. Some may be empty.
fn deal(channels: usize, shares: &[f64]) -> Vec<Range<usize>> {
    let unit = if channels >= 2 * UNIT * shares.len() { UNIT } else { 1 };
    let mut sum = 0.0;
    let ends = shares.iter().map(|share| {
        sum += share;
        (((channels as f64 * sum) / unit as f64).round() as usize * unit).min(channels)
    });
    let mut ends: Vec<usize> = ends.collect();
    if let Some(last) = ends.last_mut() {
        *last = channels;
    }
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| start..end.max(start)).collect()
}

impl Segment {
    pub(super) fn compile(
        network: &Network,
        weights: &Weights,
        nodes: Vec<usize>,
        (parts, shares): (&[Arc<dyn Backend>], &[f64]),
        options: &CompileOptions,
    ) -> Result<Self> {
        let first = &network.nodes()[nodes[0]];
        if first.inputs.len() > 1 {
            let parameters = weights.of_node(network, nodes[0])?.into_iter().map(Vec::from).collect();
            return Ok(Segment { nodes, work: Work::Host(parameters) });
        }
        let channels = network.shape(network.output_of(nodes[0]))[0];
        let dealt = deal(channels, if is_cut(&first.layer) { shares } else { &[1.0] });
        let mut plans = Vec::new();
        for (backend, channels) in parts.iter().zip(dealt).filter(|(_, channels)| !channels.is_empty()) {
            let (part, weights) = part(network, weights, &nodes, &channels)?;
            plans.push((backend.compile(&part, &weights, options)?, channels));
        }
        Ok(Segment { nodes, work: Work::Parts(plans) })
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &Arc<dyn Plan>> {
        let parts = match &self.work {
            Work::Parts(parts) => &parts[..],
            Work::Host(_) => &[],
        };
        parts.iter().map(|(plan, _)| plan)
    }

    pub(super) fn report(&self, network: &Network) -> StepReport {
        let algorithm = match &self.work {
            Work::Host(_) => "host".to_string(),
            Work::Parts(parts) => {
                let part = |(plan, channels): &(Arc<dyn Plan>, Range<usize>)| {
                    let report = plan.report();
                    let own = report.steps.iter().find(|step| step.layer == network.nodes()[self.nodes[0]].name);
                    let row = own.map_or("", |step| &step.algorithm);
                    format!("{} {} {row}", channels.len(), report.backend)
                };
                parts.iter().map(part).collect::<Vec<_>>().join(" + ")
            }
        };
        let plans: Vec<Arc<dyn Plan>> = self.plans().cloned().collect();
        step_report(network, &self.nodes, algorithm, &plans)
    }
}

/// The network and weights of some output channels of a segment; of all, where it cannot be cut.
fn part(network: &Network, weights: &Weights, nodes: &[usize], channels: &Range<usize>) -> Result<(Network, Weights)> {
    let input = network.input_shapes(nodes[0])[0];
    let mut net = Network::builder(network.name(), input.clone());
    let mut cut_weights = Weights::new();
    for &node in nodes {
        let n = &network.nodes()[node];
        let all = network.shape(network.output_of(node))[0];
        let layer = match &n.layer {
            Layer::Conv2d(conv) if conv.groups == 1 => {
                Layer::Conv2d(Conv2d { out_channels: channels.len(), ..conv.clone() })
            }
            Layer::Linear(linear) => {
                let mut linear = linear.clone();
                linear.out_features = channels.len();
                Layer::Linear(linear)
            }
            layer => layer.clone(),
        };
        net.push(n.name.clone(), layer)?;
        for (parameter, values) in network.parameters_of(node).into_iter().zip(weights.of_node(network, node)?) {
            // One number for all channels, as some PReLUs have, stays whole.
            let is_whole = parameter.shape[0] != all;
            let per_channel = parameter.shape.elements() / parameter.shape[0];
            let kept = if is_whole { 0..parameter.shape[0] } else { channels.clone() };
            let mut extents = parameter.shape.to_vec();
            extents[0] = kept.len();
            let values = values[kept.start * per_channel..kept.end * per_channel].to_vec();
            cut_weights.insert(parameter.name, Tensor::new(Shape::from(extents), values)?);
        }
    }
    Ok((net.finish()?, cut_weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_dealt_out_whole_and_in_units() {
        assert_eq!(deal(512, &[0.5, 0.5]), [0..256, 256..512]);
        assert_eq!(deal(512, &[0.7, 0.3]), [0..352, 352..512]);
        assert_eq!(deal(10, &[0.66, 0.34]), [0..7, 7..10]);
        assert_eq!(deal(1, &[0.3, 0.7]), [0..0, 0..1]);
        assert_eq!(deal(64, &[1.0, 0.0]), [0..64, 64..64]);
    }
}
