//! Owns the screen with all runs of a folder.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane;
use crate::tui::app::{App, Pane};
use crate::tui::words::{duration, number, one_line, or_dash};

/// Draws the screen.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let entries = app.shown_entries();
    let inner = pane::open(app, Pane::List, &format!("{} runs", entries.len()), area, buffer);
    if entries.is_empty() {
        let hint =
            if app.filter.is_empty() { "no run yet; type  trainer fit CONFIG" } else { "no run with these words" };
        return pane::lines(vec![Line::from(Span::styled(hint, app.theme.dim()))], inner, buffer);
    }
    let at = app.scroll.min(entries.len() - 1);
    let has_bars = inner.width >= 100;
    let rows: Vec<Vec<Span<'static>>> = entries
        .iter()
        .enumerate()
        .map(|(number_of, entry)| {
            let style = if number_of == at { app.theme.chosen() } else { app.theme.bold() };
            let mark = if app.marked.contains(&entry.path) { "* " } else { "  " };
            let (done, total) = entry.steps.unwrap_or_default();
            let share = done as f64 / total.max(1) as f64;
            let steps = or_dash(entry.steps, |(done, total)| format!("{done}/{total}"));
            vec![
                Span::styled(format!("{mark}{}", one_line(&entry.name)), style),
                Span::raw(entry.state.clone()),
                Span::raw(if has_bars { format!("{steps:<12}{}", app.theme.bar(share, 12)) } else { steps }),
                Span::raw(or_dash(entry.score.clone(), |score| score)),
                Span::raw(or_dash(entry.valid_loss, number)),
                Span::raw(or_dash(entry.age_secs, |age| format!("{} ago", duration(age as f64)))),
            ]
        })
        .collect();
    let head = ["  run", "state", "steps", "score", "valid", "last word"];
    let mut lines = pane::table(app, &head, &rows);
    // What is chosen stays in sight.
    let room = usize::from(inner.height).saturating_sub(1).max(1);
    let skipped = (at + 1).saturating_sub(room);
    lines.drain(1..=skipped).for_each(drop);
    pane::lines(lines, inner, buffer);
}
