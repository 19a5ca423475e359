//! A thousand rows of which three calls in ten fail: every row is accounted for, every cent too, and a cap is kept.
//! Knows nothing about waits between attempts but that they end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use eval::provider::hosted::{Answered, CallOutcome, HostedSettings, Spend, StopRules, UsageProblem};
use eval::wire::{Anthropic, Usd};

use crate::questions::{answer, answer_all, asks, golden_cost, journal, model, row_id, settings, shared};
use crate::server::{Behaviour, Server};

const NUM_ROWS: usize = 1_000;

/// What a row and a call draw.
fn random(row: usize, call: u32) -> u64 {
    ground::random::mix(row as u64 * 1_000 + u64::from(call))
}

/// Three calls in ten fail, and some rows are special whenever they are answered.
fn plan(row: usize, call: u32) -> Behaviour {
    let draw = random(row, call);
    if draw % 10 < 3 {
        let status = |status, kind| Behaviour::Status(status, kind, Vec::new());
        let limited = |headers| Behaviour::Status(429, "rate_limit_error", headers);
        return match (draw / 10) % 14 {
            0 => limited(vec![("retry-after", "2".to_owned())]),
            1 => limited(vec![("retry-after-ms", "1500".to_owned())]),
            2 => limited(vec![
                ("date", "Mon, 23 Nov 2026 07:00:00 GMT".to_owned()),
                ("retry-after", "Mon, 23 Nov 2026 07:00:03 GMT".to_owned()),
            ]),
            3 => limited(Vec::new()),
            4 => status(529, "overloaded_error"),
            5 => status(500, "api_error"),
            6 => status(504, "timeout_error"),
            7 => status(503, "api_error"),
            8 => Behaviour::Reset { billed: true },
            9 => Behaviour::Reset { billed: false },
            10 => Behaviour::Cut,
            11 => Behaviour::MalformedEvent,
            12 => Behaviour::NotUtf8,
            _ => Behaviour::ErrorInStream,
        };
    }
    match row % 100 {
        3 => Behaviour::NoUsage,
        13 => Behaviour::NegativeUsage,
        23 => Behaviour::AbsurdUsage,
        33 => Behaviour::Refusal,
        43 => Behaviour::Truncated,
        53 => Behaviour::Status(400, "invalid_request_error", Vec::new()),
        63 if row % 200 == 63 => Behaviour::Late(std::time::Duration::from_secs(3)),
        _ if row.is_multiple_of(9) => Behaviour::Bytewise,
        _ => Behaviour::Well,
    }
}

/// How a row must end: its class, its attempts, and whether its usage can be trusted.
fn expected(row: usize) -> (CallOutcome, u32, Option<UsageProblem>) {
    let mut last = CallOutcome::ProviderOutage;
    for call in 0..3 {
        let (outcome, problem) = match plan(row, call) {
            Behaviour::Well | Behaviour::Bytewise => (CallOutcome::Ok, None),
            Behaviour::Refusal => (CallOutcome::Refusal, None),
            Behaviour::Truncated => (CallOutcome::Truncated, None),
            Behaviour::NoUsage | Behaviour::NegativeUsage => (CallOutcome::Ok, Some(UsageProblem::Missing)),
            Behaviour::AbsurdUsage => (CallOutcome::Ok, Some(UsageProblem::AboveBound)),
            Behaviour::Late(_) => (CallOutcome::Timeout, None),
            Behaviour::Status(400, ..) => (CallOutcome::ClientError, None),
            Behaviour::MalformedEvent | Behaviour::NotUtf8 => {
                last = CallOutcome::Malformed;
                continue;
            }
            _ => {
                last = CallOutcome::ProviderOutage;
                continue;
            }
        };
        return (outcome, call, problem);
    }
    (last, 2, None)
}

fn faulty(url: &str) -> HostedSettings {
    // Fast rows after an early failure must not stop the arm: how it stops is tested elsewhere.
    HostedSettings { stop: StopRules { same_refusals: 0, outages: 0 }, ..settings(url) }
}

fn counts(answered: &[Answered]) -> BTreeMap<CallOutcome, usize> {
    answered.iter().fold(BTreeMap::new(), |mut counts, row| {
        *counts.entry(row.record.outcome).or_default() += 1;
        counts
    })
}

#[test]
fn a_thousand_rows_end_as_planned_and_cost_what_the_server_billed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(plan);
    let shared = shared(journal(folder.path()), Some("1000".parse().unwrap()));
    let model = model(&Anthropic, faulty(&server.url), shared.clone());
    let num_reports = AtomicUsize::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let progress = |_| {
        num_reports.fetch_add(1, Ordering::Relaxed);
    };
    let answered = model.answer_all(&asks(NUM_ROWS), &stop, &progress).unwrap();

    assert_eq!((answered.len(), num_reports.into_inner()), (NUM_ROWS, NUM_ROWS));
    let mut golden = Usd::ZERO;
    for (row, said) in answered.iter().enumerate() {
        let (outcome, retries, problem) = expected(row);
        let record = &said.record;
        assert_eq!(said.id, row_id(row));
        assert_eq!((record.outcome, record.retries), (outcome, retries), "{row}: {record:?}");
        assert_eq!((record.usage_problem, record.cached), (problem, false), "{row}");
        if outcome.is_answer() {
            assert_eq!(said.completion.text, answer(row), "{row}");
            assert!(record.time_to_first_token_secs.unwrap() <= record.latency_secs.unwrap(), "{row}");
            assert_eq!(record.served_model.as_deref(), Some("served-model"));
        }
        let is_billed_exactly = outcome.is_answer() && problem.is_none();
        assert_eq!(record.cost_usd, is_billed_exactly.then(|| golden_cost(row)), "{row}");
        golden = golden.plus(record.cost_usd.unwrap_or_default());
    }
    let counts = counts(&answered);
    assert!(
        CallOutcome::ALL[..8]
            .iter()
            .all(|outcome| *outcome == CallOutcome::ContentFilter || counts.contains_key(outcome)),
        "{counts:?}"
    );

    // The ledgers of the client, the journal and the server agree.
    let spent = shared.budget.spent();
    assert_eq!(spent, shared.journal.spent().unwrap());
    assert_eq!(spent.exact, golden);
    assert_eq!(spent.possible, answered.iter().map(|row| row.record.possibly_spent_usd).sum());
    let calls = server.calls();
    let attempts = shared.journal.attempts().unwrap();
    assert_eq!(attempts.len(), calls.len());
    assert!(attempts.iter().all(|attempt| attempt.spend.is_some() && !attempt.lost));
    assert!(server.billed() >= spent.exact && server.billed() <= spent.total());
    // What the server billed beyond the exact costs lies in calls that are written down as possibly spent.
    let num_possible = attempts.iter().filter(|attempt| matches!(attempt.spend, Some(Spend::Possible(_)))).count();
    let num_billed = calls.iter().filter(|call| call.amount > Usd::ZERO).count();
    let num_exact = attempts.iter().filter(|attempt| matches!(attempt.spend, Some(Spend::Exact(_)))).count();
    assert!(num_billed <= num_exact + num_possible);

    // A second run of the same name sends only what was never answered.
    let sent_again: Vec<usize> = (0..NUM_ROWS).filter(|row| !answered[*row].record.outcome.is_final()).collect();
    let again = answer_all(&model, &asks(NUM_ROWS)).unwrap();
    let called: std::collections::BTreeSet<usize> = server.calls()[calls.len()..].iter().map(|call| call.row).collect();
    assert_eq!(called.into_iter().collect::<Vec<_>>(), sent_again);
    for row in (0..NUM_ROWS).filter(|row| answered[*row].record.outcome.is_final()) {
        let (before, after) = (&answered[row], &again[row]);
        assert_eq!(before.completion, after.completion, "{row}");
        assert_eq!(before.record.cost_usd, after.record.cost_usd, "{row}");
        assert_eq!((before.record.outcome, false), (after.record.outcome, after.record.cached), "{row}");
    }
}

#[test]
fn a_cap_is_never_passed_and_what_is_left_is_counted_as_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(plan);
    let cap: Usd = "0.6".parse().unwrap();
    let shared = shared(journal(folder.path()), Some(cap));
    let model = model(&Anthropic, faulty(&server.url), shared.clone());
    let answered = answer_all(&model, &asks(NUM_ROWS)).unwrap();
    assert_eq!(answered.len(), NUM_ROWS);
    let counts = counts(&answered);
    assert!(counts[&CallOutcome::Budget] > 100 && counts[&CallOutcome::Ok] > 50, "{counts:?}");
    assert!(server.billed() <= shared.budget.spent().total());
    assert!(shared.budget.spent().total() <= cap);
    assert!(shared.budget.spent().total() > "0.55".parse().unwrap(), "{}", shared.budget.spent().total());
    // The cap holds over processes: a run that goes on with it sends nothing more.
    let num_calls = server.calls().len();
    drop((model, shared));
    let shared = crate::questions::shared(journal(folder.path()), Some(cap));
    let model = crate::questions::model(&Anthropic, faulty(&server.url), shared);
    let again = answer_all(&model, &asks(NUM_ROWS)).unwrap();
    let num_budget = again.iter().filter(|row| row.record.outcome == CallOutcome::Budget).count();
    assert!(num_budget >= counts[&CallOutcome::Budget]);
    assert!(server.calls().len() - num_calls < 30, "only the little that was left");
    assert!(server.billed() <= cap);
}
