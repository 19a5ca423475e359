//! Owns one turn of a foreign or own row: which keys name the speaker and the text, and which extra keys change what is
//! said. Knows nothing about whole rows. Tested through `shape`.

use serde_json::Value;

use crate::error::Fault;
use crate::record::{Message, Role};

/// Reads a list of turns. `foreign` rows may write text as parts, use ShareGPT's words and have empty extra keys.
pub(crate) fn turns(value: Value, key: &str, foreign: bool) -> Result<Vec<Message>, Fault> {
    let Value::Array(items) = value else {
        return Err(expected(&format!("`{key}`"), "a list of messages", &value));
    };
    let read = |(index, item)| {
        turn(item, foreign).map_err(|fault| Fault::new(format!("{key}[{index}]: {}", fault.what), fault.hint))
    };
    items.into_iter().enumerate().map(read).collect()
}

fn turn(item: Value, foreign: bool) -> Result<Message, Fault> {
    let Value::Object(mut item) = item else {
        return Err(expected("a message", "an object", &item));
    };
    let from = foreign && item.contains_key("from");
    let (role_key, content_key) = if from { ("from", "value") } else { ("role", "content") };
    let hint = if foreign {
        "a message has `role` and `content`, or `from` and `value`"
    } else {
        "a message has `role` and `content`"
    };
    let role = match item.shift_remove(role_key) {
        Some(Value::String(word)) => role(&word, from)?,
        Some(other) => return Err(expected(&format!("`{role_key}`"), "text", &other)),
        None => return Err(Fault::new(format!("no `{role_key}`"), hint)),
    };
    let content = match item.shift_remove(content_key) {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) if foreign => joined(parts)?,
        Some(other) => return Err(expected(&format!("`{content_key}`"), "text", &other)),
        None => return Err(Fault::new(format!("no `{content_key}`"), hint)),
    };
    // Exports write `"tool_calls": null` and the like; a value there would change what the turn means.
    match item.iter().find(|(_, value)| !(foreign && is_nothing(value))) {
        Some((key, _)) => Err(Fault::new(format!("a message with `{key}` is not supported"), hint)),
        None => Ok(Message { role, content }),
    }
}

fn role(word: &str, share_gpt: bool) -> Result<Role, Fault> {
    match word {
        "human" if share_gpt => Ok(Role::User),
        "gpt" | "chatgpt" | "model" | "bot" if share_gpt => Ok(Role::Assistant),
        _ => Role::parse(word),
    }
}

fn joined(parts: Vec<Value>) -> Result<String, Fault> {
    let mut text = String::new();
    for part in parts {
        let is_text = part.get("type").and_then(Value::as_str) == Some("text");
        match part.get("text").and_then(Value::as_str) {
            Some(piece) if is_text => text.push_str(piece),
            _ => {
                let named = part.get("type").and_then(Value::as_str).unwrap_or("without a type");
                return Err(Fault::new(
                    format!("a content part `{named}` is not text"),
                    "only text parts are trained on",
                ));
            }
        }
    }
    Ok(text)
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
