//! The `{% generation %}` tag of transformers, which the template engine does not have: rewritten to a filter block that
//! says where its text stands.
//! Knows the outer syntax of Jinja (tags, comments, strings, raw blocks), not its expressions.

use std::ops::Range;

use template::GENERATION;

/// Rewrites the tags, and says whether there was one.
pub(super) fn rewrite(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut found) = (String::with_capacity(source.len()), source, false);
    while let Some(at) = next_tag(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length =
            if rest.starts_with("{#") { rest.find("#}").map_or(rest.len(), |end| end + 2) } else { tag_length(rest) };
        let (mut tag, after) = rest.split_at(length);
        rest = after;
        let raw;
        match word(tag) {
            Some(("raw", _)) => {
                // Up to the end tag everything is text.
                let end = end_of_raw(rest);
                out.push_str(tag);
                (tag, rest) = rest.split_at(end);
            }
            Some((name @ ("generation" | "endgeneration"), place)) => {
                let new = if name == "generation" { format!("filter {GENERATION}") } else { "endfilter".to_string() };
                raw = format!("{}{new}{}", &tag[..place.start], &tag[place.end..]);
                tag = &raw;
                found = true;
            }
            _ => {}
        }
        out.push_str(tag);
    }
    out.push_str(rest);
    (out, found)
}

/// Where the next tag or comment begins.
fn next_tag(text: &str) -> Option<usize> {
    let begins = |(at, _): &(usize, &str)| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    text.match_indices('{').find(begins).map(|(at, _)| at)
}

/// Length of the tag at the start of the text, its end marker included. Strings may hold end markers.
fn tag_length(text: &str) -> usize {
    let end = if text.starts_with("{{") { "}}" } else { "%}" };
    let mut quote: Option<char> = None;
    let mut skip = false;
    for (at, letter) in text.char_indices().skip(2) {
        match quote {
            _ if skip => skip = false,
            Some(_) if letter == '\\' => skip = true,
            Some(mark) if letter == mark => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if text[at..].starts_with(end) => return at + 2,
            None => {}
        }
    }
    text.len()
}

/// The first word of a block tag if it is the only one, and its place.
fn word(tag: &str) -> Option<(&str, Range<usize>)> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    let name = inner.trim();
    let start = name.as_ptr() as usize - tag.as_ptr() as usize;
    Some((name, start..start + name.len()))
}

/// Where the end tag of a raw block begins.
fn end_of_raw(text: &str) -> usize {
    let ends = |(at, _): &(usize, &str)| {
        let tag = &text[at + 2..];
        let tag = tag.strip_prefix(['-', '+']).unwrap_or(tag).trim_start();
        let Some(tag) = tag.strip_prefix("endraw").map(str::trim_start) else { return false };
        tag.strip_prefix(['-', '+']).unwrap_or(tag).starts_with("%}")
    };
    text.match_indices("{%").find(ends).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_rewritten_with_their_whitespace_control_and_nothing_else_is() {
        for (source, expected) in [
            ("{% generation %}x{% endgeneration %}", "{% filter __generation %}x{% endfilter %}"),
            ("{%- generation -%}x{%-endgeneration-%}", "{%- filter __generation -%}x{%-endfilter-%}"),
            ("{%+ generation %}{% endgeneration +%}", "{%+ filter __generation %}{% endfilter +%}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{{ \"a\\\"{% generation %}\" }}", "{{ \"a\\\"{% generation %}\" }}"),
            ("{% set generation = 1 %}{{ generation }}", "{% set generation = 1 %}{{ generation }}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            (
                "{% raw %}{% endraw{% endraw -%}{% generation %}",
                "{% raw %}{% endraw{% endraw -%}{% filter __generation %}",
            ),
            ("{% generation", "{% generation"),
            ("{{ '%}' }} é {% if x %}", "{{ '%}' }} é {% if x %}"),
        ] {
            assert_eq!(rewrite(source).0, expected);
        }
        assert!(rewrite("{% generation %}").1 && !rewrite("{# {% generation %} #}").1);
    }
}
