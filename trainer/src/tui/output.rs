//! Owns turning cells into what a terminal obeys: one write for each frame, and only for cells that changed.
//! Knows the cells of the view; knows nothing of what they show.

use std::io::{Error, Result, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Color as Shown, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, EndSynchronizedUpdate};
use ground::terminal::is_steering;
use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

/// A terminal behind a writer.
pub struct Output<W> {
    writer: W,
    frame: Vec<u8>,
}

impl<W: Write> Output<W> {
    /// Nothing is written before the first flush.
    pub fn new(writer: W) -> Self {
        Output { writer, frame: Vec::new() }
    }
}

impl<W: Write> Backend for Output<W> {
    type Error = Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> Result<()> {
        let mut style = (Color::Reset, Modifier::empty());
        let mut next = None;
        let frame = &mut self.frame;
        // A terminal that knows the mark shows the frame at once; others pass it over.
        queue!(frame, BeginSynchronizedUpdate)?;
        for (column, row, cell) in content {
            if next != Some((column, row)) {
                queue!(frame, MoveTo(column, row))?;
            }
            next = column.checked_add(1).map(|column| (column, row));
            if (cell.fg, cell.modifier) != style {
                style = (cell.fg, cell.modifier);
                queue!(frame, SetAttribute(Attribute::Reset))?;
                for (modifier, attribute) in MODIFIERS {
                    if cell.modifier.contains(modifier) {
                        queue!(frame, SetAttribute(attribute))?;
                    }
                }
                if let Some(colour) = shown(cell.fg) {
                    queue!(frame, SetForegroundColor(colour))?;
                }
            }
            queue!(frame, Print(harmless(cell.symbol())))?;
        }
        queue!(frame, SetAttribute(Attribute::Reset), EndSynchronizedUpdate)
    }

    fn hide_cursor(&mut self) -> Result<()> {
        queue!(self.frame, Hide)
    }

    fn show_cursor(&mut self) -> Result<()> {
        queue!(self.frame, Show)
    }

    fn get_cursor_position(&mut self) -> Result<Position> {
        // Asking a terminal may hang, and the view never needs to know.
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<()> {
        let position = position.into();
        queue!(self.frame, MoveTo(position.x, position.y))
    }

    fn clear(&mut self) -> Result<()> {
        queue!(self.frame, SetAttribute(Attribute::Reset), Clear(crossterm::terminal::ClearType::All))
    }

    fn clear_region(&mut self, _region: ClearType) -> Result<()> {
        // The view has the whole screen, so all of it is what is cleared.
        self.clear()
    }

    fn size(&self) -> Result<Size> {
        let (width, height) = crossterm::terminal::size()?;
        Ok(Size { width, height })
    }

    fn window_size(&mut self) -> Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let written = self.writer.write_all(&self.frame);
        self.frame.clear();
        written.and_then(|()| self.writer.flush())
    }
}

/// What stands in a cell, unless it would steer the terminal: texts are shown as escapes before they become cells, and
/// what passed that by ends here.
fn harmless(symbol: &str) -> &str {
    if symbol.chars().any(is_steering) { "?" } else { symbol }
}

/// What the view uses of what cells can have.
const MODIFIERS: [(Modifier, Attribute); 3] =
    [(Modifier::BOLD, Attribute::Bold), (Modifier::DIM, Attribute::Dim), (Modifier::REVERSED, Attribute::Reverse)];

/// A colour of the palette; the terminal's own is none.
fn shown(colour: Color) -> Option<Shown> {
    Some(match colour {
        Color::Indexed(index) => Shown::AnsiValue(index),
        Color::Red => Shown::DarkRed,
        Color::Yellow => Shown::DarkYellow,
        Color::Blue => Shown::DarkBlue,
        Color::Magenta => Shown::DarkMagenta,
        Color::Cyan => Shown::DarkCyan,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn a_frame_is_one_write_of_what_changed() {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes);
        let mut cell = Cell::new("a");
        cell.set_style(Style::new().fg(Color::Indexed(33)).add_modifier(Modifier::BOLD));
        let plain = Cell::new("b");
        output.draw([(0, 0, &cell), (1, 0, &plain), (5, 2, &plain)].into_iter()).unwrap();
        output.flush().unwrap();
        let text = String::from_utf8(bytes).unwrap().replace('\u{1b}', "^");
        let expected = "^[?2026h^[1;1H^[0m^[1m^[38;5;33ma^[0mb^[3;6Hb^[0m^[?2026l";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_cell_that_steers_is_not_written() {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes);
        let cells = ["\u{1b}[2J", "a\u{202e}", "\u{9b}m", "\u{200b}", "é", "👩\u{200d}⚖\u{fe0f}"].map(Cell::new);
        output.draw(cells.iter().enumerate().map(|(at, cell)| (at as u16, 0, cell))).unwrap();
        output.flush().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("????é👩\u{200d}⚖\u{fe0f}"), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{200b}']) && !text.contains("[2J"), "{text:?}");
    }

    #[test]
    fn a_writer_that_fails_loses_the_frame_and_keeps_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _bytes: &[u8]) -> Result<usize> {
                Err(Error::from_raw_os_error(5))
            }
            fn flush(&mut self) -> Result<()> {
                Ok(())
            }
        }
        let mut output = Output::new(Gone);
        output.hide_cursor().unwrap();
        assert!(output.flush().is_err() && output.frame.is_empty());
    }
}
