//! The paper's baseline with work-groups of the driver's choice and with tuned ones, in turn, so that what changes in the machine
//! meanwhile falls on both: `cargo bench -p cnn-ocl --bench work_groups`.

use std::time::Instant;

use cnn_core::layers::Conv2d;
use cnn_core::{Backend, CompileOptions, Network, Result, Tensor, Weights};
use cnn_ocl::Ocl;

/// Runs of each that are counted.
const RUNS: usize = 15;

fn main() -> Result<()> {
    let ocl = Ocl::new("")?;
    println!("3x3 on       direct, ms  work_group, ms  ratio  (fastest and median of {RUNS} runs)");
    for (channels, side) in [(32, 112), (64, 56), (128, 28), (256, 14)] {
        let mut net = Network::builder("layer", [channels, side, side]);
        net.push("conv", Conv2d::new(channels, 3).padding(1))?;
        let network = net.finish()?;
        let weights = Weights::random(&network, 1)?;
        let image = Tensor::new([1, channels, side, side], vec![0.5; channels * side * side])?;
        let session = |row: &str| ocl.compile(&network, &weights, &CompileOptions::default().algorithm(row))?.session();
        let mut rows = [(session("conv2d/direct")?, Vec::new()), (session("conv2d/work_group")?, Vec::new())];
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
        let [direct, tuned] = rows.map(|(_, mut times)| {
            times.sort_by(f64::total_cmp);
            [times[0], times[RUNS / 2]]
        });
        for (name, i) in [("fastest", 0), ("median", 1)] {
            let ratio = tuned[i] / direct[i];
            println!("{channels:>3}x{side:<3} {name:<8} {:>8.2} {:>15.2} {ratio:>6.3}", direct[i], tuned[i]);
        }
    }
    Ok(())
}
