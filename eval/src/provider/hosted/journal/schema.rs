//! The tables of the journal, their version, and who may open it.
//! Knows nothing about single calls.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::Error;

/// The version of the tables. A file of another version is refused.
pub const VERSION: i64 = 1;
/// Says that a SQLite file is a journal of calls: the letters "call".
const APPLICATION: i64 = 0x6361_6c6c;

const TABLES: &str = "
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    arm TEXT NOT NULL,
    row TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    key BLOB NOT NULL,
    sent_unix_secs INTEGER NOT NULL,
    reserved_picodollars INTEGER,
    state TEXT NOT NULL CHECK (state IN ('in_flight', 'exact', 'possible', 'nothing', 'unknown')),
    spent_picodollars INTEGER,
    lost INTEGER NOT NULL,
    error TEXT
) STRICT;
CREATE INDEX attempts_of_a_row ON attempts (run, arm, row, repeat);
CREATE TABLE answers (
    key BLOB PRIMARY KEY,
    run TEXT NOT NULL,
    arm TEXT NOT NULL,
    row TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    completion TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Why a new file could not be made.
#[derive(Debug)]
pub(super) enum CreateError {
    Io(std::io::Error),
    Sql(rusqlite::Error),
}

impl From<std::io::Error> for CreateError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes a file with empty tables.
pub(super) fn create(path: &Path) -> Result<(), CreateError> {
    let make = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        make_tables(&mut connection)?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(CreateError::Sql)
}

/// Makes the tables where there are none.
pub(super) fn make_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Takes the file for this process alone, checks its tables, and settles what a dead process left in flight.
/// Returns how many attempts that were.
pub(super) fn prepare(path: &Path, connection: &mut Connection) -> Result<usize, Error> {
    let sql = |source: rusqlite::Error| problem(path, &source);
    // The lock is held until the connection ends, by the operating system, so a killed process leaves none behind.
    // Two processes that both reserve against one cap, or both answer one row, would each be right and together wrong.
    connection.busy_timeout(std::time::Duration::ZERO).map_err(sql)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(sql)?;
    let application = pragma(connection, "application_id").map_err(sql)?;
    let version = pragma(connection, "user_version").map_err(sql)?;
    let tables = |condition: &str| -> Result<i64, Error> {
        let text = format!("SELECT COUNT(*) FROM sqlite_master{condition}");
        connection.query_row(&text, [], |row| row.get(0)).map_err(sql)
    };
    let refused = |problem: String| Err(Error::Journal { path: path.to_owned(), problem });
    let is_empty = application == 0 && version == 0 && tables("")? == 0;
    if application != APPLICATION && !is_empty {
        return refused("it is not a journal of calls".to_owned());
    }
    if version != VERSION && !is_empty {
        return Err(Error::JournalVersion { path: path.to_owned(), found: version, expected: VERSION });
    }
    if tables(" WHERE type = 'table' AND name IN ('attempts', 'answers')")? != 2 {
        return refused(format!(
            "the journal of calls is empty or was cut short, so what was spent is not known\nhint: {}",
            super::tally::HINT
        ));
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(sql)?;
    // A reservation must outlive a power cut, not only the process.
    connection.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
    let mut start = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let num_lost = transaction.execute(
            "UPDATE attempts SET lost = 1, spent_picodollars = reserved_picodollars,
                 error = 'in flight when the process ended',
                 state = CASE WHEN reserved_picodollars IS NULL THEN 'unknown' ELSE 'possible' END
             WHERE state = 'in_flight'",
            [],
        )?;
        transaction.commit()?;
        Ok(num_lost)
    };
    start().map_err(sql)
}

/// The error of an operation on the file.
pub(super) fn problem(path: &Path, source: &rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::JournalInUse { path: path.to_owned() },
        Some(ErrorCode::DatabaseCorrupt) => {
            let problem =
                format!("the journal of calls is damaged or was cut short ({source})\nhint: {}", super::tally::HINT);
            Error::Journal { path: path.to_owned(), problem }
        }
        Some(ErrorCode::NotADatabase) => {
            Error::Journal { path: path.to_owned(), problem: "it is not a journal of calls".to_owned() }
        }
        _ => Error::Journal { path: path.to_owned(), problem: source.to_string() },
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
