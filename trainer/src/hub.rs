//! The one place of this program that talks to the model hub: here what is fetched, in the folder beside it what is published.
//!
//! Owns the hub's settings, the deadline for its first answer, resumable transfer, and its failures in plain words.
//! Knows nothing about the cache or about other sources. The token goes into request headers and nowhere else.

mod account;
mod answer;
mod failure;
mod large;
mod listing;
mod local_file;
mod origin;
mod pace;
mod patience;
pub mod publish;
mod transfer;
mod wire;

#[cfg(test)]
mod foreign_answers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use ground::read::{self, Kind};
use hf_hub::api::sync::ApiBuilder;

use crate::pull::cache::FileRecord;
use crate::pull::progress::{Progress, Watch};

/// Above this a file is always stored as a pointer, so its own object name need not be computed.
const LARGEST_PLAIN_FILE: u64 = 64 << 20;
/// The shortest silence that a person may ask for: a hub that is busy takes a few seconds.
const SHORTEST_SILENCE_SECS: u64 = 10;

/// How to reach the hub.
#[derive(Clone)]
pub struct HubSettings {
    endpoint: Option<String>,
    token: Option<String>,
    offline: bool,
    /// Limit for the first answer, name resolution included.
    pub first_answer: Duration,
    /// Limit between two signs of life once the hub has answered, and the time in which a transfer must get on.
    pub silence: Duration,
    /// What must come through in each second of that time: a slow line may take days, a byte now and then may not.
    pub slowest_bytes_per_sec: u64,
    /// One request's share of a file. What is on disk after each is never fetched again.
    pub piece_bytes: u64,
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct HubRequest {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
    /// Exact names; what a checkpoint needs when empty.
    pub files: Vec<String>,
}

/// A finished transfer.
#[derive(Debug)]
pub struct HubFolder {
    /// The folder, inside the work folder.
    pub folder: PathBuf,
    /// The commit that the revision stands for.
    pub commit: String,
    /// Files of the folder.
    pub files: BTreeMap<String, FileRecord>,
}

enum Message {
    Answered,
    Total { bytes: u64, here: u64 },
    Bytes(u64),
    Alive,
    Done(Result<HubFolder>),
}

impl HubSettings {
    /// From the environment, as the hub's own tools read it: `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_TOKEN`,
    /// `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DOWNLOAD_TIMEOUT` and the token file of the hub's home folder.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok(), &hf_hub::Cache::from_env().token_path())
    }

    pub(crate) fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>, token_file: &Path) -> Self {
        let set = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let truthy = |name: &str| {
            set(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
        };
        let from_file = |path: PathBuf| {
            read::text(&path, Kind::System).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let token = set("HF_TOKEN")
            .or_else(|| set("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| set("HF_TOKEN_PATH").and_then(|path| from_file(PathBuf::from(path))))
            .or_else(|| from_file(token_file.to_owned()));
        let silence = set("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|secs| secs.parse::<u64>().ok());
        Self {
            endpoint: set("HF_ENDPOINT"),
            token: if truthy("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token },
            offline: truthy("HF_HUB_OFFLINE"),
            first_answer: Duration::from_secs(5),
            silence: Duration::from_secs(silence.map_or(120, |secs| secs.max(SHORTEST_SILENCE_SECS))),
            slowest_bytes_per_sec: 4 << 10,
            piece_bytes: 32 << 20,
        }
    }

    /// The token, for whoever must make sure that it stands nowhere.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Where the hub is: what the environment says, else what its own client takes.
    pub(crate) fn address(&self) -> Result<String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let client = ApiBuilder::from_cache(hf_hub::Cache::new(PathBuf::new())).with_token(None).build();
        let client = client.map_err(|error| anyhow!("the hub's client cannot start: {}", root_cause(&error)))?;
        // It tells addresses of files only, and makes no request for that.
        let file = client.model("owner/name".to_owned()).url("file");
        let address = file.strip_suffix("/owner/name/resolve/main/file");
        Ok(address.context("the hub's client names no address of the hub\nhint: set HF_ENDPOINT")?.to_owned())
    }
}

/// Whether a text is `owner/name` as the hub has it.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        plain && !part.is_empty() && part.len() <= 96 && !part.starts_with(['-', '.']) && !part.ends_with(['-', '.'])
    };
    text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
        && !text.contains("..")
        && !text.contains("--")
}

/// Fetches a checkpoint into `work`. Files and parts of files that are already there are not fetched again.
///
/// Returns within `first_answer` when nothing answers. After that there is no total limit, only one on silence.
pub fn fetch(settings: &HubSettings, request: &HubRequest, work: &Path, watch: Watch<'_>) -> Result<HubFolder> {
    if settings.offline {
        bail!("switched off by HF_HUB_OFFLINE");
    }
    let (sender, receiver) = mpsc::channel();
    let (owned_settings, owned_request, owned_work) = (settings.clone(), request.clone(), work.to_owned());
    // The thread cannot be stopped while it waits for the network; when we give up, its next message fails and it ends.
    std::thread::Builder::new()
        .name("hub".to_owned())
        .spawn(move || {
            let outcome = transfer::run(&owned_settings, &owned_request, &owned_work, &sender);
            let _ = sender.send(Message::Done(outcome));
        })
        .context("cannot start a thread for the hub")?;
    let started = Instant::now();
    let mut state =
        Progress { what: format!("hub {}", request.repo), bytes: 0, total: None, resumed: 0, elapsed: Duration::ZERO };
    let mut limit = settings.first_answer;
    let mut answered = false;
    loop {
        match receiver.recv_timeout(limit) {
            Ok(Message::Answered) => (answered, limit) = (true, settings.silence),
            Ok(Message::Total { bytes, here }) => (state.total, state.bytes, state.resumed) = (Some(bytes), here, here),
            Ok(Message::Bytes(bytes)) => state.bytes = bytes,
            Ok(Message::Alive) => continue,
            Ok(Message::Done(outcome)) => return outcome,
            Err(RecvTimeoutError::Timeout) if !answered => {
                bail!("not reachable in {} s", settings.first_answer.as_secs_f64())
            }
            Err(RecvTimeoutError::Timeout) => bail!("silent for {} s", settings.silence.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("the transfer ended without a result"),
        }
        if answered {
            state.elapsed = started.elapsed();
            watch(&state);
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::is_repository;

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        for good in ["roe/legal-lora", "HuggingFaceTB/SmolLM2-135M-Instruct", "a/b.c_d"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["legal", "a/b/c", "/b", "a/", "a b/c", "a/b..c", "a/-b", "../x", "a/b--c"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }
}
