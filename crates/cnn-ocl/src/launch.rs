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
#[derive(Debug, Default)]
pub(crate) struct Buffers<'a> {
    pub(crate) inputs: Vec<&'a Buffer>,
    pub(crate) output: Option<&'a Buffer>,
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
            Argument::Output => self.output,
            Argument::Workspace(workspace) => Some(&self.workspaces[*workspace]),
            Argument::Memory(weights) => Some(weights),
            _ => None,
        }
    }
}

/// Sets an argument, which is a buffer or a number.
fn set(kernel: &ClKernel, name: &str, i: u32, argument: &Argument, buffer: Option<&Buffer>) -> Result<()> {
    // SAFETY: the types of arguments stand in the same order in the kernel's source and in the host code beside it. Buffers
    // outlive the kernel, as whoever keeps both drops launches first.
    let set = unsafe {
        match (argument, buffer) {
            (_, Some(buffer)) => kernel.set_arg(i, &buffer.raw().get()),
            (Argument::Float(number), _) => kernel.set_arg(i, number),
            (Argument::Int(number), _) => kernel.set_arg(i, number),
            (Argument::Ints2(numbers), _) => kernel.set_arg(i, numbers),
            (Argument::Ints4(numbers), _) => kernel.set_arg(i, numbers),
            (Argument::Floats2(numbers), _) => kernel.set_arg(i, numbers),
            (Argument::Floats4(numbers), _) => kernel.set_arg(i, numbers),
            (Argument::Long(number), _) => kernel.set_arg(i, number),
            (argument, None) => unreachable!("{argument:?} is neither a buffer nor a number"),
        }
    };
    set.map_err(|e| failed(&format!("argument {i} of kernel `{name}`"), &e))
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
            set(&kernel, name, i, argument, buffers.of(argument))?;
        }
        let mut global = launch.items.map(|items| items.max(1));
        if let Some(group) = launch.group {
            global = std::array::from_fn(|i| global[i].next_multiple_of(group[i]));
        }
        Ok(Ready::Function { kernel, name, global, local: launch.group })
    }

    /// Changes an argument that is a number, for the next time that it is enqueued.
    pub(crate) fn change(&mut self, i: u32, argument: &Argument) -> Result<()> {
        match self {
            Ready::Function { kernel, name, .. } => set(kernel, name, i, argument, None),
            #[cfg(feature = "clblast")]
            Ready::Gemm { .. } => unreachable!("products have no numbers to change"),
        }
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
    write_part(queue, buffer, 0, data)
}

/// Copies to a place in the device's memory and waits for it.
pub(crate) fn write_part(queue: &CommandQueue, buffer: &mut Buffer, first: usize, data: &[f32]) -> Result<()> {
    assert!(first + data.len() <= buffer.length());
    let bytes = first * size_of::<f32>();
    // SAFETY: the data fits the buffer, and the call returns when it is copied.
    let written = unsafe { queue.enqueue_write_buffer(buffer.raw_mut(), CL_TRUE, bytes, data, &[]) };
    written.map(drop).map_err(|e| failed("writing to the device", &e))
}

/// Copies from the device when all before it in the queue is done.
pub(crate) fn read(queue: &CommandQueue, buffer: &Buffer, data: &mut [f32]) -> Result<()> {
    read_part(queue, buffer, 0, data)
}

/// Copies from a place in the device's memory when all before it in the queue is done.
pub(crate) fn read_part(queue: &CommandQueue, buffer: &Buffer, first: usize, data: &mut [f32]) -> Result<()> {
    assert!(first + data.len() <= buffer.length());
    let bytes = first * size_of::<f32>();
    // SAFETY: the buffer holds as much, and the call returns when it is copied.
    let read = unsafe { queue.enqueue_read_buffer(buffer.raw(), CL_TRUE, bytes, data, &[]) };
    read.map(drop).map_err(|e| failed("reading from the device", &e))
}
