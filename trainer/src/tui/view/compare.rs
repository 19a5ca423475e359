//! Owns the screen of several runs: their curves over each other, what they came to, and in what they differ.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::{curves, pane, texts};
use crate::tui::app::{App, Pane};
use crate::tui::theme::SERIES;
use crate::tui::words::{number, one_line, or_dash};

/// Draws the screen.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    if app.full || area.height < 14 || area.width < 50 {
        return draw_pane(app, app.focus, area, buffer);
    }
    let table = (app.runs.len() as u16).saturating_add(3).min(area.height / 3);
    if area.width >= 150 {
        let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(area);
        let [above, below] = Layout::vertical([Constraint::Length(table), Constraint::Fill(1)]).areas(right);
        draw_pane(app, Pane::Loss, left, buffer);
        draw_pane(app, Pane::Arms, above, buffer);
        return draw_pane(app, Pane::Keys, below, buffer);
    }
    let parts = [Constraint::Fill(3), Constraint::Length(table), Constraint::Fill(2)];
    let [curves, runs, keys] = Layout::vertical(parts).areas(area);
    draw_pane(app, Pane::Loss, curves, buffer);
    draw_pane(app, Pane::Arms, runs, buffer);
    draw_pane(app, Pane::Keys, keys, buffer);
}

fn draw_pane(app: &App, pane: Pane, area: Rect, buffer: &mut Buffer) {
    match pane {
        Pane::Arms => runs(app, area, buffer),
        Pane::Keys => keys(app, area, buffer),
        _ => curves::overlay(app, area, buffer),
    }
}

fn runs(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = pane::open(app, Pane::Arms, "runs", area, buffer);
    let rows: Vec<Vec<Span<'static>>> = app
        .runs
        .iter()
        .zip(SERIES.iter().cycle())
        .map(|(run, ink)| {
            let best = run.best_valid().map(|(step, loss)| format!("{} at {step}", number(loss)));
            vec![
                Span::styled(format!("{} {}", app.theme.sign("━", "*"), one_line(&run.name)), app.theme.ink(*ink)),
                Span::raw(run.state.word()),
                Span::raw(format!("{}/{}", run.step, run.total_steps)),
                Span::raw(or_dash(curves::smoothed_last(&run.loss), number)),
                Span::raw(or_dash(run.valid.last().map(|(_, loss)| *loss), number)),
                Span::raw(or_dash(best, |best| best)),
                Span::raw(or_dash(run.mean_throughput(), number)),
            ]
        })
        .collect();
    let head = ["run", "state", "steps", "train", "valid", "best valid", "tokens/s"];
    pane::lines(pane::table(app, &head, &rows), inner, buffer);
}

fn keys(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = pane::open(app, Pane::Keys, "config keys that differ", area, buffer);
    if app.differing.is_empty() {
        let line = Span::styled("none", app.theme.dim());
        return pane::lines(vec![Line::from(line)], inner, buffer);
    }
    let names: Vec<String> = app.runs.iter().map(|run| one_line(&run.name)).collect();
    let head: Vec<&str> = std::iter::once("key").chain(names.iter().map(String::as_str)).collect();
    let from = texts::scroll(app, Pane::Keys, app.differing.len());
    let row = |(key, values): &(String, Vec<String>)| {
        std::iter::once(Span::raw(one_line(key))).chain(values.iter().map(|value| Span::raw(one_line(value)))).collect()
    };
    let rows: Vec<Vec<Span<'static>>> = app.differing.iter().skip(from).map(row).collect();
    pane::lines(pane::table(app, &head, &rows), inner, buffer);
}
