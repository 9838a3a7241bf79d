//! From bytes to the values that a network learns from.

use super::pixels::Pixels;

/// What brings each channel to mean 0 and deviation 1, both of values in [0, 1].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Subtracted, for each channel.
    pub mean: Vec<f32>,
    /// What the difference is divided by, for each channel.
    pub deviation: Vec<f32>,
}

impl Normalization {
    /// What is out of range, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let (mean, deviation) = (&self.mean, &self.deviation);
        let in_range = mean.iter().all(|mean| mean.is_finite())
            && deviation.iter().all(|&deviation| deviation > 0.0 && deviation.is_finite());
        match mean.len() == deviation.len() && in_range {
            true => Ok(()),
            false => {
                Err(format!("mean {mean:?} and deviation {deviation:?}: one of each a channel, deviations above 0"))
            }
        }
    }
}

/// What each byte of a channel becomes: there are fewer levels than pixels.
type Levels = [f32; 256];

/// The levels of each channel.
pub(super) fn levels(means: &[f32], deviations: &[f32]) -> Vec<Levels> {
    let of_channel = |(mean, deviation): (&f32, &f32)| {
        let mut levels = [0.0; 256];
        for (level, byte) in levels.iter_mut().zip(0i32..) {
            *level = (byte as f32 / 255.0 - mean) / deviation;
        }
        levels
    };
    means.iter().zip(deviations).map(of_channel).collect()
}

/// Writes the planes, each normalised and in the middle of a dark border.
pub(super) fn write(pixels: &Pixels<'_>, border: usize, levels: &[Levels], values: &mut [f32]) {
    let [_, rows, columns] = pixels.shape();
    let (height, width) = (rows + 2 * border, columns + 2 * border);
    let planes = values.chunks_exact_mut(height * width);
    for ((values, plane), levels) in planes.zip(pixels.planes()).zip(levels) {
        let (above, values) = values.split_at_mut(border * width);
        let (inside, below) = values.split_at_mut(rows * width);
        above.fill(levels[0]);
        below.fill(levels[0]);
        for (line, bytes) in inside.chunks_exact_mut(width).zip(plane.chunks_exact(columns)) {
            let (left, line) = line.split_at_mut(border);
            let (middle, right) = line.split_at_mut(columns);
            left.fill(levels[0]);
            right.fill(levels[0]);
            middle.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = levels[usize::from(byte)]);
        }
    }
}

/// Asks for the first cache lines of several pictures at once: those of a shuffled batch lie anywhere in memory, and to wait for
/// one after the other takes as long as the rest of the work on a small picture.
pub(super) fn fetch(pictures: &[Pixels<'_>]) {
    /// Behind them a processor sees that more is to come.
    const BYTES: usize = 1024;
    const LINE: usize = 64;
    let lines =
        pictures.iter().flat_map(|pixels| pixels.bytes()[..pixels.bytes().len().min(BYTES)].iter().step_by(LINE));
    std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
}
