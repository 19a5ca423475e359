//! Owns what the config puts around a row: a system message where there is none, and a template around the last
//! question. Knows no token and no chat template; training and evaluation ask the same words through it.

use anyhow::{Context, Result};
use datasets::{Message, Record, Role};
use minijinja::Value;
use model::chat_template::ChatMessage;
use template::{Dialect, Input, Template};

use crate::config::Config;

/// What a prompt template does to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Around {
    /// There is none.
    Nothing,
    /// It writes the same before and after every message.
    Words {
        /// What stands before the message.
        before: String,
        /// What stands after it.
        after: String,
    },
    /// Something that no fixed words say.
    Else,
}

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

    /// The system message for rows that have none.
    #[must_use]
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// What the template does to a message, found out on messages that differ in everything a template may look at.
    #[must_use]
    pub fn around(&self) -> Around {
        const MARK: &str = "\u{1}mark\u{1}";
        let Some(template) = &self.prompt else { return Around::Nothing };
        let Ok(marked) = rendered(template, MARK) else { return Around::Else };
        let Some((before, after)) = marked.split_once(MARK) else { return Around::Else };
        let long = "a long message. ".repeat(1000);
        let others = ["", " two  words\n", "\n\n", "Ünï <b> & 'q' \"r\" {{ text }}", "A,B;C", "7", long.as_str()];
        let fixed = |text: &&str| rendered(template, text).is_ok_and(|found| found == format!("{before}{text}{after}"));
        match others.iter().all(fixed) {
            true => Around::Words { before: before.to_owned(), after: after.to_owned() },
            false => Around::Else,
        }
    }

    /// The turns of a record as the model sees them, target included.
    pub fn messages(&self, record: &Record) -> Result<Vec<Message>> {
        let asked = record.prompt();
        let mut messages = self.prompt(asked)?;
        messages.extend(record.messages[asked.len()..].iter().cloned());
        Ok(messages)
    }

    /// The turns of a question as the model sees them.
    pub fn prompt(&self, asked: &[Message]) -> Result<Vec<Message>> {
        let mut messages = asked.to_vec();
        if let Some(template) = &self.prompt {
            let last = messages.iter_mut().rfind(|message| message.role == Role::User);
            let last = last.context("no user turn before the answer")?;
            last.content = rendered(template, &last.content)?;
        }
        let has_system = messages.iter().any(|message| message.role == Role::System);
        if let Some(system) = self.system.as_ref().filter(|_| !has_system) {
            messages.insert(0, Message::new(Role::System, system.clone()));
        }
        Ok(messages)
    }
}

fn rendered(template: &Template, text: &str) -> Result<String> {
    let input = Input { items: 1, bytes: text.len() as u64 };
    template.render(input, || Ok(vec![(Value::from("text"), Value::from(text))])).context("data.prompt fails")
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
    fn what_a_template_writes_around_every_message_is_told_from_what_depends_on_it() {
        let around = |template: &str| Wording::new(None, Some(template.into())).unwrap().around();
        let words = |before: &str, after: &str| Around::Words { before: before.into(), after: after.into() };
        assert_eq!(Wording::default().around(), Around::Nothing);
        assert_eq!(around("Which? <{{ text }}>\nOne word."), words("Which? <", ">\nOne word."));
        assert_eq!(around("{{ text }}"), words("", ""));
        for depends in [
            "{{ text | upper }}",
            "{{ text | trim }}!",
            "{{ text }} {{ text }}",
            "{% if text | length > 9000 %}long: {% endif %}{{ text }}",
            "{% if text == '7' %}seven{% else %}{{ text }}{% endif %}",
        ] {
            assert_eq!(around(depends), Around::Else, "{depends}");
        }
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
