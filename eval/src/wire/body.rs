//! What the request bodies of all dialects share: where the system message goes, and how the user's own fields win.
//! Knows nothing about the fields of any one provider.

use serde_json::{Map, Value, json};

use super::Request;
use crate::{Message, Role};

/// Our fields with the user's laid over them: his leaves win, objects are merged, so that `output_config.effort` does not drop our schema.
pub(super) fn with_extra(mut ours: Value, extra: &Map<String, Value>) -> Value {
    if let Value::Object(fields) = &mut ours {
        lay_over(fields, extra);
    }
    ours
}

/// The system messages as one text, and the other messages.
pub(super) fn split_system(messages: &[Message]) -> (Option<String>, Vec<&Message>) {
    let (system, others): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.role == Role::System);
    let system: Vec<_> = system.iter().map(|message| message.content.as_str()).collect();
    ((!system.is_empty()).then(|| system.join("\n\n")), others)
}

/// Messages as `{role, content}`.
pub(super) fn turns<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Value {
    messages
        .into_iter()
        .map(|message| json!({"role": message.role.as_str(), "content": message.content}))
        .collect::<Vec<_>>()
        .into()
}

/// Sets a field when there is a value for it.
pub(super) fn set(body: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[key] = value.into();
    }
}

/// The fields of Chat Completions, with the name this host has for the token limit.
pub(super) fn chat(request: &Request, max_tokens_key: &str) -> Value {
    let mut body = json!({"model": request.model, "messages": turns(&request.messages)});
    body[max_tokens_key] = request.max_tokens.into();
    set(&mut body, "temperature", request.temperature);
    set(&mut body, "seed", request.seed);
    if let Some(schema) = &request.schema {
        body["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
    }
    if request.stream {
        body["stream"] = true.into();
        // Without it a stream tells no usage, and its cost would be a guess.
        body["stream_options"] = json!({"include_usage": true});
    }
    with_extra(body, &request.extra)
}

fn lay_over(ours: &mut Map<String, Value>, extra: &Map<String, Value>) {
    for (key, value) in extra {
        match (ours.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(theirs)) => lay_over(inner, theirs),
            _ => {
                ours.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_users_fields_win_and_objects_are_merged() {
        let ours = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": {"f": 1}});
        let extra = json!({"a": 9, "b": {"d": 8, "g": 7}, "e": 5, "h": null});
        let merged = with_extra(ours, extra.as_object().unwrap());
        assert_eq!(merged, json!({"a": 9, "b": {"c": 2, "d": 8, "g": 7}, "e": 5, "h": null}));
    }

    #[test]
    fn no_system_message_is_lost() {
        let messages =
            [Message::new(Role::System, "one"), Message::new(Role::User, "q"), Message::new(Role::System, "two")];
        let (system, others) = split_system(&messages);
        assert_eq!(system.as_deref(), Some("one\n\ntwo"));
        assert_eq!(others, [&messages[1]]);
        assert_eq!(split_system(&messages[1..2]).0, None);
    }
}
