//! Owns the panes that are lists of lines: what happened, and where the rows went. The newest is on top.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane;
use crate::tui::app::{App, Pane};
use crate::tui::theme::Ink;
use crate::tui::watched::Watched;
use crate::tui::words::{matches, one_line};

/// How far a pane is paged, if it has the focus.
pub(super) fn scroll(app: &App, pane: Pane, length: usize) -> usize {
    if app.focus == pane { app.scroll.min(length.saturating_sub(1)) } else { 0 }
}

/// What happened.
pub(super) fn log(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let warnings = run.lines.iter().filter(|line| line.is_warning).count();
    let title = match warnings {
        0 => "events".to_owned(),
        1 => "events, 1 warning".to_owned(),
        warnings => format!("events, {warnings} warnings"),
    };
    let inner = pane::open(app, Pane::Log, &title, area, buffer);
    let shown: Vec<_> = run.lines.iter().rev().filter(|line| matches(&app.filter, &line.text)).collect();
    let from = scroll(app, Pane::Log, shown.len());
    let lines = shown[from.min(shown.len())..].iter().take(usize::from(inner.height)).map(|line| {
        let style = if line.is_warning { app.theme.ink(Ink::Orange) } else { ratatui::style::Style::new() };
        let sign = if line.is_warning { app.theme.sign("△ ", "! ") } else { "" };
        let step = Span::styled(format!("{:>6} ", line.step), app.theme.dim());
        Line::from(vec![step, Span::styled(format!("{sign}{}", one_line(&line.text)), style)])
    });
    let lines = lines.collect();
    pane::wrapped(lines, inner, buffer);
}

/// Where the rows went.
pub(super) fn ledger(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let inner = pane::open(app, Pane::Ledger, "data", area, buffer);
    let about = run.about.iter().map(|(label, text)| pane::labelled(app, label, one_line(text)));
    let account = run.ledger.iter().map(|line| Line::from(one_line(line)));
    let from = scroll(app, Pane::Ledger, run.ledger.len() + run.about.len());
    pane::wrapped(account.chain(about).skip(from).collect(), inner, buffer);
}
