//! Owns how the dashboard says numbers and texts in few columns. Knows no run.

use ground::terminal::shown_in_line;

pub(crate) use crate::observer::plain::words::{bytes, count, duration};

/// A number with about four digits.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{value:.1e}"),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 1e-3 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// What is known, or a dash.
#[must_use]
pub fn or_dash<T>(value: Option<T>, say: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), say)
}

/// A share in per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { "-".to_owned() }
}

/// A short time, such as that of one answer.
#[must_use]
pub fn seconds(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value < 0.001 => "<1 ms".to_owned(),
        value if value < 1.0 => format!("{:.0} ms", 1000.0 * value),
        value if value < 100.0 => format!("{value:.1} s"),
        value => duration(value),
    }
}

/// One line of a text: breaks and tabs become spaces, and what a terminal would obey is shown as an escape.
#[must_use]
pub fn one_line(text: &str) -> String {
    shown_in_line(&text.replace(['\n', '\t'], " ")).into_owned()
}

/// The lines of a text, with what a terminal would obey as escapes.
pub fn lines(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(one_line)
}

/// Whether a text has the words of a filter, whatever their case. An empty filter lets everything through.
#[must_use]
pub fn matches(filter: &str, text: &str) -> bool {
    filter.is_empty() || text.to_lowercase().contains(&filter.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let said = [0.0, 0.00012, 0.0345, 1.234, 45.67, 678.9, 12_345.0, 2.5e7, f64::NAN].map(number);
        assert_eq!(said, ["0", "1.2e-4", "0.0345", "1.23", "45.7", "679", "12.3k", "2.5e7", "-"]);
        assert_eq!([0.0001, 0.25, 12.0, 300.0].map(seconds), ["<1 ms", "250 ms", "12.0 s", "5 min"]);
        assert_eq!((percent(0.934), percent(f64::NAN)), ("93.4 %".to_owned(), "-".to_owned()));
    }

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\tc\nd\u{202e}"), "a\\u{1b}[2Jb c d\\u{202e}");
        assert_eq!(lines("a\nb\u{7}").collect::<Vec<_>>(), ["a", "b\\u{7}"]);
    }

    #[test]
    fn a_filter_knows_no_case() {
        assert!(matches("", "x") && matches("WARN", "a warning") && !matches("z", "a"));
    }
}
