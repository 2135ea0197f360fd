//! Charts as SVG text.

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::data::Report;

const INK: RGBColor = RGBColor(0x33, 0x3a, 0x45);
const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xee);
const CANDIDATE: RGBColor = RGBColor(0x9a, 0xa7, 0xb8);
const WINNER: RGBColor = RGBColor(0xc2, 0x41, 0x0c);
const NAIVE: RGBColor = RGBColor(0x64, 0x74, 0x8b);
const DEFAULT: RGBColor = RGBColor(0x1d, 0x6f, 0xb8);
const ROOF: RGBColor = RGBColor(0x1f, 0x29, 0x37);
const SIZE: (u32, u32) = (860, 420);

/// `1.2e9` as `1.2 G`.
#[must_use]
pub fn si(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return format!("{v}");
    }
    let steps =
        [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")];
    let (scale, unit) = steps.into_iter().find(|(s, _)| v.abs() >= *s).unwrap_or((1e-9, "n"));
    let scaled = v / scale;
    let digits = if scaled.abs() >= 100.0 { 0 } else { usize::from(scaled.abs() < 10.0) + 1 };
    format!("{scaled:.digits$} {unit}").trim_end().to_owned()
}

/// Performance over arithmetic intensity, with the measured ceilings. Empty when there is nothing to draw.
#[must_use]
pub fn roofline(report: &Report) -> String {
    let points: Vec<(f64, f64)> = report
        .roofline
        .iter()
        .flat_map(|s| {
            let times = s.candidates_s.iter().copied().chain(s.naive_s).chain(s.winner_s);
            times.chain([s.roof_s]).map(move |t| (s.intensity, s.flops / t))
        })
        .filter(|(x, y)| *x > 0.0 && y.is_finite() && *y > 0.0)
        .collect();
    if points.is_empty() {
        return String::new();
    }
    let span = |f: fn(&(f64, f64)) -> f64| {
        let values = points.iter().map(f);
        let lo = values.clone().fold(f64::INFINITY, f64::min);
        (lo, values.fold(0.0, f64::max))
    };
    let (x, y) = (span(|p| p.0), span(|p| p.1));
    let top_rate = report.rates.iter().map(|r| r.1).fold(y.1, f64::max);
    let xs = (x.0 / 8.0).min(0.1)..(x.1 * 8.0).max(10.0);
    let ys = y.0 / 2.0..top_rate * 2.0;
    let mut svg = String::new();
    let drawn = draw(&mut svg, |root| {
        let mut chart = frame(
            root,
            "operations per byte",
            "operations per second",
            xs.clone().log_scale(),
            ys.clone().log_scale(),
        )?;
        for (name, rate) in &report.bandwidths {
            let ends = [xs.start, xs.end].map(|x| (x, (x * rate).min(top_rate)));
            let knee = (top_rate / rate).clamp(xs.start, xs.end);
            chart.draw_series(LineSeries::new(
                [ends[0], (knee, knee * rate)],
                ROOF.mix(0.55).stroke_width(1),
            ))?;
            let at = (ys.start * 1.3 / rate).max(xs.start * 1.2);
            let label = format!("{name} {}B/s", si(*rate));
            chart.draw_series([Text::new(label, (at, at * rate), text(11, ROOF))])?;
        }
        for (name, rate) in &report.rates {
            chart.draw_series(LineSeries::new([(xs.start, *rate), (xs.end, *rate)], ROOF.stroke_width(1)))?;
            let label = format!("{name} {}op/s", si(*rate));
            chart.draw_series([Text::new(label, (xs.start * 1.2, rate * 1.25), text(11, ROOF))])?;
        }
        for size in &report.roofline {
            let at = |t: f64| (size.intensity, size.flops / t);
            let dots = size.candidates_s.iter().map(|&t| Circle::new(at(t), 2, CANDIDATE.mix(0.5).filled()));
            chart.draw_series(dots)?;
            let marks = [(size.naive_s, NAIVE), (size.default_s, DEFAULT), (size.winner_s, WINNER)];
            for (t, colour) in marks {
                chart.draw_series(t.map(|t| Circle::new(at(t), 5, colour.filled())))?;
            }
            if size.roof_s > 0.0 {
                chart.draw_series([Cross::new(at(size.roof_s), 5, ROOF.stroke_width(2))])?;
            }
        }
        Ok(())
    });
    if drawn { svg } else { String::new() }
}

/// Best fitness over time.
#[must_use]
pub fn progress(report: &Report) -> String {
    let Some(last) = report.progress.last() else { return String::new() };
    let top = report.progress.iter().map(|p| p.2).fold(0.0, f64::max);
    let mut svg = String::new();
    let drawn = draw(&mut svg, |root| {
        let mut chart =
            frame(root, "seconds", "fraction of roof", 0.0..last.0.max(1e-3), 0.0..(top * 1.1).max(1e-6))?;
        // A step line: the best stays until something better is promoted.
        let mut steps = Vec::new();
        for pair in report.progress.windows(2) {
            steps.extend([(pair[0].0, pair[0].2), (pair[1].0, pair[0].2)]);
        }
        steps.push((last.0, last.2));
        chart.draw_series(LineSeries::new(steps, WINNER.stroke_width(2)))?;
        chart.draw_series(report.progress.iter().map(|p| Circle::new((p.0, p.2), 3, WINNER.filled())))?;
        Ok(())
    });
    if drawn { svg } else { String::new() }
}

type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Runs `paint` over a white canvas; whether it succeeded.
fn draw(svg: &mut String, paint: impl FnOnce(&Root<'_>) -> Drawn) -> bool {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    paint(&root).and_then(|()| root.present().map_err(Into::into)).is_ok()
}

fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    ("system-ui, sans-serif", size).into_font().color(&colour)
}

type Frame<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>;

/// A chart with axes and a quiet grid.
fn frame<'a, X, Y>(
    root: &Root<'a>,
    x_name: &str,
    y_name: &str,
    xs: X,
    ys: Y,
) -> Result<Frame<'a, X::CoordDescType, Y::CoordDescType>, Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(root)
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(text(12, INK))
        .axis_desc_style(text(13, INK))
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&|v| si(*v))
        .y_label_formatter(&|v| si(*v))
        .draw()?;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        assert_eq!(si(1.25e9), "1.25 G");
        assert_eq!(si(117e9), "117 G");
        assert_eq!(si(0.5), "500 m");
        assert_eq!(si(0.0), "0");
    }

    #[test]
    fn empty_reports_draw_nothing() {
        assert_eq!(roofline(&Report::default()), "");
        assert_eq!(progress(&Report::default()), "");
    }
}
