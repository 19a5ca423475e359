//! What the request bodies of all dialects share: where the system message stands, and how the user's own fields win.
//! Knows nothing about the fields of any one provider.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{Request, SystemAs};
use crate::{Message, Role};

/// Our fields with the user's laid over them: his leaves win, objects are merged, so that `output_config.effort` does not drop our schema.
pub(super) fn with_extra(mut ours: Value, extra: &Map<String, Value>) -> Value {
    if let Value::Object(fields) = &mut ours {
        lay_over(fields, extra);
    }
    ours
}

/// A conversation as it stands in a request.
#[derive(Debug, PartialEq)]
pub(super) struct Talk<'a> {
    /// What goes into the dialect's own field for it.
    pub(super) system: Option<String>,
    pub(super) turns: Vec<Turn<'a>>,
}

/// One message under the role that it has in the request.
#[derive(Debug, PartialEq)]
pub(super) struct Turn<'a> {
    pub(super) role: &'static str,
    pub(super) content: Cow<'a, str>,
}

impl<'a> Talk<'a> {
    /// The conversation with its system messages in this place. None of them is lost, wherever it stood.
    pub(super) fn new(messages: &'a [Message], place: SystemAs) -> Self {
        let role = |message: &Message| match (message.role, place) {
            (Role::System, SystemAs::Developer) => "developer",
            (role, _) => role.as_str(),
        };
        let turn = |message: &'a Message| Turn { role: role(message), content: message.content.as_str().into() };
        if matches!(place, SystemAs::System | SystemAs::Developer) {
            return Self { system: None, turns: messages.iter().map(turn).collect() };
        }
        let (system, others): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.role == Role::System);
        let system: Vec<_> = system.iter().map(|message| message.content.as_str()).collect();
        let system = (!system.is_empty()).then(|| system.join("\n\n"));
        let mut turns: Vec<_> = others.into_iter().map(turn).collect();
        if place == SystemAs::Field {
            return Self { system, turns };
        }
        let Some(system) = system else { return Self { system, turns } };
        let user = Role::User.as_str();
        if let Some(first) = turns.first_mut().filter(|first| first.role == user) {
            first.content = format!("{system}\n\n{}", first.content).into();
        } else {
            turns.insert(0, Turn { role: user, content: system.into() });
        }
        Self { system: None, turns }
    }

    /// The turns as `{role, content}`.
    pub(super) fn plain_turns(&self) -> Value {
        self.turns.iter().map(|turn| json!({"role": turn.role, "content": turn.content})).collect::<Vec<_>>().into()
    }
}

/// A path with the version in its query, as Azure takes it, if one is asked for.
pub(super) fn versioned(path: &str, request: &Request) -> String {
    match &request.form.api_version {
        Some(version) => format!("{path}?api-version={version}"),
        None => path.to_owned(),
    }
}

/// Sets a field when there is a value for it.
pub(super) fn set(body: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[key] = value.into();
    }
}

/// The fields of Chat Completions, with the name this host has for the token limit.
pub(super) fn chat(request: &Request, place: SystemAs, max_tokens_key: &str) -> Value {
    let talk = Talk::new(&request.messages, place);
    let mut body = json!({"model": request.model, "messages": talk.plain_turns()});
    body[max_tokens_key] = request.max_tokens.into();
    set(&mut body, "temperature", request.temperature);
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
    fn a_system_message_stands_where_it_is_asked_for_and_none_is_lost() {
        let messages =
            [Message::new(Role::System, "one"), Message::new(Role::User, "q"), Message::new(Role::System, "two")];
        let said = |messages, place| {
            let talk = Talk::new(messages, place);
            let turns: Vec<String> = talk.turns.iter().map(|turn| format!("{}: {}", turn.role, turn.content)).collect();
            (talk.system, turns.join(" | "))
        };
        let field = (Some("one\n\ntwo".to_owned()), "user: q".to_owned());
        assert_eq!(said(&messages, SystemAs::Field), field);
        assert_eq!(said(&messages, SystemAs::System), (None, "system: one | user: q | system: two".to_owned()));
        assert_eq!(
            said(&messages, SystemAs::Developer),
            (None, "developer: one | user: q | developer: two".to_owned())
        );
        assert_eq!(said(&messages, SystemAs::User), (None, "user: one\n\ntwo\n\nq".to_owned()));
        // Where the user does not begin, the text is a turn of its own.
        let answered =
            [Message::new(Role::System, "one"), Message::new(Role::Assistant, "a"), Message::new(Role::User, "q")];
        assert_eq!(said(&answered, SystemAs::User), (None, "user: one | assistant: a | user: q".to_owned()));
        for place in [SystemAs::Field, SystemAs::System, SystemAs::Developer, SystemAs::User] {
            assert_eq!(said(&messages[1..2], place), (None, "user: q".to_owned()), "{place:?}");
        }
    }
}
