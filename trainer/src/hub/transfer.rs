//! Owns how the files of a commit get here: which are needed, piece by piece, on disk as they come, taken up where they
//! broke off, and compared with what the hub listed. Knows nothing about the cache. What the list said bounds the body:
//! no length of an answer is believed, and no more is read than was listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use ground::read::{self, Kind};
use ground::write::{self, Access};
use model::adapter::{CONFIG_FILE, FILES, WEIGHTS_FILE};

use super::answer::Answer;
use super::failure::{Asked, unreadable};
use super::listing::{self, Listed};
use super::local_file::segment;
use super::wire::{Broken, Follow, Opened, Request, Wire};
use super::{HubFolder, HubRequest, HubSettings, LARGEST_PLAIN_FILE, Message};
use crate::pull::cache::{FileRecord, hash_file, remove_folder};
use crate::pull::git_object;

/// What a checkpoint folder is made of, beside its weights and its tokenizer.
const CONFIGS: [&str; 2] = ["config.json", "generation_config.json"];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Attempts for one piece.
const ATTEMPTS: u32 = 4;
/// The most that one file of weights may have, and all files of a model.
const LARGEST_FILE: u64 = 512 << 30;
const LARGEST_MODEL: u64 = 4 << 40;
/// The longest wait that a hub may ask for between two attempts.
const LONGEST_WAIT_SECS: f64 = 60.0;
const BUFFER_BYTES: usize = 128 << 10;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Fetches what is asked for into a folder for its commit.
pub(super) fn run(
    settings: &HubSettings,
    request: &HubRequest,
    work: &Path,
    messages: &Sender<Message>,
) -> Result<HubFolder> {
    let wire = Wire::new(settings, &settings.address()?)?;
    let repo = request.repo.as_str();
    let revision = request.revision.as_deref();
    // No second attempt here: a refused connection must fall through at once.
    let url = wire.url(&listing::info_path(repo, revision));
    let asked = revision.map_or(Asked::Repository, Asked::Revision);
    let info = match wire.once(Request::get(&url)) {
        Ok(info) if info.is_good() => info,
        Ok(info) => return Err(unreadable(&info, repo, asked, wire.has_token())),
        Err(broken) => return Err(words(&broken)),
    };
    messages.send(Message::Answered)?;
    let commit = listing::head(&info)?.commit.with_context(|| format!("the hub named no commit for {repo}"))?;
    let mut ask = |request: Request<'_>| {
        messages.send(Message::Alive)?;
        let answer = again(messages, || wire.once(request).map_err(|broken| (broken, None)).and_then(good))?;
        match answer.is_good() {
            true => Ok(answer),
            false => Err(unreadable(&answer, repo, Asked::Revision(&commit), wire.has_token())),
        }
    };
    let listed = listing::tree(&wire, repo, &commit, false, &mut ask)?;
    let folder = folder_of_commit(work, &commit)?;
    let piece_bytes = settings.piece_bytes.max(1);
    let task = Task { wire: &wire, repo, commit: &commit, folder: &folder, listed: &listed, piece_bytes, messages };
    let names = task.choose(request)?;
    let files = task.fetch_all(&names)?;
    Ok(HubFolder { folder, commit, files })
}

struct Task<'a> {
    wire: &'a Wire,
    repo: &'a str,
    commit: &'a str,
    folder: &'a Path,
    listed: &'a BTreeMap<String, Listed>,
    piece_bytes: u64,
    messages: &'a Sender<Message>,
}

/// A file while it comes.
struct Arriving<'a> {
    name: &'a str,
    /// Its size by the list.
    bytes: u64,
    path: PathBuf,
    file: File,
    /// What is on disk.
    length: u64,
    told: Instant,
}

impl Task<'_> {
    /// The files to fetch: those asked for, or the parts of a checkpoint that exist.
    fn choose(&self, request: &HubRequest) -> Result<BTreeSet<String>> {
        if !request.files.is_empty() {
            for name in &request.files {
                if !self.listed.contains_key(name) {
                    bail!("{} has no file {name}", self.repo);
                }
                if !ground::name::is_file_name(name) {
                    bail!(
                        "{name} is no plain name of a file\nhint: `files` may name files that stand at the top of {}",
                        self.repo
                    );
                }
            }
            return Ok(request.files.iter().cloned().collect());
        }
        let has = |name: &str| self.listed.contains_key(name);
        if has(CONFIG_FILE) && !has(INDEX) && !has(SINGLE) {
            if !has(WEIGHTS_FILE) {
                bail!(
                    "{} has no {}\nhint: a pickle (adapter_model.bin) can run code and is not read; ask for the other form",
                    self.repo,
                    WEIGHTS_FILE
                );
            }
            let wanted = FILES.iter().chain(&["README.md"]);
            return Ok(wanted.filter(|name| has(name)).map(|name| (*name).to_owned()).collect());
        }
        let small = CONFIGS.into_iter().chain(model::tokenizer::FILES.map(|(name, _)| name));
        let mut names: BTreeSet<String> = small.filter(|name| has(name)).map(str::to_owned).collect();
        if !names.contains("config.json") {
            bail!("{} has no config.json, so it is not a checkpoint", self.repo);
        }
        if has(INDEX) {
            // Repositories often hold the same weights a second time under other names; the index says which count.
            self.fetch_one(INDEX, &mut 0)?;
            names.insert(INDEX.to_owned());
            names.extend(self.shards_of_index()?);
        } else if has(SINGLE) {
            names.insert(SINGLE.to_owned());
        } else {
            bail!("{} has neither {SINGLE} nor {INDEX}", self.repo);
        }
        Ok(names)
    }

    fn shards_of_index(&self) -> Result<BTreeSet<String>> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let path = self.folder.join(INDEX);
        let text = read::bytes(&path, Kind::ShardIndex).with_context(|| format!("cannot read {}", path.display()))?;
        let index: Index = serde_json::from_slice(&text)
            .with_context(|| format!("{INDEX} of {} has no weight_map that can be read", self.repo))?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        match shards.iter().find(|name| !ground::name::is_file_name(name) || !self.listed.contains_key(*name)) {
            Some(missing) => bail!("{INDEX} of {} names {missing}, which is not in the repository", self.repo),
            None => Ok(shards),
        }
    }

    fn fetch_all(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, FileRecord>> {
        let mut total = 0_u64;
        for name in names {
            total = total.saturating_add(self.size(name)?);
        }
        if total > LARGEST_MODEL {
            bail!(
                "the files of {} have {} by the hub's list, and a model has at most {}",
                self.repo,
                read::size(total),
                read::size(LARGEST_MODEL)
            );
        }
        let mut here = names.iter().map(|name| self.bytes_here(name)).fold(0, u64::saturating_add);
        self.messages.send(Message::Total { bytes: total, here })?;
        let mut files = BTreeMap::new();
        for name in names {
            files.insert(name.clone(), self.fetch_one(name, &mut here)?);
        }
        Ok(files)
    }

    /// The size of a file by the list, if a file of its kind may be so large.
    fn size(&self, name: &str) -> Result<u64> {
        let bytes = self.listed.get(name).with_context(|| format!("the hub lists no file {name}"))?.bytes;
        let most = most_bytes(name);
        if bytes > most {
            bail!(
                "{name} of {} has {} by the hub's list, and such a file has at most {}",
                self.repo,
                read::size(bytes),
                read::size(most)
            );
        }
        Ok(bytes)
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
        let bytes = self.size(name)?;
        let (part, target) = (self.part(name), self.folder.join(name));
        if target.exists() {
            return self.check(name, &target);
        }
        let cannot_write = || format!("cannot write {}", part.display());
        let file = write::append(&part, Access::AsUsual).with_context(cannot_write)?;
        let mut length = file.metadata().with_context(|| format!("cannot read {}", part.display()))?.len();
        if length > bytes {
            file.set_len(0).with_context(cannot_write)?;
            *here = here.saturating_sub(length);
            length = 0;
        }
        let mut arriving = Arriving { name, bytes, path: part.clone(), file, length, told: Instant::now() };
        while arriving.length < bytes {
            let end = bytes.min(arriving.length.saturating_add(self.piece_bytes));
            again(self.messages, || self.piece(&mut arriving, end, here))??;
        }
        arriving.file.sync_all().with_context(cannot_write)?;
        let record = self.check(name, &part)?;
        fs::rename(&part, &target).with_context(|| format!("cannot move {}", part.display()))?;
        Ok(record)
    }

    /// One attempt at what is missing up to `end`. What came before it broke stays on disk.
    fn piece(&self, arriving: &mut Arriving<'_>, end: u64, here: &mut u64) -> Once<Result<()>> {
        if arriving.length >= end {
            return Ok(Ok(()));
        }
        let path = format!("{}/resolve/{}/{}", self.repo, self.commit, segment(arriving.name));
        let (url, range) = (self.wire.url(&path), arriving.length..end);
        let headers = [
            ("range".to_owned(), format!("bytes={}-{}", range.start, range.end - 1)),
            ("accept-encoding".to_owned(), "identity".to_owned()),
        ];
        let request = Request { headers: &headers, follow: Follow::Anywhere, ..Request::get(&url) };
        let opened = self.wire.open(request).map_err(|broken| (broken, None))?;
        if !(200..300).contains(&opened.status) {
            let answer = good(opened.read(self.wire).map_err(|broken| (broken, None))?)?;
            return Ok(Err(unreadable(&answer, self.repo, Asked::File(arriving.name), self.wire.has_token())));
        }
        match self.taken(opened, arriving, range, here) {
            Ok(()) => Ok(Ok(())),
            Err(Taken::Broke(why)) => Err((Broken::Passing(why), None)),
            // Enough time has gone by already.
            Err(Taken::Slow(why)) => Err((Broken::Passing(format!("the hub is too slow: {why}")), Some(0.0))),
            Err(Taken::Failed(error)) => Ok(Err(error)),
        }
    }

    /// Writes the body of an answer behind what is there, as far as it was asked for.
    fn taken(
        &self,
        mut opened: Opened,
        arriving: &mut Arriving<'_>,
        range: Range<u64>,
        here: &mut u64,
    ) -> std::result::Result<(), Taken> {
        let name = arriving.name;
        // A server that knows no ranges sends the whole file: what is here already is read over.
        let is_part = opened.status == 206;
        let (mut skip, end) = if is_part { (0, range.end) } else { (range.start, arriving.bytes) };
        let expected = end - range.start + skip;
        let starts_at =
            opened.header("content-range").and_then(|range| range.trim().strip_prefix("bytes ")?.split_once('-'));
        let starts_at = starts_at.map(|(start, _)| start.to_owned());
        if is_part && starts_at.is_some_and(|start| start != range.start.to_string()) {
            return Err(Taken::Failed(anyhow!(
                "asked for {name} from byte {}, the hub sent another part",
                range.start
            )));
        }
        let said = opened.header("content-length").map(str::to_owned);
        if let Some(said) = said.as_ref().filter(|said| **said != expected.to_string()) {
            let shown: String = said.chars().take(20).collect();
            return Err(Taken::Failed(anyhow!("asked for {expected} bytes of {name}, the hub announced {shown}")));
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        while arriving.length < end {
            let wanted = if skip > 0 { skip } else { end - arriving.length };
            let room = buffer.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            let count = match opened.body.read(&mut buffer[..room]) {
                Ok(0) => return Err(Taken::Broke(format!("the connection broke while {name} came"))),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Taken::Slow(error.to_string()));
                }
                Err(_) => return Err(Taken::Broke(format!("the connection broke while {name} came"))),
            };
            // Fails when nobody listens any more: the folder may already be somebody else's.
            self.messages.send(Message::Alive).map_err(|error| Taken::Failed(error.into()))?;
            if skip > 0 {
                skip -= count as u64;
                continue;
            }
            arriving
                .file
                .write_all(&buffer[..count])
                .map_err(|error| Taken::Failed(anyhow!("cannot write {}: {error}", arriving.path.display())))?;
            arriving.length += count as u64;
            *here = here.saturating_add(count as u64);
            if arriving.told.elapsed() >= TELL_EVERY || arriving.length == end {
                arriving.told = Instant::now();
                self.messages.send(Message::Bytes(*here)).map_err(|error| Taken::Failed(error.into()))?;
            }
        }
        if said.is_some() {
            // The end is known, so that asking for it waits for nothing and keeps the connection for the next piece.
            let _: io::Result<usize> = opened.body.read(&mut [0]);
        }
        Ok(())
    }

    /// Compares a whole file with the object name in the listing: that of its content, or of the pointer to it.
    fn check(&self, name: &str, path: &Path) -> Result<FileRecord> {
        let listed = self.listed.get(name).with_context(|| format!("the hub lists no file {name}"))?;
        self.messages.send(Message::Alive)?;
        let record = hash_file(path)?;
        let as_pointer = git_object::pointer_id(&record.sha256, record.bytes);
        if as_pointer == listed.object {
            return Ok(record);
        }
        // Large files are always pointers, so a file too large to be read at once is simply not the one listed.
        let found = if record.bytes <= LARGEST_PLAIN_FILE {
            let content = read::open(path).and_then(|file| read::at_most(file, LARGEST_PLAIN_FILE));
            git_object::blob_id(&content.with_context(|| format!("cannot read {}", path.display()))?)
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

/// Why the body of an answer is not all here.
enum Taken {
    Broke(String),
    Slow(String),
    Failed(anyhow::Error),
}

/// One attempt: a value, or a failure that may pass, with the seconds that the hub asks to wait.
type Once<T> = std::result::Result<T, (Broken, Option<f64>)>;

/// An answer that asking again would not change.
fn good(answer: Answer) -> Once<Answer> {
    match answer.passing::<()>() {
        Some(_) => Err((Broken::Passing(answer.words()), answer.asked_secs())),
        None => Ok(answer),
    }
}

/// Makes a few attempts at what may pass.
fn again<T>(messages: &Sender<Message>, mut attempt: impl FnMut() -> Once<T>) -> Result<T> {
    let mut made = 1;
    loop {
        let (broken, asked_secs) = match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let wait = asked_secs.unwrap_or(f64::from(1_u32 << made));
        if matches!(broken, Broken::Final(_)) || made >= ATTEMPTS || wait > LONGEST_WAIT_SECS {
            return Err(words(&broken));
        }
        messages.send(Message::Alive)?;
        std::thread::sleep(Duration::from_secs_f64(wait.max(0.0)));
        made += 1;
    }
}

/// A connection that failed, behind the name of the hub.
fn words(broken: &Broken) -> anyhow::Error {
    match broken {
        Broken::Unreachable(why) => anyhow!("not reachable: {why}"),
        Broken::Passing(what) => anyhow!("{what}"),
        Broken::Final(what) => anyhow!("{what}\n{}", listing::HINT),
    }
}

/// The most bytes that a file of this name may have.
fn most_bytes(name: &str) -> u64 {
    let kind = match name {
        "config.json" | "generation_config.json" => Kind::ModelConfig,
        INDEX => Kind::ShardIndex,
        CONFIG_FILE => Kind::AdapterConfig,
        WEIGHTS_FILE => Kind::Adapter,
        "README.md" => Kind::Prose,
        other => match model::tokenizer::file_kind(other) {
            Some(kind) => kind,
            None => return LARGEST_FILE,
        },
    };
    kind.most_bytes()
}

/// The folder for this commit; parts of another commit are of no use and go.
fn folder_of_commit(work: &Path, commit: &str) -> Result<PathBuf> {
    let folder = work.join(commit);
    for entry in fs::read_dir(work).with_context(|| format!("cannot read {}", work.display()))?.flatten() {
        if entry.path() != folder {
            remove_folder(&entry.path())?;
        }
    }
    write::own_folder(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}
