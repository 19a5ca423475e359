//! Chat templates as transformers runs them: Jinja with its block whitespace rules, `tojson`, `strftime_now`,
//! `raise_exception`, loop controls, Python's string methods and the `generation` tag.
//! Knows messages and text; knows no token ids.

use std::fmt;

use minijinja::{ErrorKind, Value};
use sha2::{Digest, Sha256};
use template::{Dialect, Input, Refused, Template, list, map, to_json, written};

use crate::error::{Error, Result};

mod clock;
mod frame;
mod generation_tag;
mod own_block;
mod spans;

pub use frame::Frame;
pub use spans::{AssistantSpan, Rendered, holds};

/// What every template is given, and functions that it may ask for by their name alone.
const GIVEN: [&str; 8] = [
    "messages",
    "add_generation_prompt",
    "tools",
    "documents",
    "strftime_now",
    "raise_exception",
    "namespace",
    "range",
];

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

/// The texts of the special tokens of a tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Start of sequence.
    pub bos_token: Option<String>,
    /// End of sequence, or of a turn.
    pub eos_token: Option<String>,
    /// Padding.
    pub pad_token: Option<String>,
    /// Unknown characters.
    pub unk_token: Option<String>,
    /// Those with another name, such as `sep_token` or a model's own `image_token`: name and text.
    pub others: Vec<(String, String)>,
    /// All of them, also those without a role: in id order.
    pub all: Vec<String>,
}

/// A compiled chat template.
#[derive(Clone)]
pub struct ChatTemplate {
    template: Template,
    source: String,
    special: SpecialTokens,
    marks_generation: bool,
    closes_block: bool,
    variables: Vec<(String, serde_json::Value)>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// The time that `strftime_now` sees is taken here once, so that all rows of a run see the same.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self> {
        let (rewritten, marks_generation) = generation_tag::rewrite(source);
        let template = Template::new(&rewritten, Dialect::Chat)
            .map_err(|refused| explain(&refused))?
            .with_filter("tojson", to_json)
            .with_function("raise_exception", |message: &Value| -> std::result::Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, written(message)?))
            });
        let (source, variables) = (source.to_string(), Vec::new());
        let template = Self { template, source, special, marks_generation, closes_block: false, variables };
        Ok(template.at_time(clock::unix_seconds()))
    }

    /// Sets the time that `strftime_now` sees, in seconds since 1970 and read as UTC.
    pub fn at_time(mut self, unix_seconds: i64) -> Self {
        let format = move |format: &str| clock::strftime(format, unix_seconds);
        self.template = self.template.with_function("strftime_now", format);
        self
    }

    /// Sets a variable that the template can read, such as `enable_thinking`.
    pub fn with_variable(mut self, name: &str, value: serde_json::Value) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_string(), value));
        self
    }

    /// The variables that the template reads and that a caller may set, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let is_free = |name: &&str| !name.ends_with("_token") && !GIVEN.contains(name);
        let special = |name: &&str| self.special.others.iter().any(|(known, _)| known == name);
        self.template.reads().iter().map(String::as_str).filter(move |name| is_free(name) && !special(name))
    }

    /// Where the generation prompt opens a think block, answers that have no reasoning close it at once.
    pub fn with_closed_block(mut self, closes: bool) -> Self {
        self.closes_block = closes;
        self
    }

    /// Renders a conversation; with `add_generation_prompt` it ends where the assistant is to go on.
    pub fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        Ok(self.render_marked(messages, add_generation_prompt)?.0)
    }

    /// SHA-256 of the source with its variables; where blocks are closed, of that too.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new_with_prefix(self.source_with_variables());
        if self.closes_block {
            digest.update("\0closed");
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The source for whoever is not told this one's variables: it sets those that are not given.
    pub fn source_with_variables(&self) -> String {
        // The engine takes one line break behind a block, so the source begins as before.
        let set = |(name, value): &(String, serde_json::Value)| {
            format!("{{% if {name} is not defined %}}{{% set {name} = {value} %}}{{% endif %}}\n")
        };
        let sets: String = self.variables.iter().map(set).collect();
        // What was written so once is not written so twice.
        if self.source.starts_with(&sets) { self.source.clone() } else { sets + &self.source }
    }

    /// The source as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of the start token, which a template may write itself.
    pub fn bos_token(&self) -> Option<&str> {
        self.special.bos_token.as_deref()
    }

    /// Whether the rendering depends on the day, which makes training and serving differ.
    pub fn uses_clock(&self) -> bool {
        self.source.contains("strftime_now")
    }

    /// Whether the template says itself what is generated, so that one rendering tells every answer.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// Renders, and says where what the template calls generated stands.
    fn render_marked(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<(String, Vec<std::ops::Range<usize>>)> {
        let messages = &*self.once(messages);
        let variables = self.variables.iter().map(|(_, value)| value.to_string().len());
        let texts = messages.iter().map(|one| one.role.len() + one.content.len());
        let input =
            Input { items: messages.len() as u64, bytes: texts.chain(variables).map(|bytes| bytes as u64).sum() };
        let rendered = self.template.render_marked(input, || self.names(messages, add_generation_prompt));
        rendered.map_err(|refused| explain(&refused))
    }

    /// Everything that the template can read.
    fn names(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> std::result::Result<Vec<(Value, Value)>, minijinja::Error> {
        let entry = |name: &str, text: &str| (Value::from(name), Value::from(text));
        let turn = |one: &ChatMessage| map(vec![entry("role", &one.role), entry("content", &one.content)]);
        // An absent special token must be undefined, not none: templates ask which it is.
        let tokens = [
            ("bos_token", &self.special.bos_token),
            ("eos_token", &self.special.eos_token),
            ("pad_token", &self.special.pad_token),
            ("unk_token", &self.special.unk_token),
        ];
        let others = self.special.others.iter().map(|(name, token)| entry(name, token));
        let tokens = tokens.into_iter().filter_map(|(name, token)| Some(entry(name, token.as_ref()?))).chain(others);
        let own = self.variables.iter().map(|(name, value)| (Value::from(name.as_str()), Value::from_serialize(value)));
        // Of equal names the last one counts.
        let mut names: Vec<(Value, Value)> = tokens.chain(own).collect();
        names.extend([
            (Value::from("messages"), list(messages.iter().map(turn).collect::<std::result::Result<_, _>>()?)?),
            (Value::from("add_generation_prompt"), Value::from(add_generation_prompt)),
            (Value::from("tools"), Value::from(())),
            (Value::from("documents"), Value::from(())),
        ]);
        Ok(names)
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}

fn explain(refused: &Refused) -> Error {
    Error::template(refused.to_string())
}

#[cfg(test)]
mod forms;
#[cfg(test)]
mod tests;
