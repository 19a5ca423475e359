//! Owns drawing: from the state of the dashboard to cells, and nothing else. Knows the state; changes none of it.

mod compare;
mod curves;
mod eval;
mod fit;
mod header;
mod help;
mod list;
mod numbers;
mod pane;
mod rows;
mod texts;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::app::{App, Screen};

/// The smallest terminal in which there is room for anything.
const LEAST: (u16, u16) = (24, 6);

/// Draws everything.
pub fn draw(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    draw_into(app, area, frame.buffer_mut());
}

/// The same into cells.
pub fn draw_into(app: &App, area: Rect, buffer: &mut Buffer) {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        buffer.set_stringn(area.x, area.y, "more room, please", usize::from(area.width), app.theme.bold());
        return;
    }
    let head = header::height(app, area);
    let body = Rect { y: area.y + head, height: area.height - head - 1, ..area };
    header::draw(app, Rect { height: head, ..area }, buffer);
    match app.screen {
        Screen::Fit => fit::draw(app, body, buffer),
        Screen::Eval => eval::draw(app, body, buffer),
        Screen::Compare => compare::draw(app, body, buffer),
        Screen::Runs => list::draw(app, body, buffer),
    }
    header::draw_footer(app, Rect { y: area.bottom() - 1, height: 1, ..area }, buffer);
    if app.help {
        help::draw(app, body, buffer);
    }
}
