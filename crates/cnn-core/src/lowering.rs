//! Turns a program into steps over slots of one arena: a kernel for each, with conversions where two do not agree on how a
//! value lies in memory. For backends that keep values in blocks of channels from layer to layer.

mod places;

use std::borrow::Cow;
use std::ops::Range;

use crate::arena;
use crate::backend::{Candidate, CompileOptions, PlanReport, Precision, StepReport};
use crate::choose::Refusal;
use crate::passes::{self, Program};
use crate::{Layer, Result, Shape, ValueId, Weights};
use places::Places;

/// The order of a value's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[C, H, W]`, or any other shape, row-major.
    Planar,
    /// `[C / lanes, H, W, lanes]` of a shape `[C, H, W]`: a vector holds the same pixel of several channels. Channels that
    /// fill the last block up hold anything finite.
    Blocked {
        /// Channels of a block.
        lanes: usize,
    },
}

impl Layout {
    /// Elements of one sample in memory.
    pub fn elements(self, shape: &Shape) -> usize {
        match (self, shape.channels_and_plane()) {
            (Layout::Blocked { lanes }, Some((channels, [h, w]))) => channels.next_multiple_of(lanes) * h * w,
            _ => shape.elements(),
        }
    }

    /// Whether a value of this shape lies alike in both layouts: one pixel, and channels that fill their blocks.
    pub fn is_alike(self, other: Layout, shape: &Shape) -> bool {
        let pixel = shape.channels_and_plane().is_none_or(|(_, plane)| plane == [1, 1]);
        self == other || (pixel && self.elements(shape) == other.elements(shape))
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Planar => "planar",
            Layout::Blocked { .. } => "blocked",
        }
    }
}

/// Number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(pub usize);

impl SlotId {
    /// The caller's input, which has no place in the arena.
    pub const INPUT: SlotId = SlotId(0);
}

/// A value in one layout.
#[derive(Debug, Clone)]
pub struct Slot {
    /// One sample.
    pub shape: Shape,
    /// How it lies.
    pub layout: Layout,
}

impl Slot {
    /// Elements of one sample in memory.
    pub fn elements(&self) -> usize {
        self.layout.elements(&self.shape)
    }
}

/// A kernel between slots.
#[derive(Debug)]
pub struct Step<K> {
    /// What it reads; a residual comes last.
    pub inputs: Vec<SlotId>,
    /// What it writes.
    pub output: SlotId,
    /// What runs.
    pub kernel: K,
    /// Whether it only copies each input, of a batch of one, behind the one before.
    pub joins: bool,
}

/// A kernel and the layouts that it reads and writes.
#[derive(Debug)]
pub struct Prepared<K> {
    /// What runs.
    pub kernel: K,
    /// The layout of every input of the layer.
    pub input: Layout,
    /// The layout of the output, and of a residual.
    pub output: Layout,
    /// Whether the step's pooling runs inside.
    pub pooled: bool,
}

impl<K> Prepared<K> {
    /// A kernel that reads and writes planar values.
    pub fn planar(kernel: K) -> Self {
        Prepared::alike(kernel, Layout::Planar)
    }

    /// A kernel that reads and writes one layout.
    pub fn alike(kernel: K, layout: Layout) -> Self {
        Prepared { kernel, input: layout, output: layout, pooled: false }
    }
}

/// What was chosen for a step, and who refused.
#[derive(Debug)]
pub struct Chosen<K> {
    /// The kernel.
    pub prepared: Prepared<K>,
    /// Its row in the table.
    pub algorithm: String,
    /// Rows that did not take the step.
    pub refused: Vec<Refusal>,
    /// Rows that would have.
    pub considered: Vec<Candidate>,
    /// Multiply-adds for one sample, idle lanes included.
    pub macs: u64,
}

impl<K> Chosen<K> {
    /// A kernel without alternatives.
    pub fn only(prepared: Prepared<K>, name: &str) -> Self {
        Chosen { prepared, algorithm: name.to_string(), refused: Vec::new(), considered: Vec::new(), macs: 0 }
    }
}

/// What a backend does for each step.
pub trait Kernels {
    /// What runs a step.
    type Kernel;

    /// The kernel of a step whose inputs lie as `values` has them. It adds the step's residual. It may ask for another
    /// layout, and may leave the step's pooling out.
    fn choose(&self, step: &passes::Step, values: &Values<'_>) -> Result<Chosen<Self::Kernel>>;

    /// The kernel that copies a value from one layout into another.
    fn convert(&self, shape: &Shape, from: Layout, to: Layout) -> Result<Self::Kernel>;

    /// Bytes of a kernel's packed weights.
    fn weight_bytes(&self, kernel: &Self::Kernel) -> usize;

    /// Whether a kernel only copies each input, of a batch of one, behind the one before: they may then be written there, and the
    /// kernel is left out.
    fn joins(&self, _kernel: &Self::Kernel) -> bool {
        false
    }

    /// What the elements of values are stored as.
    fn values(&self) -> Precision {
        Precision::Single
    }

    /// What the slots' places in the arena are multiples of, in elements.
    fn alignment(&self) -> usize {
        arena::ALIGNMENT
    }
}

/// The values of a program as far as it is lowered, and the slots that hold them.
#[derive(Debug)]
pub struct Values<'a> {
    program: &'a Program<'a>,
    slots: Vec<Slot>,
    /// By value: the slots that hold it, the one that its step writes first.
    homes: Vec<Vec<SlotId>>,
}

impl<'a> Values<'a> {
    fn new(program: &'a Program<'a>) -> Self {
        let mut homes = vec![Vec::new(); program.network.value_count()];
        homes[ValueId::INPUT.index()].push(SlotId::INPUT);
        let slots = vec![Slot { shape: program.network.input_shape().clone(), layout: Layout::Planar }];
        Values { program, slots, homes }
    }

    /// The slot that a value's own step wrote.
    pub fn home(&self, value: ValueId) -> &Slot {
        &self.slots[self.homes[value.index()][0].0]
    }

    /// The layout of all of a step's inputs, where they have the same and none is read as another shape; planar otherwise.
    pub fn common_layout(&self, step: &passes::Step) -> Layout {
        let shapes = self.program.network.input_shapes(step.node);
        let layout = self.home(step.inputs[0]).layout;
        let same = step.inputs.iter().zip(shapes).all(|(&value, shape)| {
            let home = self.home(value);
            home.layout == layout && &home.shape == shape
        });
        if same { layout } else { Layout::Planar }
    }

    fn add(&mut self, value: ValueId, slot: Slot) -> SlotId {
        let id = SlotId(self.slots.len());
        self.slots.push(slot);
        self.homes[value.index()].push(id);
        id
    }
}

/// A program whose every step has its kernel.
#[derive(Debug)]
pub struct Lowered<K> {
    /// In the order in which they run.
    pub steps: Vec<Step<K>>,
    /// The first is the caller's input.
    pub slots: Vec<Slot>,
    /// What the caller gets, planar.
    pub output: SlotId,
    places: Places,
    /// What was decided; of memory it has the weights and the arena.
    pub report: PlanReport,
}

impl<K> Lowered<K> {
    /// Where a batch of a slot lies in the arena.
    pub fn range(&self, slot: SlotId, batch: usize) -> Range<usize> {
        // The input comes first and has no place.
        let start = slot.0.checked_sub(1).map_or(0, |place| self.places.of(batch).offsets[place]) * batch;
        start..start + self.slots[slot.0].elements() * batch
    }

    /// Elements of an arena for a batch.
    pub fn arena_length(&self, batch: usize) -> usize {
        self.places.of(batch).size.saturating_mul(batch)
    }

    /// Whether there is nothing to do in a step, as its inputs lie in its output.
    pub fn is_in_place(&self, step: &Step<K>, batch: usize) -> bool {
        let start = |slot| self.range(slot, batch).start;
        step.joins && step.inputs[0] != SlotId::INPUT && start(step.inputs[0]) == start(step.output)
    }
}

/// Lowers a program to the kernels of a backend. Errors where one of them cannot be had.
pub fn lower<T: Kernels>(program: &Program<'_>, backend: &str, target: &T) -> Result<Lowered<T::Kernel>> {
    let report = PlanReport::new(program.network.name(), backend);
    let mut lowering = Lowering { program, target, values: Values::new(program), steps: Vec::new(), report };
    for step in &program.steps {
        lowering.step(step)?;
    }
    let output = lowering.slot_in(program.output, Layout::Planar)?;
    let Lowering { steps, mut report, values, .. } = lowering;
    let places = Places::new(&values.slots, &steps, output, target.alignment());
    report.arena_bytes = places.of(1).size.saturating_mul(target.values().bytes());
    Ok(Lowered { steps, slots: values.slots, output, places, report })
}

/// The parameters of a step's node, with the batch norm folded into the first two where there is one.
pub fn parameters<'a>(program: &Program<'_>, weights: &'a Weights, step: &passes::Step) -> Result<Vec<Cow<'a, [f32]>>> {
    let network = program.network;
    let own = weights.of_node(network, step.node)?;
    let Some(norm_node) = step.batch_norm else { return Ok(own) };
    let Layer::BatchNorm2d(norm) = &network.nodes()[norm_node].layer else { return Ok(own) };
    let values = weights.of_node(network, norm_node)?;
    let norm_parameters = [&values[0], &values[1], &values[2], &values[3]].map(|value| &value[..]);
    let folded = passes::fold(norm, norm_parameters, &own[0], own.get(1).map(|bias| &bias[..]));
    Ok(vec![Cow::Owned(folded.weight), Cow::Owned(folded.bias)])
}

/// What a fully connected layer's weights are stored as: what the options ask for, where the weights fit it. They are read in
/// pieces, each of which is `release`d. Errors where they do not fit and the options are strict; warns otherwise.
pub fn linear_precision(
    backend: &str,
    layer: &str,
    weight: &[f32],
    options: &CompileOptions,
    release: &(dyn Fn(Range<usize>) + Sync),
) -> Result<Precision> {
    if options.linear_weights == Precision::Single {
        return Ok(Precision::Single);
    }
    let largest = largest(weight, release);
    if largest <= Precision::LARGEST_HALF {
        return Ok(Precision::Half);
    }
    let reason = format!("layer `{layer}`: a weight of {largest:e} does not fit half precision");
    options.cannot(backend, reason, "its weights stay single").map(|()| Precision::Single)
}

/// The largest absolute of many numbers. They are read in pieces, each of which is `release`d.
pub fn largest(numbers: &[f32], release: &(dyn Fn(Range<usize>) + Sync)) -> f32 {
    const PIECE: usize = 4 << 20;
    let mut largest = 0.0f32;
    for (piece, start) in numbers.chunks(PIECE).zip((0..).step_by(PIECE)) {
        largest = piece.iter().fold(largest, |largest, v| largest.max(v.abs()));
        release(start..start + piece.len());
    }
    largest
}

struct Lowering<'a, T: Kernels> {
    program: &'a Program<'a>,
    target: &'a T,
    values: Values<'a>,
    steps: Vec<Step<T::Kernel>>,
    report: PlanReport,
}

impl<T: Kernels> Lowering<'_, T> {
    fn step(&mut self, step: &passes::Step) -> Result<()> {
        let network = self.program.network;
        let chosen = self.target.choose(step, &self.values)?;
        let report = self.report_step(step, &chosen);
        let Prepared { kernel, input, output, pooled } = chosen.prepared;
        let reads = step.inputs.iter().map(|&value| (value, input)).chain(step.residual.map(|value| (value, output)));
        let inputs = reads.map(|(value, layout)| self.slot_in(value, layout)).collect::<Result<Vec<_>>>()?;
        // A pooling that the kernel does not know follows as a step of its own.
        let pool = step.pool.filter(|_| !pooled);
        let value = pool.map_or(step.output, |node| network.nodes()[node].inputs[0]);
        let output = self.values.add(value, Slot { shape: network.shape(value).clone(), layout: output });
        self.report.weight_bytes += self.target.weight_bytes(&kernel);
        self.report.steps.push(report);
        let joins = self.target.joins(&kernel);
        self.steps.push(Step { inputs, output, kernel, joins });
        match pool {
            Some(node) => {
                let alone = Program::new(network).steps.swap_remove(node);
                self.step(&alone)
            }
            None => Ok(()),
        }
    }

    /// A slot that holds the value in this layout, with a conversion where there is none yet.
    fn slot_in(&mut self, value: ValueId, layout: Layout) -> Result<SlotId> {
        let (slots, homes) = (&self.values.slots, &self.values.homes[value.index()]);
        let fits = |id: &&SlotId| slots[id.0].layout.is_alike(layout, &slots[id.0].shape);
        if let Some(&slot) = homes.iter().find(fits) {
            return Ok(slot);
        }
        let from = homes[0];
        let Slot { shape, layout: old } = slots[from.0].clone();
        let kernel = self.target.convert(&shape, old, layout)?;
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
            value_bytes: (self.target.values().bytes() * (old.elements(&shape) + layout.elements(&shape))) as u64,
        });
        let to = self.values.add(value, Slot { shape, layout });
        self.steps.push(Step { inputs: vec![from], output: to, kernel, joins: false });
        Ok(to)
    }

    fn report_step(&self, step: &passes::Step, chosen: &Chosen<T::Kernel>) -> StepReport {
        let network = self.program.network;
        let bytes_of = |&value: &ValueId| (self.target.values().bytes() * network.shape(value).elements()) as u64;
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
            weight_bytes: self.target.weight_bytes(&chosen.prepared.kernel) as u64,
            value_bytes: step.inputs.iter().chain(&step.residual).chain([&step.output]).map(bytes_of).sum(),
        }
    }
}
