//! Owns one record: messages in, the last of which is the target. Knows nothing about files, templates or tokens.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::Fault;
use crate::weight::{Weight, Weights};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }

    /// Reads the word in the file; newer clients write `developer` for `system`. A role that is not trained on is refused
    /// by name.
    pub fn parse(word: &str) -> Result<Role, Fault> {
        match word {
            "system" | "developer" => Ok(Role::System),
            "user" => Ok(Role::User),
            "assistant" => Ok(Role::Assistant),
            "tool" | "function" | "function_call" | "tool_call" | "observation" | "ipython" => Err(Fault::new(
                format!("role `{word}` belongs to tool calls, which are not trained on"),
                "leave out rows with tool calls, or write the tool's answer into a user turn",
            )),
            _ => Err(Fault::new(
                format!("unknown role `{word}`"),
                "roles are `system` (or `developer`), `user` and `assistant`",
            )),
        }
    }
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, byte for byte.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into() }
    }
}

/// One row: a conversation whose last assistant turn is the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique within a set.
    pub id: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Document or owner: what splits and clustered errors keep together.
    pub group: String,
    /// Whatever else is known about the row.
    pub meta: Map<String, Value>,
    /// What the row says about what of it is learnt.
    pub weights: Weights,
}

impl Record {
    /// A record that can be trained on and scored, or why it cannot.
    pub fn new(id: String, messages: Vec<Message>, group: String, meta: Map<String, Value>) -> Result<Record, Fault> {
        let record = Record { id, messages, group, meta, weights: Weights::default() };
        record.check()?;
        Ok(record)
    }

    /// The last assistant message. Empty only for a record that [`Record::check`] refuses.
    pub fn target(&self) -> &str {
        let last = self.messages.iter().rev().find(|message| message.role == Role::Assistant);
        last.map_or("", |message| &message.content)
    }

    /// What the record asks: every turn before the target.
    pub fn prompt(&self) -> &[Message] {
        let end = self.messages.iter().rposition(|message| message.role == Role::Assistant).unwrap_or(0);
        &self.messages[..end]
    }

    /// The text two records are compared by: the prompt without its system turns, which all rows share.
    pub fn prompt_text(&self) -> String {
        let turns = self.prompt().iter().filter(|message| message.role != Role::System);
        turns.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Whether the record can be trained on and scored.
    pub fn check(&self) -> Result<(), Fault> {
        if self.id.trim().is_empty() {
            return Err(Fault::new("`id` is empty", "give the row an id, or leave `id` out"));
        }
        if self.group.trim().is_empty() {
            return Err(Fault::new("`group` is empty", "name the document or owner, or leave `group` out"));
        }
        for (index, message) in self.messages.iter().enumerate() {
            if message.role == Role::Assistant && message.content.trim().is_empty() {
                return Err(Fault::new(
                    format!("message {} is an empty assistant turn", index + 1),
                    "an empty answer teaches the model to say nothing: fill it in or remove the row",
                ));
            }
        }
        let asked = |message: &Message| message.role == Role::User && !message.content.trim().is_empty();
        if !self.messages.iter().any(asked) {
            return Err(Fault::new("no user turn with text", "a row needs a question before its answer"));
        }
        match self.messages.last() {
            Some(last) if last.role == Role::Assistant => Ok(()),
            last => Err(Fault::new(
                format!("the last turn is of role `{}`", last.map_or("none", |message| message.role.as_str())),
                "the last turn is the target and must be an assistant turn",
            )),
        }
    }
}

/// As rows are read: a weight stands in what it is of, and only where it was stated.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let messages = self.messages.iter().enumerate().map(|(at, message)| Weighed {
            role: message.role,
            content: &message.content,
            weight: self.weights.messages.get(&at).copied(),
        });
        let mut row = serializer.serialize_struct("Record", 5)?;
        row.serialize_field("id", &self.id)?;
        row.serialize_field("messages", &messages.collect::<Vec<_>>())?;
        row.serialize_field("group", &self.group)?;
        row.serialize_field("meta", &self.meta)?;
        match self.weights.row {
            Some(weight) => row.serialize_field("weight", &weight)?,
            None => row.skip_field("weight")?,
        }
        row.end()
    }
}

/// A message with its weight.
#[derive(Serialize)]
struct Weighed<'a> {
    role: Role,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<Weight>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(turns: &[(Role, &str)]) -> Result<Record, Fault> {
        let messages = turns.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        Record::new("a".into(), messages, "g".into(), Map::new())
    }

    #[test]
    fn the_last_assistant_turn_is_the_target_and_the_rest_is_the_prompt() {
        let record = record(&[
            (Role::System, "be brief"),
            (Role::User, "one"),
            (Role::Assistant, "1"),
            (Role::User, "two"),
            (Role::Assistant, "2"),
        ]);
        let record = record.unwrap();
        assert_eq!(record.target(), "2");
        assert_eq!(record.prompt().len(), 4);
        assert_eq!(record.prompt_text(), "one\n1\ntwo");
    }

    #[test]
    fn rows_that_teach_nothing_are_refused() {
        let what = |turns: &[(Role, &str)]| record(turns).unwrap_err().what;
        assert_eq!(what(&[(Role::User, "q"), (Role::Assistant, " \n")]), "message 2 is an empty assistant turn");
        assert_eq!(what(&[(Role::User, "q")]), "the last turn is of role `user`");
        assert_eq!(what(&[(Role::Assistant, "a")]), "no user turn with text");
        assert_eq!(what(&[(Role::User, " "), (Role::Assistant, "a")]), "no user turn with text");
        assert_eq!(what(&[]), "no user turn with text");
    }

    #[test]
    fn tool_roles_are_refused_by_name_and_developer_is_system() {
        assert!(Role::parse("tool").unwrap_err().what.contains("tool calls"));
        assert_eq!(Role::parse("narrator").unwrap_err().what, "unknown role `narrator`");
        assert_eq!(Role::parse("developer"), Ok(Role::System));
    }
}
