//! Owns what the methods of Python's texts find in a text: its lines, words, places and cases. Knows texts, no values.

/// Whether Python calls a letter white space: the separators of information too.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// Which ends of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Both.
    Both,
    /// The start.
    Left,
    /// The end.
    Right,
}

/// A text without white space, or without these letters, at its ends.
pub(super) fn strip<'a>(text: &'a str, letters: Option<&str>, ends: Ends) -> &'a str {
    let gone = |letter: char| letters.map_or_else(|| is_space(letter), |letters| letters.contains(letter));
    let text = if ends == Ends::Right { text } else { text.trim_start_matches(gone) };
    if ends == Ends::Left { text } else { text.trim_end_matches(gone) }
}

/// The lines of a text, as `splitlines` has them.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let ends = |letter: char| {
            matches!(letter, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
        };
        let Some(at) = rest.find(ends) else {
            found.push(rest);
            break;
        };
        let width =
            if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        found.push(&rest[..if keep_ends { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    found
}

/// The words of a text, at most so many cuts from its start.
pub(super) fn words(text: &str, most: Option<usize>) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = strip(text, None, Ends::Left);
    while !rest.is_empty() {
        if most.is_some_and(|most| found.len() >= most) {
            found.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        found.push(&rest[..end]);
        rest = strip(&rest[end..], None, Ends::Left);
    }
    found
}

/// The words of a text, at most so many cuts from its end.
pub(super) fn words_from_end(text: &str, most: Option<usize>) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = strip(text, None, Ends::Right);
    while !rest.is_empty() {
        if most.is_some_and(|most| found.len() >= most) {
            found.push(rest);
            break;
        }
        let start = rest.char_indices().rev().find(|(_, letter)| is_space(*letter));
        let start = start.map_or(0, |(at, letter)| at + letter.len_utf8());
        found.push(&rest[start..]);
        rest = strip(&rest[..start], None, Ends::Right);
    }
    found.reverse();
    found
}

/// The first letter large, all others small.
pub(super) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => titled(first) + &letters.as_str().to_lowercase(),
        None => String::new(),
    }
}

/// A letter as the first of a word: of those that become two the first alone is large.
fn titled(letter: char) -> String {
    match letter {
        'Ǆ'..='ǆ' => 'ǅ'.to_string(),
        'Ǉ'..='ǉ' => 'ǈ'.to_string(),
        'Ǌ'..='ǌ' => 'ǋ'.to_string(),
        'Ǳ'..='ǳ' => 'ǲ'.to_string(),
        _ => {
            let mut large = letter.to_uppercase();
            large.next().into_iter().chain(large.flat_map(char::to_lowercase)).collect()
        }
    }
}

/// The first letter of each run of letters large, as the method `title` has it.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        if inside {
            out.extend(letter.to_lowercase())
        } else {
            out.push_str(&titled(letter))
        }
        inside = is_cased(letter);
    }
    out
}

/// The first letter of each word large, as the filter `title` has it: words end at white space, `-` and what opens.
pub(super) fn title_words(text: &str) -> String {
    let between = |letter: char| is_space(letter) || matches!(letter, '-' | '(' | '{' | '[' | '<');
    let mut out = String::with_capacity(text.len());
    let mut starts = true;
    for letter in text.chars() {
        if starts && !between(letter) {
            out.extend(letter.to_uppercase())
        } else {
            out.extend(letter.to_lowercase())
        }
        starts = between(letter);
    }
    out
}

/// Large letters small, and small ones large.
pub(super) fn swap_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_uppercase() { out.extend(letter.to_lowercase()) } else { out.extend(letter.to_uppercase()) }
    }
    out
}

fn is_cased(letter: char) -> bool {
    letter.is_lowercase() || letter.is_uppercase()
}

/// What the methods `is…` ask of a text; nothing for a name that is none of them.
pub(super) fn is(text: &str, name: &str) -> Option<bool> {
    let all = |of: fn(char) -> bool| !text.is_empty() && text.chars().all(of);
    Some(match name {
        "isascii" => text.is_ascii(),
        "isspace" => all(is_space),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isnumeric" => all(char::is_numeric),
        // Digits of other scripts would need tables that are not here; they are numbers for `isnumeric` only.
        "isdigit" | "isdecimal" => all(|letter| letter.is_ascii_digit()),
        "islower" => text.chars().any(is_cased) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(is_cased) && !text.chars().any(char::is_lowercase),
        "istitle" => text.chars().any(is_cased) && title(text) == text,
        "isprintable" => text.chars().all(super::show::is_printable),
        _ => return None,
    })
}

/// Spaces, or another letter, around a text until it is so wide.
pub(super) fn pad(text: &str, width: usize, fill: char, name: &str) -> String {
    let length = text.chars().count();
    let missing = width.saturating_sub(length);
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // Where the space cannot be halved Python looks whether the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let repeat = |count: usize| fill.to_string().repeat(count);
    repeat(left) + text + &repeat(missing - left)
}

/// Zeros before a number until it is so wide, behind its sign.
pub(super) fn zero_fill(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let sign = usize::from(text.starts_with(['-', '+']));
    format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
}

/// Spaces in place of tabulators.
pub(super) fn expand_tabs(text: &str, width: usize) -> String {
    let (mut out, mut column) = (String::with_capacity(text.len()), 0);
    for letter in text.chars() {
        match letter {
            '\t' => {
                let spaces = column_spaces(column, width);
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            _ => {
                out.push(letter);
                column = if matches!(letter, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out
}

fn column_spaces(column: usize, width: usize) -> usize {
    column.checked_rem(width).map_or(0, |past| width - past)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What Python 3.11 gives for the same texts.
    #[test]
    fn texts_are_cut_where_python_cuts_them() {
        assert_eq!(lines("a\nb\r\n\nc\u{2028}d\n", false), ["a", "b", "", "c", "d"]);
        assert_eq!(lines("a\r\nb", true), ["a\r\n", "b"]);
        assert_eq!(words(" a  b c ", None), ["a", "b", "c"]);
        assert_eq!(words(" a  b c ", Some(1)), ["a", "b c "]);
        assert_eq!(words_from_end(" a  b c ", Some(1)), [" a  b", "c"]);
        assert_eq!(words("  ", None), Vec::<&str>::new());
        assert_eq!(strip("\u{1c} a\u{a0}", None, Ends::Both), "a");
        assert_eq!(strip("xxaxx", Some("x"), Ends::Right), "xxa");
    }

    #[test]
    fn cases_are_those_of_python() {
        assert_eq!(title("it's a-b c3d"), "It'S A-B C3D");
        assert_eq!(title_words("it's a-b (cD e"), "It's A-B (Cd E");
        assert_eq!(capitalize("éA b"), "Éa b");
        assert_eq!(swap_case("aBé"), "AbÉ");
        assert_eq!((pad("ab", 5, '.', "center"), pad("abc", 6, '.', "center")), ("..ab.".into(), ".abc..".into()));
        assert_eq!(zero_fill("-7", 4), "-007");
        assert_eq!(expand_tabs("a\tb\n\tc", 4), "a   b\n    c");
    }

    #[test]
    fn questions_about_texts_are_answered_as_python_answers_them() {
        for (text, name, expected) in [
            ("12", "isdigit", true),
            ("", "isdigit", false),
            ("aé", "isalpha", true),
            ("a1", "isalnum", true),
            ("a1", "islower", true),
            ("A 1", "isupper", true),
            ("1", "isupper", false),
            ("Ab Cd", "istitle", true),
            (" \n", "isspace", true),
            ("a\n", "isprintable", false),
        ] {
            assert_eq!(is(text, name), Some(expected), "{text:?} {name}");
        }
        assert_eq!(is("a", "upper"), None);
    }
}
