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
mod tests {
    use super::*;

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
