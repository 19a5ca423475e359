//! One request over the network and its answer, by ureq: time limits, sizes, proxies, and what each failure means.
//! Knows nothing about dialects beyond their headers, nor about retries or money. Nothing here logs, and no error holds a header.

use std::io::{self, Read};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy, Timeout};

use super::reach::Reach;
use super::stage::{Stage, WatchedConnector};
use crate::egress::Egress;
use crate::wire::{CallError, Headers};

/// The most bytes of the body of an error that are read.
const MAX_ERROR_BYTES: u64 = 1 << 20;

/// Limits of one request, beside the times of the retry policy.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportSettings {
    /// Seconds that a streamed answer may be silent, the wait for its first byte included.
    pub stall_secs: f64,
    /// The most bytes of an answer, however many tokens it may have.
    pub max_answer_bytes: u64,
    /// Whether prompts and keys may go unencrypted to hosts that are not private by their number.
    pub allow_plain_http: bool,
    /// Whether the proxy of the environment may see encrypted calls.
    pub use_proxy: bool,
    /// How far the addresses of the host may lead, whenever a connection is made.
    pub egress: Egress,
    /// Hosts of the user's own network.
    pub private_hosts: Vec<String>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            stall_secs: 120.0,
            max_answer_bytes: 32 << 20,
            allow_plain_http: false,
            use_proxy: true,
            egress: Egress::Public,
            private_hosts: Vec::new(),
        }
    }
}

/// Why there is no answer, and how far the request got.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) error: CallError,
    pub(super) stage: Stage,
}

/// Sends requests; keeps connections open between them.
#[derive(Debug)]
pub(super) struct Transport {
    agent: Agent,
    settings: TransportSettings,
    connect_secs: f64,
}

/// One request as it goes over the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post<'a> {
    pub(super) url: &'a str,
    pub(super) headers: &'a Headers,
    pub(super) body: &'a [u8],
    pub(super) is_stream: bool,
    /// Until when the whole answer must be there.
    pub(super) total_secs: f64,
    /// The most bytes of its answer.
    pub(super) max_bytes: u64,
}

/// The head of an answer, and its body as it comes.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Headers,
    body: ureq::BodyReader<'static>,
    bytes_left: u64,
    max_bytes: u64,
    limits: Limits,
}

/// The limits that an error names.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connect_secs: f64,
    stall_secs: f64,
    total_secs: f64,
}

impl Transport {
    /// For requests to the host of `url`.
    pub(super) fn new(settings: TransportSettings, connect_secs: f64, url: &str, max_connections: usize) -> Self {
        let reach = Reach::new(&settings, url);
        let is_encrypted = url.starts_with("https://");
        Self::within(reach, settings, connect_secs, is_encrypted, max_connections)
    }

    fn within(
        reach: Reach,
        settings: TransportSettings,
        connect_secs: f64,
        is_encrypted: bool,
        max_connections: usize,
    ) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // What is packed has no length that was said before.
            .accept_encoding("identity")
            // A redirect would carry the key and the prompt to a host that nobody named.
            .max_redirects(0)
            .tls_config(tls)
            // A private host without encryption is near; a proxy would read what it is sent.
            .proxy(if is_encrypted && settings.use_proxy { Proxy::try_from_env() } else { None })
            .user_agent(concat!("trainer/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(max_connections)
            .max_idle_connections_per_host(max_connections)
            .timeout_resolve(seconds(connect_secs))
            .timeout_connect(seconds(connect_secs))
            .build();
        Self { agent: Agent::with_parts(config, WatchedConnector::default(), reach), settings, connect_secs }
    }

    /// Posts a body; returns once the head of the answer is there, whatever its status.
    pub(super) fn post(&self, post: Post<'_>) -> Result<Response, Failure> {
        let limits = Limits {
            connect_secs: self.connect_secs,
            stall_secs: self.settings.stall_secs,
            total_secs: post.total_secs,
        };
        let mut request = self.agent.post(post.url);
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        let mut config = request.config().timeout_global(seconds(post.total_secs));
        if post.is_stream {
            config = config.timeout_per_read(seconds(self.settings.stall_secs));
        }
        Stage::Name.note();
        let response = config.build().send(post.body).map_err(|error| {
            let stage = Stage::reached();
            Failure { error: call_error(&error, stage, limits), stage }
        })?;
        let (head, body) = response.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_ascii_lowercase(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let status = head.status.as_u16();
        let is_good = (200..300).contains(&status);
        let max_bytes = if is_good { self.settings.max_answer_bytes.min(post.max_bytes) } else { MAX_ERROR_BYTES };
        Ok(Response {
            status,
            headers: headers.collect(),
            body: body.into_reader(),
            bytes_left: max_bytes,
            max_bytes,
            limits,
        })
    }
}

impl Response {
    /// The first value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The next bytes as they come; 0 at the end.
    pub(super) fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, CallError> {
        let num_bytes = self.body.read(buffer).map_err(|error| read_error(error, self.limits))?;
        self.bytes_left = self.bytes_left.checked_sub(num_bytes as u64).ok_or_else(|| CallError::Malformed {
            what: format!("the answer has more than {} bytes", self.max_bytes),
        })?;
        Ok(num_bytes)
    }

    /// The whole body.
    pub(super) fn read_all(mut self) -> Result<Vec<u8>, CallError> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            match self.read_some(&mut buffer)? {
                0 => return Ok(bytes),
                num_bytes => bytes.extend_from_slice(&buffer[..num_bytes]),
            }
        }
    }

    /// As much of the body of an error as there is.
    pub(super) fn read_error_body(mut self) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        while let Ok(num_bytes @ 1..) = self.read_some(&mut buffer) {
            bytes.extend_from_slice(&buffer[..num_bytes]);
        }
        bytes
    }
}

fn seconds(value: f64) -> Option<Duration> {
    // No time left must not read as no limit.
    Duration::try_from_secs_f64(value.max(0.001)).ok()
}

/// An answer whose head had come and whose body broke off: it may be whole nonetheless, which the reader of the stream knows.
fn read_error(error: io::Error, limits: Limits) -> CallError {
    match ureq::Error::from(error) {
        error @ ureq::Error::Timeout(_) => call_error(&error, Stage::Sent, limits),
        _ => CallError::Cut { characters: 0 },
    }
}

fn call_error(error: &ureq::Error, stage: Stage, limits: Limits) -> CallError {
    match error {
        // Whichever limit it was: a model that was not asked was not too slow.
        ureq::Error::Timeout(_) if !stage.is_sent() => CallError::Connection {
            what: format!("no connection within {} s", limits.connect_secs.min(limits.total_secs)),
        },
        ureq::Error::Timeout(Timeout::PerRead) => CallError::Timeout { seconds: limits.stall_secs },
        ureq::Error::Timeout(_) => CallError::Timeout { seconds: limits.total_secs },
        // These are the only ones that would repeat the address, which may hold a secret in its query.
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
            CallError::Connection { what: "the address cannot be used".to_owned() }
        }
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            CallError::Connection { what: "the proxy of the environment cannot be used".to_owned() }
        }
        ureq::Error::Other(why) => CallError::Connection { what: why.to_string() },
        other => CallError::Connection { what: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
