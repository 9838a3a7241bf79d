//! What numbers are on the device: floats, or halves between layers, or halves throughout.

use cnn_core::Result;
use cnn_core::backend::Precision;
use half::f16;
use half::slice::HalfFloatSliceExt;
use opencl3::command_queue::CommandQueue;

use crate::buffer::Buffer;
use crate::launch;

/// What values between layers are, and the scalars that kernels compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Format {
    pub(crate) values: Precision,
    /// Half only where values are.
    pub(crate) arithmetic: Precision,
}

impl Format {
    pub(crate) const HALF: Format = Format { values: Precision::Half, arithmetic: Precision::Half };

    /// What the prelude of kernels asks for.
    pub(crate) fn defines<'a>(self) -> impl Iterator<Item = (&'a str, i64)> {
        let halves: [(&str, _); 2] = [("HALF_VALUES", self.values), ("HALF_ARITHMETIC", self.arithmetic)];
        halves.into_iter().filter(|(_, precision)| *precision == Precision::Half).map(|(name, _)| (name, 1))
    }

    /// Floats of memory that so many values take.
    pub(crate) fn floats_of_values(self, count: usize) -> usize {
        floats(self.values, count)
    }

    /// Floats of memory that so many scalars take.
    pub(crate) fn floats_of_scalars(self, count: usize) -> usize {
        floats(self.arithmetic, count)
    }
}

fn floats(precision: Precision, count: usize) -> usize {
    match precision {
        Precision::Single => count,
        Precision::Half => count.div_ceil(2),
    }
}

/// Copies values between the host, where they are floats, and the device.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    format: Format,
    /// Memory for halves on their way.
    halves: Vec<f32>,
}

impl Transfer {
    pub(crate) fn new(format: Format) -> Self {
        Transfer { format, halves: Vec::new() }
    }

    pub(crate) fn write(&mut self, queue: &CommandQueue, buffer: &mut Buffer, data: &[f32]) -> Result<()> {
        if self.format.values == Precision::Single {
            return launch::write(queue, buffer, data);
        }
        self.halves.resize(floats(Precision::Half, data.len()), 0.0);
        let halves: &mut [f16] = bytemuck::cast_slice_mut(&mut self.halves);
        halves[..data.len()].convert_from_f32_slice(data);
        launch::write(queue, buffer, &self.halves)
    }

    pub(crate) fn read(&mut self, queue: &CommandQueue, buffer: &Buffer, data: &mut [f32]) -> Result<()> {
        if self.format.values == Precision::Single {
            return launch::read(queue, buffer, data);
        }
        self.halves.resize(floats(Precision::Half, data.len()), 0.0);
        launch::read(queue, buffer, &mut self.halves)?;
        let halves: &[f16] = bytemuck::cast_slice(&self.halves);
        halves[..data.len()].convert_to_f32_slice(data);
        Ok(())
    }
}
