//! Owns how text that a file or a server brought is shown: signs that steer a terminal or turn the direction of writing
//! become visible escapes. Knows nothing about where the text comes from; what goes to a terminal goes through here.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Text in which nothing steers a terminal: control signs other than line break and tab, and signs that turn the
/// direction of writing or are not seen, are shown as `\u{1b}`. Text without them comes back as it is.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |sign| sign == '\n' || sign == '\t')
}

/// As [`shown`], on one line: line breaks and tabs are escaped too. For names, ids and values within a line.
#[must_use]
pub fn shown_in_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Whether a sign steers a terminal, turns the direction of writing, or hides among others.
#[must_use]
pub fn is_steering(sign: char) -> bool {
    sign.is_control()
        || matches!(sign,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Whether standard error is a terminal, on which a line can be written over.
#[must_use]
pub fn is_live() -> bool {
    io::stderr().is_terminal()
}

/// Writes a line to standard output: the data of a command. On a terminal it is [`shown`]; in a pipe or a file it is
/// byte for byte what was given.
///
/// # Errors
/// When standard output is closed or refuses.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { shown(text) } else { Cow::Borrowed(text) };
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a line to standard error: log, progress and errors, always [`shown`]. A terminal that is gone is nobody's loss.
pub fn note(text: impl fmt::Display) {
    let text = text.to_string();
    let _: io::Result<()> = writeln!(io::stderr().lock(), "{}", shown(&text));
}

/// Writes over the last line of a terminal on standard error, without a line break; `last` ends it.
pub fn over(text: &str, last: bool) {
    let end = if last { "\n" } else { "" };
    let mut err = io::stderr().lock();
    let _: io::Result<()> = write!(err, "\r\x1b[2K{}{end}", shown_in_line(text)).and_then(|()| err.flush());
}

/// Progress for a person: whole lines, and one that the next replaces where that can be. Every text is [`shown`].
pub struct Lines {
    out: Box<dyn Write + Send>,
    live: bool,
    colour: bool,
    open: bool,
}

impl Lines {
    /// On standard error. On a terminal a line can be replaced, and marks are coloured unless `NO_COLOR` is set.
    #[must_use]
    pub fn on_terminal() -> Lines {
        let colour = is_live() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Lines::to(Box::new(io::stderr()), is_live(), colour)
    }

    /// The same while nobody else has the terminal; what would be written meanwhile is not.
    #[must_use]
    pub fn on_terminal_while(free: fn() -> bool) -> Lines {
        Lines { out: Box::new(While(free)), ..Lines::on_terminal() }
    }

    /// Whole lines on standard error, wherever it goes.
    #[must_use]
    pub fn in_log() -> Lines {
        Lines::to(Box::new(io::stderr()), false, false)
    }

    /// On any output.
    #[must_use]
    pub fn to(out: Box<dyn Write + Send>, live: bool, colour: bool) -> Lines {
        Lines { out, live, colour, open: false }
    }

    /// Whether a line can be replaced here.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Writes a line of its own.
    ///
    /// # Errors
    /// When the output refuses.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.marked("", text)
    }

    /// Writes a line of its own whose first word is coloured where colours are wanted.
    ///
    /// # Errors
    /// When the output refuses.
    pub fn marked(&mut self, word: &str, rest: &str) -> io::Result<()> {
        self.end()?;
        let (start, stop) = if self.colour && !word.is_empty() { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        writeln!(self.out, "{start}{}{stop}{}", shown_in_line(word), shown(rest))?;
        self.out.flush()
    }

    /// Writes a line that the next one replaces; a whole one where that cannot be.
    ///
    /// # Errors
    /// When the output refuses.
    pub fn replaced(&mut self, text: &str) -> io::Result<()> {
        if self.live {
            write!(self.out, "\r\x1b[K{}", shown_in_line(text))?;
            self.open = true;
        } else {
            writeln!(self.out, "{}", shown_in_line(text))?;
        }
        self.out.flush()
    }

    /// Leaves the line that would be replaced as it is.
    ///
    /// # Errors
    /// When the output refuses.
    pub fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) { writeln!(self.out) } else { Ok(()) }
    }
}

/// Standard error, where and when it is free.
struct While(fn() -> bool);

impl Write for While {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0)() { io::stderr().write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn escaped(text: &str, may_stay: impl Fn(char) -> bool) -> Cow<'_, str> {
    let steers = |sign: char| is_steering(sign) && !may_stay(sign);
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        if steers(sign) { safe.extend(sign.escape_unicode()) } else { safe.push(sign) }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_progress_obey_us_and_no_text() {
        let told = |live: bool| {
            let out = Shared::default();
            let mut lines = Lines::to(Box::new(out.clone()), live, live);
            lines.replaced("a\u{1b}[2J\nb").unwrap();
            lines.marked("warning", ": \u{202e}x").unwrap();
            lines.line("c\rd").unwrap();
            let bytes = out.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        };
        let rest = ": \\u{202e}x\nc\\u{d}d\n";
        assert_eq!(told(false), format!("a\\u{{1b}}[2J\\u{{a}}b\nwarning{rest}"));
        assert_eq!(told(true), format!("\r\x1b[Ka\\u{{1b}}[2J\\u{{a}}b\n\x1b[33mwarning\x1b[0m{rest}"));
    }

    #[test]
    fn a_title_of_a_window_and_a_turned_direction_are_shown() {
        assert_eq!(shown("\x1b]0;TITLE\x07\u{202e}abc"), "\\u{1b}]0;TITLE\\u{7}\\u{202e}abc");
        assert_eq!(shown("a\r\u{9b}2Jb\u{200b}"), "a\\u{d}\\u{9b}2Jb\\u{200b}");
    }

    #[test]
    fn writing_of_people_stays() {
        for text in ["naïve ﬁancée\n\t§ 12", "שלום עולם", "عقد الإيجار", "契約書", "👩\u{200d}⚖\u{fe0f}", "नि\u{200d}"]
        {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown_in_line("a\nb\tc"), "a\\u{a}b\\u{9}c");
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_steers_passes(text: String) {
            let safe = shown(&text);
            proptest::prop_assert!(!safe.chars().any(|sign| is_steering(sign) && sign != '\n' && sign != '\t'));
            proptest::prop_assert!(!shown_in_line(&text).chars().any(is_steering));
        }
    }
}
