//! Owns what the config puts around a row: a system message where there is none, and a template around the last
//! question. Knows no token and no chat template; training and evaluation ask the same words through it.

use anyhow::{Context, Result};
use datasets::{Message, Record, Role};
use minijinja::Value;
use model::chat_template::ChatMessage;
use template::{Dialect, Input, Template};

use crate::config::Config;

/// The words around every row.
#[derive(Debug, Clone, Default)]
pub struct Wording {
    system: Option<String>,
    prompt: Option<Template>,
}

impl Wording {
    /// The wording of a config.
    pub fn of(config: &Config) -> Result<Wording> {
        Wording::new(config.data.system.clone(), config.prompt.as_ref().map(|prompt| prompt.template.clone()))
    }

    /// A system message for rows that have none, and a template whose variable `text` is the last user message.
    pub fn new(system: Option<String>, prompt: Option<String>) -> Result<Wording> {
        let read =
            |template: String| Template::new(&template, Dialect::Prompt).context("data.prompt is not a template");
        let prompt = prompt.map(read);
        Ok(Wording { system, prompt: prompt.transpose()? })
    }

    /// The turns of a record as the model sees them, target included.
    pub fn messages(&self, record: &Record) -> Result<Vec<Message>> {
        let mut messages = record.messages.clone();
        if let Some(template) = &self.prompt {
            let asked = record.prompt().iter().rposition(|message| message.role == Role::User);
            let last = asked.and_then(|at| messages.get_mut(at)).context("no user turn before the answer")?;
            let input = Input { items: 1, bytes: last.content.len() as u64 };
            let text = || Ok(vec![(Value::from("text"), Value::from(last.content.as_str()))]);
            last.content = template.render(input, text).context("data.prompt fails")?;
        }
        let has_system = messages.iter().any(|message| message.role == Role::System);
        if let Some(system) = self.system.as_ref().filter(|_| !has_system) {
            messages.insert(0, Message::new(Role::System, system.clone()));
        }
        Ok(messages)
    }
}

/// The turns as a chat template takes them.
#[must_use]
pub fn for_template(messages: &[Message]) -> Vec<ChatMessage> {
    let turn =
        |message: &Message| ChatMessage { role: message.role.as_str().to_owned(), content: message.content.clone() };
    messages.iter().map(turn).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(turns: &[(Role, &str)]) -> Record {
        let messages = turns.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        Record::new("a".into(), messages, "g".into(), serde_json::Map::new()).unwrap()
    }

    #[test]
    fn the_system_message_comes_only_where_there_is_none() {
        let wording = Wording::new(Some("Be brief.".into()), None).unwrap();
        let without = wording.messages(&record(&[(Role::User, "q"), (Role::Assistant, "a")])).unwrap();
        assert_eq!(without[0], Message::new(Role::System, "Be brief."));
        let own =
            wording.messages(&record(&[(Role::System, "own"), (Role::User, "q"), (Role::Assistant, "a")])).unwrap();
        assert_eq!((own.len(), own[0].content.as_str()), (3, "own"));
    }

    #[test]
    fn the_prompt_goes_around_the_last_question_and_nothing_is_escaped() {
        let wording = Wording::new(None, Some("Which? <{{ text }}>\n".into())).unwrap();
        let row =
            record(&[(Role::User, "one"), (Role::Assistant, "1"), (Role::User, "a & {{ b }}"), (Role::Assistant, "2")]);
        let texts: Vec<String> = wording.messages(&row).unwrap().into_iter().map(|message| message.content).collect();
        assert_eq!(texts, ["one", "1", "Which? <a & {{ b }}>", "2"]);
    }
}
