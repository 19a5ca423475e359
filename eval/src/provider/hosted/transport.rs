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
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::io::Write;
    use std::net::{IpAddr, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that says `answer` to its one caller, then waits `hold_ms` and hangs up.
    fn serve(answer: &'static str, hold_ms: u64) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(hold_ms));
        });
        format!("http://{address}/v1")
    }

    fn post(url: &str, settings: TransportSettings) -> Result<Response, Failure> {
        let headers = vec![("x-api-key".to_owned(), "secret".to_owned())];
        Transport::new(settings, 5.0, url, 1).post(ask(url, &headers))
    }

    fn ask<'a>(url: &'a str, headers: &'a Headers) -> Post<'a> {
        Post { url, headers, body: b"{}", is_stream: true, total_secs: 30.0, max_bytes: u64::MAX }
    }

    #[test]
    fn a_name_that_leads_elsewhere_later_is_not_asked_there() {
        let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", 0);
        let url = url.replace("127.0.0.1", "llm.lan");
        let looked_up = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&looked_up);
        // The second and third time it has a public address too, or alone; nobody is to be asked at either.
        let answers: [&[[u8; 4]]; 3] = [&[[127, 0, 0, 1]], &[[127, 0, 0, 1], [203, 0, 113, 9]], &[[203, 0, 113, 9]]];
        let look_up = move |name: &str| -> Vec<IpAddr> {
            assert_eq!(name, "llm.lan");
            answers[count.fetch_add(1, Ordering::SeqCst)].iter().map(|address| IpAddr::from(*address)).collect()
        };
        let settings = TransportSettings {
            allow_plain_http: true,
            use_proxy: false,
            egress: Egress::Private,
            ..TransportSettings::default()
        };
        let reach = Reach::with(&settings, &url, Arc::new(look_up));
        let transport = Transport::within(reach, settings, 5.0, false, 1);
        let headers = vec![("x-api-key".to_owned(), "secret".to_owned())];
        assert_eq!(transport.post(ask(&url, &headers)).unwrap().read_all().unwrap(), b"{}");
        for _ in 0..2 {
            let failure = transport.post(ask(&url, &headers)).err().unwrap();
            let what = "llm.lan now leads to an address that is public, and prompts of this arm may go to private ones";
            let error = CallError::Connection { what: what.to_owned() };
            assert_eq!(failure, Failure { error, stage: Stage::Name });
        }
        assert_eq!(looked_up.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_is_not_encrypted_stays_in_the_own_network_whatever_its_name_leads_to() {
        let url = "http://localhost:9/v1";
        let settings = TransportSettings { use_proxy: false, ..TransportSettings::default() };
        let reach = Reach::with(&settings, url, Arc::new(|_| vec![IpAddr::from([203, 0, 113, 9])]));
        let headers = Headers::new();
        let failure = Transport::within(reach, settings, 5.0, false, 1).post(ask(url, &headers)).err().unwrap();
        assert!(failure.error.to_string().contains("that is public"), "{}", failure.error);
        assert_eq!(failure.stage, Stage::Name);
    }

    #[test]
    fn the_name_of_a_host_without_an_address_is_told_as_such() {
        let url = "http://llm.lan/v1";
        let settings = TransportSettings { egress: Egress::Private, allow_plain_http: true, ..Default::default() };
        let reach = Reach::with(&settings, url, Arc::new(|_| Vec::new()));
        let headers = Headers::new();
        let failure = Transport::within(reach, settings, 5.0, false, 1).post(ask(url, &headers)).err().unwrap();
        assert!(failure.error.to_string().contains("host not found"), "{}", failure.error);
        assert_eq!(failure.stage, Stage::Name);
    }

    #[test]
    fn a_name_that_nobody_can_look_up_was_not_sent() {
        let url = "http://name.invalid/v1";
        let settings = TransportSettings { allow_plain_http: true, use_proxy: false, ..Default::default() };
        let headers = Headers::new();
        let failure = Transport::new(settings.clone(), 2.0, url, 1).post(ask(url, &headers)).err().unwrap();
        assert!(matches!(failure.error, CallError::Connection { .. }), "{}", failure.error);
        assert_eq!(failure.stage, Stage::Name);
        // Nor does it matter which limit ends the wait for the name.
        for (connect_secs, total_secs) in [(0.05, 30.0), (5.0, 0.05)] {
            let slow = Arc::new(|_: &str| {
                std::thread::sleep(Duration::from_millis(400));
                vec![IpAddr::from([127, 0, 0, 1])]
            });
            let transport =
                Transport::within(Reach::with(&settings, url, slow), settings.clone(), connect_secs, false, 1);
            let failure = transport.post(Post { total_secs, ..ask(url, &headers) }).err().unwrap();
            let error = CallError::Connection { what: "no connection within 0.05 s".to_owned() };
            assert_eq!(failure, Failure { error, stage: Stage::Name });
        }
    }

    /// What becomes of an encrypted request to a server that says `answer` to whatever it is told first.
    fn encrypted(answer: &'static str, hold_ms: u64, total_secs: f64) -> Failure {
        let url = serve(answer, hold_ms).replace("http://", "https://");
        let settings = TransportSettings { use_proxy: false, ..TransportSettings::default() };
        let headers = Headers::new();
        Transport::new(settings, 5.0, &url, 1).post(Post { total_secs, ..ask(&url, &headers) }).err().unwrap()
    }

    #[test]
    fn a_request_waits_until_the_other_side_has_shown_who_it_is() {
        let garbled = encrypted("HTTP/1.1 400 Bad Request\r\n\r\n", 0, 30.0);
        let hung_up = encrypted("", 0, 30.0);
        let silent = encrypted("", 600, 0.1);
        for failure in [garbled, hung_up, silent] {
            assert!(matches!(failure.error, CallError::Connection { .. }), "{}", failure.error);
            assert_eq!(failure.stage, Stage::Connection, "{}", failure.error);
        }
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let url = serve("HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 0);
        assert_eq!(post(&url, TransportSettings::default()).unwrap().status, 307);
    }

    #[test]
    fn a_refused_connection_was_not_sent_whatever_was_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        for _ in 0..2 {
            let failure = post(&url, TransportSettings::default()).err().unwrap();
            assert_eq!(failure.stage, Stage::Connection);
            assert!(matches!(failure.error, CallError::Connection { .. }), "{failure:?}");
            // The next one is asked for on the thread of a request that was sent.
            post(&serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 0), TransportSettings::default()).unwrap();
        }
    }

    #[test]
    fn a_connection_that_breaks_after_the_request_may_have_been_billed() {
        let failure = post(&serve("", 0), TransportSettings::default()).err().unwrap();
        assert_eq!(failure.stage, Stage::Sent);
        assert!(matches!(failure.error, CallError::Connection { .. }), "{failure:?}");
    }

    #[test]
    fn silence_longer_than_the_stall_limit_is_a_timeout() {
        let settings = TransportSettings { stall_secs: 0.05, ..TransportSettings::default() };
        let failure = post(&serve("", 400), settings.clone()).err().unwrap();
        assert_eq!(failure, Failure { error: CallError::Timeout { seconds: 0.05 }, stage: Stage::Sent });
        let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 400);
        let error = post(&url, settings).unwrap().read_all().unwrap_err();
        assert_eq!(error, CallError::Timeout { seconds: 0.05 });
    }

    #[test]
    fn a_body_that_breaks_off_is_cut_and_one_that_is_too_large_is_malformed() {
        let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 0);
        let error = post(&url, TransportSettings::default()).unwrap().read_all().unwrap_err();
        assert_eq!(error, CallError::Cut { characters: 0 });
        let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcdefghi", 0);
        let settings = TransportSettings { max_answer_bytes: 8, ..TransportSettings::default() };
        assert!(matches!(post(&url, settings).unwrap().read_all(), Err(CallError::Malformed { .. })));
    }
}
