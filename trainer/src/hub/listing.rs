//! Owns what the hub says a repository holds: its head, and the files of a commit, page by page. Believes no list that
//! leads to another host, goes in circles or does not end. Knows nothing about what is fetched or sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;

use super::answer::Answer;
use super::local_file::segment;
use super::origin;
use super::wire::{Request, Wire};

/// The most pages of a list: the hub puts a thousand files on one.
const MOST_PAGES: usize = 200;
/// The most files of a commit.
const MOST_FILES: usize = 100_000;
/// How long a list may take as a whole.
const LONGEST: Duration = Duration::from_secs(600);
/// The longest path of a file, in bytes.
const LONGEST_PATH: usize = 1024;
/// The longest name of a commit or an object: a SHA-256 in hexadecimal digits.
const LONGEST_NAME: usize = 64;
/// What to look at when a hub answers so.
pub(super) const HINT: &str = "hint: is HF_ENDPOINT the address of a model hub?";

/// Size and git object name of a file, as the hub lists it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) bytes: u64,
    pub(super) object: String,
}

/// Where a branch stands.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) commit: Option<String>,
    pub(super) private: Option<bool>,
}

/// The path of a question about a repository, at a revision if one is named.
pub(super) fn info_path(repo: &str, revision: Option<&str>) -> String {
    match revision {
        Some(revision) => format!("api/models/{repo}/revision/{}", segment(revision)),
        None => format!("api/models/{repo}"),
    }
}

/// The head that an answer about a repository names.
pub(super) fn head(answer: &Answer) -> Result<Head> {
    #[derive(Deserialize)]
    struct Info {
        sha: Option<String>,
        private: Option<bool>,
    }
    let info: Info = answer.json()?;
    Ok(Head { commit: info.sha.map(commit_name).transpose()?, private: info.private })
}

/// The name of a commit, which becomes part of paths and addresses.
pub(super) fn commit_name(name: String) -> Result<String> {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_plain || name.len() > LONGEST_NAME {
        bail!("the hub named a commit that is none: {:?}\n{HINT}", name.chars().take(LONGEST_NAME).collect::<String>());
    }
    Ok(name)
}

/// Every file of a commit. `ask` makes one request and gives a good answer or words.
pub(super) fn tree(
    wire: &Wire,
    repo: &str,
    commit: &str,
    recursive: bool,
    ask: &mut dyn FnMut(Request<'_>) -> Result<Answer>,
) -> Result<BTreeMap<String, Listed>> {
    let all = if recursive { "?recursive=true" } else { "" };
    let mut address = wire.url(&format!("api/models/{repo}/tree/{}{all}", segment(commit)));
    let (mut files, mut asked, start) = (BTreeMap::new(), BTreeSet::new(), Instant::now());
    loop {
        let answer = ask(Request::get(&address))?;
        add_page(&answer, repo, &mut files)?;
        let Some(next) = answer.header("link").and_then(origin::next_page) else { return Ok(files) };
        let next = match origin::resolve(&address, next) {
            Ok(next) => next,
            Err(what) => bail!("the list of files of {repo} goes on at an address that cannot be used: {what}\n{HINT}"),
        };
        if !wire.is_own(&next) {
            bail!("the list of files of {repo} goes on at another host, which is not asked\n{HINT}");
        }
        asked.insert(std::mem::replace(&mut address, next));
        if asked.contains(&address) {
            bail!("the list of files of {repo} goes in a circle\n{HINT}");
        }
        if asked.len() >= MOST_PAGES {
            bail!("the list of files of {repo} has more than {MOST_PAGES} pages\n{HINT}");
        }
        if start.elapsed() > LONGEST {
            bail!("the list of files of {repo} was not there after {} s\nhint: try again later", LONGEST.as_secs());
        }
    }
}

/// An entry of a list, as the hub writes it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Entry {
    File {
        oid: String,
        size: u64,
        path: String,
    },
    #[serde(other)]
    Other,
}

fn add_page(answer: &Answer, repo: &str, files: &mut BTreeMap<String, Listed>) -> Result<()> {
    for entry in answer.json::<Vec<Entry>>()? {
        let Entry::File { oid, size, path } = entry else { continue };
        if path.len() > LONGEST_PATH || oid.len() > LONGEST_NAME {
            bail!("the list of files of {repo} has a name of {} bytes\n{HINT}", path.len().max(oid.len()));
        }
        files.insert(path, Listed { bytes: size, object: oid });
        if files.len() > MOST_FILES {
            bail!("{repo} has more than {MOST_FILES} files\nhint: is it the repository of one model?");
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_a_name_and_nothing_else() {
        assert!(commit_name("0123456789abcdef0123456789abcdef01234567".to_owned()).is_ok());
        for bad in ["", "../x", "a/b", "a b", &"a".repeat(65)] {
            assert!(commit_name(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_without_end_are_refused() {
        let entry = |path: &str| format!("[{{\"type\":\"file\",\"path\":\"{path}\",\"oid\":\"a\",\"size\":1}}]");
        let add = |path: &str| add_page(&Answer::good(entry(path).as_bytes()), "a/b", &mut BTreeMap::new());
        assert!(add("config.json").is_ok() && add(&"x".repeat(2000)).is_err());
    }
}
