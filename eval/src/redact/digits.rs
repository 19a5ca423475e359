//! Numbers written in groups: which runs of digits could be one value, and what stands around them.
//! Knows nothing about which numbers mean something.

use std::ops::Range;

/// Neighbouring groups of digits, read as one number.
pub(super) struct Number<'a> {
    /// The digits without what separates them.
    pub(super) digits: &'a str,
    /// How many digits each group has.
    pub(super) sizes: &'a [usize],
    /// What stands between the groups.
    pub(super) separators: &'a [&'a str],
    /// The character before the first group.
    pub(super) before: Option<char>,
    /// The text before the first group.
    pub(super) head: &'a str,
    /// The text after the last group.
    pub(super) tail: &'a str,
}

impl Number<'_> {
    /// Whether neither a Latin letter nor an underscore touches the number, nor a sign that makes it part of a longer one.
    pub(super) fn stands_alone(&self) -> bool {
        let mut after = self.tail.chars();
        let next = after.next();
        let glued = next.is_some_and(|c| matches!(c, '.' | ',' | '-' | '/'))
            && after.next().is_some_and(|c| c.is_ascii_digit());
        let mut before = self.head.chars().rev();
        let decimal = matches!(before.next(), Some('.' | ',')) && before.next().is_some_and(|c| c.is_ascii_digit());
        !self.before.is_some_and(word) && !next.is_some_and(word) && !glued && !decimal
    }

    /// Whether neither a Latin letter touches the number nor a hyphen with a letter or digit behind it, as inside a UUID.
    pub(super) fn is_a_token(&self) -> bool {
        let mut before = self.head.chars().rev();
        let mut after = self.tail.chars();
        let letter = |c: char| c.is_ascii_alphanumeric();
        let (left, right) = (before.next(), after.next());
        let chained = |edge: Option<char>, beyond: Option<char>| edge == Some('-') && beyond.is_some_and(letter);
        !left.is_some_and(letter)
            && !right.is_some_and(letter)
            && !chained(left, before.next())
            && !chained(right, after.next())
    }

    /// Whether it is written as the groups `sizes`, or without groups.
    pub(super) fn grouped_as(&self, sizes: &[usize]) -> bool {
        self.sizes == sizes || self.sizes.len() == 1
    }
}

/// The numbers of at most `max_digits` digits whose groups are parted by what `joins` allows and that `accepts` takes:
/// from each group on the longest one, unless it lies inside the one before.
///
/// Linear in the text: a number has no more groups than digits.
pub(super) fn numbers(
    text: &str,
    max_digits: usize,
    joins: impl Fn(&str) -> bool,
    accepts: impl Fn(&Number<'_>) -> bool,
) -> Vec<Range<usize>> {
    let groups = groups(text);
    let mut found = Vec::new();
    for first in 0..groups.len() {
        let head = &text[..groups[first].start];
        let (mut digits, mut sizes, mut separators) = (String::new(), Vec::new(), Vec::new());
        let mut longest = None;
        for (at, group) in groups.iter().enumerate().skip(first) {
            if at > first {
                let separator = &text[groups[at - 1].end..group.start];
                if !joins(separator) {
                    break;
                }
                separators.push(separator);
            }
            if digits.len() + group.len() > max_digits {
                break;
            }
            digits.push_str(&text[group.clone()]);
            sizes.push(group.len());
            let number = Number {
                digits: &digits,
                sizes: &sizes,
                separators: &separators,
                before: head.chars().next_back(),
                head,
                tail: &text[group.end..],
            };
            if accepts(&number) {
                longest = Some(groups[first].start..group.end);
            }
        }
        // What lies inside a find says nothing new.
        found.extend(
            longest.filter(|range: &Range<usize>| found.last().is_none_or(|last: &Range<usize>| last.end < range.end)),
        );
    }
    found
}

/// One space, hyphen or dot.
pub(super) fn one_separator(between: &str) -> bool {
    matches!(between, " " | "-" | ".")
}

/// Whether one of `words` stands in the 24 bytes before a number, whatever its case.
pub(super) fn announced(head: &str, words: &[&str]) -> bool {
    let mut start = head.len().saturating_sub(24);
    while !head.is_char_boundary(start) {
        start += 1;
    }
    let near = head[start..].to_ascii_lowercase();
    words.iter().any(|word| near.contains(word))
}

/// Whether a Latin letter, a digit or an underscore.
pub(super) fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The value of each digit.
pub(super) fn values(digits: &str) -> impl DoubleEndedIterator<Item = u32> + Clone + '_ {
    digits.bytes().map(|byte| u32::from(byte - b'0'))
}

fn groups(text: &str) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match groups.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn from_each_group_on_the_longest_number_is_taken() {
        let found = numbers("12 34-5 x 67", 4, one_separator, |_| true);
        assert_eq!(found, [0..5, 3..7, 10..12]);
    }

    #[test]
    fn parts_of_longer_tokens_do_not_stand_alone() {
        let alone = |text: &str| !numbers(text, 9, |_| false, |number| number.stands_alone()).is_empty();
        assert!(alone("no. 123456782."));
        for part in ["x123456782", "123456782_", "1234567890.123456782", "123456782.1234567890"] {
            assert!(!alone(part), "{part}");
        }
        let token = |text: &str| !numbers(text, 12, |_| false, |number| number.is_a_token()).is_empty();
        assert!(token("id_426614174000.pdf"));
        assert!(!token("a456-426614174000"));
    }
}
