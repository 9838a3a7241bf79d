//! Packing: matrices into panels that the micro-kernel reads in order.

/// A matrix in memory, by strides.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// Holds every element.
    pub data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Matrix { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose: the same memory, read the other way.
    pub fn transposed(self) -> Self {
        let Matrix { data, rows, columns, row_stride, column_stride } = self;
        Matrix { data, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// Some of the columns.
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
        let start = (range.start * self.column_stride).min(self.data.len());
        Matrix { data: &self.data[start..], columns: range.len(), ..self }
    }

    /// Some of the rows.
    pub fn rows(self, range: std::ops::Range<usize>) -> Self {
        self.transposed().columns(range).transposed()
    }
}

/// Panels: groups of `width` rows of A, or columns of B, each `[depth][width]`, the last filled with zeros.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a> {
    data: &'a [f32],
    width: usize,
    /// Depth of the packed matrix, and the part of it that is meant here.
    packed_depth: usize,
    from: usize,
    depth: usize,
}

impl<'a> Panels<'a> {
    /// Panels of `width` that lie in `data` as [`pack`] leaves them.
    pub fn new(data: &'a [f32], width: usize, depth: usize) -> Self {
        Panels { data, width, packed_depth: depth, from: 0, depth }
    }

    /// A part of the depth.
    pub fn at_depth(self, range: std::ops::Range<usize>) -> Self {
        Panels { from: self.from + range.start, depth: range.len(), ..self }
    }

    /// The panels from number `first` on.
    pub fn from_panel(self, first: usize) -> Self {
        Panels { data: &self.data[first * self.packed_depth * self.width..], ..self }
    }

    /// Terms of the sums.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// One panel, `[depth][width]`.
    pub fn panel(&self, index: usize) -> &'a [f32] {
        let start = (index * self.packed_depth + self.from) * self.width;
        &self.data[start..start + self.depth * self.width]
    }
}

/// Packs the rows of `matrix` into panels of `width`; pass a transposed matrix to pack columns. Every element of
/// `panels` is written, so its length must be that of whole panels.
pub fn pack(matrix: Matrix<'_>, width: usize, panels: &mut [f32]) {
    let depth = matrix.columns;
    for (index, panel) in panels.chunks_mut(depth * width).enumerate() {
        let rows = width.min(matrix.rows.saturating_sub(index * width));
        if rows < width {
            panel.fill(0.0);
        }
        if matrix.row_stride == 1 {
            for (k, lanes) in panel.chunks_mut(width).enumerate() {
                let start = index * width + k * matrix.column_stride;
                lanes[..rows].copy_from_slice(&matrix.data[start..start + rows]);
            }
        } else {
            for lane in 0..rows {
                let start = (index * width + lane) * matrix.row_stride;
                let row = matrix.data[start..].iter().step_by(matrix.column_stride);
                panel.iter_mut().skip(lane).step_by(width).zip(row).for_each(|(p, &v)| *p = v);
            }
        }
    }
}

/// Floats that [`pack`] writes for `rows` of `depth`.
pub fn packed_length(rows: usize, depth: usize, width: usize) -> usize {
    rows.next_multiple_of(width) * depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_pack_alike() {
        let data: Vec<f32> = (0..15).map(|v| v as f32).collect();
        let matrix = Matrix::new(&data, 5, 3);
        let column_major: Vec<f32> = (0..15).map(|v| (v % 5 * 3 + v / 5) as f32).collect();
        let same = Matrix { data: &column_major, rows: 5, columns: 3, row_stride: 1, column_stride: 5 };
        let (mut a, mut b) = (vec![9.0; 24], vec![9.0; 24]);
        pack(matrix, 4, &mut a);
        pack(same, 4, &mut b);
        assert_eq!(a, b);
        assert_eq!(&a[..4], [0.0, 3.0, 6.0, 9.0]);
        assert_eq!(&a[12..16], [12.0, 0.0, 0.0, 0.0]);
        assert_eq!(Panels::new(&a, 4, 3).at_depth(1..3).panel(1), [13.0, 0.0, 0.0, 0.0, 14.0, 0.0, 0.0, 0.0]);
    }
}
