//! The one place where arguments are set and kernels, reads and writes are put into a queue.

#![allow(unsafe_code)]

use std::ptr;

use cnn_core::Result;
use opencl3::command_queue::{CL_QUEUE_PROFILING_ENABLE, CommandQueue};
use opencl3::context::Context;
use opencl3::event::Event;
use opencl3::kernel::Kernel as ClKernel;
use opencl3::memory::ClMem;
use opencl3::types::{CL_FALSE, CL_TRUE};

use crate::buffer::Buffer;
use crate::driver::failed;
use crate::kernel::{Argument, Launch};

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

/// A launch with its arguments set, to be enqueued again and again.
#[derive(Debug)]
pub(crate) struct Ready {
    kernel: ClKernel,
    global: [usize; 3],
    local: Option<[usize; 3]>,
    function: &'static str,
}

impl Ready {
    pub(crate) fn new(launch: &Launch, buffers: &Buffers<'_>) -> Result<Self> {
        let kernel = launch.program.kernel(launch.function)?;
        let taken = kernel.num_args().map_err(|e| failed(launch.function, &e))? as usize;
        assert_eq!(taken, launch.arguments.len(), "arguments of `{}`", launch.function);
        for (i, argument) in (0..).zip(&launch.arguments) {
            // SAFETY: the number of arguments is the kernel's; their types stand in the same order in the kernel's source and
            // in the host code beside it. The buffers outlive the kernel, as the session drops its launches first.
            let set = unsafe {
                match argument {
                    Argument::Input(input) => kernel.set_arg(i, &buffers.inputs[*input].raw().get()),
                    Argument::Output => kernel.set_arg(i, &buffers.output.raw().get()),
                    Argument::Workspace(workspace) => kernel.set_arg(i, &buffers.workspaces[*workspace].raw().get()),
                    Argument::Weights(weights) => kernel.set_arg(i, &weights.raw().get()),
                    Argument::Int(number) => kernel.set_arg(i, number),
                    Argument::Float(number) => kernel.set_arg(i, number),
                }
            };
            set.map_err(|e| failed(&format!("argument {i} of kernel `{}`", launch.function), &e))?;
        }
        let mut global = launch.items.map(|items| items.max(1));
        if let Some(group) = launch.group {
            global = std::array::from_fn(|i| global[i].next_multiple_of(group[i]));
        }
        Ok(Ready { kernel, global, local: launch.group, function: launch.function })
    }

    pub(crate) fn enqueue(&self, queue: &CommandQueue) -> Result<Event> {
        let local = self.local.as_ref().map_or(ptr::null(), |local| local.as_ptr());
        // SAFETY: the sizes are three each; every argument was set, and kernels keep inside their buffers, which the sizes
        // among the arguments are computed for.
        let event = unsafe {
            queue.enqueue_nd_range_kernel(self.kernel.get(), 3, ptr::null(), self.global.as_ptr(), local, &[])
        };
        event.map_err(|e| failed(&format!("kernel `{}`", self.function), &e))
    }
}

/// Copies to the device; `data` has to stay as it is until the queue is done.
///
/// # Safety
/// The queue must finish before `data` is changed or freed.
pub(crate) unsafe fn write(queue: &CommandQueue, buffer: &mut Buffer, data: &[f32]) -> Result<()> {
    assert!(data.len() <= buffer.length());
    // SAFETY: the data fits the buffer; the caller vouches for the rest.
    let written = unsafe { queue.enqueue_write_buffer(buffer.raw_mut(), CL_FALSE, 0, data, &[]) };
    written.map(drop).map_err(|e| failed("writing the input", &e))
}

/// Copies to the device and waits for it.
pub(crate) fn write_now(queue: &CommandQueue, buffer: &mut Buffer, data: &[f32]) -> Result<()> {
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
