//! Figure 4: filters of the first layer, sorted by variance, each in its own range of values.

use std::path::Path;

use anyhow::{Context, ensure};
use cnn::models::{Model, models, weights_file};
use cnn::{Network, Weights};
use image::{Rgb, RgbImage};

use super::filters::Filters;
use crate::output::Output;
use crate::sheet::Sheet;

/// Pixels of a filter's longer side, nearly, and between two filters.
const SIDE: usize = 60;
const GAP: usize = 4;

pub(super) fn run(output: &Output, folder: &Path, (file, stages): (&Path, usize)) -> anyhow::Result<()> {
    let weights = weights_file::map(file)?;
    let network = network_of(&weights).with_context(|| file.display().to_string())?;
    let filters = Filters::first(&network, &weights, stages).with_context(|| file.display().to_string())?;
    let (channels, [rows, columns]) = (filters.channels, filters.size);
    ensure!([1, 3].contains(&channels), "{}: filters over {channels} channels have no colours", file.display());
    let order = filters.by_variance();
    let picture = draw(&filters, &order);
    let path = folder.join("figure4.png");
    picture.save(&path).with_context(|| path.display().to_string())?;
    let mut sheet = Sheet::new(&["place", "filter", "variance"]);
    for (place, (filter, variance)) in order.iter().enumerate() {
        sheet.add([(place + 1).to_string(), filter.to_string(), format!("{variance:e}")]);
    }
    let files = [path, sheet.write(folder, "figure4")?];
    let (count, name) = (filters.count, network.name());
    output.say(format!("{count} filters of {rows}x{columns} of `{name}`: {}", files[0].display()));
    output.finish(&serde_json::json!({
        "model": name,
        "filters": count,
        "channels": channels,
        "size": filters.size,
        "picture": [picture.width(), picture.height()],
        "files": files,
    }))
}

/// The first of the models that these are the weights of.
fn network_of(weights: &Weights) -> anyhow::Result<Network> {
    let networks = models().iter().filter_map(|model: &Model| model.network().ok());
    let mut fitting = networks.filter(|network| weights.check(network).is_ok());
    fitting.next().context("these are the weights of none of the models")
}

fn draw(filters: &Filters, order: &[(usize, f64)]) -> RgbImage {
    let [rows, columns] = filters.size;
    let enlarged = (SIDE / rows.max(columns)).max(1);
    let across = (1.5 * order.len() as f64).sqrt().ceil() as usize;
    let [high, wide] = [rows, columns].map(|extent| extent * enlarged + GAP);
    let (width, height) = (across * wide + GAP, order.len().div_ceil(across) * high + GAP);
    let mut picture = RgbImage::from_pixel(width as u32, height as u32, Rgb([255; 3]));
    for (place, &(filter, _)) in order.iter().enumerate() {
        let (top, left) = (place / across * high + GAP, place % across * wide + GAP);
        let values = filters.of(filter);
        let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let shade = |value: f32| (255.0 * (value - low) / (high - low).max(f32::MIN_POSITIVE)).round() as u8;
        for (y, x) in (0..rows * enlarged).flat_map(|y| (0..columns * enlarged).map(move |x| (y, x))) {
            let of_channel = |channel: usize| {
                let plane = channel.min(filters.channels - 1);
                shade(values[(plane * rows + y / enlarged) * columns + x / enlarged])
            };
            picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb([0, 1, 2].map(of_channel)));
        }
    }
    picture
}
