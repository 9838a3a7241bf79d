//! Where a tile's operands lie: the ways in which [`Tile`](super::tile::Tile) walks its first factor.

use std::ops::Range;

use super::Simd;

/// Where the operand of each row and step lies, from the first row's first element on. Steps come in runs of elements
/// side by side.
///
/// # Safety
/// The three lengths must always be the same, and [`begin`](Self::begin) must return at most
/// [`furthest`](Self::furthest) for every run: the tile checks the furthest element alone.
pub unsafe trait Walk: Copy {
    /// Distance between rows.
    fn row_stride<S: Simd>(self) -> usize;
    /// Number of runs.
    fn runs(self) -> usize;
    /// Steps of a run.
    fn run<S: Simd>(self) -> usize;
    /// No run of the first row begins further away than this.
    fn furthest(self) -> usize;
    /// Where a run of the first row begins.
    ///
    /// # Safety
    /// `run` must be less than `runs`. The offset is at most `furthest`.
    unsafe fn begin(self, run: usize) -> usize;
}

/// A row-major matrix: steps side by side, rows at a distance.
#[derive(Debug, Clone, Copy)]
pub struct RowMajor {
    /// Columns to walk.
    pub length: usize,
    /// Distance between rows.
    pub stride: usize,
}

// SAFETY: there is one run, which begins at 0.
unsafe impl Walk for RowMajor {
    #[inline(always)]
    fn row_stride<S: Simd>(self) -> usize {
        self.stride
    }
    #[inline(always)]
    fn runs(self) -> usize {
        1
    }
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        self.length
    }
    fn furthest(self) -> usize {
        0
    }
    #[inline(always)]
    unsafe fn begin(self, _run: usize) -> usize {
        0
    }
}

/// A packed panel of a matrix: the rows of a step side by side.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    /// Number of steps.
    pub length: usize,
    /// Rows of the panel.
    pub width: usize,
}

// SAFETY: the last run begins at the furthest place.
unsafe impl Walk for Panel {
    #[inline(always)]
    fn row_stride<S: Simd>(self) -> usize {
        1
    }
    #[inline(always)]
    fn runs(self) -> usize {
        self.length
    }
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        1
    }
    fn furthest(self) -> usize {
        self.length.saturating_sub(1) * self.width
    }
    #[inline(always)]
    unsafe fn begin(self, run: usize) -> usize {
        run * self.width
    }
}

/// Offsets of runs.
#[derive(Debug, Clone)]
pub struct Offsets {
    offsets: Vec<u32>,
    furthest: usize,
}

impl Offsets {
    /// The offsets, in the order of the runs.
    pub fn new(offsets: Vec<u32>) -> Self {
        let furthest = offsets.iter().max().map_or(0, |&offset| offset as usize);
        Offsets { offsets, furthest }
    }

    /// Number of runs.
    pub fn runs(&self) -> usize {
        self.offsets.len()
    }

    /// Some of the runs.
    pub fn part(&self, range: Range<usize>) -> Listed<'_> {
        Listed { offsets: &self.offsets[range], furthest: self.furthest }
    }
}

/// Some of [`Offsets`].
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    offsets: &'a [u32],
    furthest: usize,
}

/// The taps of windows over a planar input: one step a run, windows at a distance. A `STRIDE` that the compiler knows goes
/// into the instructions, and the addresses of all rows into one register; 0 stands for any.
#[derive(Debug, Clone, Copy)]
pub struct PlanarWindows<'a, const STRIDE: usize> {
    /// A run for each tap of each channel.
    pub taps: Listed<'a>,
    /// Pixels from window to window.
    pub stride: usize,
}

// SAFETY: `Offsets` keeps the largest of its offsets, which do not change.
unsafe impl<const STRIDE: usize> Walk for PlanarWindows<'_, STRIDE> {
    #[inline(always)]
    fn row_stride<S: Simd>(self) -> usize {
        if STRIDE > 0 { STRIDE } else { self.stride }
    }
    #[inline(always)]
    fn runs(self) -> usize {
        self.taps.offsets.len()
    }
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        1
    }
    fn furthest(self) -> usize {
        self.taps.furthest
    }
    #[inline(always)]
    unsafe fn begin(self, run: usize) -> usize {
        // SAFETY: the caller vouches for `run`.
        unsafe { *self.taps.offsets.get_unchecked(run) as usize }
    }
}

/// The taps of windows over a blocked input: a run is the channels of a block under one tap. `STRIDE` as for
/// [`PlanarWindows`].
#[derive(Debug, Clone, Copy)]
pub struct BlockedWindows<'a, const STRIDE: usize> {
    /// A run for each tap of each block.
    pub taps: Listed<'a>,
    /// Pixels from window to window.
    pub stride: usize,
    /// Channels of a block that are used: all, unless `STRIDE` is 0.
    pub channels: usize,
}

// SAFETY: as for `PlanarWindows`.
unsafe impl<const STRIDE: usize> Walk for BlockedWindows<'_, STRIDE> {
    #[inline(always)]
    fn row_stride<S: Simd>(self) -> usize {
        if STRIDE > 0 { STRIDE * S::LANES } else { self.stride * S::LANES }
    }
    #[inline(always)]
    fn runs(self) -> usize {
        self.taps.offsets.len()
    }
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        if STRIDE > 0 { S::LANES } else { self.channels.min(S::LANES) }
    }
    fn furthest(self) -> usize {
        self.taps.furthest
    }
    #[inline(always)]
    unsafe fn begin(self, run: usize) -> usize {
        // SAFETY: the caller vouches for `run`.
        unsafe { *self.taps.offsets.get_unchecked(run) as usize }
    }
}

/// The pixels of a blocked value, block after block: a product of pixels and channels, without a window.
#[derive(Debug, Clone, Copy)]
pub struct BlockedPixels {
    /// Number of blocks.
    pub blocks: usize,
    /// Floats from block to block.
    pub plane: usize,
}

// SAFETY: the last run begins at the furthest place.
unsafe impl Walk for BlockedPixels {
    #[inline(always)]
    fn row_stride<S: Simd>(self) -> usize {
        S::LANES
    }
    #[inline(always)]
    fn runs(self) -> usize {
        self.blocks
    }
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        S::LANES
    }
    fn furthest(self) -> usize {
        self.blocks.saturating_sub(1) * self.plane
    }
    #[inline(always)]
    unsafe fn begin(self, run: usize) -> usize {
        run * self.plane
    }
}
