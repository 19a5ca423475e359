//! The text of a Rust file as lines of a program: without comments, and without what is compiled for tests only.
//!
//! Owns where an item ends, by its indentation, and what a word is. Knows no rule and parses nothing.

/// Numbered lines without comments and without what is compiled for tests only.
pub(super) fn product_lines(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() == "#[cfg(test)]" {
            at = after_item(&lines, at + 1);
            continue;
        }
        kept.push((at + 1, without_comment(lines[at])));
        at += 1;
    }
    kept
}

/// The line after the item that begins at `at`, behind its attributes: where it closes at its own indentation.
fn after_item(lines: &[&str], mut at: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    while lines.get(at).is_some_and(|line| line.trim_start().starts_with(['#', '/'])) {
        at += 1;
    }
    let Some(first) = lines.get(at) else { return at };
    let own = indent(first);
    // A block ends at its brace alone: texts in it may begin at any column.
    let is_block = first.trim_end().ends_with('{');
    while let Some(line) = lines.get(at) {
        let closes = if is_block { line.trim() == "}" } else { line.trim_end().ends_with([';', '}', ',']) };
        let ends = closes && indent(line) == own;
        at += 1;
        if ends {
            break;
        }
    }
    at
}

fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

pub(super) fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
}

pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The word stands by itself.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_for_tests_are_left_out_and_what_follows_them_is_not() {
        let text = "a // b\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    c\n}\nd\n#[cfg(test)]\nuse e;\n#[cfg(test)]\nmod f;\ng";
        let kept: Vec<_> = product_lines(text).into_iter().map(|(at, line)| (at, line.trim())).collect();
        assert_eq!(kept, [(1, "a"), (7, "d"), (12, "g")]);
        assert_eq!(product_lines("let x = \"http://y\"; // z")[0].1, "let x = \"http://y\"; ");
    }
}
