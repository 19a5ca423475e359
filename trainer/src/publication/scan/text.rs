//! A file as the texts it may be read as: its bytes, and the same with escapes of JSON, TOML and HTML taken back.
//! Knows nothing about what is looked for.

use std::borrow::Cow;

/// The first bytes that tell a text from data.
const HEAD_BYTES: usize = 8 << 10;
const ENTITIES: [(&str, char); 8] = [
    ("&amp;", '&'),
    ("&lt;", '<'),
    ("&gt;", '>'),
    ("&quot;", '"'),
    ("&#34;", '"'),
    ("&#39;", '\''),
    ("&#x27;", '\''),
    ("&#x2f;", '/'),
];

/// How a file may be read.
pub(super) struct Views {
    /// The words of it: all of a text, the header of a file of tensors, the printable pieces of anything else.
    pub(super) words: String,
    /// The same without escapes, where there are any.
    pub(super) plain: Option<String>,
}

impl Views {
    pub(super) fn of(path: &str, bytes: &[u8]) -> Self {
        let words = words(path, bytes);
        let plain = (words.contains('\\') || words.contains('&')).then(|| unescaped(&words));
        Self { words: words.into_owned(), plain }
    }

    /// Every way to read it.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.words.as_str()).chain(self.plain.as_deref())
    }
}

fn words<'a>(path: &str, bytes: &'a [u8]) -> Cow<'a, str> {
    let is_text = !bytes.iter().take(HEAD_BYTES).any(|byte| *byte == 0);
    if is_text {
        return String::from_utf8_lossy(bytes);
    }
    // Numbers of a tensor have no words; what a person wrote is in the header.
    if path.ends_with(".safetensors")
        && let Some((length, rest)) = bytes.split_first_chunk::<8>()
        && let Some(header) = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.get(..length))
    {
        return String::from_utf8_lossy(header);
    }
    let pieces = bytes.split(|byte| !(*byte == b'\t' || (0x20..0x7f).contains(byte)));
    let pieces = pieces.filter(|piece| piece.len() >= 6).map(|piece| String::from_utf8_lossy(piece).into_owned());
    Cow::Owned(pieces.collect::<Vec<_>>().join("\n"))
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = if rest.starts_with('\\') { backslash(rest, &mut out) } else { entity(rest, &mut out) };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// Takes back an escape of JSON or TOML; gives the bytes it took.
fn backslash(rest: &str, out: &mut String) -> usize {
    let Some(kind) = rest[1..].chars().next() else {
        out.push('\\');
        return 1;
    };
    match kind {
        'n' | 'r' => out.push('\n'),
        't' => out.push('\t'),
        'b' | 'f' => out.push(' '),
        'u' => return unicode(rest, out),
        other => out.push(other),
    }
    1 + kind.len_utf8()
}

/// `\u00e4`, and `\ud83d\ude00` for what needs two.
fn unicode(rest: &str, out: &mut String) -> usize {
    let unit = |at: usize| rest.get(at + 2..at + 6).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let Some(first) = unit(0) else {
        out.push('u');
        return 2;
    };
    let second = rest.get(6..8).filter(|start| *start == "\\u").and_then(|_| unit(6));
    let pair =
        second.and_then(|second| char::decode_utf16([first, second]).next()?.ok().filter(|c| c.len_utf16() == 2));
    match pair {
        Some(letter) => {
            out.push(letter);
            12
        }
        None => {
            out.push(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER));
            6
        }
    }
}

fn entity(rest: &str, out: &mut String) -> usize {
    match ENTITIES.iter().find(|(name, _)| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    {
        Some((name, letter)) => {
            out.push(*letter);
            name.len()
        }
        None => {
            out.push('&');
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_json_toml_and_html_are_taken_back() {
        for (text, expect) in [
            (r#"a\nb\"c\/d\\e"#, "a\nb\"c/d\\e"),
            (r"\u00e4\ud83d\ude00\u", "ä😀u"),
            ("&lt;b&gt; &quot;x&quot; &amp;c &no", "<b> \"x\" &c &no"),
            ("end\\", "end\\"),
        ] {
            assert_eq!(unescaped(text), expect, "{text}");
        }
    }

    #[test]
    fn of_a_file_of_tensors_the_header_is_read() {
        let header = br#"{"__metadata__":{"note":"secret words"}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0, 1, 2, 255]);
        assert!(Views::of("a.safetensors", &bytes).words.contains("secret words"));
        assert!(Views::of("a.bin", &bytes).words.contains("secret words"));
    }
}
