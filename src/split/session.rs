//! Runs the parts of each segment at the same time, a thread for each, and puts their channels together.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cnn_core::backend::{PlanReport, Profile, Session};
use cnn_core::layers::{Call, Mode, View};
use cnn_core::{Error, Network, Result, Tensor};

use super::segment::{Segment, Work};

pub(super) struct SplitSession {
    network: Network,
    segments: Arc<Vec<Segment>>,
    report: PlanReport,
    /// By segment: a session for each part.
    sessions: Vec<Vec<Box<dyn Session>>>,
}

impl SplitSession {
    pub(super) fn new(network: &Network, segments: &Arc<Vec<Segment>>, report: &PlanReport) -> Result<Self> {
        let of_segment = |segment: &Segment| segment.plans().map(|plan| plan.session()).collect::<Result<Vec<_>>>();
        let sessions = segments.iter().map(of_segment).collect::<Result<Vec<_>>>()?;
        Ok(SplitSession { network: network.clone(), segments: segments.clone(), report: report.clone(), sessions })
    }

    fn run_segments(&mut self, input: &Tensor, mut times: Option<&mut Vec<Duration>>) -> Result<Tensor> {
        let network = &self.network;
        let (batch, _) = network.check_input(input)?;
        // By value: there from the end of its segment until its last reader.
        let mut values: Vec<Option<Tensor>> = vec![None; network.value_count()];
        values[0] = Some(input.clone());
        for (segment, sessions) in self.segments.iter().zip(&mut self.sessions) {
            let start = Instant::now();
            let (first, last) = (segment.nodes[0], segment.nodes[segment.nodes.len() - 1]);
            let inputs: Vec<&Tensor> =
                network.nodes()[first].inputs.iter().filter_map(|v| values[v.index()].as_ref()).collect();
            let output = match &segment.work {
                Work::Host(parameters) => on_host(network, first, &inputs, (batch, parameters))?,
                Work::Parts(parts) => {
                    let outputs = run_parts(sessions, inputs[0])?;
                    let shape = network.shape(network.output_of(last)).with_batch(batch);
                    let channels: Vec<&Range<usize>> = parts.iter().map(|(_, channels)| channels).collect();
                    gather(shape, outputs, &channels)?
                }
            };
            values[network.output_of(last).index()] = Some(output);
            for (i, value) in values.iter_mut().enumerate().take(last + 1) {
                let read_later = |node: &cnn_core::network::Node| node.inputs.iter().any(|v| v.index() == i);
                if !network.nodes()[last + 1..].iter().any(read_later) {
                    *value = None;
                }
            }
            if let Some(times) = &mut times {
                times.push(start.elapsed());
            }
        }
        let output = values.pop().flatten();
        output.ok_or_else(|| Error::Backend { backend: "split".to_string(), reason: "no output".to_string() })
    }
}

/// Every part's output.
fn run_parts(sessions: &mut [Box<dyn Session>], input: &Tensor) -> Result<Vec<Tensor>> {
    let [first, others @ ..] = sessions else { return Ok(Vec::new()) };
    std::thread::scope(|scope| {
        let running: Vec<_> = others.iter_mut().map(|session| scope.spawn(|| session.run(input))).collect();
        let mut outputs = vec![first.run(input)?];
        for part in running {
            let output = part.join().unwrap_or_else(|_| {
                Err(Error::Backend { backend: "split".to_string(), reason: "a part's thread panicked".to_string() })
            });
            outputs.push(output?);
        }
        Ok(outputs)
    })
}

/// Puts the channels of each sample together.
fn gather(shape: cnn_core::Shape, mut outputs: Vec<Tensor>, channels: &[&Range<usize>]) -> Result<Tensor> {
    if outputs.len() == 1 {
        return outputs.remove(0).reshape(shape);
    }
    let per_channel: usize = shape[2..].iter().product();
    let mut values = Vec::with_capacity(shape.elements());
    for sample in 0..shape[0] {
        for (output, channels) in outputs.iter().zip(channels) {
            let length = channels.len() * per_channel;
            values.extend_from_slice(&output.as_f32()?[sample * length..][..length]);
        }
    }
    Tensor::new(shape, values)
}

/// A layer by its plain loops.
fn on_host(
    network: &Network,
    node: usize,
    inputs: &[&Tensor],
    (batch, parameters): (usize, &[Vec<f32>]),
) -> Result<Tensor> {
    let shapes = network.input_shapes(node);
    let views = inputs.iter().zip(shapes).map(|(tensor, shape)| Ok(View { shape, data: tensor.as_f32()? }));
    let views = views.collect::<Result<Vec<_>>>()?;
    let parameters: Vec<&[f32]> = parameters.iter().map(Vec::as_slice).collect();
    let output_shape = network.shape(network.output_of(node));
    let call = Call { batch, inputs: &views, output_shape, parameters: &parameters, mode: Mode::Inference };
    let mut output = vec![0.0; batch * output_shape.elements()];
    network.nodes()[node].layer.operation().forward(&call, &mut output);
    Tensor::new(output_shape.with_batch(batch), output)
}

impl Session for SplitSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor> {
        self.run_segments(input, None)
    }

    fn profile(&mut self, input: &Tensor) -> Result<Profile> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(self.segments.len());
        let output = self.run_segments(input, Some(&mut times))?;
        let total = start.elapsed();
        Ok(Profile::new(&self.report, times, output, total))
    }
}
