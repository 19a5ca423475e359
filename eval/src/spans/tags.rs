//! Tag sequences: one IOB2 tag for each token.
//! Knows nothing about the tokens themselves.

use serde::{Deserialize, Serialize};

use super::Span;

/// The tag of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `O`: no span.
    Outside,
    /// `B-TYPE`: a span begins.
    Begin(String),
    /// `I-TYPE`: the span goes on.
    Inside(String),
}

/// How an `I-` tag is read that continues no span of its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decoding {
    /// It opens a span, as in the evaluation of CoNLL-2003 (Tjong Kim Sang & De Meulder 2003).
    #[default]
    Conll,
    /// It belongs to no span: strict IOB2.
    Iob2,
}

/// Reads tags with white space between them, or a JSON list of tags.
///
/// # Errors
/// The first that is not `O`, `B-TYPE` or `I-TYPE`.
pub fn read(text: &str) -> Result<Vec<Tag>, String> {
    let text = text.trim();
    if text.starts_with('[') {
        let tags: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return tags.iter().map(|tag| one(tag)).collect();
    }
    text.split_whitespace().map(one).collect()
}

/// The spans of a tag sequence, in tokens; equal to seqeval 1.2.2 in its default mode and in its strict IOB2 mode.
pub fn decode(tags: &[Tag], decoding: Decoding) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    let mut close = |open: &mut Option<(usize, &str)>, end: usize| {
        spans.extend(open.take().map(|(start, kind)| Span { start, end, kind: kind.to_owned() }));
    };
    for (at, tag) in tags.iter().enumerate() {
        match tag {
            Tag::Inside(kind) if open.is_some_and(|(_, known)| known == kind) => {}
            Tag::Outside => close(&mut open, at),
            Tag::Inside(_) if decoding == Decoding::Iob2 => close(&mut open, at),
            Tag::Begin(kind) | Tag::Inside(kind) => {
                close(&mut open, at);
                open = Some((at, kind));
            }
        }
    }
    close(&mut open, tags.len());
    spans
}

fn one(text: &str) -> Result<Tag, String> {
    // A comma after a tag is the sign of a list that is written in another way, not a part of the type.
    match text.split_once('-').filter(|_| !text.contains(',')) {
        Some(("B", kind)) if !kind.is_empty() => Ok(Tag::Begin(kind.to_owned())),
        Some(("I", kind)) if !kind.is_empty() => Ok(Tag::Inside(kind.to_owned())),
        _ if text == "O" => Ok(Tag::Outside),
        _ => Err(format!("{text:?} is not a tag: O, B-TYPE or I-TYPE")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(text: &str, decoding: Decoding, expect: &[(usize, usize, &str)]) {
        let spans = decode(&read(text).unwrap(), decoding);
        let found: Vec<_> = spans.iter().map(|span| (span.start, span.end, span.kind.as_str())).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn an_inside_without_a_begin_opens_a_span_in_conll_and_is_nothing_in_strict_iob2() {
        let text = "O I-LOC I-LOC B-LOC I-PER I-PER O B-X";
        check(text, Decoding::Conll, &[(1, 3, "LOC"), (3, 4, "LOC"), (4, 6, "PER"), (7, 8, "X")]);
        check(text, Decoding::Iob2, &[(3, 4, "LOC"), (7, 8, "X")]);
    }

    #[test]
    fn tags_are_read_from_a_list_or_from_words_and_anything_else_is_refused() {
        assert_eq!(read("[\"B-A-1\", \"O\"]").unwrap(), [Tag::Begin("A-1".to_owned()), Tag::Outside]);
        assert!(read(" ").unwrap().is_empty());
        for text in ["B-", "b-PER", "PER", "O-", "B-PER, O", "[\"O\"", "[1]", "E-PER", "B"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
