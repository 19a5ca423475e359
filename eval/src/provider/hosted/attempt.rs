//! One attempt at one call: what goes over the wire, and how what comes back is read, streamed or whole.
//! Knows nothing about retries, money or the journal.

use super::cache_key::CacheKey;
use super::tariff::{self, Bound};
use super::transport::{Failure, Post, Response, Transport};
use crate::clock::Clock;
use crate::wire::sse::EventReader;
use crate::wire::{Answer, CallError, Dialect, Headers, Key, Request};

/// The most bytes of one event of a stream.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// A request as it goes over the wire; only `headers` holds the key.
pub(super) struct WireRequest {
    pub(super) url: String,
    pub(super) cache_key: CacheKey,
    pub(super) bound: Bound,
    headers: Headers,
    body: Vec<u8>,
    is_stream: bool,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attempted {
    pub(super) result: Result<Answer, CallError>,
    /// Whether the provider may have seen the request.
    pub(super) sent: bool,
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
            cache_key: CacheKey::new(dialect.name(), &url, &dialect.headers(None), &body, repeat),
            bound: tariff::bound(request, &value, body.len()),
            url,
            headers: dialect.headers(key.map(Key::reveal)),
            body,
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
    let post = Post { url: &wire.url, headers: &wire.headers, body: &wire.body, is_stream: wire.is_stream, total_secs };
    let mut first_secs = None;
    let (mut result, sent, request_id) = match transport.post(post) {
        Err(Failure { error, sent }) => (Err(error), sent, None),
        Ok(response) => {
            let id = ["request-id", "x-request-id"].into_iter().find_map(|name| response.header(name));
            let id = id.map(str::to_owned);
            let on_text = || {
                first_secs.get_or_insert_with(|| clock.now_secs() - start_secs);
            };
            (read(dialect, response, wire.is_stream, on_text), true, id)
        }
    };
    if let Some(key) = key {
        result = result.map_err(|error| hide(error, key));
    }
    let request_id = request_id.or_else(|| result.as_ref().ok().and_then(|answer| answer.id.clone()));
    Attempted {
        result,
        sent,
        latency_secs: clock.now_secs() - start_secs,
        time_to_first_token_secs: first_secs,
        request_id,
    }
}

fn read(
    dialect: &dyn Dialect,
    response: Response,
    is_stream: bool,
    on_text: impl FnMut(),
) -> Result<Answer, CallError> {
    let status = response.status;
    if !(200..300).contains(&status) {
        let headers = response.headers.clone();
        return Err(dialect.error(status, &headers, &response.read_error_body()));
    }
    // Some servers answer a request for a stream with a plain answer.
    let is_plain = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if is_stream && !is_plain { read_stream(dialect, response, on_text) } else { dialect.read(&response.read_all()?) }
}

fn read_stream(dialect: &dyn Dialect, mut response: Response, mut on_text: impl FnMut()) -> Result<Answer, CallError> {
    let mut reader = EventReader::new(MAX_EVENT_BYTES);
    let mut events = Vec::new();
    let mut stream = dialect.stream();
    let mut buffer = vec![0; 16 << 10];
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
            if !stream.event(event.name.as_deref(), &event.data)?.is_empty() {
                on_text();
            }
        }
        pushed?;
    }
}

fn hide(error: CallError, key: &Key) -> CallError {
    let hidden = |text: String| text.replace(key.reveal(), "[key]");
    match error {
        CallError::Api { status, kind, message, wait_secs, should_retry, last } => {
            CallError::Api { status, kind: hidden(kind), message: hidden(message), wait_secs, should_retry, last }
        }
        CallError::Malformed { what } => CallError::Malformed { what: hidden(what) },
        CallError::Connection { what } => CallError::Connection { what: hidden(what) },
        other @ (CallError::Cut { .. } | CallError::Timeout { .. }) => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_a_server_repeats_is_hidden() {
        let lookup = |_: &str| Some("sk-secret".to_owned());
        let key = Key::from_environment("KEY", lookup).unwrap().unwrap();
        let error = CallError::Api {
            status: 401,
            kind: "sk-secret".to_owned(),
            message: "no such key: sk-secret".to_owned(),
            wait_secs: None,
            should_retry: None,
            last: false,
        };
        assert_eq!(hide(error, &key).to_string(), "401 [key]: no such key: [key]");
        let error = CallError::Malformed { what: "sk-secret".to_owned() };
        assert!(!hide(error, &key).to_string().contains("secret"));
    }
}
