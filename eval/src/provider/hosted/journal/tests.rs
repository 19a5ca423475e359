//! What the journal promises: nothing finished is paid twice, nothing in flight is forgotten, nothing unknown is opened.
//! Knows nothing about sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::record::CallOutcome;
use super::*;
use crate::Finish;
use crate::wire::Headers;

fn key(body: &str) -> CacheKey {
    CacheKey::new("test", "url", &Headers::new(), body.as_bytes(), 0)
}

fn place(row: &str) -> Place {
    Place { arm: "frontier".to_owned(), row: row.to_owned(), repeat: 0 }
}

fn begin(journal: &Journal, row: &str, reserved: u64) -> i64 {
    let reserved = Some(Usd::from_picodollars(reserved));
    journal.begin(Begin { key: key(row), place: place(row), unix_secs: 7, reserved }).unwrap()
}

fn answered(row: &str, outcome: CallOutcome, latency_secs: f64) -> Answered {
    let mut record = CallRecord::without_answer(outcome, "");
    (record.reason, record.latency_secs) = (None, Some(latency_secs));
    record.cost_usd = Some(Usd::from_picodollars(30));
    let completion = Completion {
        text: "yes".to_owned(),
        written: None,
        finish: Finish::Stop,
        prompt_tokens: 3,
        completion_tokens: 1,
    };
    Answered { id: row.to_owned(), repeat: 0, completion, record }
}

fn settle(journal: &Journal, attempt: i64, row: &str, outcome: CallOutcome) {
    let done = Some(Done { key: key(row), arm: "frontier".to_owned(), answered: answered(row, outcome, 1.5) });
    journal.settle(Settle { attempt, spend: Spend::Exact(Usd::from_picodollars(30)), error: None, done }).unwrap();
}

#[test]
fn a_finished_row_is_found_again_and_only_its_own_row_counts_it_as_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    let journal = Journal::open(&path, "run-1").unwrap();
    let attempt = begin(&journal, "a", 50);
    settle(&journal, attempt, "a", CallOutcome::Ok);
    assert!(!journal.find(&key("a"), &place("a")).unwrap().unwrap().record.cached);
    assert!(journal.find(&key("a"), &place("b")).unwrap().unwrap().record.cached);
    assert_eq!(journal.find(&key("c"), &place("c")).unwrap(), None);
    drop(journal);
    let resumed = Journal::open(&path, "run-1").unwrap();
    assert!(!resumed.find(&key("a"), &place("a")).unwrap().unwrap().record.cached);
    assert_eq!(resumed.spent().unwrap().exact.picodollars(), 30);
    drop(resumed);
    let other = Journal::open(&path, "run-2").unwrap();
    let found = other.find(&key("a"), &place("a")).unwrap().unwrap();
    assert_eq!((found.record.cached, found.record.latency_secs), (true, Some(1.5)));
    assert_eq!(other.spent().unwrap(), Spent::default());
}

#[test]
fn a_row_that_timed_out_stays_so_in_its_run_and_is_asked_again_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    let journal = Journal::open(&path, "run-1").unwrap();
    let attempt = begin(&journal, "a", 50);
    settle(&journal, attempt, "a", CallOutcome::Timeout);
    assert!(journal.find(&key("a"), &place("a")).unwrap().is_some());
    drop(journal);
    assert_eq!(Journal::open(&path, "run-2").unwrap().find(&key("a"), &place("a")).unwrap(), None);
}

#[test]
fn what_was_in_flight_when_a_process_died_counts_as_possibly_spent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    let journal = Journal::open(&path, "run").unwrap();
    assert_eq!(journal.num_lost(), 0);
    begin(&journal, "a", 50);
    drop(journal);
    let resumed = Journal::open(&path, "run").unwrap();
    assert_eq!((resumed.num_lost(), resumed.spent().unwrap().possible.picodollars()), (1, 50));
    assert_eq!(resumed.possibly_spent(&place("a")).unwrap().picodollars(), 50);
    let attempts = resumed.attempts().unwrap();
    assert_eq!(attempts[0].spend, Some(Spend::Possible(Usd::from_picodollars(50))));
    assert!(attempts[0].lost);
    drop(resumed);
    assert_eq!(Journal::open(&path, "run").unwrap().num_lost(), 0);
}

#[test]
fn a_second_owner_of_the_file_is_refused_until_the_first_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    let first = Journal::open(&path, "run").unwrap();
    assert!(matches!(Journal::open(&path, "run"), Err(Error::JournalInUse { .. })));
    begin(&first, "a", 1);
    drop(first);
    assert!(Journal::open(&path, "run").is_ok());
}

#[test]
fn an_unknown_version_and_a_foreign_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    drop(Journal::open(&path, "run").unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
    let error = Journal::open(&path, "run").unwrap_err();
    assert!(matches!(error, Error::JournalVersion { found, .. } if found == VERSION + 1), "{error}");
    let foreign = folder.path().join("other.sqlite");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(Journal::open(&foreign, "run").unwrap_err().to_string().contains("not a journal of calls"));
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "these are not the bytes of a database, but they are enough of them to be read").unwrap();
    assert!(Journal::open(&text, "run").unwrap_err().to_string().contains("not a journal of calls"));
}

#[test]
fn an_attempt_cannot_be_settled_twice() {
    let journal = Journal::in_memory("run").unwrap();
    let attempt = begin(&journal, "a", 50);
    settle(&journal, attempt, "a", CallOutcome::Ok);
    let again = Settle { attempt, spend: Spend::Nothing, error: None, done: None };
    assert!(matches!(journal.settle(again), Err(Error::Journal { .. })));
}

#[test]
fn writes_of_many_threads_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("calls.sqlite"), "run").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let journal = &journal;
            scope.spawn(move || {
                for call in 0..20 {
                    let row = format!("{thread}-{call}");
                    let attempt = begin(journal, &row, 50);
                    settle(journal, attempt, &row, CallOutcome::Ok);
                }
            });
        }
    });
    assert_eq!(journal.attempts().unwrap().len(), 160);
    assert_eq!(journal.spent().unwrap(), Spent { exact: Usd::from_picodollars(160 * 30), possible: Usd::ZERO });
}

/// A journal in which `calls` calls were paid, and its path.
fn paid(folder: &Path, calls: usize) -> PathBuf {
    let path = folder.join("calls.sqlite");
    let journal = Journal::open(&path, "run").unwrap();
    for call in 0..calls {
        let attempt = begin(&journal, &call.to_string(), 50);
        settle(&journal, attempt, &call.to_string(), CallOutcome::Ok);
    }
    path
}

/// What a journal is refused with; it must stay as it was.
fn refused(path: &Path) -> String {
    let before = std::fs::read(path).ok();
    let error = Journal::open(path, "run").unwrap_err().to_string();
    assert_eq!(std::fs::read(path).ok(), before, "{error}");
    assert!(error.contains("hint: "), "{error}");
    error
}

#[test]
fn a_journal_that_was_emptied_cut_short_or_taken_away_forgets_no_spending() {
    for length in [0, 1, 90, 4096, 9000] {
        let folder = tempfile::tempdir().unwrap();
        let path = paid(folder.path(), 40);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        assert!(file.metadata().unwrap().len() > length, "nothing is cut");
        file.set_len(length).unwrap();
        let error = Journal::open(&path, "run").unwrap_err().to_string();
        assert!(error.contains("spent is not known") || error.contains("journal of calls"), "{length}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = paid(folder.path(), 2);
    std::fs::remove_file(&path).unwrap();
    assert!(refused(&path).contains("is gone"));
    // Not even without the count: an empty file was never a journal.
    std::fs::remove_file(path.with_extension("json")).unwrap();
    std::fs::write(&path, "").unwrap();
    assert!(refused(&path).contains("empty or was cut short"));
}

#[test]
fn an_older_copy_of_a_journal_is_told_from_the_one_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = paid(folder.path(), 3);
    let old = std::fs::read(&path).unwrap();
    paid(folder.path(), 2);
    std::fs::write(&path, old).unwrap();
    assert!(refused(&path).contains("holds 3 calls, and 5 were made"));
}

#[test]
fn calls_are_counted_also_while_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    let journal = Journal::open(&path, "run").unwrap();
    for call in 0..2 * COUNTED_EVERY {
        begin(&journal, &call.to_string(), 50);
    }
    // A process that is killed drops nothing.
    std::mem::forget(journal);
    assert!(Tally::find(&path).unwrap().unwrap().noted() >= COUNTED_EVERY);
}

#[test]
fn a_journal_of_before_the_count_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = paid(folder.path(), 2);
    std::fs::remove_file(path.with_extension("json")).unwrap();
    assert_eq!(Journal::open(&path, "run").unwrap().attempts().unwrap().len(), 2);
    assert_eq!(Tally::find(&path).unwrap().unwrap().noted(), 2);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_a_journal_is_refused_and_answers_are_the_users_alone() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let path = paid(folder.path(), 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.with_extension("json"))), (0o600, 0o600));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let journal = Journal::open(&path, "run").unwrap();
    begin(&journal, "b", 1);
    let beside = folder.path().join("calls.sqlite-wal");
    assert_eq!((mode(&path), mode(&beside)), (0o600, 0o600));
    drop(journal);
    let theirs = folder.path().join("theirs");
    std::fs::rename(&path, &theirs).unwrap();
    symlink(&theirs, &path).unwrap();
    assert!(Journal::open(&path, "run").unwrap_err().to_string().contains("is a link"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(Journal::open(&path, "run").unwrap_err().to_string().contains("is a folder, not a file"));
}
