//! How an error of a provider becomes a `CallError`: what its message may show, whether it is about the context length, how long it asks to wait.
//! Knows nothing about where a provider writes its error; each dialect finds type and message itself.

use serde_json::Value;

use super::{CallError, Headers, wait};

/// The kind of every "prompt too long", whatever the provider calls it.
pub(super) const CONTEXT_LENGTH: &str = "context_length_exceeded";

/// The longest message that is kept, in characters.
const SHOWN: usize = 300;
/// Where validation errors of some servers begin to quote the request, and so the prompt.
const QUOTES: [&str; 5] = ["input_value=", "'input':", "\"input\":", "'messages':", "\"messages\":"];
/// How keys of the providers begin; a refused key must not get into a log by way of the refusal.
const KEY_STARTS: [&str; 2] = ["sk-", "AIza"];
/// What providers and servers say when a prompt is too long.
const TOO_LONG: [&str; 7] = [
    "maximum context length",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "exceed the configured limit",
    "available context size",
    "context window",
    "exceed context limit",
];

/// An error as the provider wrote it.
#[derive(Debug, Default)]
pub(super) struct Fault<'a> {
    /// Its word for it.
    pub(super) kind: &'a str,
    /// Its message.
    pub(super) message: &'a str,
    /// The field of the request that it is about, where the provider names it apart.
    pub(super) field: Option<&'a str>,
    /// A wait that stands in the body as a field.
    pub(super) wait_secs: Option<f64>,
    /// Whether waiting cannot help.
    pub(super) last: bool,
}

impl Fault<'_> {
    /// The error of a call.
    pub(super) fn into_error(self, status: u16, headers: &Headers) -> CallError {
        let too_long = matches!(status, 200 | 400 | 413 | 422) && is_context_length(self.kind, self.message);
        let wait_secs = wait::asked(headers, wait::served_at(headers))
            .or(self.wait_secs)
            .or_else(|| wait::in_message(self.message))
            .or_else(|| if status == 429 { wait::until_reset(headers) } else { None });
        CallError::Api {
            status,
            kind: if too_long { CONTEXT_LENGTH.to_owned() } else { self.kind.to_owned() },
            message: shown(self.message),
            field: self.field.map(shown).filter(|field| !field.is_empty()),
            wait_secs,
            should_retry: wait::header(headers, "x-should-retry").and_then(|value| value.parse().ok()),
            last: self.last,
        }
    }
}

/// The error for a body that is not the JSON of the dialect, such as the page of a proxy.
pub(super) fn opaque(status: u16, headers: &Headers, body: &[u8]) -> CallError {
    let text = String::from_utf8_lossy(body);
    let message = if text.trim().is_empty() { "no message" } else { text.as_ref() };
    Fault { message, ..Fault::default() }.into_error(status, headers)
}

/// The object that holds the error: the field `error`, of the body or of the only item of a list.
pub(super) fn object(body: &Value) -> Option<&Value> {
    let body = body.as_array().and_then(|items| items.first()).unwrap_or(body);
    body.get("error").filter(|error| error.is_object())
}

fn is_context_length(kind: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    matches!(kind, CONTEXT_LENGTH | "exceed_context_size_error") || TOO_LONG.iter().any(|said| message.contains(said))
}

/// A message on one line, without what may quote the prompt or a key.
fn shown(message: &str) -> String {
    let quote = QUOTES.iter().filter_map(|quote| message.find(quote)).min();
    let words = message[..quote.unwrap_or(message.len())].split_whitespace().map(|word| {
        let bare = word.trim_start_matches(|letter: char| !letter.is_alphanumeric());
        let secret = KEY_STARTS.iter().any(|start| bare.starts_with(start) && bare.len() > start.len());
        if secret { "[key]" } else { word }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(SHOWN).collect();
    if quote.is_some() || cut.len() < line.len() { format!("{cut} […]") } else { cut }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_neither_prompt_nor_key() {
        assert_eq!(shown("1 validation error\n  input_value={'messages': 'my secret'}"), "1 validation error […]");
        assert_eq!(shown("Incorrect key: 'sk-proj-abc'. Try"), "Incorrect key: [key] Try");
        let long = shown(&"é ".repeat(400));
        assert_eq!(long.chars().count(), SHOWN + 4);
    }

    #[test]
    fn a_page_of_a_proxy_is_an_error_without_a_kind() {
        let CallError::Api { status, kind, message, .. } =
            opaque(502, &Vec::new(), b"<html>\n bad \xff gateway</html>")
        else {
            panic!("not an api error")
        };
        assert_eq!((status, kind.as_str(), message.as_str()), (502, "", "<html> bad \u{fffd} gateway</html>"));
        let CallError::Api { message, .. } = opaque(500, &Vec::new(), b" ") else { panic!("not an api error") };
        assert_eq!(message, "no message");
    }

    #[test]
    fn every_way_to_say_too_long_has_one_kind() {
        let said = [
            ("BadRequestError", "This model's maximum context length is 4096 tokens."),
            ("invalid_request_error", "prompt is too long: 210012 tokens > 200000 maximum"),
            ("exceed_context_size_error", "the request exceeds the available context size, try increasing it"),
            (
                "INVALID_ARGUMENT",
                "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
            ),
        ];
        for (kind, message) in said {
            let error = Fault { kind, message, ..Fault::default() }.into_error(400, &Vec::new());
            assert!(matches!(error, CallError::Api { kind, .. } if kind == CONTEXT_LENGTH), "{message}");
        }
        let other = Fault { kind: "overloaded_error", message: "context window", ..Fault::default() };
        assert!(
            matches!(other.into_error(529, &Vec::new()), CallError::Api { kind, .. } if kind == "overloaded_error")
        );
    }
}
