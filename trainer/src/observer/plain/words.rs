//! Owns how numbers are said in progress lines, and breaking lines. Knows nothing about runs.

/// `[####----]` without its brackets.
pub(crate) fn bar(share: f64, columns: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * columns as f64).floor() as usize).min(columns);
    format!("{}{}", "#".repeat(full), "-".repeat(columns - full))
}

/// A time in two units at most.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..=89 => format!("{whole} s"),
        90..=5399 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A number of things in three digits or so.
pub(crate) fn count(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A size in memory.
pub(crate) fn bytes(number: u64) -> String {
    let mib = number as f64 / f64::from(1 << 20);
    if mib >= 1024.0 { format!("{:.1} GiB", mib / 1024.0) } else { format!("{mib:.0} MiB") }
}

/// Breaks a line between words; what follows is indented. A word that is too wide is broken itself.
pub(crate) fn wrap(line: &str, columns: usize) -> Vec<String> {
    const INDENT: &str = "          ";
    let mut lines = Vec::new();
    let mut rest: Vec<char> = line.chars().collect();
    while rest.len() > columns {
        let first = if lines.is_empty() { 0 } else { INDENT.len() };
        let space = (first + 1..columns).rev().find(|at| rest[*at] == ' ');
        let end = space.unwrap_or(columns);
        lines.push(rest[..end].iter().collect());
        let tail = rest.iter().skip(end).skip_while(|c| **c == ' ');
        rest = INDENT.chars().chain(tail.copied()).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_short() {
        assert_eq!([0.4, 89.0, 90.0, 3600.0, 9000.0].map(duration), ["0 s", "89 s", "2 min", "60 min", "2 h 30 min"]);
        assert_eq!([7.4, 9_999.0, 12_345.0, 4_884_480.0].map(count), ["7", "9999", "12.3 k", "4.9 M"]);
        assert_eq!([5 << 20, 3 << 29].map(bytes), ["5 MiB", "1.5 GiB"]);
        assert_eq!(bar(0.5, 6), "###---");
        assert_eq!(bar(7.0, 3), "###");
    }

    #[test]
    fn long_lines_are_broken_and_lose_nothing() {
        let text = "words and words ".repeat(20) + &"x".repeat(250);
        let lines = wrap(&text, 60);
        assert!(lines.iter().all(|line| line.chars().count() <= 60));
        let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
        assert_eq!(letters(&lines.concat()), letters(&text));
    }
}
