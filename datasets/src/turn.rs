//! Owns the turns of a row, whatever its shape: which keys name the speaker and the text, what a turn weighs, and which
//! extra keys change what is said. Knows nothing about whole rows. Tested through `shape`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::Fault;
use crate::record::{Message, Role};
use crate::weight::Weight;

/// The keys that a message may have.
const READ: &str = "a message has `role` and `content`, or `from` and `value`, and perhaps `weight`";
/// Keys of messages that mean something here which is written otherwise, or nothing, each with what to do.
const NOT_READ: &[(&[&str], &str)] = &[
    (
        &["train", "training", "trainable", "loss", "mask", "loss_mask"],
        "write `\"weight\": 0` into a message that is not learnt",
    ),
    (
        &["reasoning_content", "reasoning", "thinking", "thought"],
        "write it into `content`, before the answer and between <think> and </think>, or leave it out",
    ),
    (
        &["tool_calls", "function_call", "tool_call_id"],
        "leave out rows with tool calls, or write the tool's answer into a user turn",
    ),
    (&["image", "images", "audio", "audios", "video", "videos"], "rows are text turns: leave such rows out"),
    (&["name"], "leave it out, or write who speaks into `content`"),
];

/// The turns of a row in order, and the weights that they state.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) messages: Vec<Message>,
    pub(crate) weights: BTreeMap<usize, Weight>,
}

impl Turns {
    /// Adds a turn that states no weight.
    pub(crate) fn say(&mut self, role: Role, content: String) {
        self.messages.push(Message { role, content });
    }

    /// Adds the messages of a list.
    pub(crate) fn read(&mut self, value: Value, key: &str) -> Result<(), Fault> {
        let Value::Array(items) = value else {
            return Err(expected(&format!("`{key}`"), "a list of messages", &value));
        };
        for (index, item) in items.into_iter().enumerate() {
            let read = turn(item);
            let (message, weight) =
                read.map_err(|fault| Fault::new(format!("{key}[{index}]: {}", fault.what), fault.hint))?;
            if let Some(weight) = weight {
                self.weights.insert(self.messages.len(), weight);
            }
            self.messages.push(message);
        }
        Ok(())
    }
}

fn turn(item: Value) -> Result<(Message, Option<Weight>), Fault> {
    let Value::Object(mut item) = item else {
        return Err(expected("a message", "an object", &item));
    };
    // A table of rows from several sources has all columns in each, most of them null.
    let from = item.get("from").is_some_and(|value| !value.is_null());
    let (role_key, content_key) = if from { ("from", "value") } else { ("role", "content") };
    let role = match item.shift_remove(role_key) {
        Some(Value::String(word)) => role(&word, from)?,
        Some(other) => return Err(expected(&format!("`{role_key}`"), "text", &other)),
        None => return Err(Fault::new(format!("no `{role_key}`"), READ)),
    };
    let content = match item.shift_remove(content_key) {
        Some(value) => content(value, content_key)?,
        None => return Err(Fault::new(format!("no `{content_key}`"), READ)),
    };
    let weight = Weight::read(&item.shift_remove("weight").unwrap_or(Value::Null))?;
    // Exports write `"tool_calls": null` and the like; a value there would change what the turn means.
    match meant(&item) {
        Some(key) => {
            let known = NOT_READ.iter().find(|(keys, _)| keys.contains(&key));
            let hint = known.map_or(READ, |(_, hint)| *hint);
            Err(Fault::new(format!("a message with `{key}` is not supported"), hint))
        }
        None => Ok((Message { role, content }, weight)),
    }
}

fn role(word: &str, share_gpt: bool) -> Result<Role, Fault> {
    match word {
        "human" if share_gpt => Ok(Role::User),
        "gpt" | "chatgpt" | "model" | "bot" if share_gpt => Ok(Role::Assistant),
        _ => Role::parse(word),
    }
}

/// What is said: text, or a list of parts that are text.
pub(crate) fn content(value: Value, key: &str) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(parts) => parts.into_iter().map(text_of).collect(),
        other => Err(expected(&format!("`{key}`"), "text", &other)),
    }
}

fn text_of(part: Value) -> Result<String, Fault> {
    let Value::Object(mut part) = part else {
        return Err(expected("a content part", "an object with `type` and `text`", &part));
    };
    let named = part.shift_remove("type");
    match (named.as_ref().and_then(Value::as_str), part.shift_remove("text")) {
        (Some("text"), Some(Value::String(text))) => match meant(&part) {
            Some(key) => Err(Fault::new(
                format!("a text part with `{key}` is not supported"),
                "a text part has `type` and `text`: leave out the rest",
            )),
            None => Ok(text),
        },
        (named, _) => Err(Fault::new(
            format!("a content part `{}` is not text", named.unwrap_or("without a type")),
            "only text parts are trained on",
        )),
    }
}

/// The first key that has a value.
fn meant(object: &Map<String, Value>) -> Option<&str> {
    object.iter().find(|(_, value)| !is_nothing(value)).map(|(key, _)| key.as_str())
}

/// Whether a value says nothing: null or empty.
pub(crate) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The fault of a value of the wrong kind.
pub(crate) fn expected(what: &str, wanted: &str, found: &Value) -> Fault {
    Fault::new(format!("{what} is {}", kind(found)), format!("{what} must be {wanted}"))
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
