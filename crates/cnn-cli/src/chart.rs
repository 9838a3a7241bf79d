//! Figures.

use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// What heights mean.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    /// Values, from 0.
    Linear,
    /// Their logarithms.
    Logarithmic,
}

/// What a line is called, and its height at each place.
type Line<'a> = (&'a str, Vec<f64>);

/// Lines over named places, as an SVG.
pub(crate) fn chart(
    path: &Path,
    title: &str,
    scale: Scale,
    places: &[String],
    lines: &[Line<'_>],
) -> anyhow::Result<()> {
    chart_with_rings(path, title, scale, places, (lines, &[]))
}

/// The same with a ring, in a line's colour, wherever there is a number that belongs to it: of the first line first.
pub(crate) fn chart_with_rings(
    path: &Path,
    title: &str,
    scale: Scale,
    places: &[String],
    (lines, rings): (&[Line<'_>], &[Vec<Option<f64>>]),
) -> anyhow::Result<()> {
    let all = || {
        let of_rings = rings.iter().flatten().flatten().copied();
        lines.iter().flat_map(|(_, values)| values.iter().copied()).chain(of_rings)
    };
    match scale {
        Scale::Linear => draw((path, title), 0.0..1.1 * all().fold(1e-3, f64::max), 0.0, places, (lines, rings)),
        Scale::Logarithmic => {
            let low = all().fold(f64::INFINITY, f64::min).max(1e-3) / 1.5;
            let high = all().fold(low, f64::max) * 1.5;
            draw((path, title), (low..high).log_scale(), low, places, (lines, rings))
        }
    }
}

/// The same with heights from `low` up.
fn draw<Y>(
    (path, title): (&Path, &str),
    heights: Y,
    low: f64,
    places: &[String],
    (lines, rings): (&[Line<'_>], &[Vec<Option<f64>>]),
) -> anyhow::Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    const COLOURS: [RGBColor; 7] = [
        RGBColor(0, 114, 178),
        RGBColor(230, 159, 0),
        RGBColor(0, 158, 115),
        RGBColor(213, 94, 0),
        RGBColor(204, 121, 167),
        RGBColor(86, 180, 233),
        RGBColor(90, 90, 90),
    ];
    let area = SVGBackend::new(path, (1000, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let last = places.len() as f64 - 1.0;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(15)
        .margin_right(45)
        .x_label_area_size(50)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..last.max(1.0), heights)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(places.len())
        .x_label_formatter(&|x| places.get(x.round() as usize).cloned().unwrap_or_default())
        .x_label_style(("sans-serif", 11))
        // Without the last digits of a sum of tenths.
        .y_label_formatter(&|y| ((y * 1e6).round() / 1e6).to_string())
        .draw()?;
    for ((name, values), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, &v)| (i as f64, v.max(low))).collect();
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.clone(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    for (values, colour) in rings.iter().zip(COLOURS.iter().cycle()) {
        let points = values.iter().enumerate().filter_map(|(i, value)| Some((i as f64, value.as_ref()?.max(low))));
        chart.draw_series(points.map(|point| Circle::new(point, 7, colour.stroke_width(2))))?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
