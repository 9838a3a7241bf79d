//! Residuals: kernels of rows that know nothing of them run without the activation, then one pass over the output adds the
//! residual and applies it.

use cnn_core::layers::Activation;

use super::{Algorithm, Parameters, Problem};
use crate::ops::elementwise::{PIECE, apply};
use crate::ops::{Io, Kernel, Prepared};
use crate::simd::{Instructions, with_simd};
use crate::threads::Workers;

/// The kernel of a row that accepts the problem, or why these weights will not do.
pub fn prepare(row: &dyn Algorithm, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
    if !problem.residual || row.adds_residual() {
        return row.prepare(problem, parameters);
    }
    let prepared = row.prepare(problem, Parameters { activation: None, ..parameters })?;
    let kernel = Box::new(WithResidual {
        instructions: problem.machine.instructions(),
        kernel: prepared.kernel,
        activation: parameters.activation,
    });
    Ok(Prepared { kernel, ..prepared })
}

struct WithResidual {
    instructions: Instructions,
    kernel: Box<dyn Kernel>,
    activation: Option<Activation>,
}

impl Kernel for WithResidual {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        let Io { batch, inputs, output, workspace } = io;
        self.kernel.run(Io { batch, inputs: &inputs[..1], output: &mut *output, workspace }, workers);
        workers.for_each_chunk(output, PIECE, |index, output| {
            output.iter_mut().zip(&inputs[1][index * PIECE..]).for_each(|(o, r)| *o += r);
            if let Some(activation) = self.activation {
                with_simd!(self.instructions, s => apply(s, activation, output));
            }
        });
    }

    fn weight_bytes(&self) -> usize {
        self.kernel.weight_bytes()
    }

    fn scratch_length(&self) -> usize {
        self.kernel.scratch_length()
    }

    fn workspace_length(&self, batch: usize, threads: usize) -> usize {
        self.kernel.workspace_length(batch, threads)
    }
}
