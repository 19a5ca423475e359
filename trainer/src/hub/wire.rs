//! The one client that speaks to the hub: what is asked, read and sent goes through here, and every bound with it.
//! Owns the connections, the token and the one function that says which request carries it, redirects hop by hop, the
//! size of answers and how slow a transfer may be. Knows nothing about what is fetched or published.
//!
//! The clients of hf-hub follow redirects with the token and believe every length; so they make no request here.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use eval::wire::{Headers, Key};
use ground::read;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, BodyReader, Proxy, SendBody};

use super::HubSettings;
use super::answer::{Answer, find};
use super::origin::{self, Origin};
use super::pace::{Pace, Paced};
use super::patience::{Attempt, patiently};

/// What large files are spoken about in.
pub(super) const LFS_JSON: &str = "application/vnd.git-lfs+json";
pub(super) const JSON: &str = "application/json";
/// The most bytes of an answer that is held in memory.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// The most bytes of what stands beside a refusal.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;
/// A commit of many files is answered when it is done.
const ANSWER_SECS: u64 = 300;
/// How often one request may be sent on.
const MOST_HOPS: usize = 5;
/// Headers that belong to the connection and not to whoever says where a file goes.
const OWN_HEADERS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade", "proxy-authorization"];

/// A connection to one hub as one account, or as nobody.
pub(super) struct Wire {
    /// For addresses without encryption, which are near: a proxy would read what it is sent.
    plain: Agent,
    encrypted: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<Key>,
    pace: Pace,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Nothing,
    Bytes {
        kind: &'static str,
        bytes: &'a [u8],
    },
    /// Some bytes of a file.
    Part {
        path: &'a Path,
        start: u64,
        length: u64,
    },
}

/// One request.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    /// Headers that the hub asked for, beside our own.
    pub(super) headers: &'a [(String, String)],
    pub(super) content: Content<'a>,
    pub(super) follow: Follow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
}

/// Where a redirect may lead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// To other paths of the host that was asked.
    Here,
    /// Anywhere: the bytes of a file come from a store and are compared with what the hub itself listed.
    Anywhere,
}

/// The head of an answer, and its body as it comes.
pub(super) struct Opened {
    pub(super) status: u16,
    headers: Headers,
    pub(super) body: Paced<BodyReader<'static>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// There was no connection.
    Unreachable(String),
    /// It broke, or took too long.
    Passing(String),
    /// Asking again would end the same.
    Final(String),
}

impl<'a> Request<'a> {
    /// A question to the hub itself.
    pub(super) fn get(url: &'a str) -> Self {
        Self { method: Method::Get, url, headers: &[], content: Content::Nothing, follow: Follow::Here }
    }

    /// Something told to the hub.
    pub(super) fn post(url: &'a str, kind: &'static str, bytes: &'a [u8]) -> Self {
        let content = Content::Bytes { kind, bytes };
        Self { method: Method::Post, url, headers: &[], content, follow: Follow::Here }
    }
}

impl Wire {
    pub(super) fn new(settings: &HubSettings, endpoint: &str) -> Result<Self> {
        let origin = Origin::of(endpoint)
            .map_err(|what| anyhow!("the address of the hub cannot be used: {what}\nhint: look at HF_ENDPOINT"))?;
        let token = match settings.token() {
            Some(token) => Key::from_environment("HF_TOKEN", |_| Some(token.to_owned()))?,
            None => None,
        };
        let agent = |proxy: Option<Proxy>| {
            let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
            Agent::config_builder()
                .http_status_as_error(false)
                // What is packed has no length that was said before.
                .accept_encoding("identity")
                // Redirects are followed here, hop by hop.
                .max_redirects(0)
                .tls_config(tls)
                .proxy(proxy)
                .user_agent(concat!("trainer/", env!("CARGO_PKG_VERSION")))
                .timeout_resolve(Some(settings.first_answer))
                .timeout_connect(Some(settings.first_answer))
                .timeout_recv_response(Some(Duration::from_secs(ANSWER_SECS)))
                .timeout_per_read(Some(settings.silence))
                .timeout_per_write(Some(settings.silence))
                .build()
                .new_agent()
        };
        Ok(Self {
            plain: agent(None),
            encrypted: agent(Proxy::try_from_env()),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            origin,
            token,
            pace: Pace { window: settings.silence, bytes_per_sec: settings.slowest_bytes_per_sec },
        })
    }

    /// The address of a path of the hub.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// Whether an address is of the hub itself.
    pub(super) fn is_own(&self, url: &str) -> bool {
        Origin::of(url).is_ok_and(|origin| origin == self.origin)
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Text of the hub without the token, should it repeat it.
    pub(super) fn hide(&self, text: &str) -> String {
        self.token.as_ref().map_or_else(|| text.to_owned(), |token| token.hide(text))
    }

    /// Asks until there is an answer that will not change by asking again; its status may be any.
    pub(super) fn ask(&self, request: Request<'_>, tell: &dyn Fn(&str)) -> Result<Answer> {
        patiently(tell, || match self.once(request) {
            Err(broken) => broken.attempt(),
            Ok(answer) => answer.passing().unwrap_or(Attempt::Done(answer)),
        })
    }

    /// One attempt; an error is a connection that broke or never was.
    pub(super) fn once(&self, request: Request<'_>) -> std::result::Result<Answer, Broken> {
        self.open(request)?.read(self)
    }

    /// One attempt, up to the head of the answer.
    pub(super) fn open(&self, request: Request<'_>) -> std::result::Result<Opened, Broken> {
        let unusable = |what| Broken::Final(format!("the hub named an address that cannot be used: {what}"));
        let asked = Origin::of(request.url).map_err(unusable)?;
        let (mut url, mut has_left) = (request.url.to_owned(), false);
        for _ in 0..=MOST_HOPS {
            let place = Origin::of(&url).map_err(unusable)?;
            if self.origin.is_encrypted() && !place.is_encrypted() {
                return Err(Broken::Final(
                    "the hub named an address without encryption, which is not asked".to_owned(),
                ));
            }
            // Whoever sends a request back here chose its path, so it does not get the token again.
            has_left |= place != self.origin;
            let answer = self.hop(request, &url, &place, has_left)?;
            let Some(to) = answer.redirect(request) else { return Ok(answer) };
            let next = origin::resolve(&url, to).map_err(unusable)?;
            let leads_away = Origin::of(&next).map_err(unusable)? != asked;
            if leads_away && (request.follow == Follow::Here || request.method != Method::Get) {
                return Err(Broken::Final(
                    "the hub sends the question on to another host, which is not asked".to_owned(),
                ));
            }
            url = next;
        }
        Err(Broken::Final(format!("the hub sent the question on more than {MOST_HOPS} times")))
    }

    /// The one place that says whether a request carries the token: only to the origin of the hub, and never once a
    /// redirect has left it.
    fn authorization(&self, place: &Origin, has_left: bool) -> Option<String> {
        let token = self.token.as_ref().filter(|_| !has_left && *place == self.origin)?;
        Some(format!("Bearer {}", token.reveal()))
    }

    fn hop(
        &self,
        request: Request<'_>,
        url: &str,
        place: &Origin,
        has_left: bool,
    ) -> std::result::Result<Opened, Broken> {
        let authorization = self.authorization(place, has_left);
        if authorization.is_none() {
            let holds = |text: &str| self.token.as_ref().is_some_and(|token| text.contains(token.reveal()));
            if holds(url) || request.headers.iter().any(|(_, value)| holds(value)) {
                return Err(Broken::Final(
                    "the hub wants its token sent to another host, which is not done".to_owned(),
                ));
            }
        }
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
        };
        let mut builder = ureq::http::Request::builder().method(method).uri(url);
        if let Some(authorization) = authorization {
            builder = builder.header("authorization", authorization);
        }
        for (name, value) in request.headers {
            if !OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                builder = builder.header(name, value);
            }
        }
        let agent = if place.is_encrypted() { &self.encrypted } else { &self.plain };
        let unsendable = |_| Broken::Final("the hub named a header or an address that cannot be used".to_owned());
        let response = match request.content {
            Content::Nothing => agent.run(builder.body(()).map_err(unsendable)?),
            Content::Bytes { kind, bytes } => {
                let builder = builder.header("content-type", kind).header("content-length", bytes.len().to_string());
                let mut bytes = Paced::new(bytes, self.pace);
                agent.run(builder.body(SendBody::from_reader(&mut bytes)).map_err(unsendable)?)
            }
            Content::Part { path, start, length } => {
                let part = part(path, start, length)
                    .map_err(|error| Broken::Final(format!("cannot read {}: {error}", path.display())))?;
                let mut part = Paced::new(part, self.pace);
                let builder = builder.header("content-length", length.to_string());
                agent.run(builder.body(SendBody::from_reader(&mut part)).map_err(unsendable)?)
            }
        };
        let (head, body) = response.map_err(|error| broken(&error))?.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_ascii_lowercase(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Opened {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: Paced::new(body.into_reader(), self.pace),
        })
    }
}

fn part(path: &Path, start: u64, length: u64) -> io::Result<io::Take<File>> {
    let mut file = read::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file.take(length))
}

/// A failure without its address, which can carry a signature.
fn broken(error: &ureq::Error) -> Broken {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Broken::Unreachable("no connection in time".to_owned())
        }
        ureq::Error::Timeout(_) => Broken::Passing("the hub did not answer in time".to_owned()),
        ureq::Error::HostNotFound => Broken::Unreachable("no such host".to_owned()),
        ureq::Error::ConnectionFailed => Broken::Unreachable("no connection".to_owned()),
        ureq::Error::Io(error)
            if [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind()) =>
        {
            Broken::Unreachable(error.to_string())
        }
        // The lookup of a name says this and nothing else.
        ureq::Error::Io(error) if error.to_string().contains("lookup address") => {
            Broken::Unreachable(error.to_string())
        }
        ureq::Error::Io(error) => Broken::Passing(format!("the connection to the hub broke: {error}")),
        ureq::Error::Tls(what) => Broken::Passing(format!("no secure connection to the hub: {what}")),
        _ => Broken::Passing("the connection to the hub broke".to_owned()),
    }
}

impl Broken {
    pub(super) fn attempt<T>(self) -> Attempt<T> {
        match self {
            Broken::Unreachable(_) | Broken::Passing(_) => Attempt::Passing { why: self.words(), asked_secs: None },
            Broken::Final(_) => Attempt::Final(anyhow!("{}\n{}", self.words(), super::listing::HINT)),
        }
    }

    pub(super) fn words(&self) -> String {
        match self {
            Broken::Unreachable(why) => format!("the hub is not reachable: {why}"),
            Broken::Passing(what) | Broken::Final(what) => what.clone(),
        }
    }
}

impl Opened {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Where a request is sent on to; none when it is not, or when what it carries may not be sent twice.
    fn redirect(&self, request: Request<'_>) -> Option<&str> {
        let keeps_all = matches!(self.status, 307 | 308);
        let follows = keeps_all || request.method == Method::Get && matches!(self.status, 301..=303);
        self.header("location").filter(|_| follows)
    }

    /// The whole answer. A refusal is told, so what stands beside it may be cut.
    pub(super) fn read(self, wire: &Wire) -> std::result::Result<Answer, Broken> {
        let Opened { status, headers, body } = self;
        let bytes = if (200..300).contains(&status) {
            read::at_most(body, MAX_ANSWER_BYTES).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput => Broken::Final(format!("the answer of the hub {error}")),
                io::ErrorKind::TimedOut => Broken::Passing(format!("the hub is too slow: {error}")),
                _ => Broken::Passing("the answer of the hub broke off".to_owned()),
            })?
        } else {
            // The status says that it is refused; words that do not arrive are missing, no more.
            read::first(body, MAX_REFUSAL_BYTES).unwrap_or_default()
        };
        Ok(Answer::new(status, headers, bytes, |text| wire.hide(text)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wire(endpoint: &str) -> Wire {
        let lookup = |name: &str| (name == "HF_TOKEN").then(|| "hf_secret_1".to_owned());
        Wire::new(&HubSettings::from_lookup(&lookup, Path::new("nowhere")), endpoint).unwrap()
    }

    #[test]
    fn the_token_goes_to_the_origin_of_the_hub_alone_and_not_back_to_it() {
        let wire = wire("https://hub.example/");
        let carries = |url: &str, has_left| wire.authorization(&Origin::of(url).unwrap(), has_left).is_some();
        assert!(carries("https://hub.example/api/x", false) && carries("https://hub.example:443/y", false));
        assert!(!carries("https://hub.example/api/x", true));
        for other in ["http://hub.example/", "https://hub.example:8443/", "https://hub.example.evil.org/"] {
            assert!(!carries(other, false) && !wire.is_own(other), "{other}");
        }
    }

    #[test]
    fn the_token_is_not_sent_away_by_another_way_either() {
        let wire = wire("https://hub.example/");
        let headers = vec![("authorization".to_owned(), "Bearer hf_secret_1".to_owned())];
        let put = Request {
            method: Method::Put,
            url: "https://store.example/x",
            headers: &headers,
            content: Content::Nothing,
            follow: Follow::Here,
        };
        let refused = |request| matches!(wire.open(request), Err(Broken::Final(why)) if why.contains("another host"));
        assert!(refused(put));
        assert!(refused(Request { headers: &[], url: "https://store.example/?t=hf_secret_1", ..put }));
        let plain = wire.open(Request { headers: &[], url: "http://store.example/x", ..put });
        assert!(matches!(plain, Err(Broken::Final(why)) if why.contains("without encryption")));
    }
}
