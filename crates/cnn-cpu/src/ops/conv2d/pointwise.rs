//! Convolution of 1 x 1: a matrix product of pixels and channels. Over the blocked layout the pixels of all rows are one
//! long line, which [`direct`](super::direct) then cuts into full tiles.

use cnn_core::choose::Row;

use super::direct::{DirectKernel, Lines};
use super::{Algorithm, Parameters, Problem};
use crate::ops::{Prepared, Work};

/// The row of the table.
#[derive(Debug)]
pub struct Pointwise;

impl Row<Problem> for Pointwise {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let axes = [problem.plane.rows, problem.plane.columns];
        match axes.iter().all(|axis| axis.kernel == 1 && axis.stride == 1 && axis.before + axis.after == 0) {
            true => super::direct::fills_blocks(problem),
            false => Err("the window is not 1x1 of stride 1 without padding".to_string()),
        }
    }
}

impl Algorithm for Pointwise {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        super::direct::work(problem, problem.out_plane(), batch)
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        Ok(DirectKernel::prepare(problem, Lines::Whole, parameters))
    }

    fn adds_residual(&self) -> bool {
        true
    }
}
