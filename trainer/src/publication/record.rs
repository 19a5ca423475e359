//! What was published from a run and where it stands: `published.json`, one entry for each repository and branch.
//! Owns the file. It is how a later publication knows which commit this run's owner has seen.

use std::path::Path;

use anyhow::{Result, bail};
use ground::read::Kind;
use ground::write::Access;
use serde::{Deserialize, Serialize};

use crate::disk;

/// The file in a run folder.
const FILE: &str = "published.json";
const VERSION: u32 = 1;

/// All publications of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    publications: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    repo: String,
    branch: String,
    /// The commit that holds what was published last.
    commit: String,
    /// When, RFC 3339.
    at: String,
}

impl Record {
    /// What a run published; nothing yet if there is no file.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join(FILE);
        if !path.is_file() {
            return Ok(Self { version: VERSION, publications: Vec::new() });
        }
        let record: Self = disk::json(&path, Kind::Account)?;
        if record.version != VERSION {
            bail!(
                "{} has version {}, this program reads version {VERSION}\nhint: use the program that wrote it",
                path.display(),
                record.version
            );
        }
        Ok(record)
    }

    /// The commit that this run published last to a branch.
    pub fn commit(&self, repo: &str, branch: &str) -> Option<String> {
        let entry = self.publications.iter().find(|entry| entry.repo == repo && entry.branch == branch)?;
        Some(entry.commit.clone())
    }

    /// Notes a publication.
    pub fn write(mut self, run: &Path, repo: &str, branch: &str, commit: &str, at: String) -> Result<()> {
        self.publications.retain(|entry| entry.repo != repo || entry.branch != branch);
        let entry = Entry { repo: repo.to_owned(), branch: branch.to_owned(), commit: commit.to_owned(), at };
        self.publications.push(entry);
        disk::write(&run.join(FILE), &serde_json::to_vec_pretty(&self)?, Access::AsUsual)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_commit_of_each_branch_is_known() {
        let run = tempfile::tempdir().unwrap();
        let write = |branch: &str, commit: &str| {
            Record::read(run.path()).unwrap().write(run.path(), "roe/x", branch, commit, String::new()).unwrap();
        };
        write("main", "one");
        write("next", "two");
        write("main", "three");
        let record = Record::read(run.path()).unwrap();
        assert_eq!(record.commit("roe/x", "main").as_deref(), Some("three"));
        assert_eq!(record.commit("roe/x", "next").as_deref(), Some("two"));
        assert_eq!(record.commit("roe/y", "main"), None);
    }
}
