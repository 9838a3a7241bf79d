//! How a value lies in memory. At the edges of a network values are planar; between layers they stay blocked, so that
//! a vector holds the same pixel of several channels and every layer reads and writes whole vectors.

use cnn_core::Shape;

/// The order of a value's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[C, H, W]`, or any other shape, row-major.
    Planar,
    /// `[C / lanes, H, W, lanes]` of a shape `[C, H, W]`; channels that fill the last block up hold anything finite.
    Blocked {
        /// Channels of a block.
        lanes: usize,
    },
}

impl Layout {
    /// Elements of one sample in memory.
    pub fn elements(self, shape: &Shape) -> usize {
        match (self, shape.channels_and_plane()) {
            (Layout::Blocked { lanes }, Some((channels, [h, w]))) => channels.next_multiple_of(lanes) * h * w,
            _ => shape.elements(),
        }
    }

    /// Whether a value of this shape lies alike in both layouts: one pixel, and channels that fill their blocks.
    pub fn is_alike(self, other: Layout, shape: &Shape) -> bool {
        let pixel = shape.channels_and_plane().is_none_or(|(_, plane)| plane == [1, 1]);
        self == other || (pixel && self.elements(shape) == other.elements(shape))
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Planar => "planar",
            Layout::Blocked { .. } => "blocked",
        }
    }
}
