//! Convolution as a product of matrices by CLBlast (Loukadakis et al. 2018, section 4.4), with the copy of the windows on the
//! device, not on the host as there.

use std::sync::Arc;

use cnn_core::Result;
use cnn_core::backend::Precision;
use cnn_core::choose::Row;
use cnn_core::layers::Activation;
use cnn_core::lowering::Layout;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::im2col::copy_windows;
use super::{Algorithm, Parameters, Prepared, Problem, Work};
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::gemm::clblast::Gemm;
use crate::kernel::Argument::{Float, Memory, Output, Workspace};
use crate::kernel::{Kernel, Launch};
use crate::ops::activation_code;
use crate::program::Source;

const SOURCE: Source = Source { name: "elementwise", text: include_str!("../elementwise.cl") };

/// The row of the table.
#[derive(Debug)]
pub struct Clblast;

impl Row<Problem> for Clblast {
    fn name(&self) -> &'static str {
        "clblast"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match (problem.conv.groups, problem.precision) {
            (1, [Precision::Half, Precision::Single]) => Err("CLBlast computes with what it reads".to_string()),
            (1, _) => Ok(()),
            (groups, _) => Err(format!("{groups} groups")),
        }
    }
}

#[allow(private_interfaces)]
impl Algorithm for Clblast {
    /// A ninth of what tiles in registers reach, as measured where it was tuned: CLBlast copies its matrices first.
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let patches = 2 * batch * problem.out_plane() * problem.depth();
        Work { macs: 9.0 * problem.macs(batch), floats: problem.floats(batch) + patches as f64 }
    }

    fn prepare(&self, driver: &Driver, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared> {
        let [weights, bias] = parameters.as_they_are(driver, problem.conv.out_channels)?;
        let weights = match driver.format.arithmetic {
            Precision::Single => weights,
            Precision::Half => Arc::new(halves(driver, parameters.weight)?),
        };
        let kernel = ClblastKernel { problem: problem.clone(), weights, bias, activation: parameters.activation };
        Ok(Prepared { pooled: false, ..Prepared::alike(Box::new(kernel), Layout::Planar) })
    }
}

/// Weights as HGEMM reads them.
fn halves(driver: &Driver, weights: &[f32]) -> Result<Buffer> {
    Buffer::filled(driver, "weights", driver.format.floats_of_scalars(weights.len()), |out| {
        let halves: &mut [f16] = bytemuck::cast_slice_mut(out);
        halves[..weights.len()].convert_from_f32_slice(weights);
    })
}

struct ClblastKernel {
    problem: Problem,
    weights: Arc<Buffer>,
    bias: Arc<Buffer>,
    activation: Option<Activation>,
}

impl Kernel for ClblastKernel {
    fn launches(&self, driver: &Driver, batch: usize) -> Result<Vec<Launch>> {
        let (pixels, depth, outputs) = (self.problem.out_plane(), self.problem.depth(), self.problem.conv.out_channels);
        let mut launches = vec![copy_windows(driver, &self.problem, batch)?];
        for sample in 0..batch {
            let gemm = Gemm {
                extents: [outputs, pixels, depth],
                offsets: [0, sample * pixels * depth, sample * outputs * pixels],
                precision: driver.format.arithmetic,
                // What is known was tuned in single precision.
                parameters: match driver.format.arithmetic {
                    Precision::Single => driver.tuning.clblast_for(pixels),
                    Precision::Half => None,
                },
            };
            launches.push(Launch::gemm(gemm, [Memory(self.weights.clone()), Workspace(0), Output]));
        }
        let (code, parameter) = activation_code(self.activation);
        let program = driver.program(SOURCE, &[("LANES", 1), ("ACTIVATION", code)])?;
        let shift = Launch::new(&program, "shift", [pixels, outputs, batch]).group(driver.tuning.line_group());
        launches.push(shift.with([Output, Memory(self.bias.clone())]).ints([pixels]).with([Float(parameter)]));
        Ok(launches)
    }

    fn workspaces(&self, driver: &Driver, batch: usize) -> Vec<usize> {
        vec![driver.format.floats_of_values(batch * self.problem.out_plane() * self.problem.depth())]
    }

    fn weight_bytes(&self) -> usize {
        size_of::<f32>() * (self.weights.length() + self.bias.length())
    }
}
