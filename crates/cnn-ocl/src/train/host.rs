//! Layers without kernels, a user's own: their numbers come to the host, their plain loops run there, and results go back.

use cnn_core::layers::{Call, Gradients, View};
use cnn_core::{Result, Shape};
use opencl3::command_queue::CommandQueue;

use super::layer::Site;
use super::place::{Held, Sides};
use crate::launch;

/// A value of every sample of a batch, sample after sample.
fn read(queue: &CommandQueue, held: &Held, sides: Sides, batch: usize) -> Result<Vec<f32>> {
    let mut all = vec![0.0; sides.groups(batch) * held.place.group() * sides.samples];
    launch::read(queue, &held.buffer, &mut all)?;
    Ok(places(held, sides, batch).map(|place| all[place]).collect())
}

/// Writes such values, or adds them to what is there.
fn write(queue: &CommandQueue, held: &Held, sides: Sides, values: &[f32], batch: usize, add: bool) -> Result<()> {
    let mut all = vec![0.0; sides.groups(batch) * held.place.group() * sides.samples];
    if add {
        launch::read(queue, &held.buffer, &mut all)?;
    }
    for (place, value) in places(held, sides, batch).zip(values) {
        all[place] += value;
    }
    launch::write(queue, &mut held.buffer.share()?, &all)
}

/// Where the elements of each sample lie, in the order of its shape.
fn places(held: &Held, sides: Sides, batch: usize) -> impl Iterator<Item = usize> {
    let place = held.place;
    let plane = place.rows * place.columns;
    (0..batch).flat_map(move |sample| {
        (0..place.channels * plane)
            .map(move |i| place.at(sides, sample, [i / plane, i % plane / place.columns, i % place.columns]))
    })
}

/// The inputs of a node and its parameters, on the host.
struct OnHost<'a> {
    shapes: Vec<&'a Shape>,
    inputs: Vec<Vec<f32>>,
    parameters: Vec<Vec<f32>>,
}

impl<'a> OnHost<'a> {
    fn of(site: &Site<'a>, queue: &CommandQueue) -> Result<Self> {
        let inputs = site.inputs.iter().map(|input| read(queue, input, site.sides, site.batch));
        let parameters = site.learner.learned[site.node].iter().enumerate().map(|(place, l)| {
            let mut values = vec![0.0; l.parameter.shape.elements()];
            launch::read_part(queue, &site.parameters.weights, site.offset(place), &mut values)?;
            Ok(values)
        });
        Ok(OnHost {
            shapes: site.learner.network.input_shapes(site.node),
            inputs: inputs.collect::<Result<_>>()?,
            parameters: parameters.collect::<Result<_>>()?,
        })
    }

    fn views(&self) -> Vec<View<'_>> {
        self.shapes.iter().zip(&self.inputs).map(|(shape, data)| View { shape, data }).collect()
    }

    /// Runs something of the layer on them.
    fn call(&self, site: &Site<'_>, run: impl FnOnce(&Call<'_>)) {
        let (inputs, mode) = (self.views(), site.learner.mode(site.node, 0));
        let parameters: Vec<&[f32]> = self.parameters.iter().map(Vec::as_slice).collect();
        let output_shape = output_shape(site);
        run(&Call { batch: site.batch, inputs: &inputs, output_shape, parameters: &parameters, mode });
    }
}

fn output_shape<'a>(site: &Site<'a>) -> &'a Shape {
    site.learner.network.shape(site.learner.network.output_of(site.node))
}

pub(super) fn forward(site: &Site<'_>, queue: &CommandQueue) -> Result<()> {
    let mut host = OnHost::of(site, queue)?;
    let mut output = vec![0.0; site.batch * output_shape(site).elements()];
    let operation = site.layer().operation();
    host.call(site, |call| operation.forward(call, &mut output));
    let mut parameters = std::mem::take(&mut host.parameters);
    operation.update_state(site.batch, &host.views(), &mut parameters);
    for (place, l) in site.learner.learned[site.node].iter().enumerate().filter(|(_, l)| !l.is_learned()) {
        debug_assert_eq!(parameters[place].len(), l.parameter.shape.elements());
        launch::write_part(queue, &mut site.parameters.weights.share()?, site.offset(place), &parameters[place])?;
    }
    write(queue, &site.output, site.sides, &output, site.batch, false)
}

pub(super) fn backward(site: &Site<'_>, queue: &CommandQueue) -> Result<()> {
    let host = OnHost::of(site, queue)?;
    let output = read(queue, &site.output, site.sides, site.batch)?;
    let dy = read(queue, &site.gradient, site.sides, site.batch)?;
    let mut input_gradients: Vec<Vec<f32>> = host.inputs.iter().map(|input| vec![0.0; input.len()]).collect();
    let mut slopes: Vec<Vec<f32>> = host.parameters.iter().map(|values| vec![0.0; values.len()]).collect();
    {
        let mut inputs: Vec<&mut [f32]> = input_gradients.iter_mut().map(Vec::as_mut_slice).collect();
        let mut parameters: Vec<&mut [f32]> = slopes.iter_mut().map(Vec::as_mut_slice).collect();
        let mut gradients = Gradients { inputs: &mut inputs, parameters: &mut parameters };
        host.call(site, |call| site.layer().operation().backward(call, &output, &dy, &mut gradients));
    }
    for (place, l) in site.learner.learned[site.node].iter().enumerate().filter(|(_, l)| l.is_learned()) {
        debug_assert_eq!(slopes[place].len(), l.length());
        launch::write_part(queue, &mut site.parameters.gradient.share()?, site.offset(place), &slopes[place])?;
    }
    for ((flow, to), values) in site.flows.iter().zip(&site.input_gradients).zip(&input_gradients) {
        if let (Some(flow), Some(to)) = (flow, to) {
            write(queue, to, site.sides, values, site.batch, flow.accumulate)?;
        }
    }
    Ok(())
}
