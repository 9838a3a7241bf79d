//! Runs a plan: one write, every kernel of every step in one queue, one read. Buffers and arguments are made once a batch size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cnn_core::backend::{Profile, Session};
use cnn_core::layers::{Call, Mode, View};
use cnn_core::lowering::{SlotId, Step};
use cnn_core::{Result, Tensor};
use opencl3::command_queue::CommandQueue;

use crate::buffer::Buffer;
use crate::driver::failed;
use crate::format::Transfer;
use crate::kernel::{HostLayer, Kernel};
use crate::launch::{self, Buffers, Ready};
use crate::plan::PlanData;

pub(crate) struct OclSession {
    ready: Option<ForBatch>,
    queue: CommandQueue,
    /// With clocks, made when they are first wanted.
    profiling: Option<CommandQueue>,
    plan: Arc<PlanData>,
}

/// All that depends on the batch size. Fields are dropped in their order: kernels before the memory that they use.
struct ForBatch {
    batch: usize,
    transfer: Transfer,
    steps: Vec<Vec<Ready>>,
    /// By slot; parts of the arena, but for the input.
    slots: Vec<Buffer>,
    _workspaces: Vec<Buffer>,
    _arena: Buffer,
}

impl ForBatch {
    fn new(plan: &PlanData, batch: usize) -> Result<Self> {
        let (driver, lowered) = (&plan.driver, &plan.lowered);
        let floats = |values| driver.format.floats_of_values(values);
        let arena = Buffer::new(driver, "the arena", floats(lowered.arena_length(batch)))?;
        let slot = |slot: usize| match slot {
            0 => Buffer::new(driver, "the input", floats(lowered.slots[0].elements().saturating_mul(batch))),
            _ => {
                let range = lowered.range(SlotId(slot), batch);
                arena.part(floats(range.start), floats(range.len()))
            }
        };
        let slots = (0..lowered.slots.len()).map(slot).collect::<Result<Vec<_>>>()?;
        let workspaces = plan.workspaces(batch).into_iter();
        let workspaces: Vec<Buffer> =
            workspaces.map(|floats| Buffer::new(driver, "the workspace", floats)).collect::<Result<_>>()?;
        let step = |step: &Step<Box<dyn Kernel>>| -> Result<Vec<Ready>> {
            let inputs = step.inputs.iter().map(|slot| &slots[slot.0]).collect();
            let buffers = Buffers { inputs, output: Some(&slots[step.output.0]), workspaces: &workspaces };
            let launches = step.kernel.launches(driver, batch)?;
            launches.iter().map(|launch| Ready::new(driver, launch, &buffers)).collect()
        };
        let steps = lowered.steps.iter().map(step).collect::<Result<Vec<_>>>()?;
        let transfer = Transfer::new(driver.format);
        Ok(ForBatch { batch, transfer, steps, slots, _workspaces: workspaces, _arena: arena })
    }
}

impl OclSession {
    pub(crate) fn new(plan: Arc<PlanData>) -> Result<Self> {
        let queue = launch::queue(&plan.driver.context, false)?;
        Ok(OclSession { ready: None, queue, profiling: None, plan })
    }

    /// Buffers and arguments for this batch.
    fn prepare(&mut self, batch: usize) -> Result<()> {
        if self.ready.as_ref().is_none_or(|ready| ready.batch != batch) {
            // Not two arenas at a time.
            self.ready = None;
            self.ready = Some(ForBatch::new(&self.plan, batch)?);
        }
        Ok(())
    }

    fn run_steps(&mut self, input: &Tensor, times: Option<&mut Vec<Duration>>) -> Result<Tensor> {
        let plan = self.plan.clone();
        let (batch, data) = plan.network.check_input(input)?;
        self.prepare(batch)?;
        if times.is_some() && self.profiling.is_none() {
            self.profiling = Some(launch::queue(&plan.driver.context, true)?);
        }
        let queue = match times {
            Some(_) => self.profiling.as_ref().unwrap_or(&self.queue),
            None => &self.queue,
        };
        let Some(ready) = &mut self.ready else { unreachable!("prepared above") };
        let shape = plan.network.output_shape().with_batch(batch);
        let mut output = vec![0.0; shape.elements()];
        let run = || -> Result<()> {
            ready.transfer.write(queue, &mut ready.slots[0], data)?;
            enqueue(&plan, ready, queue, times)?;
            ready.transfer.read(queue, &ready.slots[plan.lowered.output.0], &mut output)
        };
        let result = run();
        if result.is_err() {
            // The next run starts afresh. What the device says now adds nothing to the error.
            let _ = queue.finish();
            self.ready = None;
        }
        result?;
        Tensor::new(shape, output)
    }
}

/// Puts every step into the queue; with a place for times, waits for each and notes what the device's clock says.
fn enqueue(
    plan: &PlanData,
    ready: &mut ForBatch,
    queue: &CommandQueue,
    mut times: Option<&mut Vec<Duration>>,
) -> Result<()> {
    let ForBatch { batch, transfer, steps, slots, .. } = ready;
    for (step, launches) in plan.lowered.steps.iter().zip(&*steps) {
        let start = Instant::now();
        let mut on_device = Duration::ZERO;
        for launch in launches {
            let before = Instant::now();
            let event = launch.enqueue(queue)?;
            if times.is_some() {
                event.wait().map_err(|error| failed("waiting for the device", &error))?;
                on_device += launch.device_time(&event)?.unwrap_or_else(|| before.elapsed());
            }
        }
        if let Some(layer) = step.kernel.on_host() {
            on_host(layer, (&step.inputs, step.output), slots, *batch, (transfer, queue))?;
            on_device = start.elapsed();
        }
        if let Some(times) = &mut times {
            times.push(on_device);
        }
    }
    Ok(())
}

/// Brings a step's inputs to the host, runs its plain loops and takes the output back.
fn on_host(
    layer: &HostLayer,
    (inputs, output): (&[SlotId], SlotId),
    slots: &mut [Buffer],
    batch: usize,
    (transfer, queue): (&mut Transfer, &CommandQueue),
) -> Result<()> {
    let mut values = Vec::new();
    for (slot, shape) in inputs.iter().zip(&layer.inputs) {
        let mut value = vec![0.0; batch * shape.elements()];
        transfer.read(queue, &slots[slot.0], &mut value)?;
        values.push(value);
    }
    let views: Vec<View<'_>> = layer.inputs.iter().zip(&values).map(|(shape, data)| View { shape, data }).collect();
    let parameters: Vec<&[f32]> = layer.parameters.iter().map(Vec::as_slice).collect();
    let call =
        Call { batch, inputs: &views, output_shape: &layer.output, parameters: &parameters, mode: Mode::Inference };
    let mut result = vec![0.0; batch * layer.output.elements()];
    layer.layer.operation().forward(&call, &mut result);
    transfer.write(queue, &mut slots[output.0], &result)
}

impl Session for OclSession {
    fn run(&mut self, input: &Tensor) -> Result<Tensor> {
        self.run_steps(input, None)
    }

    fn profile(&mut self, input: &Tensor) -> Result<Profile> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(self.plan.lowered.steps.len());
        let output = self.run_steps(input, Some(&mut times))?;
        let total = start.elapsed();
        Ok(Profile::new(&self.plan.lowered.report, times, output, total))
    }
}
