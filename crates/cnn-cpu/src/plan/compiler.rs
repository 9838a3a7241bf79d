//! Turns a program into steps: a kernel for each, with conversions where two do not agree on a layout.

use std::borrow::Cow;

use cnn_core::backend::{CompileOptions, PlanReport, StepReport};
use cnn_core::choose::{Choice, Refusal, choose};
use cnn_core::layers::Conv2d;
use cnn_core::passes::{self, Program};
use cnn_core::{Error, Layer, Result, ValueId, Weights};

use super::{Slot, SlotId, Step};
use crate::layout::Layout;
use crate::ops::{self, Machine, Prepared, conv2d, convert, linear, plain};

/// What was chosen for a step, and who refused.
struct Chosen {
    prepared: Prepared,
    algorithm: String,
    refused: Vec<Refusal>,
}

impl Chosen {
    fn only(prepared: Prepared, name: &str) -> Self {
        Chosen { prepared, algorithm: name.to_string(), refused: Vec::new() }
    }
}

type WeightAndBias<'a> = (Cow<'a, [f32]>, Option<Cow<'a, [f32]>>);

pub(super) struct Compiler<'a> {
    program: &'a Program<'a>,
    weights: &'a Weights,
    options: &'a CompileOptions,
    machine: &'a Machine,
    pub(super) slots: Vec<Slot>,
    pub(super) steps: Vec<Step>,
    pub(super) report: PlanReport,
    pub(super) output: SlotId,
    /// By value: the slots that hold it, the one that its step writes first.
    homes: Vec<Vec<SlotId>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        program: &'a Program<'a>,
        weights: &'a Weights,
        options: &'a CompileOptions,
        machine: &'a Machine,
    ) -> Self {
        let network = program.network;
        let mut homes = vec![Vec::new(); network.value_count()];
        homes[ValueId::INPUT.index()].push(SlotId::INPUT);
        let slots = vec![Slot { shape: network.input_shape().clone(), layout: Layout::Planar }];
        let report = PlanReport::new(network.name(), "cpu");
        Compiler { program, weights, options, machine, slots, steps: Vec::new(), report, output: SlotId::INPUT, homes }
    }

    pub(super) fn compile(mut self) -> Result<Self> {
        for step in &self.program.steps {
            let chosen = self.choose(step)?;
            let Prepared { kernel, input, output } = chosen.prepared;
            let inputs: Vec<SlotId> = step.inputs.iter().map(|&value| self.slot_in(value, input)).collect();
            let shape = self.program.network.shape(step.output).clone();
            let slot = self.add_slot(step.output, Slot { shape, layout: output });
            let bytes = kernel.weight_bytes();
            self.report.weight_bytes += bytes;
            let report = self.report_step(step, (chosen.algorithm, chosen.refused), bytes);
            self.report.steps.push(report);
            self.steps.push(Step { inputs, output: slot, kernel });
        }
        self.output = self.slot_in(self.program.output, Layout::Planar);
        Ok(self)
    }

    fn add_slot(&mut self, value: ValueId, slot: Slot) -> SlotId {
        let id = SlotId(self.slots.len());
        self.slots.push(slot);
        self.homes[value.index()].push(id);
        id
    }

    /// The layout in which a value's own step left it.
    fn layout_of(&self, value: ValueId) -> Layout {
        self.slots[self.homes[value.index()][0].0].layout
    }

    /// A slot that holds the value in this layout, with a conversion where there is none yet.
    fn slot_in(&mut self, value: ValueId, layout: Layout) -> SlotId {
        let homes = &self.homes[value.index()];
        let fits = |id: &&SlotId| self.slots[id.0].layout.is_alike(layout, &self.slots[id.0].shape);
        if let Some(&slot) = homes.iter().find(fits) {
            return slot;
        }
        let from = homes[0];
        let Slot { shape, layout: old } = self.slots[from.0].clone();
        let kernel = Box::new(convert::Convert::new(&shape, old, layout));
        self.report.steps.push(StepReport {
            layer: String::new(),
            kind: "Layout".to_string(),
            fused: Vec::new(),
            output: shape.clone(),
            algorithm: format!("layout/{}", layout.name()),
            refused: Vec::new(),
            flops: 0,
            bytes: (size_of::<f32>() * (old.elements(&shape) + layout.elements(&shape))) as u64,
        });
        let to = self.add_slot(value, Slot { shape, layout });
        self.steps.push(Step { inputs: vec![from], output: to, kernel });
        to
    }

    fn choose(&self, step: &passes::Step) -> Result<Chosen> {
        let network = self.program.network;
        let inputs = network.input_shapes(step.node);
        match self.program.layer(step) {
            Layer::Conv2d(conv) => self.convolution(step, conv),
            Layer::Linear(_) => {
                let (weight, bias) = self.parameters(step)?;
                let home = &self.slots[self.homes[step.inputs[0].index()][0].0];
                let parameters =
                    linear::Parameters { weight: &weight, bias: bias.as_deref(), activation: step.activation };
                let kernel = linear::LinearKernel::new(self.machine, (&home.shape, home.layout), parameters);
                let prepared = Prepared { kernel: Box::new(kernel), input: home.layout, output: Layout::Planar };
                Ok(Chosen::only(prepared, linear::NAME))
            }
            layer => {
                let layout = self.common_layout(step);
                if let Some((prepared, name)) = ops::prepare(layer, &inputs, (layout, step.activation), self.machine) {
                    return Ok(Chosen::only(prepared, name));
                }
                let parameters = self.weights.of_node(network, step.node)?.into_iter().map(Vec::from).collect();
                let output = network.shape(network.output_of(step.node));
                let kernel = plain::PlainKernel::new(layer, &inputs, output, parameters);
                Ok(Chosen::only(Prepared::planar(kernel), plain::NAME))
            }
        }
    }

    /// The layout of all inputs, where they have the same and none is read as another shape; planar otherwise.
    fn common_layout(&self, step: &passes::Step) -> Layout {
        let shapes = self.program.network.input_shapes(step.node);
        let layout = self.layout_of(step.inputs[0]);
        let same = step.inputs.iter().zip(shapes).all(|(&value, shape)| {
            let home = &self.slots[self.homes[value.index()][0].0];
            home.layout == layout && &home.shape == shape
        });
        if same { layout } else { Layout::Planar }
    }

    fn convolution(&self, step: &passes::Step, conv: &Conv2d) -> Result<Chosen> {
        let network = self.program.network;
        let (layer, input) = (&network.nodes()[step.node].name, network.input_shapes(step.node)[0]);
        let misfit = |reason| network.layer_error(step.node, reason);
        let problem = conv2d::Problem::new(conv, input, self.machine).map_err(misfit)?;
        let problem = conv2d::Problem { layout: self.layout_of(step.inputs[0]), ..problem };
        let wish = self.options.algorithm.as_deref();
        let choice = choose("conv2d", conv2d::TABLE, &problem, layer, wish)?;
        self.report_refused_wish(layer, &choice)?;
        let (weight, bias) = self.parameters(step)?;
        let parameters = conv2d::Parameters { weight: &weight, bias: bias.as_deref(), activation: step.activation };
        let prepared = choice.row.prepare(&problem, parameters);
        Ok(Chosen { prepared, algorithm: format!("conv2d/{}", choice.row.name()), refused: choice.refused })
    }

    fn report_refused_wish<R: ?Sized>(&self, layer: &str, choice: &Choice<'_, R>) -> Result<()> {
        let Some(refusal) = choice.refused.first().filter(|_| choice.wish_refused) else { return Ok(()) };
        let reason = format!("layer `{layer}`: {} refuses: {}", refusal.algorithm, refusal.reason);
        match self.options.strict {
            true => Err(Error::Backend { backend: "cpu".to_string(), reason }),
            false => {
                tracing::warn!("{reason}; another algorithm runs");
                Ok(())
            }
        }
    }

    /// Weight and bias of a convolution or linear layer, with the batch norm folded in where there is one.
    fn parameters(&self, step: &passes::Step) -> Result<WeightAndBias<'a>> {
        let network = self.program.network;
        let mut own = self.weights.of_node(network, step.node)?.into_iter();
        let (weight, bias) = (own.next().unwrap_or_default(), own.next());
        let Some(norm_node) = step.batch_norm else { return Ok((weight, bias)) };
        let Layer::BatchNorm2d(norm) = &network.nodes()[norm_node].layer else { return Ok((weight, bias)) };
        let values = self.weights.of_node(network, norm_node)?;
        let folded = passes::fold(norm, [&values[0], &values[1], &values[2], &values[3]], &weight, bias.as_deref());
        Ok((Cow::Owned(folded.weight), Some(Cow::Owned(folded.bias))))
    }

    fn report_step(
        &self,
        step: &passes::Step,
        (algorithm, refused): (String, Vec<Refusal>),
        weight_bytes: usize,
    ) -> StepReport {
        let network = self.program.network;
        let bytes_of = |&value: &ValueId| (size_of::<f32>() * network.shape(value).elements()) as u64;
        let name_of = |&node: &usize| network.nodes()[node].name.clone();
        let nodes = std::iter::once(&step.node).chain(&step.fused);
        StepReport {
            layer: name_of(&step.node),
            kind: self.program.layer(step).operation().kind().to_string(),
            fused: step.fused.iter().map(name_of).collect(),
            output: network.shape(step.output).clone(),
            algorithm,
            refused,
            flops: nodes.map(|&node| network.flops_of(node)).fold(0, u64::saturating_add),
            bytes: weight_bytes as u64 + step.inputs.iter().chain([&step.output]).map(bytes_of).sum::<u64>(),
        }
    }
}
