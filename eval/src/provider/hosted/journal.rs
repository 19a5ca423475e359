//! The journal of calls: every attempt before it is sent, what it was settled at, and the answers, in one SQLite file.
//! Knows nothing about sockets or prices. A kill at any instant leaves a file from which a run goes on without paying twice.

mod schema;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ground::write::{self, Access};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::budget::{Spend, Spent};
use super::cache_key::CacheKey;
use super::record::{Answered, CallRecord};
use crate::wire::Usd;
use crate::{Completion, Error};

pub use schema::VERSION;
use tally::Tally;

/// After how many further attempts they are counted again beside the journal.
const COUNTED_EVERY: u64 = 64;

/// Which row of which arm of which run a call is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The arm.
    pub arm: String,
    /// The row.
    pub row: String,
    /// Which of its repeats, from 0.
    pub repeat: u32,
}

/// An attempt as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The run that sent it.
    pub run: String,
    /// The row it was for.
    pub place: Place,
    /// What it was settled at; none while it is in flight.
    pub spend: Option<Spend>,
    /// Whether the process died while it was in flight.
    pub lost: bool,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// The open journal of one results folder or cache folder. One process at a time may have it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    run: String,
    connection: Mutex<Connection>,
    queue: Mutex<Vec<Queued>>,
    num_lost: usize,
    /// The count beside the file; none in memory.
    tally: Option<Mutex<Tally>>,
}

/// A row that need not be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) completion: Completion,
    pub(super) record: CallRecord,
}

/// What is known about an attempt before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) key: CacheKey,
    pub(super) place: Place,
    pub(super) unix_secs: i64,
    /// The worst case; none without a price.
    pub(super) reserved: Option<Usd>,
}

/// How an attempt ended, and the row with it if the row is done.
#[derive(Clone, Debug)]
pub(super) struct Settle {
    pub(super) attempt: i64,
    pub(super) spend: Spend,
    pub(super) error: Option<String>,
    pub(super) done: Option<Done>,
}

/// A row that is done, under the key of its request.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) key: CacheKey,
    pub(super) arm: String,
    pub(super) answered: Answered,
}

#[derive(Debug)]
enum Write {
    Begin(Begin),
    Settle(Box<Settle>),
}

type Slot = Arc<OnceLock<Result<i64, String>>>;
type Queued = (Write, Slot);

impl Journal {
    /// Opens or creates the journal at `path` for the run named `run`: answers are shared between the runs of a file,
    /// spending is counted for each run, and a process that goes on with a run must give the same name.
    ///
    /// Attempts that were in flight when the last process died count as spent at their worst case from here on. A new journal
    /// has its tables before it has its name, so one that is there without them was emptied or cut short, and what was
    /// spent is not known.
    ///
    /// # Errors
    /// When another process has the file, when it is a link, no journal or one of another version, when it holds fewer
    /// attempts than were counted beside it or is gone though some were, or when it cannot be written.
    pub fn open(path: &Path, run: &str) -> Result<Self, Error> {
        let tally = Tally::find(path)?;
        let io = |source: std::io::Error| Error::File { action: "use", path: path.to_owned(), source };
        if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            if tally.is_some() {
                let problem =
                    format!("the journal of calls is gone, so what was spent is not known\nhint: {}", tally::HINT);
                return Err(Error::Journal { path: path.to_owned(), problem });
            }
            match write::new_file_at(path, Access::Private, schema::create) {
                // Another process was faster.
                Err(schema::CreateError::Io(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(schema::CreateError::Io(error)) => return Err(io(error)),
                Err(schema::CreateError::Sql(source)) => return Err(schema::problem(path, &source)),
                Ok(()) => {}
            }
        }
        // Answers are the user's alone, also in a file of before; SQLite gives what it makes beside it the same mode.
        write::check_own(path, Access::Private).map_err(io)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push("-wal");
        let beside = PathBuf::from(beside);
        if beside.symlink_metadata().is_ok() {
            write::check_own(&beside, Access::Private).map_err(|source| Error::File {
                action: "use",
                path: beside,
                source,
            })?;
        }
        // The last part of the path must not be a link; whatever leads to the folder may.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let full = folder.canonicalize().map_err(io)?.join(path.file_name().unwrap_or_default());
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&full, flags).map_err(|source| schema::problem(path, &source))?;
        let mut journal = Self::start(path, connection, run)?;
        let (found, noted) = (journal.num_attempts()?, tally.as_ref().map_or(0, Tally::noted));
        if found < noted {
            let problem = format!(
                "the journal of calls holds {found} calls, and {noted} were made, so what was spent is not known\nhint: {}",
                tally::HINT
            );
            return Err(Error::Journal { path: path.to_owned(), problem });
        }
        let mut tally = tally.unwrap_or_else(|| Tally::new(path));
        tally.note(found).map_err(io)?;
        journal.tally = Some(Mutex::new(tally));
        Ok(journal)
    }

    /// A journal that is forgotten with the process, for runs that keep nothing.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory(run: &str) -> Result<Self, Error> {
        let path = Path::new(":memory:");
        let problem = |source| schema::problem(path, &source);
        let mut connection = Connection::open_in_memory().map_err(problem)?;
        schema::make_tables(&mut connection).map_err(problem)?;
        Self::start(path, connection, run)
    }

    /// Attempts that were in flight when the last process died.
    pub fn num_lost(&self) -> usize {
        self.num_lost
    }

    /// What this run has spent so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn spent(&self) -> Result<Spent, Error> {
        let sum = |state: &str| {
            self.lock().query_row(
                "SELECT COALESCE(SUM(spent_picodollars), 0) FROM attempts WHERE run = ?1 AND state = ?2",
                params![self.run, state],
                |row| usd(row.get(0)?),
            )
        };
        let spent = || Ok(Spent { exact: sum("exact")?, possible: sum("possible")? });
        spent().map_err(|source| self.problem(&source))
    }

    /// Every attempt of every run, in the order of sending.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn attempts(&self) -> Result<Vec<Attempt>, Error> {
        let read = || {
            let connection = self.lock();
            let mut statement = connection.prepare(
                "SELECT run, arm, row, repeat, state, spent_picodollars, lost, error FROM attempts ORDER BY id",
            )?;
            let attempts = statement.query_map([], |row| {
                let spent = usd(row.get::<_, Option<i64>>(5)?.unwrap_or(0))?;
                Ok(Attempt {
                    run: row.get(0)?,
                    place: Place { arm: row.get(1)?, row: row.get(2)?, repeat: row.get(3)? },
                    spend: match row.get_ref(4)?.as_str()? {
                        "exact" => Some(Spend::Exact(spent)),
                        "possible" => Some(Spend::Possible(spent)),
                        "nothing" => Some(Spend::Nothing),
                        "unknown" => Some(Spend::Unknown),
                        _ => None,
                    },
                    lost: row.get(6)?,
                    error: row.get(7)?,
                })
            })?;
            attempts.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.problem(&source))
    }

    /// The finished answer to a request, if there is one; `cached` is set unless this very row of this run paid for it.
    pub(super) fn find(&self, key: &CacheKey, place: &Place) -> Result<Option<Found>, Error> {
        let row = self
            .lock()
            .query_row(
                "SELECT run, arm, row, repeat, completion, record FROM answers WHERE key = ?1",
                params![key.0.as_slice()],
                |row| {
                    let origin = Place { arm: row.get(1)?, row: row.get(2)?, repeat: row.get(3)? };
                    Ok((row.get::<_, String>(0)?, origin, row.get::<_, String>(4)?, row.get::<_, String>(5)?))
                },
            )
            .optional()
            .map_err(|source| self.problem(&source))?;
        let Some((run, origin, completion, record)) = row else { return Ok(None) };
        let mut record: CallRecord = self.read(&record)?;
        let same_run = run == self.run;
        if !record.outcome.is_answer() && !same_run {
            return Ok(None);
        }
        if !(same_run && origin == *place) {
            record = as_cached(record);
        }
        Ok(Some(Found { completion: self.read(&completion)?, record }))
    }

    /// The worst case of the attempts of a row that may have been billed without a usage.
    pub(super) fn possibly_spent(&self, place: &Place) -> Result<Usd, Error> {
        self.lock()
            .query_row(
                "SELECT COALESCE(SUM(spent_picodollars), 0) FROM attempts
                 WHERE run = ?1 AND arm = ?2 AND row = ?3 AND repeat = ?4 AND state = 'possible'",
                params![self.run, place.arm, place.row, place.repeat],
                |row| usd(row.get(0)?),
            )
            .map_err(|source| self.problem(&source))
    }

    /// Writes an attempt down before it is sent; returns its number.
    pub(super) fn begin(&self, begin: Begin) -> Result<i64, Error> {
        self.write(Write::Begin(begin))
    }

    /// Writes down how an attempt ended.
    pub(super) fn settle(&self, settle: Settle) -> Result<(), Error> {
        self.write(Write::Settle(Box::new(settle))).map(|_| ())
    }

    fn start(path: &Path, mut connection: Connection, run: &str) -> Result<Self, Error> {
        let num_lost = schema::prepare(path, &mut connection)?;
        Ok(Self {
            path: path.to_owned(),
            run: run.to_owned(),
            connection: Mutex::new(connection),
            queue: Mutex::new(Vec::new()),
            num_lost,
            tally: None,
        })
    }

    fn num_attempts(&self) -> Result<u64, Error> {
        let count = self.lock().query_row("SELECT COUNT(*) FROM attempts", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|source| self.problem(&source))
    }

    /// Counts beside the file, when there are so many attempts more than were counted.
    fn count(&self, attempts: u64, least: u64) -> std::io::Result<()> {
        let Some(tally) = &self.tally else { return Ok(()) };
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts >= tally.noted().saturating_add(least) { tally.note(attempts) } else { Ok(()) }
    }

    /// Many threads write at once and each write waits for the disk, so whoever gets the file first commits for all who wait.
    fn write(&self, write: Write) -> Result<i64, Error> {
        let slot = Slot::default();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push((write, Arc::clone(&slot)));
        let mut connection = self.lock();
        if slot.get().is_none() {
            let batch = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
            commit(&mut connection, &self.run, batch);
        }
        drop(connection);
        let lost = || Err("the write was lost".to_owned());
        let id = slot.get().cloned().unwrap_or_else(lost);
        let id = id.map_err(|problem| Error::Journal { path: self.path.clone(), problem })?;
        // Attempts are numbered from 1 and never taken out, so the number of one says how many there are at least.
        self.count(id.unsigned_abs(), COUNTED_EVERY).map_err(|source| Error::File {
            action: "count calls beside",
            path: self.path.clone(),
            source,
        })?;
        Ok(id)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, json: &str) -> Result<T, Error> {
        let problem = |source: serde_json::Error| format!("an answer in it cannot be read: {source}");
        serde_json::from_str(json)
            .map_err(|source| Error::Journal { path: self.path.clone(), problem: problem(source) })
    }

    fn problem(&self, source: &rusqlite::Error) -> Error {
        schema::problem(&self.path, source)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A lower count than there is stands there if this fails, which loses nothing but a guard.
        if let Ok(attempts) = self.num_attempts() {
            let _ = self.count(attempts, 1);
        }
    }
}

/// A record of an answer that someone else paid for.
pub(super) fn as_cached(record: CallRecord) -> CallRecord {
    CallRecord { cached: true, possibly_spent_usd: Usd::ZERO, ..record }
}

fn commit(connection: &mut Connection, run: &str, batch: Vec<Queued>) {
    let apply = |connection: &mut Connection| -> rusqlite::Result<Vec<i64>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(batch.len());
        for (write, _) in &batch {
            results.push(match write {
                Write::Begin(begin) => insert(&transaction, run, begin)?,
                Write::Settle(settle) => update(&transaction, run, settle)?,
            });
        }
        transaction.commit()?;
        Ok(results)
    };
    match apply(connection) {
        Ok(results) => batch.iter().zip(results).for_each(|((_, slot), id)| {
            slot.get_or_init(|| Ok(id));
        }),
        Err(error) => batch.iter().for_each(|(_, slot)| {
            slot.get_or_init(|| Err(error.to_string()));
        }),
    }
}

fn insert(transaction: &Transaction<'_>, run: &str, begin: &Begin) -> rusqlite::Result<i64> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO attempts (run, arm, row, repeat, key, sent_unix_secs, reserved_picodollars, state, lost)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'in_flight', 0)",
    )?;
    let Place { arm, row, repeat } = &begin.place;
    let reserved = begin.reserved.map(integer);
    statement.insert(params![run, arm, row, repeat, begin.key.0.as_slice(), begin.unix_secs, reserved])
}

fn update(transaction: &Transaction<'_>, run: &str, settle: &Settle) -> rusqlite::Result<i64> {
    let (state, spent) = match settle.spend {
        Spend::Nothing => ("nothing", None),
        Spend::Unknown => ("unknown", None),
        Spend::Exact(amount) => ("exact", Some(integer(amount))),
        Spend::Possible(amount) => ("possible", Some(integer(amount))),
    };
    let mut statement = transaction.prepare_cached(
        "UPDATE attempts SET state = ?2, spent_picodollars = ?3, error = ?4 WHERE id = ?1 AND state = 'in_flight'",
    )?;
    if statement.execute(params![settle.attempt, state, spent, settle.error])? != 1 {
        return Err(rusqlite::Error::StatementChangedRows(0));
    }
    if let Some(Done { key, arm, answered }) = &settle.done {
        let to_text = |value: serde_json::Result<String>| {
            value.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
        };
        let mut statement = transaction.prepare_cached(
            "INSERT OR REPLACE INTO answers (key, run, arm, row, repeat, outcome, completion, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        statement.execute(params![
            key.0.as_slice(),
            run,
            arm,
            answered.id,
            answered.repeat,
            answered.record.outcome.name(),
            to_text(serde_json::to_string(&answered.completion))?,
            to_text(serde_json::to_string(&answered.record))?,
        ])?;
    }
    Ok(settle.attempt)
}

fn integer(amount: Usd) -> i64 {
    i64::try_from(amount.picodollars()).unwrap_or(i64::MAX)
}

fn usd(picodollars: i64) -> rusqlite::Result<Usd> {
    let amount = u64::try_from(picodollars).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, picodollars))?;
    Ok(Usd::from_picodollars(amount))
}

#[cfg(test)]
mod tests;
