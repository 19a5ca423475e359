//! A model hub for tests, on loopback: accounts, repositories, commits, large files by Git LFS, downloads.
//!
//! Written from the published interface (<https://huggingface.co/docs/hub/api>, the batch protocol of Git LFS) and what
//! the official clients send. Knows nothing about the program that calls it. It checks what it is given as the real one
//! does, fails as planned, and keeps every call, so that a test can look at what was sent and how often.

mod routes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

use crate::hub_hashes::{blob_id, pointer, sha256};

/// A token that may write as `roe`, one that may only read, and one that may write to some repositories.
pub(crate) const WRITE: &str = "hf_WriteWriteWriteWriteWriteWriteWrite";
pub(crate) const READ: &str = "hf_ReadReadReadReadReadReadReadReadRead";
pub(crate) const SCOPED: &str = "hf_ScopedScopedScopedScopedScopedScoped";

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// This status with these further headers, and nothing is done.
    Fails(u16, &'static [(&'static str, &'static str)]),
    /// The connection is cut after so many bytes of the body, and nothing is done.
    CutAfter(usize),
    /// The call is done and its answer is lost.
    LosesAnswer,
    /// Somebody else commits first.
    SomebodyCommits,
}

/// How large files are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Transfer {
    /// In one piece.
    Basic,
    /// In pieces of so many bytes.
    Multipart(usize),
    /// By Xet where that is offered, else in one piece.
    Xet,
}

/// One call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// Without the host, with the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    pub(crate) large: bool,
}

/// One commit.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) message: String,
    pub(crate) files: BTreeMap<String, Stored>,
}

#[derive(Default)]
struct Repo {
    private: bool,
    commits: Vec<Commit>,
    branches: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    repos: BTreeMap<String, Repo>,
    objects: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    calls: Vec<Call>,
}

type Plan = dyn Fn(&Call, usize) -> Option<Trouble> + Send + Sync;

/// Settings of a server.
struct Setup {
    plan: Box<Plan>,
    transfer: Transfer,
    /// Files above this size are large whatever their name.
    large_above: usize,
    url: String,
    /// What a moved parent is answered with.
    moved: u16,
}

/// A running server; it ends with the process.
pub(crate) struct HubServer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    /// A server on which everything works.
    pub(crate) fn start() -> Self {
        Self::planned(|_, _| None)
    }

    /// `plan` is given a call and how many calls with this method and path came before.
    pub(crate) fn planned(plan: impl Fn(&Call, usize) -> Option<Trouble> + Send + Sync + 'static) -> Self {
        Self::with(plan, Transfer::Basic, 10 << 20, 412)
    }

    pub(crate) fn with(
        plan: impl Fn(&Call, usize) -> Option<Trouble> + Send + Sync + 'static,
        transfer: Transfer,
        large_above: usize,
        moved: u16,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let setup = Arc::new(Setup { plan: Box::new(plan), transfer, large_above, url: url.clone(), moved });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (setup, state) = (Arc::clone(&setup), Arc::clone(&shared));
                // A client that hangs up ends its own connection and nothing else.
                thread::spawn(move || {
                    let mut reader = BufReader::new(&socket);
                    while let Some(()) = serve(&mut reader, &setup, &state) {}
                });
            }
        });
        Self { url, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A repository that somebody made before, with these files.
    pub(crate) fn make(&self, repo: &str, private: bool, files: &[(&str, &str)]) -> String {
        let mut state = self.state();
        let entry = state.repos.entry(repo.to_owned()).or_default();
        *entry = Repo { private, ..new_repo() };
        let stored = |text: &str| Stored::plain(text.as_bytes());
        let changes = files.iter().map(|(path, text)| ((*path).to_owned(), stored(text))).collect();
        entry.commit("main", changes, "by somebody")
    }

    /// Commits of a branch, the newest last.
    pub(crate) fn commits(&self, repo: &str, branch: &str) -> Vec<Commit> {
        let state = self.state();
        let repo = &state.repos[repo];
        let mut open = repo.branches.get(branch).cloned();
        let mut found = Vec::new();
        while let Some(commit) = open.and_then(|id| repo.commits.iter().find(|commit| commit.id == id)) {
            open = commit.parent.clone();
            found.insert(0, commit.clone());
        }
        found
    }

    pub(crate) fn is_private(&self, repo: &str) -> bool {
        self.state().repos[repo].private
    }

    pub(crate) fn has(&self, repo: &str) -> bool {
        self.state().repos.contains_key(repo)
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Calls with this method whose path begins so.
    pub(crate) fn calls_of(&self, method: &str, start: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method == method && call.path.starts_with(start)).collect()
    }
}

fn new_repo() -> Repo {
    let mut repo = Repo::default();
    let attributes = Stored::plain(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n");
    repo.commit("main", BTreeMap::from([(".gitattributes".to_owned(), attributes)]), "initial commit");
    repo
}

impl Repo {
    fn commit(&mut self, branch: &str, changes: BTreeMap<String, Stored>, message: &str) -> String {
        let parent = self.branches.get(branch).cloned();
        let mut files = self.files(parent.as_deref()).cloned().unwrap_or_default();
        files.extend(changes);
        let listing: String = files.iter().map(|(path, file)| format!("{path} {}\n", file.object())).collect();
        let id = blob_id(format!("{parent:?} {message} {} {listing}", self.commits.len()).as_bytes());
        self.commits.push(Commit { id: id.clone(), parent, message: message.to_owned(), files });
        self.branches.insert(branch.to_owned(), id.clone());
        id
    }

    fn files(&self, commit: Option<&str>) -> Option<&BTreeMap<String, Stored>> {
        Some(&self.commits.iter().find(|known| Some(known.id.as_str()) == commit)?.files)
    }

    /// The commit that a branch or a commit stands for.
    fn resolve(&self, revision: &str) -> Option<String> {
        let commit = self.commits.iter().find(|commit| commit.id == revision).map(|commit| commit.id.clone());
        self.branches.get(revision).cloned().or(commit)
    }
}

impl Stored {
    fn plain(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), large: false }
    }

    /// Hash and size of a large file.
    fn large(&self) -> (String, usize) {
        (sha256(&self.bytes), self.bytes.len())
    }

    /// The name git gives to what it keeps: the content, or the pointer to a large file.
    fn object(&self) -> String {
        if !self.large {
            return blob_id(&self.bytes);
        }
        let (oid, size) = self.large();
        blob_id(pointer(&oid, size).as_bytes())
    }
}

/// An answer: status, headers, body.
struct Answer(u16, Vec<(&'static str, String)>, Vec<u8>);

fn json_of(status: u16, value: &Value) -> Answer {
    Answer(status, vec![("content-type", "application/json".to_owned())], value.to_string().into_bytes())
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    let mut answer = json_of(status, &json!({ "error": message }));
    answer.1.extend([("x-error-code", code.to_owned()), ("x-error-message", message.to_owned())]);
    answer
}

/// Serves one request; none ends the connection.
fn serve(reader: &mut BufReader<&TcpStream>, setup: &Setup, state: &Mutex<State>) -> Option<()> {
    let (mut call, length) = head(reader)?;
    let trouble = {
        let state = state.lock().unwrap();
        let same = |earlier: &&Call| (&earlier.method, &earlier.path) == (&call.method, &call.path);
        (setup.plan)(&call, state.calls.iter().filter(same).count())
    };
    let cut = match trouble {
        Some(Trouble::CutAfter(bytes)) if bytes < length => Some(bytes),
        _ => None,
    };
    call.body = vec![0; cut.unwrap_or(length)];
    let whole = reader.read_exact(&mut call.body).is_ok();
    let mut state = state.lock().unwrap();
    state.calls.push(call.clone());
    if cut.is_some() || !whole {
        return None;
    }
    let answer = match &trouble {
        Some(Trouble::Fails(status, headers)) => {
            let mut answer = refused(*status, "Planned", "as planned");
            answer.1.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
            answer
        }
        other => {
            if *other == Some(Trouble::SomebodyCommits) {
                let note = Stored::plain(state.calls.len().to_string().as_bytes());
                state.repos.values_mut().for_each(|repo| {
                    repo.commit("main", BTreeMap::from([("NOTES.md".to_owned(), note.clone())]), "by somebody else");
                });
            }
            routes::answer(&call, setup, &mut state)
        }
    };
    drop(state);
    if trouble == Some(Trouble::LosesAnswer) {
        return None;
    }
    write(reader.get_ref(), &call, answer)
}

fn head(reader: &mut BufReader<&TcpStream>) -> Option<(Call, usize)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    assert!(!headers.contains_key("transfer-encoding"), "the real hub's stores take no pieces of unknown length");
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    Some((Call { method, path, headers, body: Vec::new() }, length))
}

fn write(mut socket: &TcpStream, call: &Call, Answer(status, headers, body): Answer) -> Option<()> {
    let mut text = format!("HTTP/1.1 {status} Word\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| *name != "content-length") {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let stated = headers.iter().find(|(name, _)| *name == "content-length").map(|(_, value)| value.clone());
    text.push_str(&format!("content-length: {}\r\n\r\n", stated.unwrap_or_else(|| body.len().to_string())));
    socket.write_all(text.as_bytes()).ok()?;
    if call.method != "HEAD" {
        socket.write_all(&body).ok()?;
    }
    Some(())
}
