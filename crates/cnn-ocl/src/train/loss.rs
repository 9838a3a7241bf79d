//! Softmax cross-entropy on the device.

use cnn_core::Result;

use super::layer::Site;
use super::place::Held;
use crate::kernel::{Argument, Launch};
use crate::program::Source;

const SOURCE: Source =
    Source { name: "train/loss", text: concat!(include_str!("samples.cl"), include_str!("loss.cl")) };

/// The launch that writes the gradient of the logits, and for each sample its loss and whether it was right to `found`.
pub(super) fn launch(
    site: &Site<'_>,
    [logits, gradient]: [&Held; 2],
    [labels, found]: [&Argument; 2],
) -> Result<Launch> {
    let program = site.program(SOURCE, &[])?;
    let all = site.groups * site.sides.samples;
    Ok(Launch::new(&program, "loss", [all, 1, 1])
        .group(site.driver.tuning.line_group())
        .with([logits.memory(), labels.clone(), gradient.memory(), found.clone()])
        .with([logits.place.argument(), gradient.place.argument()])
        .ints([logits.place.channels, site.batch, all]))
}
