//! Whole evaluations with everything that can happen to an answer, as proofs of them hold it.
//! Knows nothing about what is done with them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::decision::{self, Bins, Covariate, Decision, GateLimits, Guardrail, Registration, Slices, Standing, Test};
use crate::proof::{Claim, LocalCosts, Premises, decide_all};
use crate::provider::scripted::{Scripted, says};
use crate::results::Provenance;
use crate::scorer::{ScorerOptions, ScorerSpec};
use crate::{
    Answers, Arm, Call, Completion, EvaluateOptions, Finish, HeldOut, Identity, Message, Results, Role, Row, Task,
    evaluate_arms,
};

const LABELS: [&str; 3] = ["termination", "export control", "assignment"];
const LABEL_ROWS: usize = 26;
const JSON_ROWS: usize = 20;

/// Results and what their claims rest on.
pub(crate) struct Example {
    pub(crate) results: Results,
    pub(crate) premises: Premises,
}

fn row(at: usize, target: String, group: Option<String>) -> Row {
    Row {
        id: format!("row-{at}"),
        group,
        prompt: vec![Message::new(Role::User, at.to_string())],
        text: format!("the text of row {at}"),
        target,
        others: Vec::new(),
        covariates: BTreeMap::from([
            ("input_tokens".to_owned(), (10 * (at % 7) + 3) as f64),
            ("depth".to_owned(), (at % 4) as f64 + 0.25),
        ]),
        slices: BTreeMap::from([("kind".to_owned(), ["short", "long"][at % 2].to_owned())]),
    }
}

fn completion(text: &str, finish: Finish) -> Completion {
    Completion { text: text.to_owned(), written: None, finish, prompt_tokens: 30, completion_tokens: 3 }
}

fn call(at: usize, cost_usd: Option<f64>) -> Call {
    Call {
        latency_secs: Some(0.2 + 0.013 * (at % 9) as f64),
        prompt_tokens: 30 + at as u64,
        completion_tokens: 3,
        cost_usd,
        ..Call::default()
    }
}

/// A hosted model, asked twice for each row: refusals, a filter, a timeout, a cut and an empty answer, an outage, cached and unpriced calls.
fn hosted(rows: usize, right: impl Fn(usize) -> String, wrong: &str) -> Answers {
    let one = |at: usize, repeat: usize| {
        let text = if at % 5 == repeat { wrong.to_owned() } else { right(at) };
        let (text, finish) = match (at, repeat) {
            (1, 0) => (String::new(), Finish::Refusal { category: Some("policy".to_owned()) }),
            (2, 1) => (String::new(), Finish::ContentFilter { category: None }),
            (3, 0) => (String::new(), Finish::Timeout),
            (4, 0) => (text, Finish::Length),
            (6, 1) => (" ".to_owned(), Finish::Stop),
            (7, _) => (String::new(), Finish::Failed { reason: "503 from the server".to_owned() }),
            _ => (text, Finish::Stop),
        };
        let mut made = Call {
            first_token_secs: Some(0.1 + 0.01 * (at % 3) as f64),
            retries: u32::from(at == 9),
            served_model: Some("large-1".to_owned()),
            tokens_estimated: at == 10,
            cached: at == 11,
            ..call(at, (at != 12).then_some(0.0012 + 0.0001 * (at % 4) as f64))
        };
        match finish {
            Finish::Timeout => made.latency_secs = None,
            Finish::Failed { .. } => made = Call::default(),
            _ => {}
        }
        (completion(&text, finish), Some(made))
    };
    let samples = (0..rows).map(|at| vec![one(at, 0), one(at, 1)]).collect();
    let notes = vec!["up to $0.0100 more may have been billed".to_owned()];
    Answers { samples, writing_secs: 21.0, notes, ..Answers::default() }
}

fn identity(provider: &str, egress: &str) -> Identity {
    let facts = BTreeMap::from([("sha256".to_owned(), "d".repeat(64))]);
    Identity { provider: provider.to_owned(), model: Some("m".to_owned()), egress: egress.to_owned(), facts }
}

fn provenance(results: &Results) -> Provenance {
    Provenance {
        name: "clauses".to_owned(),
        set: "contracts".to_owned(),
        set_sha256: "a".repeat(64),
        prompt_sha256: "b".repeat(64),
        prices: vec!["2026-03-01 sha256 c".to_owned()],
        command: "trainer eval clauses.toml".to_owned(),
        finished_at: "2026-03-01T14:00:00Z".to_owned(),
        leaked_rows: Some(0),
        attribution: Some("by its authors".to_owned()),
        ..results.provenance.clone()
    }
}

fn decision(results: &Results, baseline: &str, metric: &str, test: Test) -> Decision {
    Decision {
        version: decision::VERSION,
        baseline: baseline.to_owned(),
        candidates: vec!["tuned".to_owned()],
        metric: metric.to_owned(),
        margin: 0.2,
        alpha: 0.05,
        power: 0.8,
        test,
        groups: "owners".to_owned(),
        slices: Slices { names: vec!["kind=short".to_owned(), "kind=long".to_owned()], ..Slices::default() },
        guardrails: vec![
            Guardrail::SchemaValidity { margin: 0.3 },
            Guardrail::RefusalRate { margin: 0.2 },
            Guardrail::TimeoutRate { margin: 0.2 },
            Guardrail::LatencyP95 { limit_secs: 2.0 },
            Guardrail::CostPerCorrect { margin: 0.0 },
        ],
        covariates: vec![
            Covariate { name: "input tokens".to_owned(), bins: Bins::Merged { variance: 0.1 } },
            Covariate { name: "depth".to_owned(), bins: Bins::Edges { upper: vec![1.5, 2.5] } },
        ],
        n_max: 100,
        gates: GateLimits {
            missing_share: 0.2,
            unparsed_share: 0.4,
            min_clusters: 4,
            baseline_floor: Some(0.3),
            ..GateLimits::default()
        },
        seed: 7,
        set_sha256: results.provenance.set_sha256.clone(),
        held_out_sha256: Some("e".repeat(64)),
        prompt_sha256: results.provenance.prompt_sha256.clone(),
        scorer_sha256: results.provenance.scorer_sha256.clone(),
    }
}

fn claim(decision: Decision, reads: usize) -> Claim {
    let (registration, standing) = Registration::register(None, &decision, "2026-03-01T12:00:00Z").unwrap();
    let registration = registration.observe("2026-03-01T13:00:00Z").unwrap();
    Claim { registration, decision, standing, reads }
}

/// Decides what was registered, and the last claim under a decision that was changed since.
fn decided(mut results: Results, mut claims: Vec<Claim>) -> Example {
    if let Some(last) = claims.last_mut() {
        last.decision.margin = 0.25;
        last.decision.gates.min_clusters = 3;
        last.standing = last.registration.standing(&last.decision).unwrap();
        assert!(matches!(&last.standing, Standing::Exploratory { changed, .. } if changed.len() == 2));
    }
    let local_costs = LocalCosts { hardware_usd_per_hour: 1.1, fixed_usd_per_month: 210.0, local_share: 0.8 };
    let premises = Premises { claims, leaked_rows: Some(0), local_costs: Some(local_costs) };
    results.decided = decide_all(&results, &premises).unwrap();
    assert!(results.decided.is_some());
    Example { results, premises }
}

/// Closed labels: a local model that ranks and errs, a hosted one, a scripted one, and one that was not measured.
pub(crate) fn labels() -> Example {
    let target = |at: usize| LABELS[at % 3].to_owned();
    let group = |at: usize| (at > 1).then(|| format!("owner {}", at % 9));
    let rows = (0..LABEL_ROWS).map(|at| row(at, target(at), group(at))).collect();
    let held_out = HeldOut::new(rows, Some(LABELS.map(str::to_owned).to_vec())).unwrap().grouped_by("owners");
    let task = Task::standard(held_out.labels(), None).unwrap();
    let local = |at: usize| match at {
        3 => (completion("no idea", Finish::Stop), Some(call(at, Some(0.0)))),
        8 => (completion("assign", Finish::Length), Some(call(at, Some(0.0)))),
        13 => (completion(LABELS[(at + 1) % 3], Finish::Stop), Some(call(at, Some(0.0)))),
        _ => (completion(&format!("{}.", LABELS[at % 3]), Finish::Stop), Some(call(at, Some(0.0)))),
    };
    let likelihood =
        |at: usize, label: usize| if (at + usize::from(at == 5)) % 3 == label { -0.5 } else { -2.0 - label as f64 };
    let tuned = Answers {
        samples: (0..LABEL_ROWS).map(|at| vec![local(at)]).collect(),
        likelihoods: Some((0..LABEL_ROWS).map(|at| (0..3).map(|label| likelihood(at, label)).collect()).collect()),
        writing_secs: 2.5,
        other_secs: 0.5,
        counts_tokens: true,
        notes: vec!["answers were written 8 at a time".to_owned()],
    };
    let mut scripted = Scripted::new("scripted", |prompt, _| {
        let at: usize = prompt[0].content.parse().unwrap();
        says(prompt, if at.is_multiple_of(4) { "termination" } else { LABELS[at % 3] })
    });
    let arms = vec![
        Arm::Answered { name: "tuned".to_owned(), identity: identity("local", "none"), answers: tuned },
        Arm::Answered {
            name: "frontier".to_owned(),
            identity: identity("anthropic", "public"),
            answers: hosted(LABEL_ROWS, target, "severability"),
        },
        Arm::Model { name: "base".to_owned(), identity: identity("local", "none"), model: &mut scripted },
        Arm::Skipped {
            name: "other".to_owned(),
            identity: identity("openai", "public"),
            reason: "set OPENAI_API_KEY".to_owned(),
        },
    ];
    let judged = evaluate_arms(&held_out, &task, arms, &EvaluateOptions::default(), &mut |_| {}).unwrap();
    let mut results = Results::new(&held_out, &task, judged, Some("tuned"), 7).unwrap();
    results.provenance = provenance(&results);
    let claims = vec![
        claim(decision(&results, "frontier", "exact_match", Test::ClusteredT), 2),
        claim(decision(&results, "other", "exact_match", Test::ClusteredT), 2),
        claim(decision(&results, "base", "macro_f1", Test::ClusterBootstrap), 2),
    ];
    decided(results, claims)
}

/// JSON records with a schema and rules of fields, further right answers, and independent rows.
pub(crate) fn json() -> Example {
    let record = |at: usize, year: usize| {
        let part = ["b", "c"][at % 2];
        json!({"owner": format!("Owner {at}"), "year": year, "parts": ["a", part], "fee": "USD 12.50"}).to_string()
    };
    let mut rows: Vec<Row> = (0..JSON_ROWS).map(|at| row(at, record(at, 2000 + at), None)).collect();
    rows[4].others = vec![record(4, 1999)];
    let held_out = HeldOut::new(rows, None).unwrap();
    let schema = json!({
        "type": "object",
        "properties": {"owner": {"type": "string"}, "year": {"type": "integer", "minimum": 1990}},
        "required": ["owner", "year"]
    });
    let options = |value: serde_json::Value| -> ScorerOptions { serde_json::from_value(value).unwrap() };
    let specs = vec![
        ScorerSpec::new(
            options(json!({"kind": "json_fields", "field": [
                {"path": "owner", "compare": "fuzzy", "threshold": 0.8},
                {"path": "parts", "compare": "set"},
                {"path": "fee", "compare": "money"}
            ]})),
            None,
        ),
        ScorerSpec::new(options(json!({"kind": "json_valid", "lenient": true})), Some(&schema)),
        ScorerSpec::new(options(json!({"kind": "rouge_l"})), None),
        ScorerSpec::new(options(json!({"kind": "bleu"})), None),
    ];
    let specs = specs.into_iter().collect::<Result<_, _>>().unwrap();
    let task = Task::new(specs, None, Some("json_fields_micro_f1".to_owned())).unwrap();
    let local = |at: usize| {
        let text = match at {
            2 => "{\"owner\": \"Owner 2\", \"year\": 1980}".to_owned(),
            5 => "{\"owner\": ".to_owned(),
            _ if at % 6 == 1 => record(at, 1991),
            _ => format!("```json\n{}\n```", record(at, 2000 + at)),
        };
        vec![(completion(&text, Finish::Stop), Some(call(at, Some(0.00001))))]
    };
    let tuned = Answers {
        samples: (0..JSON_ROWS).map(local).collect(),
        writing_secs: 3.0,
        counts_tokens: true,
        ..Answers::default()
    };
    let right = |at: usize| record(at, 2000 + at);
    let arms = vec![
        Arm::Answered {
            name: "frontier".to_owned(),
            identity: identity("openai", "public"),
            answers: hosted(JSON_ROWS, right, "{\"owner\": \"nobody\"}"),
        },
        Arm::Answered { name: "tuned".to_owned(), identity: identity("local", "none"), answers: tuned },
    ];
    let judged = evaluate_arms(&held_out, &task, arms, &EvaluateOptions::default(), &mut |_| {}).unwrap();
    let mut results = Results::new(&held_out, &task, judged, Some("tuned"), 7).unwrap();
    results.provenance = provenance(&results);
    let claims = vec![claim(decision(&results, "frontier", "json_fields_micro_f1", Test::ClusterBootstrap), 1)];
    decided(results, claims)
}
