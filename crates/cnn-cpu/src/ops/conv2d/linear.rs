//! A convolution whose kernel covers its whole input, such as LeNet-5's C5: one output pixel, which a fully connected
//! layer over the flattened input computes. The weights already lie as that layer's do.

use cnn_core::choose::Row;

use super::{Algorithm, Parameters, Problem, tile_efficiency};
use cnn_core::Shape;
use cnn_core::backend::Precision;

use crate::ops::linear::{self, LinearKernel};
use crate::ops::{Prepared, Work};
use cnn_core::lowering::Layout;

/// The row of the table.
#[derive(Debug)]
pub struct Linear;

impl Row<Problem> for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let covers = [problem.plane.rows, problem.plane.columns]
            .iter()
            .all(|axis| axis.kernel == axis.input && axis.before + axis.after == 0 && axis.dilation == 1);
        match (covers, problem.conv.groups) {
            (false, _) => Err("the kernel does not cover the whole input".to_string()),
            (true, 1) => Ok(()),
            (true, groups) => Err(format!("{groups} groups")),
        }
    }
}

impl Algorithm for Linear {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let (weight_bytes, moved_bytes) = problem.blocked_bytes(batch);
        Work { macs: problem.macs(batch) / tile_efficiency(batch.min(8), 2), weight_bytes, moved_bytes }
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        let Parameters { weight, bias, activation } = parameters;
        let shape = Shape::from([problem.in_channels, problem.plane.rows.input, problem.plane.columns.input]);
        let precision = Precision::Single;
        let parameters = linear::Parameters { weight, bias, activation, precision, release: &|_| {} };
        let kernel = LinearKernel::new(&problem.machine, (&shape, problem.layout), parameters);
        Ok(Prepared { kernel: Box::new(kernel), input: problem.layout, output: Layout::Planar, pooled: false })
    }
}
