//! Chat templates as transformers runs them: Jinja with its block whitespace rules, `tojson`, `strftime_now`,
//! `raise_exception`, loop controls, Python's string methods and the `generation` tag.
//! Knows messages and text; knows no token ids.

use std::fmt;

use minijinja::{Environment, ErrorKind, Value, context};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

mod clock;
mod generation_tag;
mod spans;
mod to_json;

pub use spans::{AssistantSpan, Rendered};

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
    /// All of them, also those without a role: in id order.
    pub all: Vec<String>,
}

/// A compiled chat template.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special: SpecialTokens,
    marks_generation: bool,
    variables: Vec<(String, serde_json::Value)>,
}

/// The name of the only template of an environment; no suffix, so that nothing is escaped.
const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// The time that `strftime_now` sees is taken here once, so that all rows of a run see the same.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self> {
        let (rewritten, marks_generation) = generation_tag::rewrite(source);
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json::to_json);
        environment.add_filter(generation_tag::FILTER, generation_tag::mark);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_template_owned(NAME, rewritten).map_err(|error| explain(&error))?;
        let template =
            Self { environment, source: source.to_string(), special, marks_generation, variables: Vec::new() };
        Ok(template.at_time(clock::unix_seconds()))
    }

    /// Sets the time that `strftime_now` sees, in seconds since 1970 and read as UTC.
    pub fn at_time(mut self, unix_seconds: i64) -> Self {
        self.environment.add_function("strftime_now", move |format: String| clock::strftime(&format, unix_seconds));
        self
    }

    /// Sets a variable that the template can read, such as `enable_thinking`.
    pub fn with_variable(mut self, name: &str, value: serde_json::Value) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_string(), value));
        self
    }

    /// Renders a conversation; with `add_generation_prompt` it ends where the assistant is to go on.
    pub fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        Ok(self.render_marked(messages, add_generation_prompt)?.0)
    }

    /// SHA-256 of the source.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.source).iter().map(|byte| format!("{byte:02x}")).collect()
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

    /// Renders, and takes out the marks around what the template calls generated.
    fn render_marked(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<(String, Vec<std::ops::Range<usize>>)> {
        if let Some(at) = messages.iter().position(|one| generation_tag::has_mark(&one.content)) {
            return Err(Error::template(format!(
                "message {at} holds a character that Unicode reserves for internal use"
            )));
        }
        let template = self.environment.get_template(NAME).map_err(|error| explain(&error))?;
        let own: std::collections::BTreeMap<&str, Value> =
            self.variables.iter().map(|(name, value)| (name.as_str(), Value::from_serialize(value))).collect();
        // An absent special token must be undefined, not none: templates ask which it is.
        let tokens: std::collections::BTreeMap<&str, &String> = [
            ("bos_token", &self.special.bos_token),
            ("eos_token", &self.special.eos_token),
            ("pad_token", &self.special.pad_token),
            ("unk_token", &self.special.unk_token),
        ]
        .into_iter()
        .filter_map(|(name, token)| Some((name, token.as_ref()?)))
        .collect();
        let context = context! {
            messages => Value::from_serialize(messages),
            add_generation_prompt,
            tools => (),
            documents => (),
            ..context! { ..Value::from_serialize(&own), ..Value::from_serialize(&tokens) }
        };
        let marked = template.render(context).map_err(|error| explain(&error))?;
        generation_tag::unmark(&marked)
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

/// The message of the innermost cause, with the line of the template.
fn explain(error: &minijinja::Error) -> Error {
    let mut innermost = error;
    while let Some(cause) =
        std::error::Error::source(innermost).and_then(|cause| cause.downcast_ref::<minijinja::Error>())
    {
        innermost = cause;
    }
    let mut what = match innermost.detail() {
        Some(detail) if innermost.kind() == ErrorKind::InvalidOperation => detail.to_string(),
        Some(detail) => format!("{}: {detail}", innermost.kind()),
        None => innermost.kind().to_string(),
    };
    if let Some(line) = innermost.line().or_else(|| error.line()) {
        what.push_str(&format!(" (line {line} of the template)"));
    }
    Error::template(what)
}

#[cfg(test)]
mod tests;
