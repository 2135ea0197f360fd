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
const SIZE: (u32, u32) = (860, 440);
/// Room for the key above the frame.
const TOP: i32 = 34;
/// Room for the figures left of the frame.
const LEFT: i32 = 76;

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

/// A figure of an axis: `100 G`, `0.1`.
fn tick(v: f64) -> String {
    let round = |v: f64| (v * 1000.0).round() / 1000.0;
    let steps = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match steps.into_iter().find(|(s, _)| v.abs() >= *s * 0.999_999) {
        Some((scale, unit)) => format!("{}{unit}", round(v / scale)),
        None => format!("{}", round(v)),
    }
}

/// Width of a letter of the labels, in pixels.
const LETTER: i32 = 6;
/// Height of a label.
const LABEL: i32 = 13;

/// Width of a label with some room behind it.
fn width(label: &str) -> i32 {
    LETTER * i32::try_from(label.chars().count()).unwrap_or(0) + 8
}

/// A rectangle that a label covers: left, top, right, bottom.
type Covered = (i32, i32, i32, i32);

/// A straight line through two points, in pixels.
type Stroke = ((i32, i32), (i32, i32));

/// Whether a line runs through a rectangle, somewhere between its left and right edges.
fn crosses(line: &Stroke, box_: &Covered) -> bool {
    let ((x0, y0), (x1, y1)) = (line.0, line.1);
    let (from, to) = (box_.0.max(x0), box_.2.min(x1));
    if from >= to {
        return false;
    }
    let at = |x: i32| y0 + (y1 - y0) * (x - x0) / (x1 - x0).max(1);
    let (a, b) = (at(from), at(to));
    a.min(b) < box_.3 && a.max(b) > box_.1
}

/// The first of the places where a label covers no other one and no line; failing that, no other one.
fn place(
    label: &str,
    places: impl Iterator<Item = (i32, i32)> + Clone,
    lines: &[Stroke],
    taken: &mut Vec<Covered>,
) -> Option<(i32, i32)> {
    let width = width(label);
    let around = |(x, y): (i32, i32)| (x, y, x + width, y + LABEL);
    let apart = |a: &Covered, b: &Covered| a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1;
    let free = |at: &(i32, i32)| taken.iter().all(|other| apart(&around(*at), other));
    let clear = |at: &(i32, i32)| free(at) && !lines.iter().any(|l| crosses(l, &around(*at)));
    let found = places.clone().find(clear).or_else(|| places.clone().find(free))?;
    taken.push(around(found));
    Some(found)
}

/// Performance over arithmetic intensity, with the measured ceilings. Empty when there is nothing to draw.
#[must_use]
pub fn roofline(report: &Report) -> String {
    let points: Vec<(f64, f64)> = report
        .roofline
        .iter()
        .flat_map(|s| {
            let measured = s.naive_s.into_iter().chain(s.default_s).chain(s.winner_s);
            let times = s.candidates_s.iter().copied().chain(measured);
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
    let ys = y.0 / 2.0..top_rate * 3.0;
    let mut svg = String::new();
    let drawn = draw(&mut svg, |root| {
        let mut chart = frame(
            root,
            ("operations per byte", &tick),
            ("operations per second", &tick),
            xs.clone().log_scale(),
            ys.clone().log_scale(),
        )?;
        let mut taken: Vec<Covered> = Vec::new();
        let mut labels: Vec<(String, (i32, i32))> = Vec::new();
        for (name, rate) in &report.rates {
            chart.draw_series(LineSeries::new([(xs.start, *rate), (xs.end, *rate)], ROOF.stroke_width(1)))?;
            let label = format!("{name} {}op/s", si(*rate));
            let (left, line) = chart.backend_coord(&(xs.start, *rate));
            let above = (0..8).map(|n| (left + 12 + n * 40, line - LABEL - 2));
            labels.extend(place(&label, above, &[], &mut taken).map(|at| (label, at)));
        }
        // From the left or lower edge, whichever a line leaves, to the highest rate.
        let slopes: Vec<(String, f64, [f64; 2])> = report
            .bandwidths
            .iter()
            .map(|(name, rate)| {
                let ends = [xs.start.max(ys.start / rate), (top_rate / rate).min(xs.end)];
                (format!("{name} {}B/s", si(*rate)), *rate, ends)
            })
            .filter(|(_, _, ends)| ends[0] < ends[1])
            .collect();
        let strokes: Vec<Stroke> = slopes
            .iter()
            .map(|(_, rate, [a, b])| {
                (chart.backend_coord(&(*a, a * rate)), chart.backend_coord(&(*b, b * rate)))
            })
            .collect();
        for (n, (label, rate, [from, to])) in slopes.into_iter().enumerate() {
            let ends = [(from, from * rate), (to, to * rate)];
            chart.draw_series(LineSeries::new(ends, ROOF.mix(0.55).stroke_width(1)))?;
            // On the line, which it interrupts; farther along where something else is.
            const STEPS: i32 = 60;
            let along = (1..STEPS).map(|n| from * (to / from).powf(f64::from(n) / f64::from(STEPS)));
            let edge = chart.backend_coord(&(xs.start, rate)).0;
            let places = along
                .map(|x| {
                    let (middle, line) = chart.backend_coord(&(x, x * rate));
                    (middle - width(&label) / 2, line - LABEL / 2)
                })
                .filter(|at| at.0 > edge + 4);
            let others: Vec<Stroke> =
                strokes.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, s)| *s).collect();
            labels.extend(place(&label, places, &others, &mut taken).map(|at| (label, at)));
        }
        for size in &report.roofline {
            let at = |t: f64| (size.intensity, size.flops / t);
            let dots = size.candidates_s.iter().map(|&t| Circle::new(at(t), 2, CANDIDATE.mix(0.5).filled()));
            chart.draw_series(dots)?;
            // Where the winner is the default, a ring of it shows.
            let marks = [(size.naive_s, NAIVE, 5), (size.default_s, DEFAULT, 7), (size.winner_s, WINNER, 5)];
            for (t, colour, radius) in marks {
                chart.draw_series(t.map(|t| Circle::new(at(t), radius, colour.filled())))?;
            }
            if size.roof_s > 0.0 {
                chart.draw_series([Cross::new(at(size.roof_s), 5, ROOF.stroke_width(2))])?;
            }
        }
        for (label, (x, y)) in labels {
            let paper = [(x - 2, y - 1), (x + width(&label) - 6, y + LABEL)];
            root.draw(&Rectangle::new(paper, WHITE.filled()))?;
            root.draw(&Text::new(label, (x, y), text(11, ROOF)))?;
        }
        key(root)
    });
    if drawn { svg } else { String::new() }
}

/// What the marks of the roofline mean, in a row above the frame.
fn key(root: &Root<'_>) -> Drawn {
    let middle = TOP / 2 + 2;
    let mut x = LEFT + 18;
    let word = |x: &mut i32, word: &str| -> Drawn {
        root.draw(&Text::new(word.to_owned(), (*x + 10, middle - 6), text(12, INK)))?;
        *x += 34 + 7 * i32::try_from(word.len()).unwrap_or(0);
        Ok(())
    };
    for (name, colour, size) in
        [("candidates", CANDIDATE, 3), ("naive", NAIVE, 5), ("default", DEFAULT, 5), ("winner", WINNER, 5)]
    {
        root.draw(&Circle::new((x, middle), size, colour.filled()))?;
        word(&mut x, name)?;
    }
    root.draw(&Cross::new((x, middle), 5, ROOF.stroke_width(2)))?;
    word(&mut x, "the roof of the size")
}

/// Best fitness over time.
#[must_use]
pub fn progress(report: &Report) -> String {
    let Some(last) = report.progress.last() else { return String::new() };
    let top = report.progress.iter().map(|p| p.2).fold(0.0, f64::max);
    let percent = |v: &f64| format!("{} %", (v * 1e4).round() / 100.0);
    let mut svg = String::new();
    let drawn = draw(&mut svg, |root| {
        let mut chart = frame(
            root,
            ("seconds", &tick),
            ("fraction of the roof", &|v| percent(&v)),
            0.0..(last.0 * 1.03).max(1e-3),
            0.0..(top * 1.15).max(1e-6),
        )?;
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
    let filled = root.fill(&WHITE).map_err(Into::into);
    filled.and_then(|()| paint(&root)).and_then(|()| root.present().map_err(Into::into)).is_ok()
}

fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    ("system-ui, sans-serif", size).into_font().color(&colour)
}

type Frame<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>;

/// The name of an axis, and how its figures are written.
type Axis<'f> = (&'f str, &'f dyn Fn(f64) -> String);

/// A chart with axes and a quiet grid.
fn frame<'a, X, Y>(
    root: &Root<'a>,
    x: Axis<'_>,
    y: Axis<'_>,
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
        .margin_left(8)
        .margin_right(16)
        .margin_bottom(10)
        .margin_top(TOP)
        .x_label_area_size(44)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(text(12, INK))
        .axis_desc_style(text(13, INK))
        .x_desc(x.0)
        .y_desc(y.0)
        .x_label_formatter(&|v| x.1(*v))
        .y_label_formatter(&|v| y.1(*v))
        .draw()?;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::data::SizePoints;

    #[test]
    fn figures_have_units() {
        assert_eq!(si(1.25e9), "1.25 G");
        assert_eq!(si(117e9), "117 G");
        assert_eq!(si(0.5), "500 m");
        assert_eq!(si(0.0), "0");
        assert_eq!(tick(0.1), "0.1");
        assert_eq!(tick(1e10), "10 G");
        assert_eq!(tick(7.0), "7");
        assert_eq!(tick(999.999_999_9e6), "1 G");
    }

    #[test]
    fn empty_reports_draw_nothing() {
        assert_eq!(roofline(&Report::default()), "");
        assert_eq!(progress(&Report::default()), "");
    }

    #[test]
    fn labels_do_not_cover_one_another() {
        let mut taken = Vec::new();
        let places = |y: i32| (0..20).map(move |n| (10 + 30 * n, y));
        // 68 pixels wide.
        assert_eq!(place("L3 20 GB/s", places(100), &[], &mut taken), Some((10, 100)));
        assert_eq!(place("DRAM 19 GB/s", places(104), &[], &mut taken), Some((100, 104)));
        assert_eq!(place("L2 90 GB/s", places(60), &[], &mut taken), Some((10, 60)));
        assert_eq!(place("L1", std::iter::once((20, 62)), &[], &mut taken), None);
        // A line from (0, 0) down to (200, 200) runs through what lies at (10, 10), not at (40, 10).
        let line = [((0, 0), (200, 200))];
        assert_eq!(place("L1", places(10), &line, &mut taken), Some((40, 10)));
        assert_eq!(place("L1", std::iter::once((300, 300)), &line, &mut taken), Some((300, 300)));
        assert_eq!(place("L1", std::iter::once((150, 150)), &line, &mut taken), Some((150, 150)));
    }

    /// All that a roofline plot may hold, close together.
    fn crowded() -> Report {
        let size = SizePoints {
            size: "N=1".into(),
            intensity: 0.25,
            flops: 1e6,
            roof_s: 1e-5,
            candidates_s: vec![2e-5, 3e-5],
            naive_s: Some(1e-3),
            default_s: Some(3e-5),
            winner_s: Some(2e-5),
        };
        let levels = [("L1", 21e9), ("L2", 20e9), ("L3", 19e9), ("DRAM", 18e9)];
        Report {
            roofline: vec![size],
            bandwidths: levels.map(|(n, v)| (n.to_owned(), v)).to_vec(),
            rates: vec![("f32 multiply-add".into(), 200e9)],
            ..Report::default()
        }
    }

    #[test]
    fn every_ceiling_is_named_even_where_they_lie_close() {
        let svg = roofline(&crowded());
        for word in
            ["L1 21.0 GB/s", "L2 20.0 GB/s", "L3 19.0 GB/s", "DRAM 18.0 GB/s", "multiply-add 200 Gop/s"]
        {
            assert!(svg.contains(word), "{word}");
        }
        for word in ["candidates", "naive", "default", "winner", "the roof of the size"] {
            assert!(svg.contains(word), "{word}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn times_that_were_not_measured_are_not_drawn() {
        let mut report = crowded();
        report.roofline[0] = SizePoints { candidates_s: vec![], naive_s: None, ..report.roofline[0].clone() };
        report.roofline[0].winner_s = None;
        assert!(roofline(&report).starts_with("<svg"));
        report.roofline[0].flops = 0.0;
        assert_eq!(roofline(&report), "");
    }
}
