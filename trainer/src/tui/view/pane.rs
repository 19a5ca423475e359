//! Owns the frame around a part of the screen, and lines of text inside it. Knows what has the focus.

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
    let title = Span::styled(format!(" {mark}{title} "), title_style);
    let block = Block::bordered().border_set(theme.border()).border_style(style).title(title);
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

/// Lines from the top; what does not fit is not shown.
pub(super) fn lines(lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(lines).render(area, buffer);
}

/// Lines that are broken where they are too wide.
pub(super) fn wrapped(lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(lines).wrap(Wrap { trim: false }).render(area, buffer);
}

/// A word in a narrow column, and what it is about.
pub(super) fn labelled(app: &App, label: &str, text: String) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{label:<10}"), app.theme.dim()), Span::raw(text)])
}

/// Columns of a table, each as wide as its widest cell; the last ones are cut where there is no room.
pub(super) fn table(app: &App, head: &[&str], rows: &[Vec<Span<'static>>]) -> Vec<Line<'static>> {
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
    std::iter::once(head).chain(rows.iter().map(|row| line(row.clone()))).collect()
}
