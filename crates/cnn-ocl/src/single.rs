//! One kernel on its own: to time candidates while a network is compiled, to learn what a device does at most, and to try whether
//! it does what it says.

use std::time::{Duration, Instant};

use cnn_core::Result;

use crate::buffer::Buffer;
use crate::driver::{Driver, failed};
use crate::format::Transfer;
use crate::kernel::Kernel;
use crate::launch::{self, Buffers, Ready};

/// A kernel of one input with all that it needs. Fields are dropped in their order: launches before the memory that they use.
struct Alone {
    launches: Vec<Ready>,
    output: Buffer,
    _input: Buffer,
    _workspaces: Vec<Buffer>,
}

impl Alone {
    /// On an input and for so many values of output.
    fn new(driver: &Driver, kernel: &dyn Kernel, batch: usize, input: Buffer, output: usize) -> Result<Self> {
        let output = Buffer::new(driver, "an output", driver.format.floats_of_values(output))?;
        let workspaces = kernel.workspaces(driver, batch).into_iter();
        let workspaces =
            workspaces.map(|floats| Buffer::new(driver, "a workspace", floats)).collect::<Result<Vec<_>>>()?;
        let buffers = Buffers { inputs: vec![&input], output: Some(&output), workspaces: &workspaces };
        let launches = kernel.launches(driver, batch)?;
        let launches =
            launches.iter().map(|launch| Ready::new(driver, launch, &buffers)).collect::<Result<Vec<_>>>()?;
        Ok(Alone { launches, output, _input: input, _workspaces: workspaces })
    }
}

/// The fastest of a few runs of a kernel over a batch, by the device's clock. `input` and `output` count the values of a batch.
pub(crate) fn time(
    driver: &Driver,
    kernel: &dyn Kernel,
    batch: usize,
    [input, output]: [usize; 2],
) -> Result<Duration> {
    const RUNS: usize = 4;
    let floats = driver.format.floats_of_values(input);
    let input = Buffer::filled(driver, "an input", floats, |values| values.fill(0.5))?;
    let alone = Alone::new(driver, kernel, batch, input, output)?;
    let queue = launch::queue(&driver.context, true)?;
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let mut total = Duration::ZERO;
        for launch in &alone.launches {
            let before = Instant::now();
            let event = launch.enqueue(&queue)?;
            event.wait().map_err(|error| failed("waiting for the device", &error))?;
            total += launch.device_time(&event)?.unwrap_or_else(|| before.elapsed());
        }
        fastest = fastest.min(total);
    }
    Ok(fastest)
}

/// What a kernel makes of a batch of values.
pub(crate) fn run(
    driver: &Driver,
    kernel: &dyn Kernel,
    batch: usize,
    values: &[f32],
    output: &mut [f32],
) -> Result<()> {
    let mut transfer = Transfer::new(driver.format);
    let mut input = Buffer::new(driver, "an input", driver.format.floats_of_values(values.len()))?;
    transfer.write(&driver.queue, &mut input, values)?;
    let alone = Alone::new(driver, kernel, batch, input, output.len())?;
    for launch in &alone.launches {
        launch.enqueue(&driver.queue)?;
    }
    transfer.read(&driver.queue, &alone.output, output)
}
