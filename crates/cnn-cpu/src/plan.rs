//! Compiles a network: passes, a row of its table for each layer, packed weights, one planned arena.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use cnn_core::arena::{Layout, Lifetime, lay_out};
use cnn_core::backend::{CompileOptions, Plan, PlanReport, Session, StepReport};
use cnn_core::choose::{Choice, Refusal, choose};
use cnn_core::passes::{self, Program};
use cnn_core::{Error, Layer, Network, Result, ValueId, Weights};

use crate::gemm::Gemm;
use crate::ops::{self, Kernel, conv2d, linear, plain};
use crate::session::CpuSession;
use crate::threads::Scratch;

pub(crate) struct PlanData {
    pub(crate) network: Network,
    pub(crate) pool: Arc<rayon::ThreadPool>,
    pub(crate) steps: Vec<Step>,
    pub(crate) output: ValueId,
    /// By value; those that no step writes have no place.
    pub(crate) places: Vec<Option<usize>>,
    pub(crate) layout: Layout,
    pub(crate) scratch_length: usize,
    pub(crate) flops: u64,
    pub(crate) report: PlanReport,
}

pub(crate) struct Step {
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) output: ValueId,
    pub(crate) kernel: Box<dyn Kernel>,
}

impl PlanData {
    /// Where a batch of `value` lies in the arena.
    pub(crate) fn range(&self, value: ValueId, batch: usize) -> Range<usize> {
        let start = self.places[value.index()].map_or(0, |place| self.layout.offsets[place]) * batch;
        start..start + self.network.shape(value).elements() * batch
    }
}

pub(crate) struct CpuPlan(Arc<PlanData>);

impl Plan for CpuPlan {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(CpuSession::new(self.0.clone())))
    }

    fn report(&self) -> &PlanReport {
        &self.0.report
    }
}

pub(crate) fn compile(
    network: &Network,
    weights: &Weights,
    options: &CompileOptions,
    (pool, gemm): (&Arc<rayon::ThreadPool>, Gemm),
) -> Result<CpuPlan> {
    check_algorithm(options)?;
    weights.check(network)?;
    let program = Program::for_inference(network);
    let compiler = Compiler { program: &program, weights, options, gemm };
    let mut report = PlanReport::new(network.name(), "cpu");
    let mut steps = Vec::new();
    for step in &program.steps {
        let (kernel, choice) = compiler.kernel(step)?;
        report.weight_bytes += kernel.weight_bytes();
        report.steps.push(compiler.report(step, choice, kernel.weight_bytes()));
        steps.push(Step { inputs: step.inputs.clone(), output: step.output, kernel });
    }
    let (places, layout) = plan_arena(&program);
    let scratch_length = steps.iter().map(|step| step.kernel.scratch_length()).max().unwrap_or(0);
    report.arena_bytes = layout.size * size_of::<f32>();
    report.workspace_bytes = Scratch::bytes(pool.current_num_threads(), scratch_length);
    let (network, output, flops) = (network.clone(), program.output, network.flops());
    let pool = pool.clone();
    Ok(CpuPlan(Arc::new(PlanData { network, pool, steps, output, places, layout, scratch_length, flops, report })))
}

fn check_algorithm(options: &CompileOptions) -> Result<()> {
    let Some(name) = &options.algorithm else { return Ok(()) };
    let known = ops::algorithm_names();
    match known.iter().any(|k| k == name || k.split('/').nth(1) == Some(name)) {
        true => Ok(()),
        false => Err(Error::UnknownAlgorithm { name: name.clone(), known: known.join(", ") }),
    }
}

/// Lifetimes of the values that steps write, in units of steps.
fn plan_arena(program: &Program<'_>) -> (Vec<Option<usize>>, Layout) {
    let mut places = vec![None; program.network.value_count()];
    let mut lifetimes = Vec::new();
    for (first, step) in program.steps.iter().enumerate() {
        let reads = |later: &passes::Step| later.inputs.contains(&step.output);
        let last = program.steps.iter().rposition(reads).unwrap_or(first);
        let last = if program.output == step.output { program.steps.len() } else { last };
        places[step.output.index()] = Some(lifetimes.len());
        lifetimes.push(Lifetime { size: program.network.shape(step.output).elements(), first, last });
    }
    (places, lay_out(&lifetimes))
}

/// What was chosen for a step, and who refused.
struct Chosen {
    algorithm: String,
    refused: Vec<Refusal>,
}

impl Chosen {
    fn only(name: &str) -> Self {
        Chosen { algorithm: name.to_string(), refused: Vec::new() }
    }
}

type WeightAndBias<'a> = (Cow<'a, [f32]>, Option<Cow<'a, [f32]>>);

struct Compiler<'a> {
    program: &'a Program<'a>,
    weights: &'a Weights,
    options: &'a CompileOptions,
    gemm: Gemm,
}

impl Compiler<'_> {
    fn kernel(&self, step: &passes::Step) -> Result<(Box<dyn Kernel>, Chosen)> {
        let network = self.program.network;
        let inputs = network.input_shapes(step.node);
        match self.program.layer(step) {
            Layer::Conv2d(conv) => {
                let layer = &network.nodes()[step.node].name;
                let misfit = |reason| network.layer_error(step.node, reason);
                let problem = conv2d::Problem::new(conv, inputs[0]).map_err(misfit)?;
                let wish = self.options.algorithm.as_deref();
                let choice = choose("conv2d", conv2d::TABLE, &problem, layer, wish)?;
                self.report_refused_wish(layer, &choice)?;
                let chosen = Chosen { algorithm: format!("conv2d/{}", choice.row.name()), refused: choice.refused };
                let (weight, bias) = self.parameters(step)?;
                let bias = bias.as_deref();
                let parameters = conv2d::Parameters { weight: &weight, bias, activation: step.activation };
                Ok((choice.row.prepare(&problem, parameters, self.gemm), chosen))
            }
            Layer::Linear(_) => {
                let (weight, bias) = self.parameters(step)?;
                let kernel =
                    linear::LinearKernel::new(self.gemm, inputs[0][0], &weight, bias.as_deref(), step.activation);
                Ok((Box::new(kernel), Chosen::only(linear::NAME)))
            }
            layer => {
                let parameters = self.weights.of_node(network, step.node)?.into_iter().map(Vec::from).collect();
                let output = network.shape(network.output_of(step.node));
                let kernel = plain::PlainKernel::new(layer, &inputs, output, parameters);
                Ok((Box::new(kernel), Chosen::only(plain::NAME)))
            }
        }
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
    fn parameters(&self, step: &passes::Step) -> Result<WeightAndBias<'_>> {
        let network = self.program.network;
        let mut own = self.weights.of_node(network, step.node)?.into_iter();
        let (weight, bias) = (own.next().unwrap_or_default(), own.next());
        let Some(norm_node) = step.batch_norm else { return Ok((weight, bias)) };
        let Layer::BatchNorm2d(norm) = &network.nodes()[norm_node].layer else { return Ok((weight, bias)) };
        let values = self.weights.of_node(network, norm_node)?;
        let folded = passes::fold(norm, [&values[0], &values[1], &values[2], &values[3]], &weight, bias.as_deref());
        Ok((Cow::Owned(folded.weight), Some(Cow::Owned(folded.bias))))
    }

    fn report(&self, step: &passes::Step, chosen: Chosen, weight_bytes: usize) -> StepReport {
        let network = self.program.network;
        let bytes_of = |&value: &ValueId| (size_of::<f32>() * network.shape(value).elements()) as u64;
        let name_of = |&node: &usize| network.nodes()[node].name.clone();
        let nodes = std::iter::once(&step.node).chain(&step.fused);
        StepReport {
            layer: name_of(&step.node),
            kind: self.program.layer(step).operation().kind().to_string(),
            fused: step.fused.iter().map(name_of).collect(),
            output: network.shape(step.output).clone(),
            algorithm: chosen.algorithm,
            refused: chosen.refused,
            flops: nodes.map(|&node| network.flops_of(node)).fold(0, u64::saturating_add),
            bytes: weight_bytes as u64 + step.inputs.iter().chain([&step.output]).map(bytes_of).sum::<u64>(),
        }
    }
}
