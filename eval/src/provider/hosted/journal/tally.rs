//! How many attempts a journal holds at least, in a small file beside it: what was spent must not be forgotten because the
//! journal was emptied, cut short, put back from an old copy or taken away. Knows nothing about single calls.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ground::read::{self, Kind};
use ground::write::{self, Access};
use serde::{Deserialize, Serialize};

use crate::Error;

const VERSION: u32 = 1;
/// What somebody can do whose journal is not what it was.
pub(super) const HINT: &str = "put the journal back from a copy, with its -wal file if there is one, or evaluate in a \
                               new run folder, which has a budget of its own";

/// The count beside a journal.
#[derive(Debug)]
pub(super) struct Tally {
    path: PathBuf,
    noted: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    attempts: u64,
}

impl Tally {
    /// The count beside the journal at `path`; none when nobody counted yet.
    pub(super) fn find(journal: &Path) -> Result<Option<Self>, Error> {
        let path = beside(journal);
        let problem = |problem: String| Error::Journal { path: path.clone(), problem };
        let bytes = match read::bytes(&path, Kind::Account) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(problem(error.to_string())),
        };
        let found: Written = serde_json::from_slice(&bytes).map_err(|error| {
            problem(format!("it does not say how many calls the journal beside it holds ({error})\nhint: {HINT}"))
        })?;
        if found.version != VERSION {
            return Err(problem(format!("it has version {}, this program reads version {VERSION}", found.version)));
        }
        Ok(Some(Self { path, noted: found.attempts }))
    }

    /// The first count beside a journal.
    pub(super) fn new(journal: &Path) -> Self {
        Self { path: beside(journal), noted: 0 }
    }

    /// How many attempts were counted.
    pub(super) fn noted(&self) -> u64 {
        self.noted
    }

    /// Notes how many attempts there are, which are on disk already.
    pub(super) fn note(&mut self, attempts: u64) -> std::io::Result<()> {
        let text = serde_json::to_vec(&Written { version: VERSION, attempts })?;
        write::file(&self.path, &text, Access::Private)?;
        self.noted = attempts;
        Ok(())
    }
}

/// The file beside a journal.
fn beside(journal: &Path) -> PathBuf {
    journal.with_extension("json")
}
