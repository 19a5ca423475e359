//! Owns the panes that show a curve over steps. Knows which curve has which colour.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane;
use crate::tui::app::{App, Pane};
use crate::tui::axis::Axis;
use crate::tui::chart::{Chart, Layer};
use crate::tui::series::{Bucket, Series, smooth};
use crate::tui::theme::{Ink, SERIES};
use crate::tui::watched::Watched;
use crate::tui::words::{number, or_dash, percent};

/// The share of what is shown over which a smoothed line forgets half.
const HALF_LIFE_SHARE: f64 = 0.02;

/// The loss: every step as a band, a smoothed line, and validations.
pub(super) fn loss(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let axis = if app.log_axis { ", log" } else { "" };
    let inner = pane::open(app, Pane::Loss, &format!("loss{axis}"), area, buffer);
    let Some((legend, inner)) = split_first_row(inner) else { return };
    let (from, to) = app.span();
    let line = smooth(run.loss.within(from, to), half_life(from, to), app.log_axis);
    let theme = &app.theme;
    let valid: Vec<(f64, f64)> = run.valid.iter().map(|(step, loss)| (*step as f64, *loss)).collect();
    let shown_valid: Vec<(f64, f64)> = valid.iter().copied().filter(|(x, _)| (from..=to).contains(x)).collect();
    let sign = theme.sign("◆", "x");
    let spans = match app.cursor_step() {
        Some(step) => at_cursor(run, &valid, step),
        None => vec![
            Span::styled(theme.sign("━", "*"), theme.ink(Ink::Blue)),
            Span::raw(format!(" train {}", or_dash(line.last().map(|(_, y)| *y), number))),
            Span::styled(format!("  {sign} "), theme.ink(Ink::Orange)),
            Span::raw(match (run.valid.last(), run.best_valid()) {
                (Some((_, last)), Some((at, best))) if best < *last => {
                    format!("valid {}, best {} at step {at}", number(*last), number(best))
                }
                (Some((_, last)), _) => format!("valid {}", number(*last)),
                _ => "no validation yet".to_owned(),
            }),
        ],
    };
    pane::lines(vec![Line::from(spans)], legend, buffer);
    let layers = vec![
        Layer::Band(run.loss.within(from, to), theme.dim()),
        Layer::Line(line, theme.ink(Ink::Blue)),
        Layer::Marks(shown_valid, sign, theme.ink(Ink::Orange)),
    ];
    draw(app, layers, app.log_axis, inner, buffer);
}

fn at_cursor(run: &Watched, valid: &[(f64, f64)], step: f64) -> Vec<Span<'static>> {
    let mean = |series: &Series| or_dash(series.nearest(step), |bucket| number(bucket.mean()));
    let distance = |x: f64| (x - step).abs();
    let nearest = valid.iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
    let valid = nearest.map_or_else(String::new, |(at, loss)| format!("  valid {} at {at:.0}", number(*loss)));
    vec![Span::raw(format!(
        "step {step:.0}: loss {}{valid}  norm {}  lr {}  tok/s {}",
        mean(&run.loss),
        mean(&run.gradient_norm),
        mean(&run.learning_rate),
        mean(&run.throughput)
    ))]
}

/// Gradient norm, learning rate or tokens a second.
pub(super) fn single(app: &App, run: &Watched, pane: Pane, area: Rect, buffer: &mut Buffer) {
    let (series, title, ink, log) = match pane {
        Pane::GradientNorm => {
            let share = run.sums.clipped as f64 / run.sums.steps.max(1) as f64;
            (&run.gradient_norm, format!("gradient norm, {} clipped", percent(share)), Ink::Purple, true)
        }
        Pane::LearningRate => {
            let now = or_dash(run.newest, |newest| number(newest.learning_rate));
            (&run.learning_rate, format!("learning rate {now}"), Ink::Teal, false)
        }
        _ => {
            let mean = or_dash(run.mean_throughput(), number);
            (&run.throughput, format!("tokens/s, mean {mean}"), Ink::Blue, false)
        }
    };
    let inner = pane::open(app, pane, &title, area, buffer);
    let (from, to) = app.span();
    let shown = series.within(from, to);
    let layers = vec![
        Layer::Band(shown, app.theme.dim()),
        Layer::Line(smooth(shown, half_life(from, to), log), app.theme.ink(ink)),
    ];
    draw(app, layers, log, inner, buffer);
}

/// The smoothed losses of all runs over each other.
pub(super) fn overlay(app: &App, area: Rect, buffer: &mut Buffer) {
    let axis = if app.log_axis { ", log" } else { "" };
    let inner = pane::open(app, Pane::Loss, &format!("loss, smoothed{axis}"), area, buffer);
    let (from, to) = app.span();
    let signs = if app.theme.unicode { ["◆", "●", "▲", "■", "▼"] } else { ["x", "o", "^", "#", "v"] };
    let layers = app.runs.iter().zip(SERIES.iter().cycle().zip(signs.iter().cycle())).flat_map(|(run, (ink, sign))| {
        let style = app.theme.ink(*ink);
        let valid = run.valid.iter().map(|(step, loss)| (*step as f64, *loss));
        let valid = valid.filter(|(x, _)| (from..=to).contains(x)).collect();
        let line = smooth(run.loss.within(from, to), half_life(from, to), app.log_axis);
        [Layer::Line(line, style), Layer::Marks(valid, sign, style)]
    });
    draw(app, layers.collect(), app.log_axis, inner, buffer);
}

fn draw(app: &App, layers: Vec<Layer<'_>>, log: bool, area: Rect, buffer: &mut Buffer) {
    let (from, to) = app.span();
    let values: Vec<f64> = layers.iter().flat_map(Layer::values).collect();
    if values.is_empty() {
        pane::lines(vec![Line::from(Span::styled("no steps yet", app.theme.dim()))], area, buffer);
        return;
    }
    let y = Axis::around(values.iter().copied(), log);
    let chart = Chart { x: Axis::from_to(from, to), y, layers, cursor: app.cursor_step(), theme: app.theme };
    chart.draw(area, buffer);
}

fn half_life(from: f64, to: f64) -> f64 {
    (HALF_LIFE_SHARE * (to - from)).max(2.0)
}

fn split_first_row(area: Rect) -> Option<(Rect, Rect)> {
    let rest = area.height.checked_sub(1)?;
    Some((Rect { height: 1, ..area }, Rect { y: area.y + 1, height: rest, ..area }))
}

/// The mean of the last buckets of a curve, as tables show it.
pub(super) fn smoothed_last(series: &Series) -> Option<f64> {
    let buckets: &[Bucket] = series.buckets();
    let (from, to) = series.extent()?;
    smooth(buckets, half_life(from, to), false).last().map(|(_, y)| *y)
}
