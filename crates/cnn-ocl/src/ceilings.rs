//! What a device does at most: the tile of products on operands that stay in its caches, and weights that come from memory.

use cnn_core::Result;
use cnn_core::backend::{Ceilings, Precision};
use cnn_core::lowering::{Layout, Slot};

use crate::driver::Driver;
use crate::kernel::Argument::{Input, Output};
use crate::kernel::{Kernel, Launch};
use crate::ops::LinearKernel;
use crate::ops::tiles::{Panels, Product};
use crate::single;

pub(crate) fn measure(driver: &Driver) -> Result<Ceilings> {
    let square = Square::new(driver)?;
    let [rows, depth, columns] = square.extents();
    let macs = (rows * depth * columns) as f64;
    let seconds = single::time(driver, &square, 1, [rows * depth, rows * columns])?.as_secs_f64();
    // Weights of 64 MiB: more than caches hold, little enough for any device.
    const INPUTS: usize = 4096;
    const OUTPUTS: usize = 4096;
    let weight = vec![0.5; INPUTS * OUTPUTS];
    let home = Slot { shape: [INPUTS].into(), layout: Layout::Planar };
    let linear = LinearKernel::new(driver, &home, (&weight, None), (Precision::Single, None), &|_| {})?;
    let reading = single::time(driver, &linear, 1, [INPUTS, OUTPUTS])?.as_secs_f64();
    Ok(Ceilings {
        macs_per_second: macs / seconds.max(1e-9),
        bytes_per_second: size_of_val(&weight[..]) as f64 / reading.max(1e-9),
    })
}

/// A product of matrices as a step of its own.
struct Square {
    panels: Panels,
    rows: usize,
}

impl Square {
    fn new(driver: &Driver) -> Result<Self> {
        const DEPTH: usize = 256;
        let columns = 1024usize.next_multiple_of(driver.tuning.lanes * driver.tuning.vectors);
        let panels = Panels::pack(driver, [1, columns, DEPTH], Precision::Single, |_, _| 0.0, |_, _, _| 0.5)?;
        Ok(Square { panels, rows: 1024usize.next_multiple_of(driver.tuning.rows) })
    }

    fn extents(&self) -> [usize; 3] {
        [self.rows, self.panels.depth, self.panels.columns]
    }
}

impl Kernel for Square {
    fn launches(&self, driver: &Driver, _batch: usize) -> Result<Vec<Launch>> {
        let lanes = driver.tuning.lanes;
        let product = Product {
            panels: &self.panels,
            x: Input(0),
            y: Output,
            rows: self.rows,
            matrices: [1, 0, 0],
            shared_weights: true,
            y_strides: [lanes, self.rows * lanes],
            columns: self.panels.columns,
            transformed: false,
            bias: true,
            activation: None,
        };
        Ok(vec![product.launch(driver)?])
    }
}
