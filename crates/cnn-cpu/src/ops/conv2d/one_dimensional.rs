//! Convolution with one-dimensional filters, k x 1 or 1 x k (Jin et al. 2015; Inception's 7 x 1 and 1 x 7), through the
//! loops of [`direct`](super::direct). Down a column, all rows are one long line on which the taps lie a row apart, and
//! padding is some rows of zeros at its ends: tiles are full however narrow the image is.

use cnn_core::choose::Row;

use super::direct::{DirectKernel, Lines};
use super::{Algorithm, Parameters, Problem};
use crate::ops::{Prepared, Work};

/// The row of the table.
#[derive(Debug)]
pub struct OneDimensional;

impl Row<Problem> for OneDimensional {
    fn name(&self) -> &'static str {
        "one_dimensional"
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match (problem.plane.rows.kernel, problem.plane.columns.kernel) {
            (1, 1) => Err("the window is 1x1".to_string()),
            (1, _) | (_, 1) => super::direct::fills_blocks(problem),
            (rows, columns) => Err(format!("the window is {rows}x{columns}")),
        }
    }
}

/// How the output's pixels are cut.
fn lines(problem: &Problem) -> Lines {
    let (rows, columns) = (problem.plane.rows, problem.plane.columns);
    let whole = columns.kernel == 1 && rows.stride == 1 && columns.stride == 1 && columns.before + columns.after == 0;
    // One line is one piece of rows: worth it where rows are too short for tiles.
    match whole && columns.output < 2 * problem.machine.instructions().tile_rows() {
        true => Lines::Whole,
        false => Lines::Rows,
    }
}

impl Algorithm for OneDimensional {
    fn work(&self, problem: &Problem, batch: usize) -> Work {
        let line = match lines(problem) {
            Lines::Whole => problem.out_plane(),
            Lines::Rows => problem.plane.columns.output,
        };
        super::direct::work(problem, line, batch)
    }

    fn prepare(&self, problem: &Problem, parameters: Parameters<'_>) -> Result<Prepared, String> {
        Ok(DirectKernel::prepare(problem, lines(problem), parameters))
    }

    fn adds_residual(&self) -> bool {
        true
    }
}
