//! Draws the pictures of a report as inline SVG whose colours follow the page, light or dark.
//! Knows nothing about what is drawn but names, values and bounds.

use ground::terminal::shown_in_line;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Error;

/// Stands for the colour of text.
const INK: RGBColor = RGBColor(1, 1, 1);
/// Stands for the colour of lines behind.
const LINE: RGBColor = RGBColor(2, 2, 2);
/// Stands for the colour of what is measured.
const ACCENT: RGBColor = RGBColor(3, 3, 3);
/// Stands for the colour of an interval's area.
const BAND: RGBColor = RGBColor(4, 4, 4);
/// Stands for the colour of a limit.
const LIMIT: RGBColor = RGBColor(5, 5, 5);
/// Each stand-in and the variable of the page's style.
const COLOURS: [(&str, &str); 5] = [
    ("#010101", "var(--ink)"),
    ("#020202", "var(--line)"),
    ("#030303", "var(--accent)"),
    ("#040404", "var(--band)"),
    ("#050505", "var(--bad)"),
];

/// The width of a picture in its own units: narrow, so that its words can be read on a phone.
const WIDTH: u32 = 640;

/// A value with bounds under a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// The name beside it.
    pub(super) name: String,
    /// The value.
    pub(super) value: f64,
    /// Lower bound.
    pub(super) low: f64,
    /// Upper bound.
    pub(super) high: f64,
    /// The value as it is written.
    pub(super) words: String,
}

/// One bin of a curve.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Where it begins.
    pub(super) from: f64,
    /// Where it ends.
    pub(super) to: f64,
    /// The value, in points.
    pub(super) value: f64,
    /// Lower end of the band.
    pub(super) low: f64,
    /// Upper end of the band.
    pub(super) high: f64,
}

/// Values one under the other, each with its interval.
///
/// # Errors
/// When the drawing fails.
pub(super) fn forest(bars: &[Bar], percent: bool) -> Result<String, Error> {
    let height = 46 + 34 * bars.len() as u32;
    let ends = bars.iter().flat_map(|bar| [bar.low, bar.high, bar.value]).filter(|value| value.is_finite());
    let (least, most) = ends.fold((0.0_f64, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let most = if most <= 1.0 { 1.0 } else { most * 1.05 };
    let (left, right) = (120, 70);
    draw(WIDTH, height, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .set_label_area_size(LabelAreaPosition::Left, left)
            .set_label_area_size(LabelAreaPosition::Bottom, 28)
            .margin_right(right)
            .build_cartesian_2d(least..most, 0.0..bars.len() as f64)?;
        let axis = |value: &f64| if percent { format!("{:.0}%", 100.0 * value) } else { format!("{value:.2}") };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_labels(6)
            .x_label_formatter(&axis)
            .bold_line_style(LINE)
            .light_line_style(TRANSPARENT)
            .axis_style(LINE)
            .label_style(label())
            .draw()?;
        for (index, bar) in bars.iter().enumerate() {
            let y = (bars.len() - index) as f64 - 0.5;
            chart.draw_series(LineSeries::new([(bar.low, y), (bar.high, y)], ACCENT.stroke_width(3)))?;
            for end in [bar.low, bar.high] {
                chart.draw_series(LineSeries::new([(end, y - 0.16), (end, y + 0.16)], ACCENT.stroke_width(2)))?;
            }
            chart.draw_series([Circle::new((bar.value, y), 6, ACCENT.filled())])?;
            let (_, pixel) = chart.backend_coord(&(bar.value, y));
            area.draw_text(
                &shown_in_line(&bar.name),
                &label().pos(Pos::new(HPos::Right, VPos::Center)),
                (left - 4, pixel),
            )?;
            area.draw_text(
                &bar.words,
                &label().pos(Pos::new(HPos::Left, VPos::Center)),
                (WIDTH as i32 - right + 6, pixel),
            )?;
        }
        Ok(())
    })
}

/// Differences along something known before the answer, with their band, the margin, and where the claim ends.
///
/// # Errors
/// When the drawing fails.
pub(super) fn curve(steps: &[Step], margin: f64, certified: Option<f64>, axis: &str) -> Result<String, Error> {
    let (from, to) = match (steps.first(), steps.last()) {
        (Some(first), Some(last)) if last.to > first.from => (first.from, last.to),
        _ => return Ok(String::new()),
    };
    let ends = steps.iter().flat_map(|step| [step.low, step.high]).chain([-margin, 0.0]);
    let (least, most) = ends.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let room = 0.08 * (most - least).max(0.01);
    draw(WIDTH, 320, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .set_label_area_size(LabelAreaPosition::Left, 62)
            .set_label_area_size(LabelAreaPosition::Bottom, 46)
            .build_cartesian_2d(from..to, least - room..most + room)?;
        let points = |value: &f64| format!("{:+.0}", 100.0 * value + 0.0);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .x_desc(shown_in_line(axis))
            .y_desc("difference in points")
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&points)
            .label_style(label())
            .axis_desc_style(label())
            .draw()?;
        if let Some(edge) = certified {
            let area = [(from, least - room), (edge, most + room)];
            chart.draw_series([Rectangle::new(area, BAND.mix(0.25).filled())])?;
        }
        for step in steps {
            chart
                .draw_series([Rectangle::new([(step.from, step.low), (step.to, step.high)], BAND.mix(0.6).filled())])?;
            let line = [(step.from, step.value), (step.to, step.value)];
            chart.draw_series(LineSeries::new(line, ACCENT.stroke_width(3)))?;
        }
        chart.draw_series(LineSeries::new([(from, 0.0), (to, 0.0)], INK.stroke_width(1)))?;
        chart.draw_series(LineSeries::new([(from, -margin), (to, -margin)], LIMIT.stroke_width(2)))?;
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn label() -> TextStyle<'static> {
    TextStyle::from(("system-ui, sans-serif", 15).into_font()).color(&INK)
}

fn draw(width: u32, height: u32, picture: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, Error> {
    let mut svg = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        picture(&area).and_then(|()| Ok(area.present()?))
    };
    drawn.map_err(|error| Error::Picture { what: error.to_string() })?;
    for (stand_in, variable) in COLOURS {
        svg = svg.replace(stand_in, variable);
    }
    // The page sets the size; the picture keeps its proportions.
    let sized = format!("<svg width=\"{width}\" height=\"{height}\"");
    Ok(svg.replacen(&sized, "<svg role=\"img\"", 1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_the_colours_of_the_page_and_hold_every_name() {
        let bar = |name: &str, value: f64| Bar {
            name: name.to_owned(),
            value,
            low: value - 0.05,
            high: value + 0.05,
            words: format!("{value:.3}"),
        };
        let svg = forest(&[bar("tuned", 0.9), bar("<b>", 0.2)], true).unwrap();
        assert!(svg.contains("tuned") && svg.contains("0.900") && svg.contains("var(--accent)"));
        assert!(!svg.contains("<b>") && svg.contains("viewBox") && !svg.contains("#01"));
        let step = |from: f64| Step { from, to: from + 100.0, value: 0.01, low: -0.02, high: 0.03 };
        let svg = curve(&[step(0.0), step(100.0)], 0.03, Some(100.0), "input tokens").unwrap();
        assert!(svg.contains("input tokens") && svg.contains("var(--bad)"));
        assert_eq!(curve(&[], 0.03, None, "x").unwrap(), "");
    }
}
