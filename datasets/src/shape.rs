//! Owns the shapes of row that are read: our record, chat, prompt and completion, Alpaca, ShareGPT. One JSON object
//! in, one record out, nothing dropped on the way. Knows nothing about files and lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Fault;
use crate::record::{Message, Record, Role};
use crate::turn::{expected, is_nothing, kind, turns};

/// The shapes, as a hint names them.
const READ: &str = "rows read are {\"id\",\"messages\",\"group\",\"meta\"}, {\"messages\"}, {\"prompt\",\"completion\"}, \
                    {\"instruction\",\"input\",\"output\"} (Alpaca) and {\"conversations\"} (ShareGPT)";

/// Keys that change what a row means and that we do not train on: silence would train on something else.
const REFUSED_KEYS: [&str; 11] =
    ["tools", "functions", "history", "chosen", "rejected", "image", "images", "audio", "audios", "video", "videos"];

/// How a row was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `{"id","messages","group","meta"}`.
    Record,
    /// `{"messages"}` as hosted fine-tuning services take it.
    Chat,
    /// `{"prompt","completion"}`, text or lists of messages.
    PromptCompletion,
    /// `{"instruction","input","output"}`.
    Alpaca,
    /// `{"conversations": [{"from","value"}]}`.
    ShareGpt,
}

/// A JSON object in which no key stands twice.
pub(crate) struct Row(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Row, A::Error> {
                let mut row = Map::new();
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if row.contains_key(&key) {
                        return Err(A::Error::custom(format!("key `{key}` stands twice")));
                    }
                    row.insert(key, value);
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Turns one object into a record. `place` is the id of a row that brings none.
pub(crate) fn parse(mut row: Map<String, Value>, place: &str) -> Result<(Record, Shape), Fault> {
    let shape = recognise(&row)?;
    let refused = REFUSED_KEYS.iter().find(|key| row.get(**key).is_some_and(|value| !is_nothing(value)));
    if let Some(key) = refused {
        return Err(Fault::new(
            format!("`{key}` is not supported"),
            "rows are text turns with one right answer: write such rows as `messages`, or remove them",
        ));
    }
    let id = take_name(&mut row, "id")?.unwrap_or_else(|| place.to_string());
    let group = take_name(&mut row, "group")?.unwrap_or_else(|| id.clone());
    let mut meta = match row.shift_remove("meta") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(meta)) => meta,
        Some(other) => return Err(expected("`meta`", "an object", &other)),
    };
    let messages = match shape {
        Shape::Record | Shape::Chat => turns(take(&mut row, "messages"), "messages", shape == Shape::Chat)?,
        Shape::PromptCompletion => prompt_completion(&mut row)?,
        Shape::Alpaca => alpaca(&mut row)?,
        Shape::ShareGpt => {
            let mut messages = system(&mut row)?;
            messages.extend(turns(take(&mut row, "conversations"), "conversations", true)?);
            messages
        }
    };
    if shape == Shape::Record {
        refuse_rest(&row)?;
    }
    for (key, value) in row {
        if meta.contains_key(&key) {
            return Err(Fault::new(format!("`{key}` stands in the row and in `meta`"), "keep one of them"));
        }
        meta.insert(key, value);
    }
    Ok((Record::new(id, messages, group, meta)?, shape))
}

/// A row that reads as two shapes is refused: which answer counts is not ours to choose.
fn recognise(row: &Map<String, Value>) -> Result<Shape, Fault> {
    let has = |key: &str| row.contains_key(key);
    let mut found = Vec::new();
    if has("messages") {
        let ours = has("id") || has("group") || has("meta");
        found.push((if ours { Shape::Record } else { Shape::Chat }, "messages"));
    }
    if has("prompt") && has("completion") {
        found.push((Shape::PromptCompletion, "prompt` and `completion"));
    }
    if has("instruction") && has("output") {
        found.push((Shape::Alpaca, "instruction` and `output"));
    }
    if has("conversations") {
        found.push((Shape::ShareGpt, "conversations"));
    }
    match found.as_slice() {
        [(shape, _)] => Ok(*shape),
        [] => {
            let keys = row.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let keys = if keys.is_empty() { "none".to_string() } else { keys };
            Err(Fault::new(format!("unknown shape of row, its keys are {keys}"), READ))
        }
        [(_, first), (_, second), ..] => {
            Err(Fault::new(format!("the row has both `{first}` and `{second}`"), "keep the one that holds the answer"))
        }
    }
}

/// A key our own record does not have. Silence would lose it, `meta` keeps it.
fn refuse_rest(row: &Map<String, Value>) -> Result<(), Fault> {
    let Some(key) = row.keys().next() else {
        return Ok(());
    };
    // The distance takes memory and time with the product of the lengths.
    let near = ["id", "messages", "group", "meta"]
        .into_iter()
        .find(|known| key.len() <= known.len() + 2 && strsim::damerau_levenshtein(known, key) <= 2);
    let hint = match near {
        Some(known) => format!("did you mean `{known}`? Anything else goes under `meta`"),
        None => "a record has `id`, `messages`, `group` and `meta`: move it under `meta`".to_string(),
    };
    Err(Fault::new(format!("unknown key `{key}`"), hint))
}

fn prompt_completion(row: &mut Map<String, Value>) -> Result<Vec<Message>, Fault> {
    let mut messages = system(row)?;
    match (take(row, "prompt"), take(row, "completion")) {
        (Value::String(prompt), Value::String(completion)) => {
            messages.push(Message::new(Role::User, prompt));
            messages.push(Message::new(Role::Assistant, completion));
        }
        (prompt @ Value::Array(_), completion @ Value::Array(_)) => {
            messages.extend(turns(prompt, "prompt", true)?);
            messages.extend(turns(completion, "completion", true)?);
        }
        (prompt, completion) => {
            let what = format!("`prompt` is {} and `completion` is {}", kind(&prompt), kind(&completion));
            return Err(Fault::new(what, "both are text, or both are lists of messages"));
        }
    }
    Ok(messages)
}

/// No preamble is added around the instruction: that is the chat template's work.
fn alpaca(row: &mut Map<String, Value>) -> Result<Vec<Message>, Fault> {
    let mut messages = system(row)?;
    let instruction = take_text(row, "instruction")?.unwrap_or_default();
    let input = take_text(row, "input")?.unwrap_or_default();
    let output = take_text(row, "output")?.unwrap_or_default();
    let question = if input.trim().is_empty() { instruction } else { format!("{instruction}\n\n{input}") };
    messages.push(Message::new(Role::User, question));
    messages.push(Message::new(Role::Assistant, output));
    Ok(messages)
}

/// The `system` key that several tools put beside the turns.
fn system(row: &mut Map<String, Value>) -> Result<Vec<Message>, Fault> {
    let text = take_text(row, "system")?.filter(|text| !text.trim().is_empty());
    Ok(text.map(|text| Message::new(Role::System, text)).into_iter().collect())
}

fn take(row: &mut Map<String, Value>, key: &str) -> Value {
    row.shift_remove(key).unwrap_or(Value::Null)
}

fn take_text(row: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Fault> {
    match row.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(expected(&format!("`{key}`"), "text", &other)),
    }
}

/// An id or a group: text, or a whole number as many exports have it.
fn take_name(row: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Fault> {
    match row.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => Ok(Some(number.to_string())),
        Some(other) => Err(expected(&format!("`{key}`"), "text", &other)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Record, Shape), Fault> {
        parse(serde_json::from_str::<Row>(line).unwrap().0, "rows:1")
    }

    fn turns_of(line: &str) -> (Shape, String) {
        let (record, shape) = read(line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
        let words = record.messages.iter().map(|m| format!("{}={}", m.role.as_str(), m.content));
        (shape, words.collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn every_shape_gives_the_same_turns() {
        for (line, shape) in [
            (
                r#"{"id":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#,
                Shape::Record,
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":"a","tool_calls":null}]}"#,
                Shape::Chat,
            ),
            (r#"{"prompt":"q","completion":"a"}"#, Shape::PromptCompletion),
            (
                r#"{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}"#,
                Shape::PromptCompletion,
            ),
            (r#"{"instruction":"q","input":"","output":"a"}"#, Shape::Alpaca),
            (r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#, Shape::ShareGpt),
        ] {
            assert_eq!(turns_of(line), (shape, "user=q|assistant=a".to_string()));
        }
    }

    #[test]
    fn alpaca_input_and_a_system_key_become_turns() {
        let (_, turns) = turns_of(r#"{"system":"s","instruction":"i","input":"x","output":"o"}"#);
        assert_eq!(turns, "system=s|user=i\n\nx|assistant=o");
    }

    #[test]
    fn foreign_extra_keys_are_kept_in_meta() {
        let (record, _) = read(r#"{"prompt":"q","completion":"a","id":7,"group":"g","source":"web"}"#).unwrap();
        assert_eq!((record.id.as_str(), record.group.as_str()), ("7", "g"));
        assert_eq!(record.meta["source"], "web");
    }

    #[test]
    fn a_row_without_id_and_group_is_its_own_group() {
        let (record, _) = read(r#"{"prompt":"q","completion":"a"}"#).unwrap();
        assert_eq!((record.id.as_str(), record.group.as_str()), ("rows:1", "rows:1"));
    }

    #[test]
    fn what_would_change_the_meaning_is_refused_with_a_hint() {
        for (line, what, hint) in [
            (r#"{"question":"q","answer":"a"}"#, "unknown shape of row, its keys are `question`, `answer`", "ShareGPT"),
            (r#"{"id":"a","mesages":[]}"#, "unknown shape", "messages"),
            (
                r#"{"id":"a","grup":"g","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#,
                "unknown key `grup`",
                "did you mean `group`",
            ),
            (
                r#"{"id":"a","source":"g","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#,
                "unknown key `source`",
                "move it under `meta`",
            ),
            (
                r#"{"prompt":"q","completion":"a","conversations":[]}"#,
                "both `prompt` and `completion` and `conversations`",
                "keep the one",
            ),
            (r#"{"prompt":"q","completion":"a","tools":[{}]}"#, "`tools` is not supported", "text turns"),
            (r#"{"prompt":"q","completion":["a"]}"#, "`prompt` is text and `completion` is a list", "both are text"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
                "messages[0]: a content part `image_url`",
                "only text",
            ),
            (
                r#"{"messages":[{"role":"user","content":"q","weight":0}]}"#,
                "a message with `weight`",
                "`role` and `content`",
            ),
            (r#"{"messages":[{"role":"tool","content":"q"}]}"#, "tool calls", "leave out"),
            (r#"{"conversations":[{"from":"narrator","value":"q"}]}"#, "unknown role `narrator`", "`user`"),
            (r#"{"messages":[{"role":"assistant","content":null}]}"#, "`content` is null", "must be text"),
        ] {
            let fault = read(line).unwrap_err();
            assert!(fault.what.contains(what), "{line}: {}", fault.what);
            assert!(fault.hint.contains(hint), "{line}: {}", fault.hint);
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let error = serde_json::from_str::<Row>(r#"{"prompt":"a","prompt":"b","completion":"c"}"#).err().unwrap();
        assert!(error.to_string().contains("key `prompt` stands twice"));
    }
}
