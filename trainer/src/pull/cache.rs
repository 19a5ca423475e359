//! The folder of finished pulls, so that each is fetched once and used again offline.
//!
//! Owns the layout, the record beside each entry, locking, and the atomic step from half-done to finished.
//! Knows nothing about where content comes from.
//!
//! `entries/<key>/` is a finished pull with its `pulled.json`; `partial/<key>/` is work in progress;
//! `locks/<key>` keeps two processes from doing the same work; `kernels/` is whatever the device compiles. An entry appears by one rename, so a kill at any
//! instant leaves either no entry or a whole one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ground::lock::Lock;
use ground::read::Kind;
use ground::write::{Access, sync_folder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Name of the record inside an entry.
const RECORD: &str = "pulled.json";
const RECORD_VERSION: u32 = 1;

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    read_everything: bool,
}

/// A finished pull.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its folder.
    pub folder: PathBuf,
    /// What was written when it was finished.
    pub record: Record,
}

/// What is known about a finished pull.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// Human words for the source.
    pub source: String,
    /// The one hash that stands for the content.
    pub sha256: String,
    /// Path of the result inside the folder; empty when the folder is the result.
    pub result: String,
    files: BTreeMap<String, FileRecord>,
}

/// Size and hash of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: String,
}

/// What a source hands to the cache when it is done: a folder and its content.
#[derive(Debug)]
pub struct Finished {
    /// The folder that becomes the entry; inside the work folder.
    pub folder: PathBuf,
    /// Human words for the source.
    pub source: String,
    /// The hash that stands for the content; computed over all files when absent.
    pub sha256: Option<String>,
    /// Path of the result inside the folder; empty when the folder is the result.
    pub result: String,
    /// Every file of the folder, by path inside it.
    pub files: BTreeMap<String, FileRecord>,
}

/// Fetches what an entry is made of into a work folder, and may report lines meanwhile.
pub type Make<'a> = &'a mut dyn FnMut(&Path, &mut dyn FnMut(&str)) -> Result<Finished>;

/// What to do with the work folder of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Remove it.
    Discard,
    /// Keep it: the next attempt continues there.
    Keep,
}

impl Cache {
    /// The cache of this user: `TRAINER_CACHE`, else the platform's cache folder.
    pub fn open() -> Result<Self> {
        match std::env::var_os("TRAINER_CACHE").filter(|value| !value.is_empty()) {
            Some(folder) => Ok(Self::at(folder)),
            None => {
                let folders = directories::ProjectDirs::from("", "", "trainer")
                    .context("this machine names no cache folder\nhint: set TRAINER_CACHE to a folder")?;
                Ok(Self::at(folders.cache_dir()))
            }
        }
    }

    /// A cache in this folder; it is created on first use.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), read_everything: false }
    }

    /// The same cache, but each entry is read in full and hashed before it is used.
    #[must_use]
    pub fn read_everything(mut self) -> Self {
        self.read_everything = true;
        self
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where compiled kernels of a device are kept, so that a second start compiles nothing.
    #[must_use]
    pub fn kernels(&self) -> PathBuf {
        self.root.join("kernels")
    }

    /// The finished pull under this key. An entry that does not match its record counts as absent and is reported.
    pub fn find(&self, key: &str, report: &mut dyn FnMut(&str)) -> Result<Option<Entry>> {
        let folder = self.entry_folder(key);
        if !folder.exists() {
            return Ok(None);
        }
        match self.open_entry(&folder) {
            Ok(entry) => Ok(Some(entry)),
            Err(problem) => {
                report(&format!("cache: {} is damaged and will be pulled again: {problem:#}", folder.display()));
                Ok(None)
            }
        }
    }

    /// The finished pull under this key, made by `make` where it is not there yet. The flag says that it was there.
    ///
    /// `make` gets a work folder that it shares with earlier attempts of the same key and with nobody else.
    pub fn find_or_fill(
        &self,
        key: &str,
        on_failure: OnFailure,
        report: &mut dyn FnMut(&str),
        make: Make<'_>,
    ) -> Result<(Entry, bool)> {
        let _lock = self.lock(key, report)?;
        if let Some(entry) = self.find(key, report)? {
            return Ok((entry, true));
        }
        let work = self.root.join("partial").join(file_name(key));
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let outcome = make(&work, report).and_then(|finished| self.publish(key, finished));
        if outcome.is_ok() || on_failure == OnFailure::Discard {
            remove_folder(&work)?;
        } else {
            // Goes only if it is empty: the source never got as far as a first byte.
            let _ = fs::remove_dir(&work);
        }
        outcome.map(|entry| (entry, false))
    }

    fn publish(&self, key: &str, finished: Finished) -> Result<Entry> {
        let sha256 = finished.sha256.unwrap_or_else(|| hash_of_listing(&finished.files));
        let record = Record {
            version: RECORD_VERSION,
            source: finished.source,
            sha256,
            result: finished.result,
            files: finished.files,
        };
        let text = serde_json::to_string_pretty(&record).context("cannot write the record of a pull")?;
        write_file(&finished.folder.join(RECORD), text.as_bytes())?;
        sync_folder(&finished.folder).with_context(|| format!("cannot sync {}", finished.folder.display()))?;
        let target = self.entry_folder(key);
        let parent = self.root.join("entries");
        fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
        // Only a damaged entry can be here: the lock is ours and a good one would have been used.
        remove_folder(&target)?;
        fs::rename(&finished.folder, &target)
            .with_context(|| format!("cannot move {} to {}", finished.folder.display(), target.display()))?;
        sync_folder(&parent).with_context(|| format!("cannot sync {}", parent.display()))?;
        Ok(Entry { folder: target, record })
    }

    fn open_entry(&self, folder: &Path) -> Result<Entry> {
        let path = folder.join(RECORD);
        let text =
            ground::read::text(&path, Kind::Account).with_context(|| format!("cannot read {}", path.display()))?;
        let record: Record =
            serde_json::from_str(&text).with_context(|| format!("{} is not a record", path.display()))?;
        if record.version != RECORD_VERSION {
            bail!("{} has version {}, this program writes {RECORD_VERSION}", path.display(), record.version);
        }
        for (name, expected) in &record.files {
            let path = folder.join(name);
            let found = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
            if found != expected.bytes {
                bail!("{} has {found} bytes, expected {}", path.display(), expected.bytes);
            }
            if self.read_everything {
                let found = hash_file(&path)?;
                check_hash(&path.display().to_string(), &expected.sha256, &found.sha256)?;
            }
        }
        Ok(Entry { folder: folder.to_owned(), record })
    }

    fn lock(&self, key: &str, report: &mut dyn FnMut(&str)) -> Result<Lock> {
        let folder = self.root.join("locks");
        fs::create_dir_all(&folder).with_context(|| {
            format!("cannot create {}\nhint: set TRAINER_CACHE to a folder you can write to", folder.display())
        })?;
        let path = folder.join(file_name(key));
        ground::lock::wait(&path, || report("cache: another process is pulling the same files, waiting for it"))
            .with_context(|| format!("cannot lock {}", path.display()))
    }

    fn entry_folder(&self, key: &str) -> PathBuf {
        self.root.join("entries").join(file_name(key))
    }
}

impl Entry {
    /// Path of the result: a file of the entry, or its folder.
    #[must_use]
    pub fn result(&self) -> PathBuf {
        if self.record.result.is_empty() { self.folder.clone() } else { self.folder.join(&self.record.result) }
    }
}

/// Writes a whole file and forces it to the disk.
pub fn write_file(path: &Path, content: &[u8]) -> Result<FileRecord> {
    ground::write::file(path, content, Access::AsUsual).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(FileRecord { bytes: content.len() as u64, sha256: hex(&Sha256::digest(content)) })
}

/// Reads a file once and says its size and hash.
pub fn hash_file(path: &Path) -> Result<FileRecord> {
    let file = ground::read::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    copy_hashing(file, io::sink()).with_context(|| format!("cannot read {}", path.display()))
}

/// Copies a stream and says the size and hash of what went through.
pub fn copy_hashing(mut from: impl io::Read, mut to: impl io::Write) -> io::Result<FileRecord> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 18];
    let mut bytes = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        hasher.update(piece);
        to.write_all(piece)?;
        bytes += count as u64;
    }
    Ok(FileRecord { bytes, sha256: hex(&hasher.finalize()) })
}

/// Compares two hashes; the error names both.
pub fn check_hash(what: &str, expected: &str, found: &str) -> Result<()> {
    if !expected.eq_ignore_ascii_case(found) {
        bail!("{what} has the wrong hash: expected sha256 {expected}, found sha256 {found}");
    }
    Ok(())
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes a folder and what is in it; one that is not there is fine.
pub fn remove_folder(path: &Path) -> Result<()> {
    ground::write::remove_folder(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// One hash over names and hashes of all files, in name order.
#[must_use]
pub fn hash_of_listing(files: &BTreeMap<String, FileRecord>) -> String {
    let mut hasher = Sha256::new();
    for (name, file) in files {
        hasher.update(format!("{}  {name}\n", file.sha256));
    }
    hex(&hasher.finalize())
}

/// A key as one file name: anything unusual becomes `_`, and keys that differ only there stay apart by their hash.
fn file_name(key: &str) -> String {
    let plain: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).take(120).collect();
    if plain == key { plain } else { format!("{plain}-{}", &hex(&Sha256::digest(key.as_bytes()))[..8]) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn fill(cache: &Cache, content: &str) -> Result<(Entry, bool)> {
        cache.find_or_fill("k/ey", OnFailure::Discard, &mut |_| {}, &mut |work, _| {
            let folder = work.join("entry");
            fs::create_dir_all(&folder)?;
            let record = write_file(&folder.join("a.txt"), content.as_bytes())?;
            Ok(Finished {
                folder,
                source: "test".to_owned(),
                sha256: None,
                result: "a.txt".to_owned(),
                files: BTreeMap::from([("a.txt".to_owned(), record)]),
            })
        })
    }

    #[test]
    fn a_finished_entry_is_used_again_and_not_made_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let (first, cached) = fill(&cache, "one").unwrap();
        assert!(!cached);
        let (second, cached) = fill(&cache, "two").unwrap();
        assert!(cached);
        assert_eq!(first.result(), second.result());
        assert_eq!(fs::read_to_string(second.result()).unwrap(), "one");
        assert_eq!(fs::read_dir(root.path().join("partial")).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_attempt_leaves_no_entry_and_no_work() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let outcome = cache.find_or_fill("key", OnFailure::Discard, &mut |_| {}, &mut |work, _| {
            write_file(&work.join("half"), b"half")?;
            bail!("broken")
        });
        assert_eq!(outcome.unwrap_err().to_string(), "broken");
        assert!(!root.path().join("entries").exists());
        assert_eq!(fs::read_dir(root.path().join("partial")).unwrap().count(), 0);
    }

    #[test]
    fn a_truncated_entry_is_reported_and_made_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let (entry, _) = fill(&cache, "whole").unwrap();
        fs::write(entry.result(), "who").unwrap();
        let mut lines = Vec::new();
        assert!(cache.find("k/ey", &mut |line| lines.push(line.to_owned())).unwrap().is_none());
        assert!(lines.iter().any(|line| line.contains("has 3 bytes, expected 5")), "{lines:?}");
        let (entry, cached) = fill(&cache, "whole").unwrap();
        assert!(!cached);
        assert_eq!(fs::read_to_string(entry.result()).unwrap(), "whole");
    }

    #[test]
    fn a_flipped_byte_is_found_when_everything_is_read() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let (entry, _) = fill(&cache, "whole").unwrap();
        fs::write(entry.result(), "whOle").unwrap();
        assert!(cache.find("k/ey", &mut |_| {}).unwrap().is_some());
        let careful = cache.read_everything();
        let mut lines = Vec::new();
        assert!(careful.find("k/ey", &mut |line| lines.push(line.to_owned())).unwrap().is_none());
        assert!(lines.iter().any(|line| line.contains("wrong hash")), "{lines:?}");
    }

    #[test]
    fn two_at_once_make_one_entry() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let made = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| fill(&cache, "same").unwrap().1)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).filter(|cached| !cached).count()
        });
        assert_eq!(made, 1);
    }

    #[test]
    fn keys_that_differ_only_in_odd_letters_stay_apart() {
        assert_ne!(file_name("a/b"), file_name("a:b"));
        assert_eq!(file_name("a-b.c"), "a-b.c");
    }
}
