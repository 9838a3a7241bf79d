//! Channels of several inputs one after the other over the blocked layout. Where every input but the last fills its blocks a copy
//! is of whole blocks, and of none in a batch of one, where the inputs were written in the output.

use cnn_core::Shape;

use super::{Io, Kernel};
use crate::threads::Workers;

/// Name in reports.
pub const NAME: &str = "concat/blocked";

/// The kernel of a concatenation.
pub struct Concat {
    lanes: usize,
    /// Pixels of a plane.
    pixels: usize,
    /// Floats of a sample of each input.
    samples: Vec<usize>,
    /// By block of the output.
    blocks: Vec<Vec<Run>>,
}

/// Channels that lie side by side in a block of an input and in one of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    input: usize,
    /// Its block, and the first lane there.
    from: (usize, usize),
    /// The first lane in the output.
    to: usize,
    channels: usize,
}

impl Concat {
    /// Of inputs of `[C, H, W]`.
    pub fn new(inputs: &[&Shape], lanes: usize) -> Option<Self> {
        let (_, [height, width]) = inputs.first()?.channels_and_plane()?;
        let (mut samples, mut blocks) = (Vec::new(), vec![Vec::new()]);
        let mut to = 0;
        for (input, shape) in inputs.iter().enumerate() {
            let (channels, _) = shape.channels_and_plane()?;
            samples.push(channels.next_multiple_of(lanes) * height * width);
            let mut channel = 0;
            while channel < channels {
                if to == lanes {
                    blocks.push(Vec::new());
                    to = 0;
                }
                let from = (channel / lanes, channel % lanes);
                let run = Run { input, from, to, channels: (channels - channel).min(lanes - from.1).min(lanes - to) };
                (channel, to) = (channel + run.channels, to + run.channels);
                blocks.last_mut()?.push(run);
            }
        }
        Some(Concat { lanes, pixels: height * width, samples, blocks })
    }
}

impl Kernel for Concat {
    fn run(&self, io: Io<'_>, workers: Workers<'_>) {
        let plane = self.lanes * self.pixels;
        workers.for_each_chunk(io.output, plane, |index, output| {
            let (sample, block) = (index / self.blocks.len(), index % self.blocks.len());
            let runs = &self.blocks[block];
            if runs.iter().map(|run| run.channels).sum::<usize>() < self.lanes {
                output.fill(0.0);
            }
            for run in runs {
                let input = &io.inputs[run.input][sample * self.samples[run.input] + run.from.0 * plane..][..plane];
                if run.channels == self.lanes {
                    output.copy_from_slice(input);
                    continue;
                }
                for (to, from) in output.chunks_exact_mut(self.lanes).zip(input.chunks_exact(self.lanes)) {
                    to[run.to..][..run.channels].copy_from_slice(&from[run.from.1..][..run.channels]);
                }
            }
        });
    }

    fn joins(&self) -> bool {
        let last = self.blocks.len() - 1;
        self.blocks.iter().enumerate().all(|(i, runs)| match &runs[..] {
            [run] => run.from.1 == 0 && (run.channels == self.lanes || i == last),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inputs_that_fill_their_blocks_lie_in_the_output() {
        let joins = |channels: &[usize]| {
            let shapes: Vec<Shape> = channels.iter().map(|&c| Shape::from([c, 3, 2])).collect();
            Concat::new(&shapes.iter().collect::<Vec<_>>(), 8).unwrap().joins()
        };
        assert!(joins(&[8, 16, 8]) && joins(&[8, 3]) && joins(&[16, 17]));
        assert!(!joins(&[3, 8]) && !joins(&[4, 4]) && !joins(&[8, 3, 2]) && !joins(&[3, 3]));
    }
}
