//! Runs one kernel on its own, to time it: candidates while a network is compiled, and what a device does at most.

use std::time::{Duration, Instant};

use cnn_core::Result;

use crate::buffer::Buffer;
use crate::driver::{Driver, failed};
use crate::kernel::Kernel;
use crate::launch::{self, Buffers, Ready};

/// The fastest of a few runs of a kernel over a batch, by the device's clock. `inputs` and `output` are floats of a batch.
pub(crate) fn time(
    driver: &Driver,
    kernel: &dyn Kernel,
    batch: usize,
    (inputs, output): (&[usize], usize),
) -> Result<Duration> {
    const RUNS: usize = 4;
    let filled = |&floats: &usize| Buffer::filled(driver, "an input", floats, |values| values.fill(0.5));
    let inputs = inputs.iter().map(filled).collect::<Result<Vec<_>>>()?;
    let output = Buffer::new(driver, "an output", output)?;
    let workspaces = kernel.workspaces(driver, batch).into_iter();
    let workspaces = workspaces.map(|floats| Buffer::new(driver, "a workspace", floats)).collect::<Result<Vec<_>>>()?;
    let buffers = Buffers { inputs: inputs.iter().collect(), output: &output, workspaces: &workspaces };
    let launches = kernel.launches(driver, batch)?;
    let ready = launches.iter().map(|launch| Ready::new(driver, launch, &buffers)).collect::<Result<Vec<_>>>()?;
    let queue = launch::queue(&driver.context, true)?;
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let mut total = Duration::ZERO;
        for ready in &ready {
            let before = Instant::now();
            let event = ready.enqueue(&queue)?;
            event.wait().map_err(|error| failed("waiting for the device", &error))?;
            total += ready.device_time(&event)?.unwrap_or_else(|| before.elapsed());
        }
        fastest = fastest.min(total);
    }
    Ok(fastest)
}
