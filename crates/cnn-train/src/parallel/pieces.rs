//! The parameters of split layers: cut into the pieces of workers, and joined.

use std::ops::Range;

use cnn_core::network::NamedParameter;
use cnn_core::{Result, Shape, Tensor, WeightView, Weights};

use super::joint::Parts;

/// Which part of a parameter a worker has.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Each the whole of it, with the same values.
    Whole,
    /// The first worker the whole of it, the others nothing: a bias that is added once.
    First,
    /// Rows of a matrix, or elements of a vector.
    Rows(Parts),
    /// Columns of a matrix.
    Columns(Parts),
}

/// A parameter of the whole network and its pieces.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) parameter: NamedParameter,
    pub(super) piece: Piece,
}

impl Cut {
    /// Rows and columns of the parameter, where a vector is a column.
    fn matrix(&self) -> [usize; 2] {
        let shape = &self.parameter.shape;
        let rows = shape.first().copied().unwrap_or(1);
        [rows, shape.elements() / rows.max(1)]
    }

    /// The rows and columns of a worker's piece; none where it has nothing.
    fn area(&self, rank: usize) -> [Range<usize>; 2] {
        let [rows, columns] = self.matrix();
        match &self.piece {
            Piece::First if rank > 0 => [0..0, 0..columns],
            Piece::Whole | Piece::First => [0..rows, 0..columns],
            Piece::Rows(parts) => [parts[rank].clone(), 0..columns],
            Piece::Columns(parts) => [0..rows, parts[rank].clone()],
        }
    }

    /// A worker's piece of a tensor of the parameter's shape; nothing where it has none.
    fn of(&self, view: WeightView<'_>, rank: usize) -> Result<Option<Tensor>> {
        let ([_, width], [rows, columns]) = (self.matrix(), self.area(rank));
        if rows.is_empty() {
            return Ok(None);
        }
        let (all, mut shape) = (view.to_f32(), self.parameter.shape.to_vec());
        match &self.piece {
            Piece::Rows(_) => shape[0] = rows.len(),
            Piece::Columns(_) => shape[1] = columns.len(),
            Piece::Whole | Piece::First => {}
        }
        let row = |row: usize| &all[row * width..][columns.clone()];
        Ok(Some(Tensor::new(Shape::from(shape), rows.flat_map(row).copied().collect::<Vec<f32>>())?))
    }

    /// How many numbers each worker has to send for all to know the whole parameter: of what all have, the first alone.
    pub(super) fn counts(&self, workers: usize) -> Vec<usize> {
        let count = |rank: usize| match (&self.piece, rank) {
            (Piece::Whole, 1..) => 0,
            _ => self.area(rank).iter().map(Range::len).product(),
        };
        (0..workers).map(count).collect()
    }

    /// The whole parameter, from what the workers sent.
    pub(super) fn join(&self, pieces: &[Vec<f32>]) -> Result<Tensor> {
        let [_, width] = self.matrix();
        let mut all = cnn_core::error::zeroed(&self.parameter.name, self.parameter.shape.elements())?;
        for (rank, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
            let [rows, columns] = self.area(rank);
            for (row, values) in rows.zip(piece.chunks(columns.len())) {
                all[row * width..][columns.clone()].copy_from_slice(values);
            }
        }
        Tensor::new(self.parameter.shape.clone(), all)
    }
}

/// A worker's pieces of whole tensors, each by its name with how it is cut. Errors where one is missing or has another shape.
pub(super) fn cut<'a>(
    tensors: impl IntoIterator<Item = (String, &'a Cut)>,
    rank: usize,
    whole: &Weights,
    network: &str,
) -> Result<Weights> {
    let mut own = Weights::new();
    own.metadata_mut().clone_from(whole.metadata());
    for (name, cut) in tensors {
        let shape = &cut.parameter.shape;
        let tensor = match whole.get(&name) {
            Some(view) if view.shape == shape => cut.of(view, rank)?,
            Some(view) => return Err(cnn_core::Error::shape(format!("tensor `{name}`"), shape, view.shape)),
            None => {
                let network = network.to_string();
                return Err(cnn_core::Error::MissingWeight { network, name, shape: shape.clone() });
            }
        };
        if let Some(tensor) = tensor {
            own.insert(name, tensor);
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use cnn_core::layers::{Init, Role};
    use proptest::prelude::*;

    use super::super::joint::parts;
    use super::*;

    fn cut_of(shape: Shape, piece: Piece) -> Cut {
        let parameter =
            NamedParameter { name: "fc.weight".to_string(), shape, role: Role::Learned, init: Init::Constant(0.0) };
        Cut { parameter, piece }
    }

    proptest! {
        #[test]
        fn what_is_cut_is_joined_again(rows in 1usize..12, columns in 1usize..12, workers in 1usize..6, kind in 0usize..4, is_vector: bool) {
            let kind = if is_vector && kind == 3 { 2 } else { kind };
            let shape = if is_vector { Shape::from([rows]) } else { Shape::from([rows, columns]) };
            let piece = match kind {
                0 => Piece::Whole,
                1 => Piece::First,
                2 => Piece::Rows(parts(rows, workers)),
                _ => Piece::Columns(parts(columns, workers)),
            };
            let values: Vec<f32> = (0..shape.elements()).map(|i| i as f32).collect();
            let cuts = [cut_of(shape.clone(), piece)];
            let mut whole = Weights::new();
            whole.insert("m.fc.weight", Tensor::new(shape, values.clone()).unwrap());
            let counts = cuts[0].counts(workers);
            let pieces = (0..workers).map(|rank| {
                let own = cut([("m.fc.weight".to_string(), &cuts[0])], rank, &whole, "n").unwrap();
                let own = own.get("m.fc.weight").map(|view| view.to_f32().into_owned()).unwrap_or_default();
                own.into_iter().take(counts[rank]).collect()
            });
            let pieces: Vec<Vec<f32>> = pieces.collect();
            prop_assert!(pieces.iter().zip(&counts).all(|(piece, count)| piece.len() == *count));
            prop_assert_eq!(counts.iter().sum::<usize>(), values.len());
            let joined = cuts[0].join(&pieces).unwrap();
            prop_assert_eq!(joined.as_f32().unwrap(), values);
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_named() {
        let by_rows = cut_of(Shape::from([4, 2]), Piece::Rows(parts(4, 2)));
        let error =
            |whole: &Weights| cut([("fc.weight".to_string(), &by_rows)], 0, whole, "n").unwrap_err().to_string();
        let error_of = error(&Weights::new());
        assert_eq!(error_of, "weights for `n` lack `fc.weight` of shape [4, 2]");
        let mut other = Weights::new();
        other.insert("fc.weight", Tensor::zeros([2, 4]).unwrap());
        assert_eq!(error(&other), "tensor `fc.weight`: expected shape [4, 2], got [2, 4]");
    }
}
