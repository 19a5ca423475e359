//! Reads a JSON list of spans, given by offsets or by their text.
//! Knows nothing about which spans are right.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Span;
use super::align::{Source, Taken};
use crate::json::parse;
use crate::scorer::normal_form;
use crate::work::{TooMuch, Work};

/// What a list of spans says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The spans, in order and each once.
    pub spans: Vec<Span>,
    /// The types of spans that name no stretch of the text: texts that do not occur in it and offsets that hold nothing.
    pub not_in_text: Vec<String>,
    /// How many items said again what an earlier one had said.
    pub duplicates: usize,
}

/// Why a text is no list of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not JSON.
    NotJson(String),
    /// It is JSON of another shape.
    OtherShape(String),
    /// It gives texts, and there is no source to find them in.
    NoSource,
    /// Reading it takes too much work.
    TooMuch(TooMuch),
}

/// Reads `[{"type": "PER", "start": 0, "end": 3}, {"label": "ORG", "text": "Acme"}]`.
///
/// Offsets are half-open, in Unicode scalar values of the source; with offsets a text beside them is not read.
/// A text takes the first exact occurrence that no earlier item took. When all are taken, an item that repeats
/// type and text of an earlier one is a duplicate, any other is not in the text. Further keys of an item are not read.
///
/// # Errors
/// When the text is not such a list.
pub fn read(text: &str, source: &str, work: &mut Work) -> Result<Reading, Problem> {
    // A letter of JSON takes about as long as eight steps.
    work.spend(text.len().saturating_mul(8)).map_err(Problem::TooMuch)?;
    let value = parse(text).map_err(Problem::NotJson)?;
    let Value::Array(items) = value else {
        return Err(Problem::OtherShape("the answer is not a list of spans".to_owned()));
    };
    let mut reading = Reading::default();
    let (mut aligned, mut taken) = (None, Taken::default());
    let (mut known, mut seen) = (HashSet::new(), HashSet::new());
    for (at, item) in items.iter().enumerate() {
        let item = item.as_object().and_then(Item::read).ok_or_else(|| {
            Problem::OtherShape(format!("item {at} is not a type with start and end, nor a type with a text"))
        })?;
        let is_repeated = !seen.insert(item.clone());
        let place = match &item.place {
            Place::Offsets(start, end) => (start < end).then_some((*start, *end)),
            Place::Text(_) if source.is_empty() => return Err(Problem::NoSource),
            Place::Text(text) => {
                if aligned.is_none() {
                    work.spend(source.len().saturating_mul(8)).map_err(Problem::TooMuch)?;
                }
                let source = aligned.get_or_insert_with(|| Source::new(source));
                source.find(text, &mut taken, work).map_err(Problem::TooMuch)?
            }
        };
        match place {
            Some((start, end)) => {
                let span = Span { start, end, kind: item.kind };
                if known.insert(span.clone()) {
                    reading.spans.push(span);
                } else {
                    reading.duplicates += 1;
                }
            }
            None if is_repeated => reading.duplicates += 1,
            None => reading.not_in_text.push(item.kind),
        }
    }
    reading.spans.sort_unstable();
    Ok(reading)
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Item {
    kind: String,
    place: Place,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Offsets(usize, usize),
    Text(String),
}

impl Item {
    fn read(object: &Map<String, Value>) -> Option<Self> {
        let kind = match (object.get("type"), object.get("label")) {
            (Some(kind), None) | (None, Some(kind)) => kind,
            (Some(kind), Some(label)) if kind == label => kind,
            _ => return None,
        };
        let offset = |value: &Value| value.as_u64().and_then(|offset| usize::try_from(offset).ok());
        let place = match (object.get("start"), object.get("end"), object.get("text")) {
            (Some(start), Some(end), _) => Place::Offsets(offset(start)?, offset(end)?),
            (None, None, Some(text)) => Place::Text(text.as_str()?.to_owned()),
            _ => return None,
        };
        let kind = normal_form(kind.as_str()?);
        (!kind.is_empty()).then_some(Self { kind, place })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, source: &str) -> Result<Reading, Problem> {
        super::read(text, source, &mut Work::of_a_judgement())
    }

    fn span(kind: &str, start: usize, end: usize) -> Span {
        Span { start, end, kind: kind.to_owned() }
    }

    #[test]
    fn offsets_and_texts_name_the_same_spans() {
        let offsets =
            r#"[{"type": "PER", "start": 8, "end": 11}, {"label": "PER", "start": 0, "end": 3, "text": "?"}]"#;
        let texts = r#"[{"type": "PER", "text": "Ann"}, {"label": "PER", "text": "Ann", "score": 0.9}]"#;
        for text in [offsets, texts] {
            let reading = read(text, "Ann met Ann").unwrap();
            assert_eq!(reading.spans, [span("PER", 0, 3), span("PER", 8, 11)]);
            assert_eq!((reading.not_in_text.len(), reading.duplicates), (0, 0));
        }
    }

    #[test]
    fn what_is_not_in_the_text_and_what_is_said_twice_is_counted() {
        let text = r#"[{"type": "PER", "text": "Ann"}, {"type": "PER", "text": "Ann"}, {"type": "ORG", "text": "Ann"},
            {"type": "LOC", "text": "Rome"}, {"type": "LOC", "text": "Rome"}, {"type": "X", "start": 3, "end": 3},
            {"type": "PER", "start": 0, "end": 3}]"#;
        let reading = read(text, "Ann left").unwrap();
        assert_eq!(reading.spans, [span("PER", 0, 3)]);
        assert_eq!(reading.not_in_text, ["ORG", "LOC", "X"]);
        assert_eq!(reading.duplicates, 3);
    }

    #[test]
    fn other_shapes_are_refused_with_the_item() {
        for text in [
            "{}",
            "[1]",
            r#"[{"type": "A"}]"#,
            r#"[{"type": "A", "start": 1}]"#,
            r#"[{"type": "A", "start": -1, "end": 2}]"#,
            r#"[{"type": "A", "start": 0.5, "end": 2}]"#,
            r#"[{"type": "A", "label": "B", "text": "x"}]"#,
            r#"[{"type": " ", "text": "x"}]"#,
            r#"[{"text": "x"}]"#,
        ] {
            assert!(matches!(read(text, "x"), Err(Problem::OtherShape(_))), "{text}");
        }
        assert!(matches!(read("[", "x"), Err(Problem::NotJson(_))));
        assert_eq!(read(r#"[{"type": "A", "text": "x"}]"#, ""), Err(Problem::NoSource));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", kind in ".{0,4}", piece in ".{0,4}", source in ".{0,20}", start in any::<u64>(), end in any::<u64>()) {
            let _ = read(&text, &source);
            let list = serde_json::json!([{"type": kind, "text": piece}, {"label": kind, "start": start, "end": end}]);
            let _ = read(&list.to_string(), &source);
        }
    }
}
