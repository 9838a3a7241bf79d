//! Whether a device does what it says it can.

use cnn_core::backend::Precision;
use cnn_core::layers::Activation;
use cnn_core::lowering::{Layout, Slot};
use half::f16;

use crate::driver::Driver;
use crate::format::Format;
use crate::ops::LinearKernel;
use crate::single;

/// Tries the product under every fast algorithm in half precision: drivers have been seen that list the extension and compile
/// nothing with it, or compute nonsense. Says what went wrong.
pub(crate) fn half_arithmetic(driver: &Driver) -> Result<(), String> {
    if !driver.traits().half {
        return Err("the device does not have cl_khr_fp16".to_string());
    }
    const BATCH: usize = 3;
    const INPUTS: usize = 75;
    const OUTPUTS: usize = 21;
    let driver = driver.with_format(Format::HALF);
    // Numbers that are halves, so that only the sums are rounded.
    let number = |i: usize| f16::from_f32((i * 37 % 101) as f32 / 64.0 - 0.75).to_f32();
    let weight: Vec<f32> = (0..INPUTS * OUTPUTS).map(number).collect();
    let bias: Vec<f32> = (0..OUTPUTS).map(number).collect();
    let input: Vec<f32> = (0..BATCH * INPUTS).map(|i| number(i + 7)).collect();
    let home = Slot { shape: [INPUTS].into(), layout: Layout::Planar };
    let how = (Precision::Half, Some(Activation::Relu));
    let mut got = vec![f32::NAN; BATCH * OUTPUTS];
    let run = |got: &mut [f32]| {
        let kernel = LinearKernel::new(&driver, &home, (&weight, Some(&bias)), how, &|_| {})?;
        single::run(&driver, &kernel, BATCH, &input, got)
    };
    run(&mut got).map_err(|error| error.to_string())?;
    for (i, &got) in got.iter().enumerate() {
        let (row, column) = (&input[i / OUTPUTS * INPUTS..][..INPUTS], &weight[i % OUTPUTS * INPUTS..][..INPUTS]);
        let sum: f32 = row.iter().zip(column).map(|(x, w)| x * w).sum();
        let want = (sum + bias[i % OUTPUTS]).max(0.0);
        // Parts of sums reach 16 to 32, where halves are a 64th apart.
        if got.is_nan() || (got - want).abs() > 0.25 {
            return Err(format!("a product in half precision is {got} instead of {want}"));
        }
    }
    Ok(())
}
