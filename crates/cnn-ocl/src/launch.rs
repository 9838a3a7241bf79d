//! The one place where arguments are set and kernels, reads and writes are put into a queue.

#![allow(unsafe_code)]

use std::ptr;
use std::time::Duration;

use cnn_core::Result;
use opencl3::command_queue::{CL_QUEUE_PROFILING_ENABLE, CommandQueue};
use opencl3::context::Context;
use opencl3::event::Event;
use opencl3::kernel::Kernel as ClKernel;
use opencl3::memory::ClMem;
use opencl3::types::CL_TRUE;

use crate::buffer::Buffer;
use crate::driver::{Driver, failed};
use crate::kernel::{Argument, Launch, Work};

/// An in-order queue.
pub(crate) fn queue(context: &Context, profiling: bool) -> Result<CommandQueue> {
    let properties = if profiling { CL_QUEUE_PROFILING_ENABLE } else { 0 };
    // OpenCL 1.2 has no other way to make one, and later versions keep this one.
    #[allow(deprecated)]
    CommandQueue::create_default(context, properties).map_err(|e| failed("making a queue", &e))
}

/// The buffers that a launch's arguments stand for.
#[derive(Debug)]
pub(crate) struct Buffers<'a> {
    pub(crate) inputs: Vec<&'a Buffer>,
    pub(crate) output: &'a Buffer,
    pub(crate) workspaces: &'a [Buffer],
}

impl<'a> Buffers<'a> {
    /// The buffer that an argument stands for; nothing for numbers.
    fn of<'b>(&'b self, argument: &'b Argument) -> Option<&'b Buffer>
    where
        'a: 'b,
    {
        match argument {
            Argument::Input(input) => Some(self.inputs[*input]),
            Argument::Output => Some(self.output),
            Argument::Workspace(workspace) => Some(&self.workspaces[*workspace]),
            Argument::Memory(weights) => Some(weights),
            Argument::Int(_) | Argument::Float(_) => None,
        }
    }
}

/// A launch with its arguments set, to be enqueued again and again.
#[derive(Debug)]
pub(crate) enum Ready {
    /// A function of a program.
    Function { kernel: ClKernel, name: &'static str, global: [usize; 3], local: Option<[usize; 3]> },
    /// A product by CLBlast, with its matrices.
    #[cfg(feature = "clblast")]
    Gemm { gemm: crate::gemm::clblast::Gemm, device: opencl3::device::Device, matrices: [Buffer; 3] },
}

impl Ready {
    #[cfg_attr(not(feature = "clblast"), allow(unused_variables))]
    pub(crate) fn new(driver: &Driver, launch: &Launch, buffers: &Buffers<'_>) -> Result<Self> {
        match &launch.work {
            Work::Function(program, name) => Self::function(program.kernel(name)?, name, launch, buffers),
            #[cfg(feature = "clblast")]
            Work::Gemm(gemm) => {
                let matrix = |i: usize| buffers.of(&launch.arguments[i]).expect("a matrix is a buffer").share();
                let matrices = [matrix(0)?, matrix(1)?, matrix(2)?];
                Ok(Ready::Gemm { gemm: *gemm, device: driver.found.device, matrices })
            }
        }
    }

    fn function(kernel: ClKernel, name: &'static str, launch: &Launch, buffers: &Buffers<'_>) -> Result<Self> {
        let taken = kernel.num_args().map_err(|e| failed(name, &e))? as usize;
        assert_eq!(taken, launch.arguments.len(), "arguments of `{name}`");
        for (i, argument) in (0..).zip(&launch.arguments) {
            // SAFETY: the number of arguments is the kernel's; their types stand in the same order in the kernel's source and
            // in the host code beside it. The buffers outlive the kernel, as the session drops its launches first.
            let set = unsafe {
                match (argument, buffers.of(argument)) {
                    (_, Some(buffer)) => kernel.set_arg(i, &buffer.raw().get()),
                    (Argument::Float(number), None) => kernel.set_arg(i, number),
                    (Argument::Int(number), None) => kernel.set_arg(i, number),
                    (argument, None) => unreachable!("{argument:?} is neither a buffer nor a number"),
                }
            };
            set.map_err(|e| failed(&format!("argument {i} of kernel `{name}`"), &e))?;
        }
        let mut global = launch.items.map(|items| items.max(1));
        if let Some(group) = launch.group {
            global = std::array::from_fn(|i| global[i].next_multiple_of(group[i]));
        }
        Ok(Ready::Function { kernel, name, global, local: launch.group })
    }

    pub(crate) fn enqueue(&self, queue: &CommandQueue) -> Result<Event> {
        match self {
            Ready::Function { kernel, name, global, local } => {
                let local = local.as_ref().map_or(ptr::null(), |local| local.as_ptr());
                // SAFETY: the sizes are three each; every argument was set, and kernels keep inside their buffers, which the
                // sizes among the arguments are computed for.
                let event =
                    unsafe { queue.enqueue_nd_range_kernel(kernel.get(), 3, ptr::null(), global.as_ptr(), local, &[]) };
                event.map_err(|e| failed(&format!("kernel `{name}`"), &e))
            }
            #[cfg(feature = "clblast")]
            Ready::Gemm { gemm, device, matrices } => gemm.enqueue(queue, device.id(), matrices.each_ref()),
        }
    }
}

impl Ready {
    /// The device's time of a launch that has ended; nothing where its event stands for the last of several kernels.
    pub(crate) fn device_time(&self, event: &Event) -> Result<Option<Duration>> {
        #[cfg(feature = "clblast")]
        if matches!(self, Ready::Gemm { .. }) {
            return Ok(None);
        }
        let clock = |error| failed("the device's clock", &error);
        let from = event.profiling_command_start().map_err(clock)?;
        let to = event.profiling_command_end().map_err(clock)?;
        Ok(Some(Duration::from_nanos(to.saturating_sub(from))))
    }
}

/// Copies to the device and waits for it.
pub(crate) fn write(queue: &CommandQueue, buffer: &mut Buffer, data: &[f32]) -> Result<()> {
    assert!(data.len() <= buffer.length());
    // SAFETY: the data fits the buffer, and the call returns when it is copied.
    let written = unsafe { queue.enqueue_write_buffer(buffer.raw_mut(), CL_TRUE, 0, data, &[]) };
    written.map(drop).map_err(|e| failed("writing to the device", &e))
}

/// Copies from the device when all before it in the queue is done.
pub(crate) fn read(queue: &CommandQueue, buffer: &Buffer, data: &mut [f32]) -> Result<()> {
    assert!(data.len() <= buffer.length());
    // SAFETY: the buffer holds as much, and the call returns when it is copied.
    let read = unsafe { queue.enqueue_read_buffer(buffer.raw(), CL_TRUE, 0, data, &[]) };
    read.map(drop).map_err(|e| failed("reading the output", &e))
}
