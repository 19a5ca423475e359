//! The "13a" tokens of BLEU, as NIST's mteval-v13a and sacrebleu cut them.
//! Knows nothing about languages written without spaces: a Chinese sentence stays nearly whole.

use super::{is_space, words};

/// The text with one space between tokens.
///
/// Four rules run over the text one after another, each from left to right, and a character that a rule has used
/// is not used again by that rule. Source: sacrebleu, `tokenizer_13a.py` and `tokenizer_re.py`.
pub fn tokenize(text: &str) -> String {
    let mut text = text.trim_end_matches(is_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if text.contains('&') {
        // One after another, so that "&amp;lt;" ends as "<".
        for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
            text = text.replace(entity, character);
        }
    }
    let apart = set_symbols_apart(&text);
    let after_other = each_pair(&apart, |first, second| {
        (!first.is_ascii_digit() && is_stop(second)).then_some(Spaces { before: false, between: true, after: true })
    });
    let before_other = each_pair(&after_other, |first, second| {
        (is_stop(first) && !second.is_ascii_digit()).then_some(Spaces { before: true, between: true, after: false })
    });
    let dashes = each_pair(&before_other, |first, second| {
        (first.is_ascii_digit() && second == '-').then_some(Spaces { before: false, between: true, after: true })
    });
    let mut tokens = String::with_capacity(dashes.len());
    for token in words(&dashes) {
        if !tokens.is_empty() {
            tokens.push(' ');
        }
        tokens.push_str(token);
    }
    tokens
}

/// Where a rule puts spaces around the two characters that it matched.
struct Spaces {
    before: bool,
    between: bool,
    after: bool,
}

/// A space at both ends of the text, and around every ASCII symbol except apostrophe, comma, hyphen and full stop.
fn set_symbols_apart(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    out.push(' ');
    for c in text.chars() {
        if matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/') {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out.push(' ');
    out
}

fn each_pair(text: &str, rule: impl Fn(char, char) -> Option<Spaces>) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text.chars();
    while let Some(first) = rest.next() {
        let mut ahead = rest.clone();
        match ahead.next().and_then(|second| Some((second, rule(first, second)?))) {
            Some((second, spaces)) => {
                let parts = [(spaces.before, first), (spaces.between, second)];
                for (space, c) in parts {
                    if space {
                        out.push(' ');
                    }
                    out.push(c);
                }
                if spaces.after {
                    out.push(' ');
                }
                rest = ahead;
            }
            None => out.push(first),
        }
    }
    out
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | ',')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(tokenize(text), expect, "{text:?}");
    }

    // Each expectation is what sacrebleu 2.6.0 prints.
    #[test]
    fn tokens_equal_those_of_mteval_13a() {
        check("Hello, world.", "Hello , world .");
        check("It costs $1,234.50 (a 3-4% rise).", "It costs $ 1,234.50 ( a 3 - 4 % rise ) .");
        check("state-of-the-art e.g. U.S.A.", "state-of-the-art e . g . U . S . A .");
        check("a &amp;lt; b &quot;c&quot;", "a < b \" c \"");
        check("co-\noperate\nnow<skipped>!", "cooperate now !");
        check("....", ". . . .");
        check("", "");
    }
}
