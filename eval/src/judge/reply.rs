//! Reads what a judge wrote, in the declared form and no other: whatever else it says is a missing judgement, never a pass.
//! Knows nothing about which answer stood first.

use serde::Deserialize;
use serde_json::Value;

use super::prompt::Form;
use super::rubric::Criterion;
use crate::{Completion, Finish};

/// Which of two answers a judge prefers, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The answer that stood first.
    First,
    /// The answer that stood second.
    Second,
    /// Neither.
    Tie,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairReply {
    winner: String,
    #[serde(default, rename = "reason")]
    _reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RubricReply {
    #[serde(deserialize_with = "entries")]
    scores: Vec<(String, Value)>,
    #[serde(default, rename = "reason")]
    _reason: Option<String>,
}

/// The preference in a reply.
///
/// # Errors
/// Why there is none.
pub fn winner(reply: &Completion, form: Form) -> Result<Winner, String> {
    let text = finished(reply)?;
    let word = match form {
        Form::LastLine => last_line(text, "VERDICT:")?.to_owned(),
        Form::Json => {
            serde_json::from_str::<PairReply>(text).map_err(|error| format!("not the JSON asked for: {error}"))?.winner
        }
    };
    match word.as_str() {
        "1" => Ok(Winner::First),
        "2" => Ok(Winner::Second),
        "tie" => Ok(Winner::Tie),
        _ => Err("the verdict is neither 1, 2 nor tie".to_owned()),
    }
}

/// The score of each criterion, from 0 to 1, in the order of the criteria.
///
/// # Errors
/// Why there is none: one missing, doubled, unknown or out of its scale makes the whole reply missing.
pub fn scores(reply: &Completion, form: Form, criteria: &[Criterion]) -> Result<Vec<f64>, String> {
    let text = finished(reply)?;
    let entries = match form {
        Form::LastLine => {
            let line = last_line(text, "SCORES:")?;
            let entry = |part: &str| {
                let (name, value) = part.split_once('=').ok_or("an entry has no =")?;
                let value = value.trim();
                let value = value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from);
                Ok::<_, String>((name.trim().to_owned(), value))
            };
            line.split(';').map(entry).collect::<Result<Vec<_>, _>>()?
        }
        Form::Json => {
            serde_json::from_str::<RubricReply>(text)
                .map_err(|error| format!("not the JSON asked for: {error}"))?
                .scores
        }
    };
    if entries.len() != criteria.len() {
        return Err(format!("{} scores for {} criteria", entries.len(), criteria.len()));
    }
    let score = |criterion: &Criterion| {
        let mut values = entries.iter().filter(|(name, _)| *name == criterion.name).map(|(_, value)| value);
        let value = values.next().ok_or_else(|| format!("no score for {}", criterion.name))?;
        criterion.score(value).ok_or_else(|| format!("the score for {} is not on its scale", criterion.name))
    };
    criteria.iter().map(score).collect()
}

/// The text of a reply that ended by itself.
fn finished(reply: &Completion) -> Result<&str, String> {
    match &reply.finish {
        Finish::Stop => Ok(reply.text.trim()),
        Finish::Length => Err("the reply was cut at the token limit".to_owned()),
        Finish::Refusal { .. } => Err("the judge refused".to_owned()),
        Finish::ContentFilter { .. } => Err("a filter held the reply back".to_owned()),
        Finish::Timeout => Err("the judge did not end in time".to_owned()),
        Finish::Failed { reason } => Err(reason.clone()),
    }
}

/// What stands behind `head` in the last line that is not blank.
fn last_line<'a>(text: &'a str, head: &str) -> Result<&'a str, String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.and_then(|line| line.strip_prefix(head))
        .map(str::trim)
        .ok_or_else(|| format!("the last line is not {head} and a verdict"))
}

/// The entries of an object with doubled keys kept, so that they can be refused.
fn entries<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Value)>, D::Error> {
    struct Entries;
    impl<'de> serde::de::Visitor<'de> for Entries {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of scores")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::provider::scripted::says;

    #[test]
    fn a_verdict_is_read_in_the_declared_form_only() {
        for (text, form, expect) in [
            ("Both are fine.\nVERDICT: 1", Form::LastLine, Some(Winner::First)),
            ("VERDICT: tie\n\n", Form::LastLine, Some(Winner::Tie)),
            ("VERDICT: 1\nVERDICT: 2", Form::LastLine, Some(Winner::Second)),
            ("VERDICT: 1, I think", Form::LastLine, None),
            ("VERDICT: 1\nbut maybe 2", Form::LastLine, None),
            ("The winner is 1", Form::LastLine, None),
            ("", Form::LastLine, None),
            (r#"{"winner": "2"}"#, Form::LastLine, None),
            (r#" {"reason": "x", "winner": "2"} "#, Form::Json, Some(Winner::Second)),
            (r#"{"winner": 2}"#, Form::Json, None),
            (r#"{"winner": "2", "winner": "1"}"#, Form::Json, None),
            (r#"{"winner": "2", "sure": true}"#, Form::Json, None),
            ("```json\n{\"winner\": \"2\"}\n```", Form::Json, None),
            (r#"{"winner": "2"} {"winner": "1"}"#, Form::Json, None),
            ("VERDICT: 1", Form::Json, None),
        ] {
            assert_eq!(winner(&says(&[], text), form).ok(), expect, "{text}");
        }
    }

    #[test]
    fn a_reply_that_did_not_end_by_itself_says_nothing() {
        let finishes = [
            Finish::Length,
            Finish::Timeout,
            Finish::Refusal { category: None },
            Finish::Failed { reason: "down".into() },
        ];
        for finish in finishes {
            let reply = Completion { finish, ..says(&[], "VERDICT: 1") };
            assert!(winner(&reply, Form::LastLine).is_err());
        }
    }

    #[test]
    fn a_rubric_is_read_whole_or_not_at_all() {
        let criteria =
            [Criterion::points("right", "is it right?", 5), Criterion::pass_or_fail("polite", "is it polite?")];
        let read = |text: &str, form| scores(&says(&[], text), form, &criteria).ok();
        assert_eq!(read("ok\nSCORES: right=4; polite=pass", Form::LastLine), Some(vec![0.75, 1.0]));
        assert_eq!(read("SCORES: polite=fail; right=1", Form::LastLine), Some(vec![0.0, 0.0]));
        assert_eq!(read(r#"{"scores": {"right": 5, "polite": "fail"}}"#, Form::Json), Some(vec![1.0, 0.0]));
        for text in [
            "SCORES: right=4",
            "SCORES: right=6; polite=pass",
            "SCORES: right=0; polite=pass",
            "SCORES: right=4.5; polite=pass",
            "SCORES: right=4; right=4",
            "SCORES: right=4; polite=yes",
            "SCORES: right=4; polite=pass; x=1",
            "SCORES: right=pass; polite=1",
        ] {
            assert_eq!(read(text, Form::LastLine), None, "{text}");
        }
        for text in [
            r#"{"scores": {"right": 5, "right": 5}}"#,
            r#"{"scores": {"right": "5", "polite": "pass"}}"#,
            r#"{"scores": {"right": 5.0, "polite": "pass"}}"#,
            r#"{"scores": [5, "pass"]}"#,
        ] {
            assert_eq!(read(text, Form::Json), None, "{text}");
        }
    }
}
