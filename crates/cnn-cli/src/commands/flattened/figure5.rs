//! Figure 5: how many of the parameters a flattened layer has, by how many times more channels it has out than in: by the paper's
//! formula, F (F + C + 2X + 2Y) of C X Y F, and counted in the layers as they are built.

use std::path::Path;

use anyhow::ensure;

use super::layer::{CHANNELS, KERNEL, Kind, weight_count};
use crate::chart::{Scale, chart};
use crate::output::Output;
use crate::sheet::Sheet;

/// The most times more: as between a colour picture and 96 filters, where nothing is saved.
const MOST: usize = 32;

pub(super) fn run(output: &Output, folder: &Path) -> anyhow::Result<()> {
    let mut sheet = Sheet::new(&["F/C", "F", "dense", "flattened", "flattened / dense"]);
    let (mut ratios, mut shares) = (Vec::new(), Vec::new());
    for ratio in 1..=MOST {
        let out = ratio * CHANNELS;
        let formula = [CHANNELS * KERNEL * KERNEL * out, out * (out + CHANNELS + 4 * KERNEL)];
        let mut built = [0; 2];
        for (built, kind) in built.iter_mut().zip(Kind::BOTH) {
            *built = weight_count(&kind.alone(out, KERNEL)?);
        }
        ensure!(built == formula, "{built:?} parameters were built, the formula has {formula:?}");
        let share = built[1] as f64 / built[0] as f64;
        let counts = [out, built[0], built[1]].map(|count| count.to_string());
        sheet.add([ratio.to_string()].into_iter().chain(counts).chain([format!("{share:.4}")]));
        ratios.push(ratio);
        shares.push(share);
    }
    sheet.print(output);
    let svg = folder.join("figure5.svg");
    let places: Vec<String> = ratios.iter().map(usize::to_string).collect();
    let lines = [("flattened / dense", shares.clone()), ("as many", vec![1.0; shares.len()])];
    let title = format!("Parameters by F/C, C = {CHANNELS}, X = Y = {KERNEL}");
    chart(&svg, &title, Scale::Linear, &places, &lines)?;
    let files = [sheet.write(folder, "figure5")?, svg];
    output.finish(&serde_json::json!({ "ratio": ratios, "share": shares, "files": files }))
}
