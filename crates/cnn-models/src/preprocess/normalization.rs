//! From bytes to the values that a network learns from.

use super::pixels::Pixels;

/// Appends the planes, each normalised and in the middle of a dark border.
pub(super) fn append(pixels: &Pixels<'_>, border: usize, (means, deviations): (&[f32], &[f32]), values: &mut Vec<f32>) {
    let [_, rows, columns] = pixels.shape();
    let (height, width) = (rows + 2 * border, columns + 2 * border);
    for ((plane, mean), deviation) in pixels.planes().zip(means).zip(deviations) {
        // There are fewer levels than pixels.
        let mut levels = [0.0; 256];
        for (level, byte) in levels.iter_mut().zip(0i32..) {
            *level = (byte as f32 / 255.0 - mean) / deviation;
        }
        let start = values.len();
        values.resize(start + height * width, levels[0]);
        let lines = values[start + border * width..].chunks_mut(width);
        for (line, bytes) in lines.zip(plane.chunks(columns)) {
            line[border..].iter_mut().zip(bytes).for_each(|(value, &byte)| *value = levels[usize::from(byte)]);
        }
    }
}
