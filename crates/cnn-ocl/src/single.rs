//! Runs one kernel on its own, to time it: candidates while a network is compiled, and what a device does at most.

use std::time::Duration;

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
    let ready = launches.iter().map(|launch| Ready::new(launch, &buffers)).collect::<Result<Vec<_>>>()?;
    let queue = launch::queue(&driver.context, true)?;
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let events = ready.iter().map(|ready| ready.enqueue(&queue)).collect::<Result<Vec<_>>>()?;
        let clock = |error| failed("the device's clock", &error);
        queue.finish().map_err(clock)?;
        let mut total = 0;
        for event in &events {
            let (from, to) = (event.profiling_command_start(), event.profiling_command_end());
            total += to.map_err(clock)?.saturating_sub(from.map_err(clock)?);
        }
        fastest = fastest.min(Duration::from_nanos(total));
    }
    Ok(fastest)
}
