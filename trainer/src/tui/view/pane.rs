//! Owns the frame around a part of the screen, and lines of text inside it: here text becomes cells, and what a terminal
//! would obey becomes escapes. Knows what has the focus.

use std::borrow::Cow;

use ground::terminal::shown_in_line;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Widget, Wrap};

use crate::tui::app::{App, Pane};
use crate::tui::theme::Ink;

/// Draws the frame of a pane and gives the room inside.
pub(super) fn open(app: &App, pane: Pane, title: &str, area: Rect, buffer: &mut Buffer) -> Rect {
    let has_focus = app.focus == pane;
    let theme = &app.theme;
    let style = if has_focus { theme.ink(Ink::Blue).add_modifier(Modifier::BOLD) } else { theme.dim() };
    let mark = if has_focus { theme.sign("▸ ", "> ") } else { "" };
    let title_style = if has_focus { theme.bold() } else { ratatui::style::Style::new() };
    let title = Span::styled(format!(" {mark}{} ", shown_in_line(title)), title_style);
    let block = Block::bordered().border_set(theme.border()).border_style(style).title(title);
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

/// Lines from the top; what does not fit is not shown.
pub(super) fn lines(lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(harmless(lines)).render(area, buffer);
}

/// Lines that are broken where they are too wide.
pub(super) fn wrapped(lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(harmless(lines)).wrap(Wrap { trim: false }).render(area, buffer);
}

/// The same lines, with escapes where a terminal would obey.
fn harmless(mut lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    lines.iter_mut().flat_map(|line| &mut line.spans).for_each(harmless_span);
    lines
}

fn harmless_span(span: &mut Span<'_>) {
    if let Cow::Owned(safe) = shown_in_line(&span.content) {
        span.content = Cow::Owned(safe);
    }
}

/// A word in a narrow column, and what it is about.
pub(super) fn labelled(app: &App, label: &str, text: String) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{label:<10}"), app.theme.dim()), Span::raw(text)])
}

/// Columns of a table, each as wide as its widest cell; the last ones are cut where there is no room.
pub(super) fn table(app: &App, head: &[&str], rows: &[Vec<Span<'static>>]) -> Vec<Line<'static>> {
    let mut rows = rows.to_vec();
    // Before columns are measured: an escape is wider than the sign that it stands for.
    rows.iter_mut().flatten().for_each(harmless_span);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(Span::width);
        cells.chain(head.get(column).map(|head| Span::raw(*head).width())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<Span<'static>>| {
        let padded = cells.into_iter().zip(&widths).flat_map(|(cell, width)| {
            let room = " ".repeat(width.saturating_sub(cell.width()) + 2);
            [cell, Span::raw(room)]
        });
        Line::from(padded.collect::<Vec<_>>())
    };
    let head = line(head.iter().map(|head| Span::styled((*head).to_owned(), app.theme.dim())).collect());
    std::iter::once(head).chain(rows.into_iter().map(line)).collect()
}
