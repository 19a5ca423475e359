//! Owns the page that says what each key does.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget};

use crate::tui::app::App;

/// Every key, and what it does.
pub(super) const KEYS: [(&str, &str); 15] = [
    ("?", "this page; any key closes it"),
    ("q", "leave the view; a run goes on"),
    ("tab, shift-tab", "next pane, the one before"),
    ("enter, esc", "pane over the whole screen, and back"),
    ("1 2 3", "training, evaluation, comparison"),
    ("up down, page", "page through the pane with the focus"),
    ("left right [ ]", "cursor on the curves, with its values"),
    ("+ - 0", "zoom the curves in, out, to all"),
    ("l", "loss on a logarithmic or linear axis"),
    ("/", "show only what has these words; esc ends it"),
    ("s", "save a checkpoint now (terminal of the run)"),
    ("p", "pause, go on (terminal of the run)"),
    ("ctrl-c twice", "save, and end the run (terminal of the run)"),
    ("r", "list of runs (trainer watch)"),
    ("space, c", "mark runs of the list, compare the marked"),
];

/// Draws it over what is there.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let (width, height) = (66.min(area.width), (KEYS.len() as u16 + 2).min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    let line = |(key, what): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!(" {key:<16}"), app.theme.bold()), Span::raw(*what)])
    };
    let block = Block::bordered().border_set(app.theme.border()).title(" keys ");
    Paragraph::new(KEYS.iter().map(line).collect::<Vec<_>>()).block(block).render(place, buffer);
}
