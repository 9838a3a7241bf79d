//! The paper's baseline with work-groups of the driver's choice and with groups of several sizes, in turn, so that what changes
//! in the machine meanwhile falls on all: `cargo bench -p cnn-ocl --bench work_groups`.

use std::time::Instant;

use cnn_core::layers::Conv2d;
use cnn_core::{Backend, CompileOptions, Network, Result, Tensor, Weights};
use cnn_ocl::Ocl;
use cnn_ocl::tuning::Tuning;

/// Runs of each that are counted.
const RUNS: usize = 15;

/// The driver's own twice: as far as those two are apart, other differences are noise.
const GROUPS: [Option<[usize; 2]>; 7] =
    [None, None, Some([1, 1]), Some([16, 1]), Some([64, 1]), Some([8, 8]), Some([16, 16])];

fn main() -> Result<()> {
    let ocl = Ocl::new("")?;
    println!("median of {RUNS} runs of 3x3 convolutions as fast as with groups of the driver's choice");
    println!("channels  pixels  its own, ms   again    1x1   16x1   64x1    8x8  16x16");
    for (channels, side) in [(32, 112), (64, 56), (128, 28), (256, 14)] {
        let mut net = Network::builder("layer", [channels, side, side]);
        net.push("conv", Conv2d::new(channels, 3).padding(1))?;
        let network = net.finish()?;
        let weights = Weights::random(&network, 1)?;
        let image = Tensor::new([1, channels, side, side], vec![0.5; channels * side * side])?;
        let options = CompileOptions::default().algorithm("conv2d/work_group");
        let session = |group| {
            let ocl = ocl.with_tuning(Tuning { work_group: group, ..ocl.tuning().clone() })?;
            ocl.compile(&network, &weights, &options)?.session()
        };
        let mut rows = GROUPS.into_iter().map(|group| Ok((session(group)?, Vec::new()))).collect::<Result<Vec<_>>>()?;
        for run in 0..=RUNS {
            for (session, times) in &mut rows {
                let start = Instant::now();
                session.run(&image)?;
                // The first makes buffers.
                if run > 0 {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let median = |(_, mut times): (_, Vec<f64>)| {
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        };
        let medians: Vec<f64> = rows.into_iter().map(median).collect();
        print!("{channels:>8} {side:>7} {:>12.2} ", medians[0]);
        medians[1..].iter().for_each(|time| print!(" {:>6.3}", medians[0] / time));
        println!();
    }
    Ok(())
}
