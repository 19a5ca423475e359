//! The one place of this program that talks to the model hub: here what is fetched, in the folder beside it what is published.
//!
//! Owns the hub's settings, the deadline for its first answer, resumable transfer, and its failures in plain words.
//! Knows nothing about the cache or about other sources. The token goes into request headers and nowhere else.

mod account;
mod failure;
mod large;
mod local_file;
mod patience;
pub mod publish;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFClientBuilder, HFClientSync, HFError, HFRepositorySync, RepoTypeModel};
use model::adapter::{CONFIG_FILE, FILES, WEIGHTS_FILE};

use crate::pull::cache::{FileRecord, hash_file, remove_folder};
use crate::pull::git_object;
use crate::pull::progress::{Progress, Watch};

/// What a checkpoint folder is made of, beside its weights.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Above this a file is always stored as a pointer, so its own object name need not be computed.
const LARGEST_PLAIN_FILE: u64 = 64 << 20;
/// Attempts for one piece.
const ATTEMPTS: u32 = 4;

/// How to reach the hub.
#[derive(Clone)]
pub struct HubSettings {
    endpoint: Option<String>,
    token: Option<String>,
    offline: bool,
    /// Limit for the first answer, name resolution included.
    pub first_answer: Duration,
    /// Limit between two signs of life once the hub has answered.
    pub silence: Duration,
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
    /// `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH` and the token file of the hub's home folder.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok(), &hf_hub::hf_home())
    }

    pub(crate) fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>, home: &Path) -> Self {
        let set = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let truthy = |name: &str| {
            set(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
        };
        let from_file = |path: PathBuf| {
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let token = set("HF_TOKEN")
            .or_else(|| set("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| set("HF_TOKEN_PATH").and_then(|path| from_file(PathBuf::from(path))))
            .or_else(|| from_file(home.join("token")));
        Self {
            endpoint: set("HF_ENDPOINT"),
            token: if truthy("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token },
            offline: truthy("HF_HUB_OFFLINE"),
            first_answer: Duration::from_secs(5),
            silence: Duration::from_secs(120),
            piece_bytes: 32 << 20,
        }
    }

    /// The token, for whoever must make sure that it stands nowhere.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Where the hub is: what the environment says, else what its own client takes.
    pub(crate) fn address(&self) -> Result<String> {
        let hint = "hint: is HF_ENDPOINT the address of a model hub?";
        let client = self.builder(0).build().map_err(|error| anyhow!("{}\n{hint}", cannot_start(&error)))?;
        Ok(client.endpoint().to_owned())
    }

    fn client(&self, retries: usize) -> Result<HFClientSync> {
        self.builder(retries).build_sync().map_err(|error| cannot_start(&error))
    }

    fn builder(&self, retries: usize) -> HFClientBuilder {
        let mut builder = HFClient::builder()
            .retry_max_attempts(retries)
            .cache_enabled(false)
            .user_agent(concat!("trainer/", env!("CARGO_PKG_VERSION")));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        builder
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

fn cannot_start(error: &HFError) -> anyhow::Error {
    anyhow!("the hub client cannot start: {}", root_cause(error))
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
            let outcome = transfer(&owned_settings, &owned_request, &owned_work, &sender);
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
            Ok(Message::Alive) => {}
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

fn transfer(
    settings: &HubSettings,
    request: &HubRequest,
    work: &Path,
    messages: &Sender<Message>,
) -> Result<HubFolder> {
    let explain = |error: &HFError| anyhow!("{}", explain(error, &request.repo, settings.token.is_some()));
    let (owner, name) = hf_hub::split_id(&request.repo);
    // No retries here: a refused connection must fall through at once.
    let info = settings
        .client(0)?
        .model(owner, name)
        .info()
        .maybe_revision(request.revision.clone())
        .send()
        .map_err(|error| explain(&error))?;
    messages.send(Message::Answered)?;
    let commit = info.sha.with_context(|| format!("the hub named no commit for {}", request.repo))?;
    let repo = settings.client(4)?.model(owner, name);
    let listing = repo.list_tree().revision(&commit).send().map_err(|error| explain(&error))?;
    let listed: BTreeMap<String, Listed> = listing.into_iter().filter_map(Listed::from_entry).collect();
    let folder = folder_of_commit(work, &commit)?;
    let task = Task {
        repo: &repo,
        commit: &commit,
        folder: &folder,
        listed: &listed,
        piece_bytes: settings.piece_bytes.max(1),
        messages,
        explain: &explain,
    };
    let names = task.choose(request)?;
    let files = task.fetch_all(&names)?;
    Ok(HubFolder { folder, commit, files })
}

/// Size and git object name of a file, as the hub lists it.
struct Listed {
    bytes: u64,
    object: String,
}

impl Listed {
    fn from_entry(entry: RepoTreeEntry) -> Option<(String, Self)> {
        match entry {
            RepoTreeEntry::File { oid, size, path, .. } => Some((path, Self { bytes: size, object: oid })),
            RepoTreeEntry::Directory { .. } => None,
        }
    }
}

struct Task<'a> {
    repo: &'a HFRepositorySync<RepoTypeModel>,
    commit: &'a str,
    folder: &'a Path,
    listed: &'a BTreeMap<String, Listed>,
    piece_bytes: u64,
    messages: &'a Sender<Message>,
    explain: &'a dyn Fn(&HFError) -> anyhow::Error,
}

impl Task<'_> {
    /// The files to fetch: those asked for, or the parts of a checkpoint that exist.
    fn choose(&self, request: &HubRequest) -> Result<BTreeSet<String>> {
        if !request.files.is_empty() {
            if let Some(missing) = request.files.iter().find(|name| !self.listed.contains_key(*name)) {
                bail!("{} has no file {missing}", request.repo);
            }
            return Ok(request.files.iter().cloned().collect());
        }
        let has = |name: &str| self.listed.contains_key(name);
        if has(CONFIG_FILE) && !has(INDEX) && !has(SINGLE) {
            if !has(WEIGHTS_FILE) {
                bail!(
                    "{} has no {}\nhint: a pickle (adapter_model.bin) can run code and is not read; ask for the other form",
                    request.repo,
                    WEIGHTS_FILE
                );
            }
            let wanted = FILES.iter().chain(&["README.md"]);
            return Ok(wanted.filter(|name| has(name)).map(|name| (*name).to_owned()).collect());
        }
        let mut names: BTreeSet<String> =
            SMALL_FILES.iter().filter(|name| self.listed.contains_key(**name)).map(|name| (*name).to_owned()).collect();
        if !names.contains("config.json") {
            bail!("{} has no config.json, so it is not a checkpoint", request.repo);
        }
        if self.listed.contains_key(INDEX) {
            // Repositories often hold the same weights a second time under other names; the index says which count.
            self.fetch_one(INDEX, &mut 0)?;
            names.insert(INDEX.to_owned());
            names.extend(self.shards_of_index(request)?);
        } else if self.listed.contains_key(SINGLE) {
            names.insert(SINGLE.to_owned());
        } else {
            bail!("{} has neither {SINGLE} nor {INDEX}", request.repo);
        }
        Ok(names)
    }

    fn shards_of_index(&self, request: &HubRequest) -> Result<BTreeSet<String>> {
        let path = self.folder.join(INDEX);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let index: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{INDEX} of {} is not JSON", request.repo))?;
        let map = index
            .get("weight_map")
            .and_then(serde_json::Value::as_object)
            .with_context(|| format!("{INDEX} of {} has no weight_map", request.repo))?;
        let shards: BTreeSet<String> = map.values().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        match shards.iter().find(|name| name.contains(['/', '\\']) || !self.listed.contains_key(*name)) {
            Some(missing) => bail!("{INDEX} of {} names {missing}, which is not in the repository", request.repo),
            None => Ok(shards),
        }
    }

    fn fetch_all(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, FileRecord>> {
        let total = names.iter().filter_map(|name| self.listed.get(name)).map(|file| file.bytes).sum();
        let mut here = names.iter().map(|name| self.bytes_here(name)).sum();
        self.messages.send(Message::Total { bytes: total, here })?;
        let mut files = BTreeMap::new();
        for name in names {
            files.insert(name.clone(), self.fetch_one(name, &mut here)?);
        }
        Ok(files)
    }

    fn bytes_here(&self, name: &str) -> u64 {
        let size = |path: PathBuf| fs::metadata(path).map(|data| data.len()).ok();
        size(self.folder.join(name)).or_else(|| size(self.part(name))).unwrap_or(0)
    }

    fn part(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.part"))
    }

    /// Fetches what is missing of one file, checks it against the listing, and gives it its name.
    fn fetch_one(&self, name: &str, here: &mut u64) -> Result<FileRecord> {
        let listed = self.listed.get(name).with_context(|| format!("the hub lists no file {name}"))?;
        let (part, target) = (self.part(name), self.folder.join(name));
        if target.exists() {
            return self.check(name, listed, &target);
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&part)
            .with_context(|| format!("cannot write {}", part.display()))?;
        let mut length = file.metadata().with_context(|| format!("cannot read {}", part.display()))?.len();
        if length > listed.bytes {
            file.set_len(0).with_context(|| format!("cannot write {}", part.display()))?;
            *here = here.saturating_sub(length);
            length = 0;
        }
        while length < listed.bytes {
            let piece = self.piece(name, length..listed.bytes.min(length + self.piece_bytes), *here)?;
            // Fails when nobody listens any more: the folder may already be somebody else's.
            self.messages.send(Message::Alive)?;
            file.write_all(&piece).with_context(|| format!("cannot write {}", part.display()))?;
            length += piece.len() as u64;
            *here += piece.len() as u64;
            self.messages.send(Message::Bytes(*here))?;
        }
        file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
        let record = self.check(name, listed, &part)?;
        fs::rename(&part, &target).with_context(|| format!("cannot move {}", part.display()))?;
        Ok(record)
    }

    fn piece(&self, name: &str, range: std::ops::Range<u64>, here: u64) -> Result<Vec<u8>> {
        let expected = range.end - range.start;
        let mut attempt = 1;
        loop {
            let watcher = Watcher { messages: self.messages.clone(), before: here };
            let outcome = self
                .repo
                .download_file_to_bytes()
                .filename(name)
                .revision(self.commit)
                .range(range.clone())
                .progress(watcher)
                .send();
            match outcome {
                Ok(bytes) if bytes.len() as u64 == expected => return Ok(bytes.to_vec()),
                Ok(bytes) => bail!("asked for {expected} bytes of {name}, the hub sent {}", bytes.len()),
                Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                    self.messages.send(Message::Alive)?;
                    std::thread::sleep(Duration::from_secs(1 << attempt));
                    attempt += 1;
                }
                Err(error) => return Err((self.explain)(&error)),
            }
        }
    }

    /// Compares a whole file with the object name in the listing: that of its content, or of the pointer to it.
    fn check(&self, name: &str, listed: &Listed, path: &Path) -> Result<FileRecord> {
        self.messages.send(Message::Alive)?;
        let record = hash_file(path)?;
        let as_pointer = git_object::pointer_id(&record.sha256, record.bytes);
        if as_pointer == listed.object {
            return Ok(record);
        }
        // Large files are always pointers, so a file too large to be read at once is simply not the one listed.
        let found = if record.bytes <= LARGEST_PLAIN_FILE {
            git_object::blob_id(&fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
        } else {
            as_pointer
        };
        if found == listed.object {
            return Ok(record);
        }
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        bail!("{name} has the wrong hash: expected git object {}, found git object {found}", listed.object)
    }
}

/// Passes the bytes of a running piece on.
struct Watcher {
    messages: Sender<Message>,
    before: u64,
}

impl ProgressHandler for Watcher {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Download(DownloadEvent::Progress { files }) = event {
            let bytes: u64 = files.iter().map(|file| file.bytes_completed).sum();
            // Nobody listens any more once the caller has given up; the next piece will notice.
            let _ = self.messages.send(Message::Bytes(self.before + bytes));
        }
    }
}

/// The folder for this commit; parts of another commit are of no use and go.
fn folder_of_commit(work: &Path, commit: &str) -> Result<PathBuf> {
    if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        bail!("the hub named a commit that is none: {commit:?}");
    }
    let folder = work.join(commit);
    for entry in fs::read_dir(work).with_context(|| format!("cannot read {}", work.display()))?.flatten() {
        if entry.path() != folder {
            remove_folder(&entry.path())?;
        }
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn is_passing(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } | HFError::RateLimited { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}

/// A failure in words that say what to do. Never shows an address, which can carry a signature.
fn explain(error: &HFError, repo: &str, has_token: bool) -> String {
    const LOG_IN: &str = "hint: set HF_TOKEN to a token of an account that may read it";
    match error {
        HFError::AuthRequired { context } if context.error_code.as_deref() == Some("GatedRepo") => {
            format!("{repo} is gated and needs a login: accept its terms on its page\n{LOG_IN}")
        }
        HFError::AuthRequired { context } if context.error_code.as_deref() == Some("RepoNotFound") => {
            format!("no repository named {repo}, or it is private and needs a login\n{LOG_IN}")
        }
        HFError::AuthRequired { .. } if has_token => format!("the hub refused the token for {repo}\n{LOG_IN}"),
        HFError::AuthRequired { .. } => format!("{repo} needs a login\n{LOG_IN}"),
        HFError::Forbidden { context } if context.error_code.as_deref() == Some("GatedRepo") => {
            format!("{repo} is gated and this account has no access yet: accept its terms on its page\n{LOG_IN}")
        }
        HFError::Forbidden { .. } => format!("this account may not read {repo}\n{LOG_IN}"),
        HFError::RevisionNotFound { context: Some(context), .. }
            if context.error_code.as_deref() == Some("RepoNotFound") =>
        {
            format!("no repository named {repo}")
        }
        HFError::RevisionNotFound { revision, .. } => format!("{repo} has no revision {revision}"),
        HFError::RepoNotFound { .. } => format!("no repository named {repo}"),
        HFError::EntryNotFound { path, .. } => format!("{repo} has no file {path}"),
        HFError::RateLimited { .. } => "the hub limits the rate of requests; try again later".to_owned(),
        HFError::Http { context } => format!("the hub answered {}", context.status),
        HFError::Request { source, .. } if source.is_timeout() => "not reachable in time".to_owned(),
        HFError::Request { source, .. } if source.is_connect() => format!("not reachable: {}", root_cause(source)),
        HFError::Request { source, .. } => format!("the connection broke: {}", root_cause(source)),
        other => root_cause(other),
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
