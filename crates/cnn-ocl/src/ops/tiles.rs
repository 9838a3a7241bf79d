//! Products of matrices by tiles of sums in registers, and the panels of weights that they read: all of a tile's columns
//! side by side for each step of the depth. Under every fast algorithm of this backend.

use std::sync::Arc;

use cnn_core::Result;
use cnn_core::backend::Precision;
use cnn_core::layers::Activation;
use half::f16;
use rayon::prelude::*;

use super::activation_code;
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{self, Float};
use crate::kernel::Launch;
use crate::program::Source;

const SOURCE: Source = Source { name: "tiles", text: include_str!("tiles.cl") };

/// Weights as `[matrix][panel][k][columns of a panel]`, zeros where columns do not fill the last.
#[derive(Debug, Clone)]
pub(crate) struct Panels {
    pub(crate) buffer: Arc<Buffer>,
    /// `[matrix][panel][columns of a panel]`.
    pub(crate) bias: Arc<Buffer>,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    /// Vectors of a panel.
    pub(crate) vectors: usize,
    precision: Precision,
    lanes: usize,
}

impl Panels {
    /// Packs `value(matrix, column, k)` and `bias(matrix, column)`.
    pub(crate) fn pack(
        driver: &Driver,
        [matrices, columns, depth]: [usize; 3],
        precision: Precision,
        bias: impl Fn(usize, usize) -> f32,
        value: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Result<Self> {
        let lanes = driver.tuning.lanes;
        let vectors = driver.tuning.vectors.min(columns.div_ceil(lanes));
        let width = vectors * lanes;
        let panels = columns.div_ceil(width);
        let inside = |matrix: usize, column: usize, k: usize| {
            if column < columns { value(matrix, column, k) } else { 0.0 }
        };
        let weights = matrices * panels * width * depth;
        let buffer = match precision {
            Precision::Single => {
                let fill = |out: &mut [f32]| fill(out, [panels, width, depth], &inside);
                Buffer::filled(driver, "packed weights", weights, fill)?
            }
            Precision::Half => {
                let half = |matrix, column, k| f16::from_f32(inside(matrix, column, k)).to_bits();
                let fill = |out: &mut [f32]| fill(bytemuck::cast_slice_mut(out), [panels, width, depth], &half);
                Buffer::filled(driver, "packed weights", weights.div_ceil(2), fill)?
            }
        };
        let bias = Buffer::filled(driver, "a bias", matrices * panels * width, |out| {
            for (i, out) in out.iter_mut().enumerate() {
                let (matrix, column) = (i / (panels * width), i % (panels * width));
                *out = if column < columns { bias(matrix, column) } else { 0.0 };
            }
        })?;
        Ok(Panels { buffer: Arc::new(buffer), bias: Arc::new(bias), columns, depth, vectors, precision, lanes })
    }

    /// Columns of a panel.
    pub(crate) fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Number of panels of a matrix.
    pub(crate) fn count(&self) -> usize {
        self.columns.div_ceil(self.width())
    }

    /// Bytes of weights and bias.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<f32>() * (self.buffer.length() + self.bias.length())
    }
}

/// Writes panels, `[matrix][panel][k][columns of a panel]`.
fn fill<T: Send>(
    out: &mut [T],
    [panels, width, depth]: [usize; 3],
    value: &(impl Fn(usize, usize, usize) -> T + Sync),
) {
    /// Steps of the depth that are packed at a time, so that what is read stays in the first cache.
    const STEPS: usize = 64;
    out.par_chunks_mut(width * depth).enumerate().for_each(|(i, panel)| {
        let (matrix, first) = (i / panels, i % panels * width);
        for (block, start) in panel.chunks_mut(width * STEPS).zip((0..).step_by(STEPS)) {
            for column in 0..width {
                for (k, out) in block.iter_mut().skip(column).step_by(width).enumerate() {
                    *out = value(matrix, first + column, start + k);
                }
            }
        }
    });
}

/// Length of the parts, nearly alike, that an extent is cut into when none may be longer than `most`.
pub(crate) fn even(extent: usize, most: usize) -> usize {
    extent.div_ceil(extent.div_ceil(most))
}

/// A product: rows of x, at a distance of the panels' depth unless it says otherwise, by panels.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub(crate) panels: &'a Panels,
    pub(crate) x: Argument,
    pub(crate) y: Argument,
    pub(crate) rows: usize,
    /// Number of matrices, and elements from one to the next of x and y.
    pub(crate) matrices: [usize; 3],
    /// Whether all matrices meet the same weights.
    pub(crate) shared_weights: bool,
    /// Elements from row to row of y, and from a block of columns to the next.
    pub(crate) y_strides: [usize; 2],
    /// Columns that are written.
    pub(crate) columns: usize,
    /// Whether x and y lie between the transforms of an algorithm, as scalars; else they are values.
    pub(crate) transformed: bool,
    pub(crate) bias: bool,
    pub(crate) activation: Option<Activation>,
}

impl Product<'_> {
    /// The launch of it. There must be at least one row.
    pub(crate) fn launch(self, driver: &Driver) -> Result<Launch> {
        let panels = self.panels;
        let [count, x_matrix, y_matrix] = self.matrices;
        let rows = even(self.rows, driver.tuning.rows);
        let (code, parameter) = activation_code(self.activation);
        let x_row = if self.rows > 1 { panels.depth } else { 0 };
        let program =
            driver.program(SOURCE, &defines(panels, [rows, x_row, 1], (self.transformed, self.bias, code)))?;
        let items = [self.rows.div_ceil(rows), panels.count(), count];
        let [along, across] = driver.tuning.tile_group;
        let launch = Launch::new(&program, "product", items).group([along, across, 1]);
        let panel = panels.width() * panels.depth;
        let w_matrix = if self.shared_weights { 0 } else { panels.count() * panel };
        let [y_row, y_block] = self.y_strides;
        Ok(launch
            .with([self.x, Argument::Memory(panels.buffer.clone()), Argument::Memory(panels.bias.clone()), self.y])
            .ints([self.rows, panels.depth, x_matrix, panel, w_matrix])
            .ints([y_row, y_block, y_matrix, self.columns, panels.columns])
            .with([Float(parameter)]))
    }
}

/// One row by panels, the sum of each column shared out between `parts`: for devices with more work-items than columns. The
/// parts meet in workspace 0, of as many scalars as [`parts_length`] says.
pub(crate) fn product_in_parts(
    driver: &Driver,
    panels: &Panels,
    parts: usize,
    activation: Option<Activation>,
) -> Result<Vec<Launch>> {
    let depth = panels.depth.div_ceil(parts);
    let parts = panels.depth.div_ceil(depth);
    let columns = panels.count() * panels.width();
    let program = driver.program(SOURCE, &defines(panels, [1, 0, parts], (false, false, 0)))?;
    let [along, across] = driver.tuning.tile_group;
    // One row: the work-items of a group lie along panels.
    let product = Launch::new(&program, "product", [1, panels.count(), parts])
        .group([1, along * across, 1])
        .with([Argument::Input(0), Argument::Memory(panels.buffer.clone()), Argument::Memory(panels.bias.clone())])
        .with([Argument::Workspace(0)])
        .ints([1, depth, panels.depth, panels.width() * panels.depth, 0])
        .ints([0, panels.lanes, columns, columns, panels.columns])
        .with([Float(0.0)]);
    let (code, parameter) = activation_code(activation);
    let program = driver.program(SOURCE, &defines(panels, [1, 0, 1], (false, true, code)))?;
    let sum = Launch::new(&program, "sum_parts", [columns / panels.lanes, 1, 1])
        .group(driver.tuning.line_group())
        .with([Argument::Workspace(0), Argument::Memory(panels.bias.clone()), Argument::Output])
        .ints([parts, panels.columns, columns])
        .with([Float(parameter)]);
    Ok(vec![product, sum])
}

/// Scalars in the workspace of [`product_in_parts`].
pub(crate) fn parts_length(panels: &Panels, parts: usize) -> usize {
    parts * panels.count() * panels.width()
}

fn defines(
    panels: &Panels,
    [rows, x_row, parts]: [usize; 3],
    (transformed, bias, activation): (bool, bool, i64),
) -> [(&'static str, i64); 9] {
    [
        ("LANES", panels.lanes as i64),
        ("ROWS", rows as i64),
        ("VECTORS", panels.vectors as i64),
        ("X_ROW", x_row as i64),
        ("PARTS", i64::from(parts > 1) + 1),
        ("TRANSFORMED", i64::from(transformed)),
        ("BIAS", i64::from(bias)),
        ("HALF_WEIGHTS", i64::from(panels.precision == Precision::Half)),
        ("ACTIVATION", activation),
    ]
}
