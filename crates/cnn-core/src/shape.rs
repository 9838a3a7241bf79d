//! Extents of a tensor, outermost first.

use std::fmt;
use std::ops::Deref;

/// Extents of a tensor, outermost first: `[N, C, H, W]` at the edges of the library, `[C, H, W]` or `[F]` for the
/// values inside a [`Network`](crate::Network), which do not know the batch.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Most elements that the library accepts in one tensor; larger claims are errors. 2^40, which is 4 TiB of `f32`, or
    /// 2^29 where pointers have 32 bits.
    pub const MAX_ELEMENTS: usize = 1 << if usize::BITS >= 64 { 40 } else { 29 };

    /// The product of the extents, saturating at `usize::MAX`. Shapes inside a network or a tensor never saturate.
    pub fn elements(&self) -> usize {
        // A zero anywhere wins over saturation.
        if self.0.contains(&0) { 0 } else { self.0.iter().fold(1usize, |product, &d| product.saturating_mul(d)) }
    }

    /// The shape with `batch` in front.
    pub fn with_batch(&self, batch: usize) -> Shape {
        let mut dims = Vec::with_capacity(self.0.len() + 1);
        dims.push(batch);
        dims.extend_from_slice(&self.0);
        Shape(dims)
    }

    /// Reads the shape as channels, rows and columns: `[C, H, W]`, or `[F]` as F channels of one pixel.
    pub fn channels_and_plane(&self) -> Option<(usize, [usize; 2])> {
        match self.0[..] {
            [c, h, w] => Some((c, [h, w])),
            [c] => Some((c, [1, 1])),
            _ => None,
        }
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for Shape {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn elements_saturate_unless_an_extent_is_zero() {
        assert_eq!(Shape::from([2, 3, 4]).elements(), 24);
        assert_eq!(Shape::from([usize::MAX, 2]).elements(), usize::MAX);
        assert_eq!(Shape::from([usize::MAX, 2, 0]).elements(), 0);
        assert_eq!(Shape::from([0usize; 0]).elements(), 1);
    }
}
