//! Owns what of Jinja2's outer syntax the engine reads otherwise, written so that it reads the same: line ends, escapes in
//! texts, and the line behind `{% raw %}`. Knows tags, comments and texts, no expression.

/// The source as the engine has to read it.
pub(super) fn rewritten(source: &str) -> String {
    // Jinja2 makes one line end of all before it reads anything.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let (mut out, mut rest) = (String::with_capacity(source.len()), source.as_str());
    while let Some(at) = rest.match_indices('{').map(|(at, _)| at).find(|at| opens(&rest[*at..]).is_some()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = match opens(rest) {
            Some(Tag::Comment) => copied(rest, rest.find("#}").map_or(rest.len(), |end| end + 2), &mut out),
            Some(Tag::Block) if raw(rest).is_some() => raw_block(rest, &mut out),
            Some(tag) => inside(rest, if matches!(tag, Tag::Block) { "%}" } else { "}}" }, &mut out),
            None => copied(rest, rest.len(), &mut out),
        };
    }
    out.push_str(rest);
    out
}

#[derive(Clone, Copy)]
enum Tag {
    Variable,
    Block,
    Comment,
}

fn opens(text: &str) -> Option<Tag> {
    match text.as_bytes().get(..2)? {
        b"{{" => Some(Tag::Variable),
        b"{%" => Some(Tag::Block),
        b"{#" => Some(Tag::Comment),
        _ => None,
    }
}

fn copied<'a>(text: &'a str, length: usize, out: &mut String) -> &'a str {
    out.push_str(&text[..length]);
    &text[length..]
}

/// Length of a `{% raw %}` tag, and whether it says itself what becomes of the white space behind it.
fn raw(text: &str) -> Option<(usize, bool)> {
    tag_of(text, "raw")
}

fn tag_of(text: &str, name: &str) -> Option<(usize, bool)> {
    let inner = text.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start().strip_prefix(name)?.trim_start();
    let end = inner.strip_prefix(['-', '+']).unwrap_or(inner).strip_prefix("%}")?;
    Some((text.len() - end.len(), inner.starts_with(['-', '+'])))
}

/// A raw block as it is. Behind its first tag Jinja2 keeps the line end, and the engine does so only when told.
fn raw_block<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some((length, says)) = raw(text) else { return copied(text, text.len(), out) };
    let tag = &text[..length];
    out.push_str(tag.strip_suffix("%}").unwrap_or(tag));
    if !says {
        out.push('+');
    }
    out.push_str("%}");
    let rest = &text[length..];
    let end = rest.match_indices("{%").map(|(at, _)| at).find_map(|at| Some(at + tag_of(&rest[at..], "endraw")?.0));
    copied(rest, end.unwrap_or(rest.len()), out)
}

/// A tag, its texts rewritten, up to its end.
fn inside<'a>(text: &'a str, end: &str, out: &mut String) -> &'a str {
    let mut rest = copied(text, 2, out);
    let mut open = 0_u32;
    while let Some(letter) = rest.chars().next() {
        match letter {
            '\'' | '"' => {
                rest = literal(rest, letter, out);
                continue;
            }
            // A map may end right before the tag does.
            '{' | '(' | '[' => open += 1,
            '}' | ')' | ']' if open > 0 => open -= 1,
            _ if rest.starts_with(end) && open == 0 => return copied(rest, 2, out),
            '+' | '-' if !rest[1..].starts_with(end) => {
                if let Some(at) = end_of_test(out) {
                    out.insert_str(at, "()");
                }
            }
            _ => {}
        }
        rest = copied(rest, letter.len_utf8(), out);
    }
    rest
}

/// Where the name of a test ends that a text ends with. Jinja2 takes a sign behind it as that of a sum, the engine as the
/// beginning of an argument.
fn end_of_test(text: &str) -> Option<usize> {
    let word = |text: &str| text.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    let text = text.trim_end();
    let before = text[..word(text)].trim_end();
    let name = &text[word(text)..];
    let before = match before.strip_suffix("not") {
        Some(rest) if word(before) == rest.len() => rest.trim_end(),
        _ => before,
    };
    let is_test = before.ends_with("is") && before[word(before)..] == *"is";
    (is_test && !name.is_empty() && !["is", "not"].contains(&name)).then_some(text.len())
}

/// A text between quotes, with the escapes that the engine does not know as those that it knows.
fn literal<'a>(text: &'a str, quote: char, out: &mut String) -> &'a str {
    let mut rest = copied(text, 1, out);
    while let Some(letter) = rest.chars().next() {
        if letter != '\\' {
            rest = copied(rest, letter.len_utf8(), out);
            if letter == quote {
                return rest;
            }
            continue;
        }
        let mut after = rest[1..].chars();
        let Some(escape) = after.next() else { return copied(rest, rest.len(), out) };
        rest = after.as_str();
        match escape {
            'a' => out.push_str("\\u0007"),
            'v' => out.push_str("\\u000b"),
            '/' => out.push_str("\\\\/"),
            // A line that goes on.
            '\n' => {}
            'U' => {
                let letter = rest.get(..8).and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
                match letter {
                    Some(letter) => {
                        rest = &rest[8..];
                        escaped(letter, out);
                    }
                    None => out.push_str("\\U"),
                }
            }
            _ => {
                out.push('\\');
                out.push(escape);
            }
        }
    }
    rest
}

/// A letter that has no meaning of its own where it stands.
fn escaped(letter: char, out: &mut String) {
    if letter.is_ascii() {
        out.push_str(&format!("\\u{:04x}", u32::from(letter)));
    } else {
        out.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_engine_reads_otherwise_is_rewritten() {
        for (source, expected) in [
            ("a\r\nb\rc", "a\nb\nc"),
            ("{{ 'a\\/b\\v\\a\\n\\q' }}", "{{ 'a\\\\/b\\u000b\\u0007\\n\\q' }}"),
            ("{{ 'a\\\nb' }}", "{{ 'ab' }}"),
            ("{{ '\\U0001F600\\U0000007b' }}", "{{ '😀\\u007b' }}"),
            ("{{ '\\'\\/' ~ \"}}\" }}\\/", "{{ '\\'\\\\/' ~ \"}}\" }}\\/"),
            ("{{ {'a': {'b': 1}}['\\/'] }}\\/", "{{ {'a': {'b': 1}}['\\\\/'] }}\\/"),
            ("{% raw %}\n{{ '\\/' }}{% endraw %}{{ '\\/' }}", "{% raw +%}\n{{ '\\/' }}{% endraw %}{{ '\\\\/' }}"),
            ("{%- raw -%} x {%- endraw -%}", "{%- raw -%} x {%- endraw -%}"),
            ("{# '\\/ #}{{ '\\/'", "{# '\\/ #}{{ '\\\\/'"),
            ("{% if '%}\\/' %}\\/{", "{% if '%}\\\\/' %}\\/{"),
            ("{{ a is not true + (b) - 1 -}}", "{{ a is not true() + (b) - 1 -}}"),
            ("{{ a is b -}}{{ this + 1 }}{{ a is b(1) - 1 }}", "{{ a is b -}}{{ this + 1 }}{{ a is b(1) - 1 }}"),
        ] {
            assert_eq!(rewritten(source), expected);
        }
    }
}
