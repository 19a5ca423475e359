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
    let completion =
        Completion { text: "yes".to_owned(), finish: Finish::Stop, prompt_tokens: 3, completion_tokens: 1 };
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
