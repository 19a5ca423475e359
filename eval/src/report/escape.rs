//! Owns how text of others stands in what we write: in a line, a code span, a fence or a table of Markdown, as a value of
//! YAML. Nothing it gives back begins a heading, a link, an image, a cell, a tag or a key. Knows the formats; knows no
//! results.
//!
//! Markdown: CommonMark 0.31 with the tables and links of GitHub's (<https://github.github.com/gfm/>).

use std::fmt::Write as _;

use ground::terminal::{is_steering, shown, shown_in_line};

/// Text within a line of Markdown, or a paragraph of its own: one line, shown as it is.
#[must_use]
pub fn inline(text: &str) -> String {
    let line = one_line(text);
    // At the start of a line a sign may begin a list, a rule, or underline what stands above.
    let digits = line.len() - line.trim_start_matches(|sign: char| sign.is_ascii_digit()).len();
    let marks = if digits == 0 { "-+=:" } else { ".)" };
    let mut rest = line[digits..].chars();
    let mark = rest.next().filter(|sign| marks.contains(*sign));
    // Numbers stay as they are; a colon is a mark for some readers whatever follows.
    let is_number = rest.next().is_some_and(|next| next.is_ascii_alphanumeric());
    if mark.is_some_and(|mark| mark == ':' || !is_number) {
        return format!("{}\\{}", &line[..digits], within(&line[digits..]));
    }
    within(&line)
}

/// Text of a cell of a table.
#[must_use]
pub fn cell(text: &str) -> String {
    within(&one_line(text))
}

/// A code span, whatever marks are in the text.
#[must_use]
pub fn code(text: &str) -> String {
    let text = shown_in_line(text);
    let marks = "`".repeat(longest_run(&text) + 1);
    // Readers take one space off each end where both have one.
    let ends = |sign: char| text.starts_with(sign) || text.ends_with(sign);
    let room = if text.is_empty() || ends('`') || ends(' ') { " " } else { "" };
    format!("{marks}{room}{text}{room}{marks}")
}

/// A block of code, whatever marks are in the text.
#[must_use]
pub fn fence(language: &str, text: &str) -> String {
    let text = shown(text);
    let marks = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{marks}{language}\n{}\n{marks}", text.trim_end())
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Plain text.
    Text(String),
    /// A code span.
    Code(String),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

/// A table of Markdown; each line ends with a line break.
#[must_use]
pub fn table(header: &[Cell], lines: &[Vec<Cell>]) -> String {
    let line = |cells: &[Cell]| {
        let cells: Vec<String> = cells.iter().map(in_table).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(header.len()));
    let body: String = lines.iter().map(|cells| line(cells)).collect();
    line(header) + &rule + &body
}

/// A text as one value of YAML between quotes; Python reads it the same.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 2);
    safe.push('"');
    for sign in text.chars() {
        let number = u32::from(sign);
        match sign {
            '"' | '\\' => safe.extend(['\\', sign]),
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            // The last two are nothing that YAML may have.
            _ if !is_steering(sign) && !matches!(number, 0xfffe | 0xffff) => safe.push(sign),
            // Writing to a string does not fail.
            _ if number < 0x100 => _ = write!(safe, "\\x{number:02x}"),
            _ if number < 0x1_0000 => _ = write!(safe, "\\u{number:04x}"),
            _ => _ = write!(safe, "\\U{number:08x}"),
        }
    }
    safe.push('"');
    safe
}

fn in_table(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => self::cell(text),
        // Readers disagree about a line in code in a table.
        Cell::Code(text) if text.contains('|') => within(&shown_in_line(text)),
        Cell::Code(text) => code(text),
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shown_in_line(&line).into_owned()
}

/// A line with every sign that means something anywhere in it as plain text.
fn within(line: &str) -> String {
    let mut safe = String::with_capacity(line.len() + 16);
    let mut before = ' ';
    for (at, sign) in line.char_indices() {
        let rest = &line[at + sign.len_utf8()..];
        let inside_word = before.is_alphanumeric() && rest.starts_with(char::is_alphanumeric);
        match sign {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '`' => safe.push_str("&#96;"),
            '|' => safe.push_str("&#124;"),
            '\\' | '*' | '[' | ']' | '{' | '~' | '#' | '$' | '^' => safe.extend(['\\', sign]),
            '_' if !inside_word => safe.push_str("\\_"),
            '!' if rest.starts_with('[') => safe.push_str("\\!"),
            '(' if before == ']' => safe.push_str("\\("),
            // Addresses become links by themselves, escaped or not, unless a part of them is code.
            '@' => push_code(&mut safe, sign),
            ':' if rest.starts_with("//") => push_code(&mut safe, sign),
            '.' if ends_with_www(&line[..at]) => push_code(&mut safe, sign),
            _ => safe.push(sign),
        }
        before = sign;
    }
    safe
}

/// A sign as code. All marks of code here are ours, so that one at the end closes a span, which then goes on.
fn push_code(safe: &mut String, sign: char) {
    if safe.ends_with('`') {
        safe.pop();
    } else {
        safe.push('`');
    }
    safe.extend([sign, '`']);
}

fn ends_with_www(text: &str) -> bool {
    text.len() >= 3 && text.as_bytes()[text.len() - 3..].eq_ignore_ascii_case(b"www")
}

fn longest_run(text: &str) -> usize {
    text.split(|sign| sign != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

    use super::*;

    /// Everything that a reader of Markdown finds, with all its extensions.
    fn read(text: &str) -> Vec<Event<'_>> {
        Parser::new_ext(text, Options::all() & !Options::ENABLE_SMART_PUNCTUATION).collect()
    }

    /// What a person reads of a text that must be nothing but text.
    #[track_caller]
    fn plain(markdown: &str) -> String {
        let mut plain = String::new();
        for event in read(markdown) {
            match event {
                Event::Text(text) | Event::Code(text) => plain.push_str(&text),
                Event::Start(Tag::Paragraph) | Event::End(pulldown_cmark::TagEnd::Paragraph) => {}
                other => unreachable!("{markdown:?} has {other:?}"),
            }
        }
        plain
    }

    fn cells(table: &str) -> Vec<String> {
        let mut cells = Vec::new();
        for event in read(table) {
            match event {
                Event::Start(Tag::TableCell) => cells.push(String::new()),
                Event::Text(text) | Event::Code(text) => cells.last_mut().unwrap().push_str(&text),
                Event::Start(Tag::Table(_) | Tag::TableHead | Tag::TableRow) | Event::End(_) => {}
                other => unreachable!("{table:?} has {other:?}"),
            }
        }
        cells
    }

    fn links_by_itself(markdown: &str) -> bool {
        // All marks of code are ours: every other part stands between two of them.
        let outside: String = markdown.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        outside.contains("://") || outside.contains("www.") || outside.contains('@')
    }

    /// Marks of Markdown, HTML and YAML, and words between them.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "\n", "\n\n", "# ", "## x", "---", "===", "- ", "+ ", "* ", "1. ", "2) ", "> ", "```", "~~~", "`", "``",
                "|", "\\", "\\|", "[", "](", "]", "(", ")", "![", "[^1]", "[^1]: ", "<b>", "<!--", "</pre>", "<script>",
                "&lt;", "&#35;", "http://a.b", "HTTPS://c.d", "www.e.f", "WwW.g.h", "i@j.kl", "mailto:m@n.op", "_", "__",
                "**", "~~", "$", "$$", "\t", "    ", "\r", "\u{2028}", "\u{85}", "\u{1b}[2J", "\u{202e}", "\"", "'", ": ",
                "key: x", "...", "{", "}", "|---|", "[a]: b", "[x] ", ":::",
            ]).prop_map(str::to_owned),
            2 => "[a-z0-9 ]{0,4}",
            1 => any::<String>(),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn text_in_a_line_is_nothing_but_text(text in hostile()) {
            let safe = inline(&text);
            prop_assert_eq!(plain(&safe), one_line(&text));
            prop_assert!(!links_by_itself(&safe), "{}", safe);
            // Neither does it change what stands before and behind it.
            let around = format!("a\n{safe}\nb");
            let found = read(&around);
            prop_assert!(found.iter().all(|event| matches!(event,
                Event::Text(_) | Event::Code(_) | Event::SoftBreak | Event::Start(Tag::Paragraph) | Event::End(_)
            )), "{:?}", found);
        }

        #[test]
        fn text_in_a_cell_stays_in_its_cell(text in hostile(), other in hostile()) {
            let table = table(
                &["what".into(), "value".into()],
                &[vec![Cell::from(text.as_str()), Cell::Code(other.clone())], vec!["last".into(), text.clone().into()]],
            );
            let found = cells(&table);
            prop_assert_eq!(found.len(), 6, "{}", table);
            let line = one_line(&text);
            prop_assert_eq!([&found[2], &found[4], &found[5]], [&line, "last", &line]);
            let shown = shown_in_line(&other);
            prop_assert_eq!(found[3].trim(), shown.trim());
            prop_assert!(!links_by_itself(&cell(&text)));
        }

        #[test]
        fn code_stays_code(text in hostile()) {
            let span = format!("a {} b", code(&text));
            let found: Vec<String> = read(&span).into_iter().filter_map(|event| match event {
                Event::Code(code) => Some(code.into_string()),
                _ => None,
            }).collect();
            prop_assert_eq!(found.len(), 1, "{}", span);
            let shown = shown_in_line(&text);
            prop_assert_eq!(found[0].trim(), shown.trim());
            let block = format!("a\n\n{}\n\nb", fence("text", &text));
            let mut blocks = 0;
            for event in read(&block) {
                match event {
                    Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => blocks += 1,
                    Event::Text(_) | Event::Start(Tag::Paragraph) | Event::End(_) => {}
                    other => prop_assert!(false, "{:?} has {:?}", block, other),
                }
            }
            prop_assert_eq!(blocks, 1);
        }

        #[test]
        fn a_value_of_yaml_is_one_value(text in hostile()) {
            let value = quoted(&text);
            prop_assert!(!value.chars().any(is_steering));
            let inner = &value[1..value.len() - 1];
            prop_assert!(!inner.replace("\\\\", "").replace("\\\"", "").contains('"'), "{}", value);
            // What has no other escapes is JSON too, and means the same there.
            if !["\\x", "\\U"].iter().any(|escape| inner.replace("\\\\", "").contains(escape)) {
                prop_assert_eq!(serde_json::from_str::<String>(&value).unwrap(), text);
            }
        }
    }

    #[test]
    fn numbers_and_names_stay_readable() {
        assert_eq!(inline("exact_match 90.0% of 3"), "exact_match 90.0% of 3");
        assert_eq!(cell("90.0% [81.1, 98.9]"), "90.0% \\[81.1, 98.9\\]");
        assert_eq!((inline("-0.5"), cell("- a")), ("-0.5".to_owned(), "- a".to_owned()));
        assert_eq!(["1. x", "1.5", "12", "---", "a|b"].map(inline), ["1\\. x", "1.5", "12", "\\---", "a&#124;b"]);
        assert_eq!(inline("see https://a.b or c@d.e, @@"), "see https`:`//a.b or c`@`d.e, `@@`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(quoted("a: \"b\"\n\u{202e}\u{1b}\u{e0001}"), r#""a: \"b\"\n\u202e\x1b\U000e0001""#);
        assert_eq!(fence("text", "```\nx\n"), "````text\n```\nx\n````");
    }
}
