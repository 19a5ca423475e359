//! One attempt at one call: what goes over the wire, and how what comes back is read, streamed or whole.
//! Knows nothing about retries, money or the journal.

use serde_json::{Map, Value};

use super::cache_key::CacheKey;
use super::stage::Stage;
use super::tariff::{self, Bound};
use super::transport::{Failure, Post, Response, Transport};
use crate::Finish;
use crate::clock::Clock;
use crate::wire::sse::EventReader;
use crate::wire::{Answer, CallError, Dialect, Headers, Key, Request, refused};

/// The most bytes of one event of a stream.
const MAX_EVENT_BYTES: usize = 8 << 20;
/// The most bytes of text that one token stands for: the longest in the vocabularies in use are runs of 128 spaces.
const BYTES_PER_TOKEN: u64 = 128;
/// What an answer may have beside its tokens.
const BYTES_PER_ANSWER: u64 = 1 << 10;
/// The most bytes that one token takes on the way: an event of its own, with its likeliest neighbours.
const WIRE_BYTES_PER_TOKEN: u64 = 4 << 10;
/// What an answer takes on the way beside its tokens and the request, which some providers repeat escaped and more than once.
const WIRE_BYTES_PER_ANSWER: u64 = 1 << 20;
const WIRE_BYTES_PER_BYTE_ASKED: u64 = 8;
/// The longest name of a model, an answer or an error that is kept, in characters.
const LONGEST_NAME: usize = 200;
/// The longest reason of a refusal or failure that is kept, in characters.
const LONGEST_REASON: usize = 400;

/// A request as it goes over the wire; only `headers` holds the key.
pub(super) struct WireRequest {
    pub(super) url: String,
    pub(super) cache_key: CacheKey,
    pub(super) bound: Bound,
    headers: Headers,
    body: Vec<u8>,
    /// The fields of the body that the user wrote.
    extra: Map<String, Value>,
    is_stream: bool,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attempted {
    pub(super) result: Result<Answer, CallError>,
    /// How far the request got.
    pub(super) stage: Stage,
    pub(super) latency_secs: f64,
    pub(super) time_to_first_token_secs: Option<f64>,
    pub(super) request_id: Option<String>,
}

impl WireRequest {
    pub(super) fn new(
        dialect: &dyn Dialect,
        url: String,
        key: Option<&Key>,
        request: &Request,
        repeat: u32,
    ) -> Result<Self, serde_json::Error> {
        let value = dialect.body(request);
        let body = serde_json::to_vec(&value)?;
        Ok(Self {
            cache_key: CacheKey::new(dialect.name(), &url, &dialect.headers(&request.form, None), &body, repeat),
            bound: tariff::bound(request, &value, body.len()),
            url,
            headers: dialect.headers(&request.form, key.map(Key::reveal)),
            body,
            extra: request.extra.clone(),
            is_stream: request.stream,
        })
    }
}

/// Sends a request and reads its answer; no message that comes out of here holds `key`.
pub(super) fn attempt(
    transport: &Transport,
    clock: &dyn Clock,
    dialect: &dyn Dialect,
    key: Option<&Key>,
    wire: &WireRequest,
    total_secs: f64,
) -> Attempted {
    let start_secs = clock.now_secs();
    let post = Post {
        url: &wire.url,
        headers: &wire.headers,
        body: &wire.body,
        is_stream: wire.is_stream,
        total_secs,
        max_bytes: wire.most_wire_bytes(),
    };
    let mut first_secs = None;
    let (result, stage, request_id) = match transport.post(post) {
        Err(Failure { error, stage }) => (Err(error), stage, None),
        Ok(response) => {
            let id = ["request-id", "x-request-id"].into_iter().find_map(|name| response.header(name));
            let id = id.map(|id| told(id, key, LONGEST_NAME));
            let on_text = || {
                first_secs.get_or_insert_with(|| clock.now_secs() - start_secs);
            };
            (read(dialect, response, wire, on_text), Stage::Sent, id)
        }
    };
    // The one place where what a server said enters: what leaves here is written to files and shown.
    let result = match result {
        Ok(answer) => Ok(received(answer, key, wire.most_bytes())),
        Err(error) => Err(failed(error, key)),
    };
    let request_id = request_id.or_else(|| result.as_ref().ok().and_then(|answer| answer.id.clone()));
    Attempted {
        result,
        stage,
        latency_secs: clock.now_secs() - start_secs,
        time_to_first_token_secs: first_secs,
        request_id,
    }
}

impl WireRequest {
    /// The most bytes of the text of an answer that keeps to its token limit.
    fn most_bytes(&self) -> usize {
        let most = self.bound.output_tokens.saturating_mul(BYTES_PER_TOKEN).saturating_add(BYTES_PER_ANSWER);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// The most bytes that such an answer takes on the way.
    fn most_wire_bytes(&self) -> u64 {
        let tokens = self.bound.output_tokens.saturating_mul(WIRE_BYTES_PER_TOKEN);
        let asked = (self.body.len() as u64).saturating_mul(WIRE_BYTES_PER_BYTE_ASKED);
        tokens.saturating_add(asked).saturating_add(WIRE_BYTES_PER_ANSWER)
    }
}

fn read(
    dialect: &dyn Dialect,
    response: Response,
    wire: &WireRequest,
    on_text: impl FnMut(),
) -> Result<Answer, CallError> {
    let status = response.status;
    if !(200..300).contains(&status) {
        let headers = response.headers.clone();
        let error = dialect.error(status, &headers, &response.read_error_body());
        // What was sent is looked at only here: nearly all rows are answered.
        let sent = serde_json::from_slice(&wire.body).unwrap_or_default();
        return Err(refused::named(error, &sent, &wire.extra));
    }
    // Some servers answer a request for a stream with a plain answer.
    let is_plain = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if wire.is_stream && !is_plain {
        read_stream(dialect, response, wire.most_bytes(), on_text)
    } else {
        dialect.read(&response.read_all()?)
    }
}

/// Reads a stream to its end, or until it has more text than the token limit can have given: then the connection is closed.
fn read_stream(
    dialect: &dyn Dialect,
    mut response: Response,
    most_bytes: usize,
    mut on_text: impl FnMut(),
) -> Result<Answer, CallError> {
    let mut reader = EventReader::new(MAX_EVENT_BYTES);
    let mut events = Vec::new();
    let mut stream = dialect.stream();
    let mut buffer = vec![0; 16 << 10];
    let mut text = String::new();
    loop {
        let num_bytes = match response.read_some(&mut buffer) {
            Ok(num_bytes) => num_bytes,
            // A server that hangs up badly after the last event has still answered; only the dialect knows the last event.
            Err(CallError::Cut { .. }) => 0,
            Err(error) => return stream.finish().map_err(|_| error),
        };
        if num_bytes == 0 {
            return stream.finish();
        }
        // What came before the malformed part may hold the provider's own error, which says more.
        let pushed = reader.push(&buffer[..num_bytes], &mut events);
        for event in events.drain(..) {
            let added = stream.event(event.name.as_deref(), &event.data)?;
            if !added.is_empty() {
                on_text();
            }
            text.push_str(&added);
            if text.len() > most_bytes {
                // It ended as one that reached its limit, and what it cost is not known.
                return Ok(Answer { text, finish: Finish::Length, usage: None, model: None, id: None });
            }
        }
        pushed?;
    }
}

/// An answer as it may be kept: no longer than its token limit allows, and without the key.
fn received(answer: Answer, key: Option<&Key>, most_bytes: usize) -> Answer {
    let Answer { mut text, mut finish, usage, model, id } = answer;
    // Before the cut, which could leave half a key.
    if let Some(key) = key.filter(|key| !key.is_word()) {
        text = key.hide(&text);
    }
    if text.len() > most_bytes {
        text.truncate(text.floor_char_boundary(most_bytes));
        if finish == Finish::Stop {
            finish = Finish::Length;
        }
    }
    let name = |name: Option<String>| name.map(|name| told(&name, key, LONGEST_NAME));
    let reason = |reason: &str| told(reason, key, LONGEST_REASON);
    let finish = match finish {
        Finish::Refusal { category } => Finish::Refusal { category: category.map(|category| reason(&category)) },
        Finish::ContentFilter { category } => {
            Finish::ContentFilter { category: category.map(|category| reason(&category)) }
        }
        Finish::Failed { reason: why } => Finish::Failed { reason: reason(&why) },
        other @ (Finish::Stop | Finish::Length | Finish::Timeout) => other,
    };
    Answer { text, finish, usage, model: name(model), id: name(id) }
}

fn failed(error: CallError, key: Option<&Key>) -> CallError {
    let reason = |text: String| told(&text, key, LONGEST_REASON);
    match error {
        CallError::Api { status, kind, message, field, wait_secs, should_retry, last } => {
            let kind = told(&kind, key, LONGEST_NAME);
            let field = field.map(|field| told(&field, key, LONGEST_NAME));
            CallError::Api { status, kind, message: reason(message), field, wait_secs, should_retry, last }
        }
        // Field and remedy are our words for what we sent.
        CallError::Refused { status, kind, message, parameter, remedy } => {
            let kind = told(&kind, key, LONGEST_NAME);
            CallError::Refused { status, kind, message: reason(message), parameter, remedy }
        }
        CallError::Malformed { what } => CallError::Malformed { what: reason(what) },
        CallError::Connection { what } => CallError::Connection { what: reason(what) },
        other @ (CallError::Cut { .. } | CallError::Timeout { .. }) => other,
    }
}

/// What a server called something: without the key, and no longer than `most` characters.
fn told(text: &str, key: Option<&Key>, most: usize) -> String {
    let hidden = key.map_or_else(|| text.to_owned(), |key| key.hide(text));
    match hidden.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &hidden[..end]),
        None => hidden,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from_environment("KEY", |_| Some(text.to_owned())).unwrap().unwrap()
    }

    fn answer(text: &str) -> Answer {
        Answer { text: text.to_owned(), finish: Finish::Stop, usage: None, model: None, id: None }
    }

    #[test]
    fn a_key_that_a_server_repeats_is_hidden_wherever_it_stands() {
        let key = key("sk-secret");
        let error = CallError::Api {
            status: 401,
            kind: "sk-secret".to_owned(),
            message: "no such key: sk-secret".to_owned(),
            field: Some("sk-secret".to_owned()),
            wait_secs: None,
            should_retry: None,
            last: false,
        };
        let kept = failed(error, Some(&key));
        assert_eq!(kept.to_string(), "401 [key]: no such key: [key]");
        assert!(!format!("{kept:?}").contains("secret"), "{kept:?}");
        let error = CallError::Malformed { what: "sk-secret".to_owned() };
        assert!(!failed(error, Some(&key)).to_string().contains("secret"));
        let said = Answer {
            finish: Finish::Refusal { category: Some("sk-secret".to_owned()) },
            model: Some("m sk-secret".to_owned()),
            id: Some("c2stc2VjcmV0".to_owned()),
            ..answer("{\"a\": \"sk-s\\u0065cret\"}")
        };
        let kept = received(said, Some(&key), 1_000);
        assert_eq!(kept.text, "{\"a\": \"[key]\"}");
        assert_eq!((kept.model.as_deref(), kept.id.as_deref()), (Some("m [key]"), Some("[key]")));
        assert_eq!(kept.finish, Finish::Refusal { category: Some("[key]".to_owned()) });
    }

    #[test]
    fn a_word_in_the_place_of_a_key_stays_in_answers() {
        assert_eq!(received(answer("EMPTY"), Some(&key("EMPTY")), 100).text, "EMPTY");
    }

    #[test]
    fn an_answer_beyond_its_limit_is_cut_and_says_so() {
        let cut = received(answer(&"ä".repeat(100)), None, 51);
        assert_eq!((cut.text, cut.finish), ("ä".repeat(25), Finish::Length));
        assert_eq!(received(answer("ä"), None, 2), answer("ä"));
        let long = received(Answer { model: Some("m".repeat(5_000)), ..answer("") }, None, 9);
        assert_eq!(long.model.unwrap().chars().count(), LONGEST_NAME + 1);
    }
}
