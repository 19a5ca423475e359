//! E-mail addresses, internationalised ones included.
//! Knows nothing about whether a mailbox exists; a host without a dot is no address.

use std::ops::Range;

use super::Kind;

/// Finds e-mail addresses.
pub struct Email;

impl Kind for Email {
    fn name(&self) -> &str {
        "email"
    }

    fn policy(&self) -> &str {
        "letters and digits of any script around an @ (or %40), with a domain of two or more labels"
    }

    /// From each @ outwards; what belongs to an address on either side holds no @, so the work is linear.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        // No local part reaches back beyond the sign before it.
        let (mut at, mut floor) = (0, 0);
        while let Some(offset) = text[at..].find(['@', '%']) {
            let sign = at + offset;
            let len = if text[sign..].starts_with("%40") { 3 } else { 1 };
            at = sign + len;
            if len == 1 && text.as_bytes()[sign] == b'%' {
                continue;
            }
            let (start, end) = (floor + local_part(&text[floor..sign]), at + domain(&text[at..]));
            floor = at;
            if start < sign && end > at {
                found.push(start..end);
            }
        }
        found
    }

    fn canonical(&self, value: &str) -> String {
        value.replace("%40", "@").to_lowercase()
    }
}

/// Where the local part begins that ends `text`; signs such as quotes in front of the first letter are not of it.
fn local_part(text: &str) -> usize {
    let of_it = |c: char| letter(c) || ".!#$&'*+-^_~%".contains(c);
    let start = text.trim_end_matches(of_it).len();
    let part = text[start..].trim_start_matches(|c: char| !letter(c) && c != '_' && c != '+');
    if part.ends_with('"') || text.ends_with('"') {
        return quoted(text);
    }
    text.len() - part.len()
}

/// Where a quoted local part begins; one quotation mark alone is none.
fn quoted(text: &str) -> usize {
    let inside = &text[..text.len() - 1];
    // RFC 5321 allows 64 bytes; twice as many keeps the search bounded.
    let mut floor = inside.len().saturating_sub(128);
    while !inside.is_char_boundary(floor) {
        floor += 1;
    }
    inside[floor..]
        .rfind(['"', '\n', '@'])
        .filter(|&at| inside.as_bytes()[floor + at] == b'"')
        .map_or(text.len(), |at| floor + at)
}

/// How long the domain is that begins `text`: labels parted by dots, the last one with a letter; 0 when there is none.
fn domain(text: &str) -> usize {
    let run = text.len() - text.trim_start_matches(|c: char| letter(c) || c == '-' || c == '.').len();
    let mut domain = &text[..run];
    // Two dots in a row end the domain.
    domain = &domain[..domain.find("..").unwrap_or(domain.len())];
    loop {
        domain = domain.trim_end_matches(['.', '-']);
        let Some(dot) = domain.rfind('.') else { return 0 };
        let last = &domain[dot + 1..];
        if last.chars().count() >= 2 && last.chars().any(char::is_alphabetic) && !domain.starts_with(['.', '-']) {
            return domain.len();
        }
        domain = &domain[..dot];
    }
}

fn letter(c: char) -> bool {
    c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        Email.find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn addresses_are_found_without_what_surrounds_them() {
        for (text, expect) in [
            ("write to john.doe+spam@mail.example.co.uk, please", "john.doe+spam@mail.example.co.uk"),
            ("<mailto:o'brien@example.org>", "o'brien@example.org"),
            ("'john@example.com'.", "john@example.com"),
            ("?to=a_b%40example.com&x", "a_b%40example.com"),
            ("jürgen@müller.example", "jürgen@müller.example"),
            ("邮箱：用户@例子.公司", "用户@例子.公司"),
            ("\"john doe\"@example.com", "\"john doe\"@example.com"),
            ("at x@1.example.com.", "x@1.example.com"),
            ("a@example.com-", "a@example.com"),
            ("see a@example.org.1", "a@example.org"),
        ] {
            assert_eq!(found(text), [expect], "{text}");
        }
        assert_eq!(found("a@b.de;c@d.fr"), ["a@b.de", "c@d.fr"]);
    }

    #[test]
    fn other_uses_of_the_sign_are_left() {
        for text in
            ["@handle", "3 @ 4.50", "a@b", "actions/checkout@v4", "100%4000", "x@1.2.3", "a@-.de", "@.", "\"@x.de"]
        {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn a_megabyte_of_signs_and_letters_is_read_once() {
        for unit in ["@", "a@", "a.", "a@b.", "%40", "\"@", "a@b.1"] {
            let text = unit.repeat(1_000_000 / unit.len());
            Email.find(&text);
        }
    }
}
