//! How long a large evaluation takes and how much memory it needs, from judging the answers to the verdict.
//! Knows the public road only; the figures are of made-up rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Instant;

use eval::decision::{self, Bins, Covariate, Decision, GateLimits, Guardrail, Registration, Slices, Test};
use eval::proof::{Claim, LocalCosts, Premises, Proof, decide_all, verify};
use eval::report::json;
use eval::scorer::{Plain, ScorerOptions, ScorerSpec};
use eval::{
    Answers, Arm, Call, Completion, EvaluateOptions, Finish, HeldOut, Identity, Message, Results, Role, Row, Task,
    evaluate_arms,
};

const ROWS: usize = 100_000;
const GROUPS: usize = 5_000;
const LABELS: usize = 16;
const LIMIT_SECS: f64 = 60.0;
const LIMIT_KIB: f64 = 1024.0 * 1024.0;

/// A number in [0, 1) from a counter.
fn uniform(seed: u64, row: usize) -> f64 {
    let mut bits = (seed << 32 ^ row as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn label(at: usize) -> String {
    format!("label number {at}")
}

fn truth(row: usize) -> usize {
    (LABELS as f64 * uniform(1, row).powf(1.5)) as usize
}

fn held_out(rows: usize, grouped: bool) -> HeldOut {
    let row = |row: usize| Row {
        id: format!("row-{row}"),
        group: grouped.then(|| format!("owner {}", row % (GROUPS * rows / ROWS))),
        prompt: vec![Message::new(Role::User, "which label?")],
        text: format!("the text of row {row}"),
        target: label(truth(row)),
        covariates: BTreeMap::from([("input_tokens".to_owned(), (2000.0 * uniform(2, row)).floor())]),
        slices: BTreeMap::from([("kind".to_owned(), ["short", "long"][row % 2].to_owned())]),
        ..Row::default()
    };
    HeldOut::new((0..rows).map(row).collect(), Some((0..LABELS).map(label).collect())).unwrap().grouped_by("owners")
}

fn answers(rows: usize, seed: u64, accuracy: f64, hosted: bool) -> Answers {
    let said = |row: usize| {
        let right = uniform(seed, row) < accuracy;
        let at = if right { truth(row) } else { (LABELS as f64 * uniform(seed + 1, row)) as usize };
        let completion = Completion {
            text: label(at),
            written: None,
            finish: Finish::Stop,
            prompt_tokens: 300,
            completion_tokens: 4,
        };
        let call = Call {
            latency_secs: Some(0.2 + uniform(seed + 2, row)),
            prompt_tokens: 300,
            completion_tokens: 4,
            cost_usd: Some(if hosted { 0.001 * (1.0 + uniform(seed + 3, row)) } else { 0.0 }),
            ..Call::default()
        };
        vec![(completion, Some(call))]
    };
    let samples = (0..rows).map(said).collect();
    Answers { samples, writing_secs: 500.0, counts_tokens: !hosted, ..Answers::default() }
}

fn decision(metric: &str, test: Test) -> Decision {
    Decision {
        version: decision::VERSION,
        baseline: "frontier".to_owned(),
        candidates: vec!["tuned".to_owned()],
        metric: metric.to_owned(),
        margin: 0.02,
        alpha: 0.05,
        power: 0.8,
        test,
        groups: "owners".to_owned(),
        slices: Slices { names: vec!["kind=short".to_owned(), "kind=long".to_owned()], ..Slices::default() },
        guardrails: vec![
            Guardrail::LatencyP95 { limit_secs: 2.0 },
            Guardrail::RefusalRate { margin: 0.01 },
            Guardrail::CostPerCorrect { margin: 0.0 },
        ],
        covariates: vec![Covariate { name: "input tokens".to_owned(), bins: Bins::Merged { variance: 0.1 } }],
        n_max: ROWS,
        gates: GateLimits::default(),
        seed: 7,
        set_sha256: "a".repeat(64),
        held_out_sha256: Some("d".repeat(64)),
        prompt_sha256: "b".repeat(64),
        scorer_sha256: "c".repeat(64),
    }
}

fn peak_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    peak.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Seconds since `start`, told with the memory at its peak.
fn told(what: &str, start: Instant) -> f64 {
    let seconds = start.elapsed().as_secs_f64();
    println!("  {what}: {seconds:.2} s, peak {:.0} MiB", peak_kib() / 1024.0);
    seconds
}

fn evaluate(rows: usize, grouped: bool) -> f64 {
    println!("{rows} rows, {}", if grouped { "in groups" } else { "independent" });
    let held_out = held_out(rows, grouped);
    let scorers = [ScorerOptions::ExactMatch(Plain {}), ScorerOptions::Label(Default::default())];
    let specs = scorers.into_iter().map(|options| ScorerSpec { options, schema: None }).collect();
    let task = Task::new(specs, held_out.labels(), None).unwrap();
    let answered =
        |name: &str, answers: Answers| Arm::Answered { name: name.to_owned(), identity: Identity::default(), answers };
    let arms =
        vec![answered("tuned", answers(rows, 10, 0.91, false)), answered("frontier", answers(rows, 20, 0.90, true))];
    let mut total = 0.0;
    let start = Instant::now();
    let judged = evaluate_arms(&held_out, &task, arms, &EvaluateOptions::default(), &mut |_| {}).unwrap();
    total += told("judged", start);
    let start = Instant::now();
    let mut results = Results::new(&held_out, &task, judged, Some("tuned"), 7).unwrap();
    (results.provenance.set_sha256, results.provenance.prompt_sha256) = ("a".repeat(64), "b".repeat(64));
    results.provenance.leaked_rows = Some(0);
    total += told("measured and compared", start);
    drop(held_out);
    let start = Instant::now();
    let mean = if grouped { Test::ClusteredT } else { Test::Tango };
    let claims = [("macro_f1", Test::ClusterBootstrap), ("exact_match", mean)].map(|(metric, test)| {
        let scorer_sha256 = results.provenance.scorer_sha256.clone();
        let decision = Decision { scorer_sha256, ..decision(metric, test) };
        let (registration, standing) = Registration::register(None, &decision, "2026-03-01T12:00:00Z").unwrap();
        Claim { registration, decision, standing, reads: 1 }
    });
    let local_costs = LocalCosts { hardware_usd_per_hour: 1.0, fixed_usd_per_month: 200.0, local_share: 1.0 };
    let premises = Premises { claims: claims.to_vec(), leaked_rows: Some(0), local_costs: Some(local_costs) };
    results.decided = decide_all(&results, &premises).unwrap();
    total += told("decided", start);
    println!("  {}", results.decided.as_ref().unwrap().verdict.sentence());
    let summary = serde_json::to_string(&json::summary(&results).unwrap()).unwrap();
    println!("  summary: {} KiB", summary.len() / 1024);
    assert!(summary.len() < 256 * 1024);
    if std::env::var_os("EVALUATION_SPEED_PROOF").is_some() {
        let start = Instant::now();
        let text = Proof::write(&results, &premises).unwrap();
        told(&format!("proof of {} MiB written", text.len() / (1 << 20)), start);
        drop(results);
        let start = Instant::now();
        let found = verify(&text).unwrap();
        told("proof verified", start);
        println!("{:?}", found.iter().take(3).collect::<Vec<_>>());
    }
    total
}

#[test]
#[ignore = "a minute of work; run with `RAYON_NUM_THREADS=2 cargo test --release -p eval --test evaluation_speed -- --ignored --nocapture`"]
fn a_hundred_thousand_rows_are_scored_and_decided_in_under_a_minute_and_a_gibibyte() {
    let rows = std::env::var("EVALUATION_SPEED_ROWS").map_or(ROWS, |rows| rows.parse().unwrap());
    for grouped in [false, true] {
        let seconds = evaluate(rows, grouped);
        println!("  in all: {seconds:.1} s, peak {:.0} MiB", peak_kib() / 1024.0);
        assert!(rows < ROWS || seconds < LIMIT_SECS, "{seconds} s");
        assert!(rows < ROWS || peak_kib() < LIMIT_KIB, "{} KiB", peak_kib());
    }
}
