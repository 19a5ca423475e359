//! Requests that hf-hub has no function for: what a token may do, which files are large, large files, the commit.
//! Owns the blocking client, the token in its header, and what a status means. Knows nothing about what is published.
//!
//! hf-hub 1.0 drops the rights of a token from its answer, sends large files in no way but Xet, and waits less than
//! the hub asks for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use eval::wire::{Headers, wait};
use serde::de::DeserializeOwned;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy, SendBody};

use super::patience::{Attempt, patiently};

/// What large files are spoken about in.
pub(super) const LFS_JSON: &str = "application/vnd.git-lfs+json";
pub(super) const JSON: &str = "application/json";
/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 32 << 20;
/// A commit of many files is answered when it is done.
const ANSWER_SECS: u64 = 300;

/// A connection to one hub as one account.
pub(super) struct Wire {
    agent: Agent,
    endpoint: String,
    token: String,
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
    pub(super) headers: &'a Headers,
    pub(super) content: Content<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Method {
    Get,
    Post,
    Put,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Headers,
    pub(super) body: Vec<u8>,
}

impl Wire {
    pub(super) fn new(endpoint: &str, token: &str, connect: Duration) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would carry files to a host that nobody named.
            .max_redirects(0)
            .tls_config(tls)
            // A hub without encryption is near; a proxy would read what it is sent.
            .proxy(if endpoint.starts_with("https://") { Proxy::try_from_env() } else { None })
            .user_agent(concat!("trainer/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(Duration::from_secs(ANSWER_SECS)))
            .build();
        Self { agent: config.new_agent(), endpoint: endpoint.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// The address of a path of the hub.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// Asks until there is an answer that will not change by asking again; its status may be any.
    pub(super) fn ask(&self, request: Request<'_>, tell: &dyn Fn(&str)) -> Result<Answer> {
        patiently(tell, || match self.once(request) {
            Err(why) => Attempt::Passing { why, asked_secs: None },
            Ok(answer) => answer.passing().unwrap_or(Attempt::Done(answer)),
        })
    }

    /// One attempt; an error is a connection that broke or never was.
    pub(super) fn once(&self, request: Request<'_>) -> std::result::Result<Answer, String> {
        let with_headers = |mut builder: ureq::http::request::Builder| {
            // The token goes to the hub alone: large files go to addresses that carry their own signature.
            if self.is_hub(request.url) {
                builder = builder.header("authorization", format!("Bearer {}", self.token));
            }
            request.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value))
        };
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
        };
        let builder = with_headers(ureq::http::Request::builder().method(method).uri(request.url));
        let broken = |error: ureq::Error| broken(&error);
        let unsendable = |_| "the hub named an address that cannot be used".to_owned();
        let response = match request.content {
            Content::Nothing => self.agent.run(builder.body(()).map_err(unsendable)?).map_err(broken)?,
            Content::Bytes { kind, bytes } => {
                let builder = builder.header("content-type", kind);
                self.agent.run(builder.body(bytes).map_err(unsendable)?).map_err(broken)?
            }
            Content::Part { path, start, length } => {
                let mut part = part(path, start, length)?;
                let builder = builder.header("content-length", length.to_string());
                let body = SendBody::from_reader(&mut part);
                self.agent.run(builder.body(body).map_err(unsendable)?).map_err(broken)?
            }
        };
        let (head, body) = response.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_ascii_lowercase(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let (status, headers) = (head.status.as_u16(), headers.collect());
        let mut bytes = Vec::new();
        let read = body.into_reader().take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
        match read {
            Ok(_) => Ok(Answer { status, headers, body: bytes }),
            Err(_) => Err("the answer of the hub broke off".to_owned()),
        }
    }

    fn is_hub(&self, url: &str) -> bool {
        url.strip_prefix(self.endpoint.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn part(path: &Path, start: u64, length: u64) -> std::result::Result<std::io::Take<File>, String> {
    let open = || -> std::io::Result<_> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file.take(length))
    };
    open().map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// A failure without its address, which can carry a signature.
fn broken(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "the hub did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "the hub is not reachable: no such host".to_owned(),
        ureq::Error::ConnectionFailed => "the hub is not reachable".to_owned(),
        ureq::Error::Io(error) => format!("the connection to the hub broke: {error}"),
        ureq::Error::Tls(what) => format!("no secure connection to the hub: {what}"),
        _ => "the connection to the hub broke".to_owned(),
    }
}

impl Answer {
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A failure after which the same request may be answered otherwise.
    pub(super) fn passing<T>(&self) -> Option<Attempt<T>> {
        let passes = matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504);
        passes.then(|| Attempt::Passing { why: self.words(), asked_secs: self.asked_secs() })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How long the hub asks to wait: `Retry-After`, else the end of the window that `RateLimit` counts in.
    fn asked_secs(&self) -> Option<f64> {
        wait::asked(&self.headers, wait::served_at(&self.headers)).or_else(|| until_reset(self.header("ratelimit")?))
    }

    /// The status, and what the hub says about it.
    pub(super) fn words(&self) -> String {
        let json = || serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let said = self.header("x-error-message").map(str::to_owned).or_else(|| {
            let json = json()?;
            Some(json.get("error").or_else(|| json.get("message"))?.as_str()?.to_owned())
        });
        let what = if self.status == 429 {
            "the hub limits the rate of requests".to_owned()
        } else {
            format!("the hub answered {}", self.status)
        };
        match said.filter(|said| !said.trim().is_empty()) {
            Some(said) => format!("{what} ({})", said.trim().chars().take(200).collect::<String>()),
            None => what,
        }
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            anyhow!("the hub answered in a way that this program does not know: {error}\nhint: is HF_ENDPOINT the address of a model hub?")
        })
    }
}

/// `"api";r=0;t=55` of the IETF draft on rate limits: nothing remains for 55 seconds.
fn until_reset(header: &str) -> Option<f64> {
    let field = |name: &str| {
        header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.parse::<f64>().ok())
    };
    (field("r")? == 0.0).then(|| field("t")).flatten().filter(|secs| *secs > 0.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_wait_is_read_from_either_header() {
        assert_eq!(answer(429, &[("retry-after", "7")], "").asked_secs(), Some(7.0));
        assert_eq!(answer(429, &[("ratelimit", "\"api\";r=0;t=55")], "").asked_secs(), Some(55.0));
        assert_eq!(answer(429, &[("ratelimit", "\"api\";r=3;t=55")], "").asked_secs(), None);
        let dated = [("date", "Fri, 27 Nov 2026 08:00:00 GMT"), ("retry-after", "Fri, 27 Nov 2026 08:00:09 GMT")];
        assert_eq!(answer(503, &dated, "").asked_secs(), Some(9.0));
    }

    #[test]
    fn what_the_hub_says_is_told_and_the_token_goes_to_the_hub_alone() {
        assert_eq!(answer(403, &[], r#"{"error":"no rights"}"#).words(), "the hub answered 403 (no rights)");
        assert_eq!(answer(429, &[], "").words(), "the hub limits the rate of requests");
        let wire = Wire::new("https://hub.example/", "hf_x", Duration::from_secs(1));
        assert!(wire.is_hub("https://hub.example/api/x"));
        assert!(!wire.is_hub("https://hub.example.evil.org/api/x") && !wire.is_hub("https://store.example/x"));
    }
}
