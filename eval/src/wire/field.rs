//! How a dialect looks into JSON that somebody else wrote: unknown fields are let through, wrong ones are refused.
//! Knows nothing about any one provider.

use serde_json::Value;

use super::CallError;

/// Reads a body or the data of an event.
pub(super) fn json(bytes: &[u8]) -> Result<Value, CallError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(format!("not JSON: {error}")))
}

/// The error for an answer that a dialect does not allow.
pub(super) fn malformed(what: impl Into<String>) -> CallError {
    CallError::Malformed { what: what.into() }
}

/// The text of a field, unless it is absent or not a text.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// The same, owned.
pub(super) fn owned(value: &Value, key: &str) -> Option<String> {
    text(value, key).map(str::to_owned)
}

/// A field that is there and not null.
pub(super) fn present<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|field| !field.is_null())
}

/// The items of a list; nothing when it is absent or null.
pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A count at a JSON pointer: 0 when it is absent or null, none when it is not a whole number.
pub(super) fn count(value: &Value, pointer: &str) -> Option<u64> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Some(0),
        Some(number) => number.as_u64(),
    }
}

/// Appends a field of text to an answer and returns what was added; a field of another kind is refused.
pub(super) fn append<'a>(answer: &mut String, holder: &'a Value, key: &str) -> Result<&'a str, CallError> {
    let added = match holder.get(key) {
        None | Some(Value::Null) => "",
        Some(Value::String(piece)) => piece,
        Some(_) => return Err(malformed(format!("`{key}` is not a text"))),
    };
    answer.push_str(added);
    Ok(added)
}
