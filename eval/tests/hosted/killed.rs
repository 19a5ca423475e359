//! A run that is killed at random moments and started again: no row is paid twice beyond what was in flight at a kill.
//! Knows nothing about how the journal makes that true.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eval::provider::hosted::{Answered, CallOutcome, HostedSettings, Spend};
use eval::wire::{Anthropic, Usd};

use crate::questions::{answer_all, asks, golden_cost, journal, model, row_id, settings, shared};
use crate::server::{Behaviour, Server};

const NUM_ROWS: usize = 300;
/// Calls that each of the first processes makes until it is killed.
const KILLED_AFTER_CALLS: [usize; 6] = [1, 23, 40, 5, 31, 17];
/// Slow enough that every kill finds calls in flight.
const ANSWER_TIME: Duration = Duration::from_millis(25);

#[test]
#[ignore = "not a test: the process that the test below starts and kills"]
fn the_run_that_is_killed() {
    let (Ok(url), Ok(folder)) = (std::env::var("EVAL_TEST_URL"), std::env::var("EVAL_TEST_FOLDER")) else { return };
    let folder = PathBuf::from(folder);
    let shared = shared(journal(&folder), Some("100".parse().unwrap()));
    let settings = HostedSettings { max_concurrency: 8, ..settings(&url) };
    let answered = answer_all(&model(&Anthropic, settings, shared), &asks(NUM_ROWS)).unwrap();
    std::fs::write(folder.join("answered.json"), serde_json::to_vec(&answered).unwrap()).unwrap();
}

fn start(url: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_run_that_is_killed", "--ignored", "--nocapture"])
        .env("EVAL_TEST_URL", url)
        .env("EVAL_TEST_FOLDER", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_second_process_on_one_journal_is_refused_and_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| Behaviour::Well);
    let journal = journal(folder.path());
    assert!(!start(&server.url, folder.path()).wait().unwrap().success());
    assert!(server.calls().is_empty() && journal.attempts().unwrap().is_empty());
}

#[test]
fn a_run_that_is_killed_and_resumed_pays_no_finished_row_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| Behaviour::Late(ANSWER_TIME));
    for num_calls in KILLED_AFTER_CALLS {
        let before = server.calls().len();
        let mut child = start(&server.url, folder.path());
        while server.calls().len() < before + num_calls {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!folder.path().join("answered.json").exists());
    assert!(start(&server.url, folder.path()).wait().unwrap().success());

    let journal = journal(folder.path());
    let (attempts, calls) = (journal.attempts().unwrap(), server.calls());
    let mut lost: HashMap<&str, usize> = HashMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.lost) {
        assert!(matches!(attempt.spend, Some(Spend::Possible(_))), "{attempt:?}");
        *lost.entry(&attempt.place.row).or_default() += 1;
    }
    assert!(!lost.is_empty(), "no kill found a call in flight");
    for row in 0..NUM_ROWS {
        let num_billed = calls.iter().filter(|call| call.row == row && call.amount > Usd::ZERO).count();
        let num_lost = lost.get(row_id(row).as_str()).copied().unwrap_or(0);
        assert!((1..=1 + num_lost).contains(&num_billed), "{row}: billed {num_billed} times, {num_lost} in flight");
    }
    let spent = journal.spent().unwrap();
    assert_eq!(spent.exact, (0..NUM_ROWS).map(golden_cost).sum());
    assert!(server.billed() >= spent.exact && server.billed() <= spent.total());

    let text = std::fs::read_to_string(folder.path().join("answered.json")).unwrap();
    let answered: Vec<Answered> = serde_json::from_str(&text).unwrap();
    assert_eq!(answered.len(), NUM_ROWS);
    for (row, said) in answered.iter().enumerate() {
        let record = &said.record;
        assert_eq!((record.outcome, record.cached), (CallOutcome::Ok, false));
        assert_eq!((said.id.as_str(), record.cost_usd), (row_id(row).as_str(), Some(golden_cost(row))));
    }
    let in_records: Usd = answered.iter().map(|row| row.record.possibly_spent_usd).sum();
    assert_eq!(in_records, spent.possible);
}
