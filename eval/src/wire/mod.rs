//! The list of dialects: how each family of hosted models is asked, and how its answers, streams and errors are read.
//! Knows nothing about sockets, retries, money or scores: bytes in, values out. All conversion of usage happens here and nowhere else.

mod body;
mod fault;
mod field;
pub(crate) mod refused;
mod spelling;

pub mod anthropic;
pub mod form;
pub mod gemini;
pub mod key;
pub mod money;
pub mod openai_chat;
pub mod openai_compatible;
pub mod openai_responses;
pub mod prices;
pub mod retry;
pub mod sse;
pub mod usage;
pub mod wait;

#[cfg(test)]
mod recorded_streams;

pub use anthropic::Anthropic;
pub use form::{Form, KeyHeader, SystemAs};
pub use gemini::Gemini;
pub use key::Key;
pub use money::Usd;
pub use openai_chat::OpenAiChat;
pub use openai_compatible::OpenAiCompatible;
pub use openai_responses::OpenAiResponses;
pub use prices::PriceTable;
pub use usage::Usage;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Finish, Message};

/// Every dialect, by the name that a config writes.
pub const ALL: [&dyn Dialect; 5] = [&Anthropic, &OpenAiChat, &OpenAiResponses, &Gemini, &OpenAiCompatible];

/// The dialect of this name.
///
/// # Errors
/// When there is none.
pub fn by_name(name: &str) -> Result<&'static dyn Dialect, Error> {
    ALL.into_iter().find(|dialect| dialect.name() == name).ok_or_else(|| Error::UnknownDialect {
        name: name.to_owned(),
        known: ALL.iter().map(|dialect| dialect.name()).collect(),
    })
}

/// What is asked, before a dialect writes it down.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The model, by the provider's exact name.
    pub model: String,
    /// The conversation; a system message comes first if there is one.
    pub messages: Vec<Message>,
    /// The most tokens of the answer.
    pub max_tokens: usize,
    /// None leaves it out: some models refuse sampling fields. No other one is ever sent but from `extra`.
    pub temperature: Option<f64>,
    /// A JSON Schema the provider shall enforce.
    pub schema: Option<Value>,
    /// Whether the answer comes as a stream.
    pub stream: bool,
    /// Further fields of the body as the user wrote them, such as `thinking` or `service_tier`; they win over ours.
    pub extra: Map<String, Value>,
    /// How the dialect is spoken.
    pub form: Form,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The text, without thoughts.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What the provider says it used; none when it did not say.
    pub usage: Option<Usage>,
    /// The model that answered, by its own word.
    pub model: Option<String>,
    /// The provider's name for this answer.
    pub id: Option<String>,
}

/// Response headers, names in lower case.
pub type Headers = Vec<(String, String)>;

/// What went wrong with one call, in the terms of the retry rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The provider answered with an error.
    #[error("{status} {kind}: {message}")]
    Api {
        /// The HTTP status; 200 when the error came inside a stream.
        status: u16,
        /// The provider's word for it, such as `overloaded_error`; empty when it gave none.
        kind: String,
        /// Its message, without prompt text.
        message: String,
        /// The field of the request that it is about, as the provider spells it, where it names one apart.
        field: Option<String>,
        /// How long it asks to wait, in seconds.
        wait_secs: Option<f64>,
        /// What `x-should-retry` said.
        should_retry: Option<bool>,
        /// Whether waiting cannot help, as with a quota per day or an empty account.
        last: bool,
    },
    /// The provider refuses a field of the request, which it would refuse on every row.
    #[error("{status} {kind}: {message} (it refuses `{parameter}`: {remedy})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The provider's word for it; empty when it gave none.
        kind: String,
        /// Its message, without prompt text.
        message: String,
        /// The field, by the name it has in the request.
        parameter: String,
        /// Which key of the arm puts it there, and what to type.
        remedy: String,
    },
    /// The answer is not what the dialect allows.
    #[error("malformed answer: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// The stream ended before the answer did.
    #[error("the stream was cut after {characters} characters")]
    Cut {
        /// Characters of the answer that had come.
        characters: usize,
    },
    /// No connection, or it broke before the first byte of the answer.
    #[error("connection failed: {what}")]
    Connection {
        /// What the transport said.
        what: String,
    },
    /// The time allowed is over.
    #[error("no whole answer within {seconds} s")]
    Timeout {
        /// The time allowed.
        seconds: f64,
    },
}

/// Reads a stream event by event.
pub trait StreamReader {
    /// Takes the next server-sent event (its name if it has one, its data); returns the text that it adds to the answer.
    ///
    /// # Errors
    /// When the event is malformed or carries the provider's error.
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<String, CallError>;
    /// The whole answer once the stream has ended.
    ///
    /// # Errors
    /// `CallError::Cut` when the stream ended too early.
    fn finish(self: Box<Self>) -> Result<Answer, CallError>;
}

/// One family of hosted models.
pub trait Dialect: Sync {
    /// The name in configs and price tables.
    fn name(&self) -> &'static str;
    /// The environment variable the key is read from unless the config names another.
    fn key_variable(&self) -> &'static str;
    /// Where the API is unless the config says otherwise; none when only the user can know.
    fn default_url(&self) -> Option<&'static str>;
    /// The version that is asked for unless the config says otherwise; none when requests name none.
    fn api_version(&self) -> Option<&'static str> {
        None
    }
    /// Where a system message can stand; first where it stands unless the config says otherwise.
    fn systems(&self, form: &Form) -> &'static [SystemAs];
    /// The path of a request, to be put behind the base address.
    fn path(&self, request: &Request) -> String;
    /// The headers of a request; a key stands in exactly one of them and nowhere else.
    fn headers(&self, form: &Form, key: Option<&str>) -> Headers;
    /// The body of a request.
    fn body(&self, request: &Request) -> Value;
    /// Reads a plain answer.
    ///
    /// # Errors
    /// When it is malformed.
    fn read(&self, body: &[u8]) -> Result<Answer, CallError>;
    /// Reads a stream.
    fn stream(&self) -> Box<dyn StreamReader>;
    /// Reads an answer whose status is not 2xx.
    fn error(&self, status: u16, headers: &Headers, body: &[u8]) -> CallError;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_found_by_its_own_name_and_others_are_refused() {
        for dialect in ALL {
            assert_eq!(by_name(dialect.name()).unwrap().name(), dialect.name());
        }
        let error = by_name("azure").err().unwrap().to_string();
        assert!(error.contains("openai-compatible") && error.contains("hint:"), "{error}");
    }

    fn request() -> Request {
        Request {
            model: "m".to_owned(),
            messages: vec![Message::new(crate::Role::User, "q")],
            max_tokens: 5,
            temperature: None,
            schema: None,
            stream: true,
            extra: Map::new(),
            form: Form::default(),
        }
    }

    #[test]
    fn a_key_stands_in_exactly_one_header_and_nowhere_else() {
        let headers = [KeyHeader::Authorization, KeyHeader::XApiKey, KeyHeader::ApiKey, KeyHeader::XGoogApiKey];
        for dialect in ALL {
            for key_header in headers.map(Some).into_iter().chain([None]) {
                let form = Form { key_header, ..Form::default() };
                let sent = dialect.headers(&form, Some("k3y"));
                assert_eq!(sent.iter().filter(|(_, value)| value.contains("k3y")).count(), 1, "{}", dialect.name());
                let request = Request { form, ..request() };
                assert!(!dialect.path(&request).contains("k3y"), "{}", dialect.name());
                let without = dialect.headers(&request.form, None);
                assert!(without.iter().all(|(name, _)| name == "content-type" || name == "anthropic-version"));
            }
        }
    }

    #[test]
    fn a_request_has_no_field_that_was_not_asked_for() {
        for (dialect, wanted) in ALL.into_iter().zip([
            "max_tokens messages model",
            "max_completion_tokens messages model",
            // Without `store` the provider keeps prompt and answer.
            "input max_output_tokens model store",
            "contents generationConfig",
            "max_tokens messages model",
        ]) {
            let body = dialect.body(&Request { stream: false, ..request() });
            let mut fields: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
            fields.sort_unstable();
            assert_eq!(fields.join(" "), wanted, "{}", dialect.name());
            if let Some(config) = body.get("generationConfig") {
                assert_eq!(*config, serde_json::json!({"maxOutputTokens": 5}));
            }
        }
    }
}
