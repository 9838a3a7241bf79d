//! Memory of the device.

#![allow(unsafe_code)]

use std::ptr;

use cnn_core::{Error, Result};
use opencl3::memory::{Buffer as ClBuffer, CL_MAP_WRITE, CL_MEM_ALLOC_HOST_PTR, CL_MEM_READ_WRITE, ClMem};
use opencl3::types::{CL_TRUE, cl_float, cl_mem};

use crate::driver::{Driver, failed};

/// Floats on the device.
#[derive(Debug)]
pub(crate) struct Buffer {
    buffer: ClBuffer<cl_float>,
    length: usize,
}

impl Buffer {
    /// Floats with anything in them. Errors where the device has no room, with what it was for.
    pub(crate) fn new(driver: &Driver, what: &str, length: usize) -> Result<Self> {
        let length = length.max(1);
        let bytes = length.saturating_mul(size_of::<f32>());
        let too_large = || Error::OutOfMemory { what: format!("{what} on the device"), bytes };
        // Kernels count in 32 bits.
        if bytes as u64 > driver.traits().largest_buffer || length > i32::MAX as usize {
            return Err(too_large());
        }
        // Memory that the host can map: on devices that share the host's, transfers become copies in place, or none.
        let flags = CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR;
        // SAFETY: no host memory is handed over.
        let buffer = unsafe { ClBuffer::create(&driver.context, flags, length, ptr::null_mut()) };
        Ok(Buffer { buffer: buffer.map_err(|_| too_large())?, length })
    }

    /// Floats that `fill` writes, every one of them.
    pub(crate) fn filled(driver: &Driver, what: &str, length: usize, fill: impl FnOnce(&mut [f32])) -> Result<Self> {
        let buffer = Buffer::new(driver, what, length)?;
        let (queue, bytes) = (&driver.queue, buffer.length * size_of::<f32>());
        let mut mapped: cl_mem = ptr::null_mut();
        let failed = |e| failed(&format!("mapping {what}"), &e);
        // SAFETY: the whole buffer is mapped before the call returns, with what it holds; the slice is the mapped region, which
        // nothing else uses until it is unmapped.
        unsafe {
            queue
                .enqueue_map_buffer(&buffer.buffer, CL_TRUE, CL_MAP_WRITE, 0, bytes, &mut mapped, &[])
                .map_err(failed)?;
            fill(std::slice::from_raw_parts_mut(mapped.cast(), length));
            queue.enqueue_unmap_mem_object(buffer.buffer.get(), mapped, &[]).map_err(failed)?;
        }
        queue.finish().map_err(failed)?;
        Ok(buffer)
    }

    /// A part of it, which lives on its own. `start` has to be a multiple of the device's alignment.
    pub(crate) fn part(&self, start: usize, length: usize) -> Result<Buffer> {
        let length = length.max(1);
        assert!(start + length <= self.length, "a part of {length} from {start} on of {} floats", self.length);
        // SAFETY: the region lies inside the buffer.
        let part = unsafe { self.buffer.create_sub_buffer(CL_MEM_READ_WRITE, start, length) };
        Ok(Buffer { buffer: part.map_err(|e| failed("a part of the arena", &e))?, length })
    }

    /// The same memory under a second handle.
    pub(crate) fn share(&self) -> Result<Buffer> {
        // SAFETY: the handle is a buffer's, and the count of its holders goes up before there is another.
        let buffer = unsafe {
            opencl3::memory::retain_mem_object(self.buffer.get()).map_err(|e| failed("sharing a buffer", &e.into()))?;
            ClBuffer::new(self.buffer.get())
        };
        Ok(Buffer { buffer, length: self.length })
    }

    /// Number of floats.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn raw(&self) -> &ClBuffer<cl_float> {
        &self.buffer
    }

    pub(crate) fn raw_mut(&mut self) -> &mut ClBuffer<cl_float> {
        &mut self.buffer
    }
}
