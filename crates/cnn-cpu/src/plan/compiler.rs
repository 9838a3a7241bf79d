//! Turns a program into steps: a kernel for each, with conversions where two do not agree on a layout.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use cnn_core::backend::{Candidate, Ceilings, CompileOptions, PlanReport, Precision, StepReport};
use cnn_core::choose::Refusal;
use cnn_core::passes::{self, Program};
use cnn_core::{Error, Layer, Result, ValueId, Weights};

use super::{Slot, SlotId, Step};
use crate::layout::Layout;
use crate::machine::Machine;
use crate::ops::{self, Prepared, convert, linear, plain};

/// The largest number of half precision.
const LARGEST_HALF: f32 = 65504.0;

/// What was chosen for a step, and who refused.
pub(super) struct Chosen {
    pub(super) prepared: Prepared,
    pub(super) algorithm: String,
    pub(super) refused: Vec<Refusal>,
    pub(super) considered: Vec<Candidate>,
    pub(super) macs: u64,
}

impl Chosen {
    fn only(prepared: Prepared, name: &str) -> Self {
        Chosen { prepared, algorithm: name.to_string(), refused: Vec::new(), considered: Vec::new(), macs: 0 }
    }
}

type WeightAndBias<'a> = (Cow<'a, [f32]>, Option<Cow<'a, [f32]>>);

pub(super) struct Compiler<'a> {
    pub(super) program: &'a Program<'a>,
    pub(super) weights: &'a Weights,
    pub(super) options: &'a CompileOptions,
    pub(super) machine: &'a Machine,
    pub(super) pool: &'a Arc<rayon::ThreadPool>,
    /// Measured where a choice needs them.
    pub(super) ceilings: &'a (dyn Fn() -> Ceilings + Sync),
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
        (pool, machine): (&'a Arc<rayon::ThreadPool>, &'a Machine),
        ceilings: &'a (dyn Fn() -> Ceilings + Sync),
    ) -> Self {
        let network = program.network;
        let mut homes = vec![Vec::new(); network.value_count()];
        homes[ValueId::INPUT.index()].push(SlotId::INPUT);
        let slots = vec![Slot { shape: network.input_shape().clone(), layout: Layout::Planar }];
        let report = PlanReport::new(network.name(), "cpu");
        Compiler {
            program,
            weights,
            options,
            machine,
            pool,
            ceilings,
            slots,
            steps: Vec::new(),
            report,
            output: SlotId::INPUT,
            homes,
        }
    }

    pub(super) fn compile(mut self) -> Result<Self> {
        for step in &self.program.steps {
            let chosen = self.choose(step)?;
            let report = self.report_step(step, &chosen);
            let Prepared { kernel, input, output, pooled } = chosen.prepared;
            let inputs: Vec<SlotId> = step.inputs.iter().map(|&value| self.slot_in(value, input)).collect();
            let network = self.program.network;
            // A pooling that the kernel does not know follows as a step of its own.
            let pool = step.pool.filter(|_| !pooled);
            let value = pool.map_or(step.output, |node| network.nodes()[node].inputs[0]);
            let slot = self.add_slot(value, Slot { shape: network.shape(value).clone(), layout: output });
            self.report.weight_bytes += kernel.weight_bytes();
            self.report.steps.push(report);
            self.steps.push(Step { inputs, output: slot, kernel });
            if let Some(node) = pool {
                self.pool(node)?;
            }
        }
        self.output = self.slot_in(self.program.output, Layout::Planar);
        Ok(self)
    }

    /// A pooling layer as a step of its own.
    fn pool(&mut self, node: usize) -> Result<()> {
        let network = self.program.network;
        let step = passes::Step { fused: Vec::new(), ..Program::new(network).steps.swap_remove(node) };
        let chosen = self.choose(&step)?;
        let report = self.report_step(&step, &chosen);
        let prepared = chosen.prepared;
        let inputs = vec![self.slot_in(step.inputs[0], prepared.input)];
        let shape = network.shape(step.output).clone();
        let output = self.add_slot(step.output, Slot { shape, layout: prepared.output });
        self.report.steps.push(report);
        self.steps.push(Step { inputs, output, kernel: prepared.kernel });
        Ok(())
    }

    fn add_slot(&mut self, value: ValueId, slot: Slot) -> SlotId {
        let id = SlotId(self.slots.len());
        self.slots.push(slot);
        self.homes[value.index()].push(id);
        id
    }

    /// The layout in which a value's own step left it.
    pub(super) fn layout_of(&self, value: ValueId) -> Layout {
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
            considered: Vec::new(),
            macs: 0,
            flops: 0,
            weight_bytes: 0,
            value_bytes: (size_of::<f32>() * (old.elements(&shape) + layout.elements(&shape))) as u64,
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
                let name = network.parameters_of(step.node).into_iter().next().map(|parameter| parameter.name);
                let release = |range| self.weights.release(name.as_deref().unwrap_or_default(), range);
                let parameters = linear::Parameters {
                    weight: &weight,
                    bias: bias.as_deref(),
                    activation: step.activation,
                    precision: self.precision(step, &weight, &release)?,
                    release: &release,
                };
                let kernel = linear::LinearKernel::new(self.machine, (&home.shape, home.layout), parameters);
                let prepared =
                    Prepared { kernel: Box::new(kernel), input: home.layout, output: Layout::Planar, pooled: false };
                let macs = network.flops_of(step.node) / 2;
                Ok(Chosen { macs, ..Chosen::only(prepared, linear::NAME) })
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

    /// What a fully connected layer's weights are stored as: what was asked for, where they fit it.
    fn precision(
        &self,
        step: &passes::Step,
        weight: &[f32],
        release: &(dyn Fn(Range<usize>) + Sync),
    ) -> Result<Precision> {
        const PIECE: usize = 4 << 20;
        if self.options.linear_weights == Precision::Single {
            return Ok(Precision::Single);
        }
        let mut largest = 0.0f32;
        for (piece, start) in weight.chunks(PIECE).zip((0..).step_by(PIECE)) {
            largest = piece.iter().fold(largest, |largest, v| largest.max(v.abs()));
            release(start..start + piece.len());
        }
        if largest <= LARGEST_HALF {
            return Ok(Precision::Half);
        }
        let layer = &self.program.network.nodes()[step.node].name;
        let reason = format!("layer `{layer}`: a weight of {largest:e} does not fit half precision");
        match self.options.strict {
            true => Err(Error::Backend { backend: "cpu".to_string(), reason }),
            false => {
                tracing::warn!("{reason}; it stays in single precision");
                Ok(Precision::Single)
            }
        }
    }

    /// Weight and bias of a convolution or linear layer, with the batch norm folded in where there is one.
    pub(super) fn parameters(&self, step: &passes::Step) -> Result<WeightAndBias<'a>> {
        let network = self.program.network;
        let mut own = self.weights.of_node(network, step.node)?.into_iter();
        let (weight, bias) = (own.next().unwrap_or_default(), own.next());
        let Some(norm_node) = step.batch_norm else { return Ok((weight, bias)) };
        let Layer::BatchNorm2d(norm) = &network.nodes()[norm_node].layer else { return Ok((weight, bias)) };
        let values = self.weights.of_node(network, norm_node)?;
        let folded = passes::fold(norm, [&values[0], &values[1], &values[2], &values[3]], &weight, bias.as_deref());
        Ok((Cow::Owned(folded.weight), Some(Cow::Owned(folded.bias))))
    }

    fn report_step(&self, step: &passes::Step, chosen: &Chosen) -> StepReport {
        let weight_bytes = chosen.prepared.kernel.weight_bytes();
        let network = self.program.network;
        let bytes_of = |&value: &ValueId| (size_of::<f32>() * network.shape(value).elements()) as u64;
        let name_of = |&node: &usize| network.nodes()[node].name.clone();
        let nodes = std::iter::once(&step.node).chain(&step.fused);
        StepReport {
            layer: name_of(&step.node),
            kind: self.program.layer(step).operation().kind().to_string(),
            fused: step.fused.iter().map(name_of).collect(),
            output: network.shape(step.output).clone(),
            algorithm: chosen.algorithm.clone(),
            refused: chosen.refused.clone(),
            considered: chosen.considered.clone(),
            macs: chosen.macs,
            flops: nodes.map(|&node| network.flops_of(node)).fold(0, u64::saturating_add),
            weight_bytes: weight_bytes as u64,
            value_bytes: step.inputs.iter().chain([&step.output]).map(bytes_of).sum(),
        }
    }
}
