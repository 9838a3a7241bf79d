//! What numbers are in a plan: what the options ask for, as far as the weights and the device allow.

use cnn_core::backend::{CompileOptions, Precision};
use cnn_core::passes::Program;
use cnn_core::{Layer, Result, Weights, lowering};

use crate::driver::Driver;
use crate::format::Format;

/// Errors where the options are strict and do not get what they ask for.
pub(super) fn choose(
    program: &Program<'_>,
    weights: &Weights,
    options: &CompileOptions,
    driver: &Driver,
) -> Result<Format> {
    if options.values == Precision::Single && options.arithmetic == Precision::Single {
        return Ok(Format::default());
    }
    if let Some((layer, largest)) = beyond_halves(program, weights, options)? {
        let reason = format!("layer `{layer}`: a parameter of {largest:e} does not fit half precision");
        options.cannot("ocl", reason, "all values stay single")?;
        return Ok(Format::default());
    }
    if options.arithmetic == Precision::Half {
        match driver.half_arithmetic() {
            Ok(()) => return Ok(Format::HALF),
            Err(reason) => {
                options.cannot("ocl", format!("no arithmetic in half precision: {reason}"), "it stays single")?
            }
        }
    }
    Ok(Format { values: Precision::Half, arithmetic: Precision::Single })
}

/// A layer with a parameter that no half can be, as it will be used: with batch norm folded in.
fn beyond_halves<'a>(
    program: &Program<'a>,
    weights: &Weights,
    options: &CompileOptions,
) -> Result<Option<(&'a str, f32)>> {
    let network = program.network;
    // A fully connected layer's weights can stay single on their own, unless they are computed with.
    let matters = |layer: &Layer| options.arithmetic == Precision::Half || !matches!(layer, Layer::Linear(_));
    for step in program.steps.iter().filter(|step| matters(program.layer(step))) {
        let names = network.parameters_of(step.node).into_iter().map(|parameter| parameter.name);
        for (parameter, name) in lowering::parameters(program, weights, step)?.iter().zip(names) {
            let largest = lowering::largest(parameter, &|range| weights.release(&name, range));
            if largest > Precision::LARGEST_HALF {
                return Ok(Some((&network.nodes()[step.node].name, largest)));
            }
        }
    }
    Ok(None)
}
