//! What one arm scored: judges its answers row by row and sums them up with intervals.
//! Knows nothing about how the answers were had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metric::{self, Confusion, Metric, Setting};
use crate::outcome::{Call, Class, Sample};
use crate::scorer::{Answer, Target};
use crate::spending::{Cost, Latency};
use crate::stats::Estimate;
use crate::{Completion, HeldOut, Outcome, Parse, Reason, Row, Task};

/// What answers under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The kind of provider, such as `local`, `anthropic`, `replay` or `baseline`.
    pub provider: String,
    /// The model, by the name it was asked under.
    pub model: Option<String>,
    /// How far a prompt travels: `none`, `loopback`, `private` or `public`.
    pub egress: String,
    /// What else identifies it, such as the hash of an adapter or of a prompt.
    pub facts: BTreeMap<String, String>,
}

/// What one arm scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmResult {
    /// The arm.
    pub name: String,
    /// What answered.
    pub identity: Identity,
    /// Why it was not measured; then everything below is empty.
    pub skipped: Option<String>,
    /// Rows in the denominator, unscored ones included.
    pub n: usize,
    /// Each metric the arm has, by name.
    pub metrics: BTreeMap<String, Estimate>,
    /// First answers by what became of them.
    pub classes: BTreeMap<Class, usize>,
    /// First answers that could not be read, by scorer and reason.
    pub unparsed: BTreeMap<String, BTreeMap<Reason, usize>>,
    /// First answers that could not be judged, by scorer.
    pub unscored: BTreeMap<String, usize>,
    /// Targets against answers, where there are closed labels.
    pub confusion: Option<Confusion>,
    /// Answers asked for each row.
    pub repeats: usize,
    /// Share of rows whose answers all agree, where rows were asked more than once.
    pub self_agreement: Option<Estimate>,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all written answers.
    pub completion_tokens: u64,
    /// Prompt and answer tokens per second of writing answers; none for arms that count no tokens.
    pub tokens_per_second: Option<f64>,
    /// Seconds spent on answers and rankings, and on learning for a baseline.
    pub seconds: f64,
    /// How long answers took; cached ones are left out.
    pub latency: Option<Latency>,
    /// How long the first token took, where answers were streamed.
    pub first_token: Option<Latency>,
    /// What answers cost; cached ones are left out.
    pub cost: Option<Cost>,
    /// What a reader of these numbers must know.
    pub notes: Vec<String>,
    /// Each row.
    pub outcomes: Vec<Outcome>,
}

/// What an arm said.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// For each row its answers, at least one, and what the calls took.
    pub samples: Vec<Vec<(Completion, Option<Call>)>>,
    /// For each row the log-likelihood of each label, if the arm can rank.
    pub likelihoods: Option<Vec<Vec<f64>>>,
    /// Seconds of writing answers.
    pub writing_secs: f64,
    /// Seconds of everything else: learning, ranking.
    pub other_secs: f64,
    /// Whether tokens were counted.
    pub counts_tokens: bool,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl ArmResult {
    /// An arm that was not measured, and why.
    pub fn skipped(name: impl Into<String>, identity: Identity, reason: impl Into<String>) -> Self {
        let reason = Some(reason.into());
        Self { skipped: reason, ..sum_up(name.into(), identity, Answers::default(), Vec::new(), 0) }
    }

    /// Whether it was measured.
    pub fn is_measured(&self) -> bool {
        self.skipped.is_none()
    }
}

/// Judges what an arm said. The metrics come later, once all arms are known.
pub(crate) fn judge(held_out: &HeldOut, task: &Task, name: String, identity: Identity, answers: Answers) -> ArmResult {
    let rows = held_out.rows().iter().zip(&answers.samples).enumerate();
    let outcomes = rows.map(|(index, (row, samples))| {
        let likelihoods = answers.likelihoods.as_ref().map(|all| all[index].as_slice());
        outcome(row, samples, likelihoods, held_out.labels(), task)
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    let n = held_out.rows().len();
    sum_up(name, identity, answers, outcomes, n)
}

fn sum_up(name: String, identity: Identity, answers: Answers, outcomes: Vec<Outcome>, n: usize) -> ArmResult {
    let calls = || answers.samples.iter().flatten();
    let prompt_tokens = calls().map(|(said, _)| said.prompt_tokens as u64).sum();
    let completion_tokens: u64 = calls().map(|(said, _)| said.completion_tokens as u64).sum();
    let rate = (prompt_tokens + completion_tokens) as f64 / answers.writing_secs;
    let mut classes = BTreeMap::new();
    let mut unparsed: BTreeMap<String, BTreeMap<Reason, usize>> = BTreeMap::new();
    let mut unscored: BTreeMap<String, usize> = BTreeMap::new();
    for (completion, _) in answers.samples.iter().filter_map(|samples| samples.first()) {
        *classes.entry(Class::of(completion)).or_default() += 1;
    }
    for (scorer, scored) in outcomes.iter().filter_map(Outcome::first).flat_map(|sample| &sample.scored) {
        match &scored.parse {
            Parse::Parsed => {}
            Parse::Unparsed { reason } => {
                *unparsed.entry(scorer.clone()).or_default().entry(*reason).or_default() += 1;
            }
            Parse::Unscored { .. } => *unscored.entry(scorer.clone()).or_default() += 1,
        }
    }
    let all_calls = || calls().filter_map(|(_, call)| call.as_ref());
    ArmResult {
        name,
        identity,
        skipped: None,
        n,
        metrics: BTreeMap::new(),
        classes,
        unparsed,
        unscored,
        confusion: None,
        repeats: answers.samples.iter().map(Vec::len).max().unwrap_or(0),
        self_agreement: None,
        prompt_tokens,
        completion_tokens,
        tokens_per_second: (answers.counts_tokens && rate.is_finite()).then_some(rate),
        seconds: answers.writing_secs + answers.other_secs,
        latency: Latency::of(all_calls().filter(|call| !call.cached).map(|call| call.latency_secs)),
        first_token: Latency::of(
            all_calls().filter(|call| !call.cached && call.first_token_secs.is_some()).map(|c| c.first_token_secs),
        ),
        cost: None,
        notes: answers.notes,
        outcomes,
    }
}

/// Computes the metrics of a judged arm.
pub(crate) fn measure(result: &mut ArmResult, metrics: &[Box<dyn Metric>], primary_scorer: &str, setting: Setting<'_>) {
    if !result.is_measured() {
        return;
    }
    for metric in metrics {
        if let Some(estimate) = metric::estimate(metric.as_ref(), &result.outcomes, setting) {
            result.metrics.insert(metric.name(), estimate);
        }
    }
    if let Some(labels) = setting.labels {
        result.confusion = Confusion::count(&result.outcomes, setting.targets, labels);
        let note = result.metrics.get("label_likelihood").and_then(|estimate| chance_note(estimate, labels.len()));
        result.notes.extend(note);
    }
    let agreements: Option<Vec<f64>> =
        result.outcomes.iter().map(|outcome| outcome.agrees().map(|same| if same { 1.0 } else { 0.0 })).collect();
    result.self_agreement = agreements
        .filter(|agreements| !agreements.is_empty())
        .map(|agreements| crate::stats::interval::mean(&agreements, setting.clusters));
    result.cost = Cost::of(&result.outcomes, primary_scorer, setting);
}

fn outcome(
    row: &Row,
    samples: &[(Completion, Option<Call>)],
    likelihoods: Option<&[f64]>,
    labels: Option<&[String]>,
    task: &Task,
) -> Outcome {
    let target =
        Target { text: &row.target, others: &row.others, labels: labels.unwrap_or_default(), source: &row.text };
    let sample = |(index, (completion, call)): (usize, &(Completion, Option<Call>))| {
        let mut scored = BTreeMap::new();
        for scorer in task.scorers() {
            // Likelihoods belong to the row and not to one of its answers, so they are judged once.
            let answer = match (scorer.ranks(), likelihoods) {
                (false, _) => Answer::Written(completion),
                (true, Some(likelihoods)) if index == 0 => Answer::Ranked(likelihoods),
                (true, _) => continue,
            };
            scored.insert(scorer.name().to_owned(), scorer.score(answer, target));
        }
        Sample { text: completion.text.clone(), finish: completion.finish.clone(), scored, call: call.clone() }
    };
    Outcome { id: row.id.clone(), samples: samples.iter().enumerate().map(sample).collect() }
}

/// Scores that chance explains are often a broken ranking.
fn chance_note(estimate: &Estimate, num_labels: usize) -> Option<String> {
    let chance = 1.0 / num_labels as f64;
    (num_labels > 1 && estimate.low <= chance)
        .then(|| format!("the label likelihood is not above chance ({:.1}% with {num_labels} labels)", 100.0 * chance))
}
