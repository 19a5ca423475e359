//! JSON validity: whether an answer is exactly one JSON value, and one that a schema allows.
//! Knows nothing about the target; nothing is ever fetched to read a schema.

use std::path::{Path, PathBuf};

use ground::read::{self, Kind};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Retrieve, Uri, ValidationOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, Scored, Scorer, Target, written};
use crate::json::schema_size::{MOST_PARTS, num_values, unfolded};
use crate::json::{parse, without_fence};
use crate::{Error, Reason, work};

/// Bytes of a compiled pattern that is matched with answers of any length.
const SMALL_PATTERN: usize = 256 << 10;
/// Bytes of an answer where patterns are larger, or look around.
const MOST_BYTES_OF_LARGE_PATTERNS: usize = 64 << 10;
/// Steps back of one match where patterns look around.
const MOST_BACKTRACKS: usize = 20_000;
/// A message about one value need not repeat all of it.
const NOTE_CHARS: usize = 300;

/// What a task may say about this scorer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Remove one code fence around the whole answer.
    pub lenient: bool,
    /// A file with a JSON Schema that the value must fit, draft 2020-12 unless it says otherwise; nothing is ever fetched
    /// to read it.
    #[schemars(extend("x-default" = "the set's, if it has one"))]
    pub schema: Option<PathBuf>,
}

/// 1 when the answer is one JSON value that the schema, if there is one, allows.
#[derive(Debug)]
pub struct JsonValid {
    lenient: bool,
    schema: Option<Schema>,
}

/// A schema, and the answers that it is held against.
#[derive(Debug)]
struct Schema {
    validator: Validator,
    /// The longest answer, in bytes.
    most_bytes: usize,
    /// The most values of an answer.
    most_values: u64,
}

impl JsonValid {
    /// Strict and without a schema.
    pub const fn plain() -> Self {
        Self { lenient: false, schema: None }
    }

    /// The scorer of these options; reads the schema.
    ///
    /// # Errors
    /// When the schema cannot be read, is not JSON, is not a schema, or refers to another file or address.
    pub fn build(options: Options) -> Result<Self, Error> {
        let Some(path) = options.schema else { return Ok(Self { lenient: options.lenient, schema: None }) };
        let text = read::text(&path, Kind::Prompt).map_err(|source| Error::ReadFile { path: path.clone(), source })?;
        let schema = parse(&text).map_err(|message| Error::BadSchema { path: path.clone(), message })?;
        Self::with_schema(options.lenient, &schema, &path)
    }

    /// The scorer of a schema that is in memory; the path is for messages.
    ///
    /// # Errors
    /// When the value is not a schema or refers to another file or address.
    pub fn with_schema(lenient: bool, schema: &Value, path: &Path) -> Result<Self, Error> {
        let parts = unfolded(schema);
        if parts > MOST_PARTS {
            let message =
                format!("with its references written out it has {parts} parts, and at most {MOST_PARTS} are used");
            return Err(Error::BadSchema { path: path.to_owned(), message });
        }
        let schema = sorted(schema.clone());
        // Patterns that take time in proportion to a text, as long as they are small; any other for short answers only.
        let small = jsonschema::PatternOptions::regex().size_limit(SMALL_PATTERN);
        let (validator, most_bytes) = match options().with_pattern_options(small).build(&schema) {
            Ok(validator) => (validator, work::MOST_BYTES),
            Err(_) => {
                let any = jsonschema::PatternOptions::fancy_regex().backtrack_limit(MOST_BACKTRACKS);
                let validator = options().with_pattern_options(any).build(&schema).map_err(|error| {
                    let message = located(error.instance_path().as_str(), &error);
                    Error::BadSchema { path: path.to_owned(), message }
                })?;
                (validator, MOST_BYTES_OF_LARGE_PATTERNS)
            }
        };
        Ok(Self {
            lenient,
            schema: Some(Schema { validator, most_bytes, most_values: work::MOST_STEPS / parts.max(1) }),
        })
    }

    fn judge(&self, text: &str) -> Scored {
        let text = if self.lenient { without_fence(text) } else { text };
        let value = match parse(text) {
            Ok(value) => sorted(value),
            Err(message) => return Scored::unparsed(Reason::InvalidJson).with_note(message),
        };
        let Some(schema) = &self.schema else { return Scored::right_or_wrong(true) };
        if text.len() > schema.most_bytes || num_values(&value) > schema.most_values {
            return Scored::unscored(format!(
                "an answer of {} bytes is not held against this schema, one of at most {} bytes and {} values is",
                text.len(),
                schema.most_bytes,
                schema.most_values
            ));
        }
        // The first error only: a list of all of them holds copies of their values, gigabytes for a long answer.
        match schema.validator.validate(&value) {
            Err(error) if matches!(error.kind(), ValidationErrorKind::BacktrackLimitExceeded { .. }) => {
                Scored::unscored(format!("a pattern of the schema is not decided after {MOST_BACKTRACKS} steps back"))
            }
            Err(error) => {
                let note = located(error.instance_path().as_str(), &error);
                Scored::unparsed(Reason::SchemaViolation).with_note(note)
            }
            Ok(()) => Scored::right_or_wrong(true),
        }
    }
}

impl Scorer for JsonValid {
    fn name(&self) -> &'static str {
        match (self.schema.is_some(), self.lenient) {
            (false, false) => "json_strict",
            (false, true) => "json_lenient",
            (true, false) => "schema_valid",
            (true, true) => "schema_valid_lenient",
        }
    }

    fn policy(&self) -> String {
        let fence = if self.lenient { "one code fence around the whole answer is removed; " } else { "" };
        let schema = match &self.schema {
            Some(schema) => format!(" that the schema ({:?}, formats not asserted) allows", schema.validator.draft()),
            None => String::new(),
        };
        format!(
            "{fence}the trimmed answer is exactly one JSON value{schema}; a key twice in one object, NaN, text beside it and more than 128 levels are refused; the target is not read"
        )
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn score(&self, answer: Answer<'_>, _: Target<'_>) -> Scored {
        match written(answer) {
            Ok(text) => self.judge(text),
            Err(scored) => scored,
        }
    }
}

/// With its keys in order: when `serde_json` preserves the order of keys, version 0.48 of the validator compares objects
/// in that order in `const`, `enum` and `uniqueItems`, where the order must not matter.
fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}

fn options() -> ValidationOptions<'static> {
    jsonschema::options().with_retriever(NeverFetch).should_validate_formats(false)
}

/// Schemas of others are never fetched, whatever other crates switch on.
struct NeverFetch;

impl Retrieve for NeverFetch {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is outside the schema and is never fetched").into())
    }
}

fn located(path: &str, error: &impl std::fmt::Display) -> String {
    let path = if path.is_empty() { "the root" } else { path };
    let message = format!("at {path}: {error}");
    match message.char_indices().nth(NOTE_CHARS) {
        Some((end, _)) => format!("{} (cut)", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Completion, Finish, Parse};

    fn score(scorer: &JsonValid, text: &str) -> (Option<f64>, Parse, Option<String>) {
        let completion = Completion::of(text, Finish::Stop);
        let scored = scorer.score(Answer::Written(&completion), Target::default());
        (scored.score, scored.parse, scored.note)
    }

    fn with_schema(schema: &Value) -> Result<JsonValid, Error> {
        JsonValid::with_schema(false, schema, Path::new("contract.schema.json"))
    }

    #[test]
    fn strict_refuses_a_fence_and_lenient_removes_it() {
        let lenient = JsonValid::build(Options { lenient: true, schema: None }).unwrap();
        let fenced = "```json\n{\"a\": 1}\n```";
        assert_eq!(score(&lenient, fenced).0, Some(1.0));
        let (zero, parse, note) = score(&JsonValid::plain(), fenced);
        assert_eq!((zero, parse), (Some(0.0), Parse::Unparsed { reason: Reason::InvalidJson }));
        assert!(note.unwrap().contains("line 1 column 1"));
        assert_eq!(score(&JsonValid::plain(), " {\"a\": 1}\n").0, Some(1.0));
        assert_eq!(score(&lenient, "{\"a\": 1, \"a\": 2}").2.unwrap(), "key \"a\" occurs twice at line 1 column 12");
    }

    #[test]
    fn the_first_path_that_breaks_the_schema_is_noted() {
        let schema = json!({"properties": {"parties": {"items": {"required": ["name"]}}, "day": {"format": "date"}}});
        let scorer = with_schema(&schema).unwrap();
        let (zero, parse, note) = score(&scorer, r#"{"parties": [{"name": "a"}, {}]}"#);
        assert_eq!((zero, parse), (Some(0.0), Parse::Unparsed { reason: Reason::SchemaViolation }));
        assert_eq!(note.as_deref(), Some("at /parties/1: \"name\" is a required property"));
        // A format is a note for readers in draft 2020-12.
        assert_eq!(score(&scorer, r#"{"day": "no day"}"#).0, Some(1.0));
        assert_eq!(scorer.name(), "schema_valid");
        assert!(scorer.policy().contains("Draft202012"));
    }

    #[test]
    fn the_order_of_keys_does_not_make_two_objects_different() {
        let scorer = with_schema(&json!({"items": {"const": {"b": 1, "a": 2}}})).unwrap();
        assert_eq!(score(&scorer, r#"[{"a": 2, "b": 1}, {"b": 1, "a": 2}]"#).0, Some(1.0));
        let unique = with_schema(&json!({"uniqueItems": true})).unwrap();
        assert_eq!(score(&unique, r#"[{"a": 2, "b": 1}, {"b": 1, "a": 2}]"#).0, Some(0.0));
    }

    #[test]
    fn formats_are_not_asserted_in_any_draft() {
        let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"});
        assert_eq!(score(&with_schema(&schema).unwrap(), "\"no day\"").0, Some(1.0));
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_by_name() {
        let message = |schema: Value| with_schema(&schema).unwrap_err().to_string();
        let wrong_type = message(json!({"properties": {"a": {"type": "text"}}}));
        assert!(
            wrong_type.starts_with("the schema contract.schema.json cannot be used: at /properties/a/type: "),
            "{wrong_type}"
        );
        for address in ["https://example.com/other.json", "other.json", "file:///etc/hostname"] {
            let outside = message(json!({"$ref": address}));
            assert!(outside.contains("contract.schema.json") && outside.contains("$ref inside the file"), "{outside}");
        }
        let missing = JsonValid::build(Options { lenient: false, schema: Some("no/such.json".into()) });
        assert!(missing.unwrap_err().to_string().starts_with("no/such.json cannot be read: "));
    }

    #[test]
    fn a_schema_is_read_from_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r##"{"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}"##)
            .unwrap();
        let scorer = JsonValid::build(Options { lenient: false, schema: Some(file.path().to_owned()) }).unwrap();
        assert_eq!(score(&scorer, "[1, 2]").0, Some(1.0));
        assert!(score(&scorer, "[1, 2.5]").2.unwrap().starts_with("at /1: "));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_lenient_allows_all_that_strict_allows(text in "[\\[\\]{}:,\"0-9a`\n]{0,40}|.{0,40}") {
            let lenient = JsonValid { lenient: true, schema: None };
            let strict = score(&JsonValid::plain(), &text).0;
            prop_assert!(score(&lenient, &text).0 >= strict);
        }
    }
}
