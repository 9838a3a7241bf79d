//! Where the numbers of a value lie in training: samples side by side, in groups.

use std::sync::Arc;

use cnn_core::Shape;

use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{self, Ints4};

/// How samples lie side by side, and who works on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    /// Samples of a group.
    pub(super) samples: usize,
    /// Samples of a vector, which is what a work-item sees.
    pub(super) lanes: usize,
}

impl Sides {
    pub(super) fn of(driver: &Driver) -> Self {
        let (lanes, vectors) = (driver.tuning.lanes, driver.tuning.sample_vectors.min(driver.traits().largest_group));
        Sides { samples: vectors * lanes, lanes }
    }

    /// Vectors of a group.
    pub(super) fn vectors(self) -> usize {
        self.samples / self.lanes
    }

    /// Groups that hold a batch.
    pub(super) fn groups(self, batch: usize) -> usize {
        batch.div_ceil(self.samples)
    }

    /// Work-items of a group of theirs: those of a group of samples.
    pub(super) fn work_group(self) -> [usize; 3] {
        [self.vectors(), 1, 1]
    }
}

/// `[group][channel][row][column][sample]`, with columns of zeros before and after each row, which windows read as padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Columns of zeros before and after each row.
    pub(super) margin: [usize; 2],
}

impl Place {
    /// Without margins. What is no image counts as channels of a pixel each.
    pub(super) fn new(shape: &Shape) -> Self {
        let (channels, [rows, columns]) = shape.channels_and_plane().unwrap_or((shape.elements(), [1, 1]));
        Place { channels, rows, columns, margin: [0, 0] }
    }

    /// Widens the margins to these.
    pub(super) fn widen(&mut self, margin: [usize; 2]) {
        self.margin = std::array::from_fn(|i| self.margin[i].max(margin[i]));
    }

    pub(super) fn row(&self) -> usize {
        self.margin[0] + self.columns + self.margin[1]
    }

    pub(super) fn plane(&self) -> usize {
        self.rows.saturating_mul(self.row())
    }

    /// Distance from group to group, over the number of samples in one.
    pub(super) fn group(&self) -> usize {
        self.channels.saturating_mul(self.plane())
    }

    /// Where element `(channel, row, column)` of a sample lies.
    pub(super) fn at(&self, sides: Sides, sample: usize, [channel, row, column]: [usize; 3]) -> usize {
        let (group, lane) = (sample / sides.samples, sample % sides.samples);
        let column = self.margin[0] + column;
        (group * self.group() + channel * self.plane() + row * self.row() + column) * sides.samples + lane
    }

    /// What kernels get of it: the distances (first, row, plane, group). `first` counts from the first column.
    pub(super) fn from(&self, first: isize) -> Argument {
        let first = self.margin[0] as isize + first;
        Ints4([first as i32, self.row() as i32, self.plane() as i32, self.group() as i32])
    }

    pub(super) fn argument(&self) -> Argument {
        self.from(0)
    }

    /// (rows, columns, channels) and a fourth number.
    pub(super) fn extents(&self, fourth: usize) -> Argument {
        Ints4([self.rows as i32, self.columns as i32, self.channels as i32, fourth as i32])
    }
}

/// Numbers of a value, or their gradients.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) buffer: Arc<Buffer>,
    pub(super) place: Place,
}

impl Held {
    pub(super) fn memory(&self) -> Argument {
        Argument::Memory(self.buffer.clone())
    }

    /// The same numbers as another shape, which takes that there are no margins.
    pub(super) fn seen_as(&self, shape: &Shape) -> Held {
        if self.place.margin != [0, 0] {
            return self.clone();
        }
        Held { place: Place::new(shape), ..self.clone() }
    }
}
