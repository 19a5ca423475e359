//! What one arm scored: judges its answers row by row and sums them up with intervals.
//! Knows nothing about how the answers were had.

use serde::{Deserialize, Serialize};

use crate::clock::Stopwatch;
use crate::metric::{Accuracy, Confusion, MacroF1, Metric, Setting, ValidLabelShare};
use crate::scorer::{Answer, ExactMatch, Label, LabelLikelihood, Scorer, Target};
use crate::stats::interval;
use crate::{Completion, Estimate, HeldOut, Outcome, Parse, Ranked, Reason, Row};

/// What one arm scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmResult {
    /// The arm.
    pub name: String,
    /// Rows in the denominator, unscored ones included.
    pub n: usize,
    /// Share of written answers that equal the target.
    pub exact: Estimate,
    /// Share of rows whose most likely label is the target; none when the arm cannot rank or there are no labels.
    pub likelihood: Option<Estimate>,
    /// The same by log-likelihood per byte, a second figure.
    pub likelihood_per_byte: Option<Estimate>,
    /// Share of written answers that are one of the labels.
    pub valid_label: Option<Estimate>,
    /// Mean F1 over labels.
    pub macro_f1: Option<Estimate>,
    /// Targets against answers.
    pub confusion: Option<Confusion>,
    /// Rows without an answer to judge: no pass, still in the denominator.
    pub unscored: usize,
    /// Rows whose likelihoods could not be used, likewise.
    pub unranked: usize,
    /// Rows whose answer reached the token limit: they score 0.
    pub truncated: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens of all written answers.
    pub completion_tokens: usize,
    /// Prompt and answer tokens per second of writing answers; none for baselines.
    pub tokens_per_second: Option<f64>,
    /// Seconds spent on answers and rankings, and on learning for a baseline.
    pub seconds: f64,
    /// What a reader of these numbers must know.
    pub notes: Vec<String>,
    /// Each row.
    pub outcomes: Vec<Outcome>,
}

/// What an arm said, in the order of the rows.
pub(crate) struct Answers {
    pub(crate) completions: Vec<Completion>,
    pub(crate) likelihoods: Option<Vec<Vec<f64>>>,
    pub(crate) learning_seconds: f64,
    pub(crate) writing: Stopwatch,
    pub(crate) ranking: Stopwatch,
    pub(crate) counts_tokens: bool,
}

/// Judges what an arm said and sums it up.
pub(crate) fn sum_up(
    held_out: &HeldOut,
    name: String,
    answers: Answers,
    mut notes: Vec<String>,
    seed: u64,
) -> ArmResult {
    let labels = held_out.labels();
    let outcomes: Vec<Outcome> = held_out
        .rows()
        .iter()
        .zip(&answers.completions)
        .enumerate()
        .map(|(index, (row, completion))| {
            let likelihoods = answers.likelihoods.as_ref().map(|all| all[index].as_slice());
            outcome(row, completion, likelihoods, labels)
        })
        .collect();
    let setting = Setting { labels, clusters: held_out.clusters(), seed };
    let likelihood = Accuracy::LabelLikelihood.estimate(&outcomes, setting);
    notes.extend(chance_note(likelihood, labels));
    let prompt_tokens = answers.completions.iter().map(|said| said.prompt_tokens).sum();
    let completion_tokens = answers.completions.iter().map(|said| said.completion_tokens).sum();
    let writing = answers.writing.seconds();
    let rate = (prompt_tokens + completion_tokens) as f64 / writing;
    let truncated = Parse::Unparsed { reason: Reason::Truncated };
    let unranked = |outcome: &&Outcome| outcome.ranked.as_ref().is_some_and(|ranked| ranked.score.is_none());
    ArmResult {
        name,
        n: outcomes.len(),
        exact: exact(&outcomes, held_out),
        likelihood,
        likelihood_per_byte: Accuracy::LabelLikelihoodPerByte.estimate(&outcomes, setting),
        valid_label: ValidLabelShare.estimate(&outcomes, setting),
        macro_f1: MacroF1.estimate(&outcomes, setting),
        confusion: labels.and_then(|labels| Confusion::count(&outcomes, labels)),
        unscored: outcomes.iter().filter(|outcome| outcome.is_unscored()).count(),
        unranked: outcomes.iter().filter(unranked).count(),
        truncated: outcomes.iter().filter(|outcome| outcome.parse == truncated).count(),
        prompt_tokens,
        completion_tokens,
        tokens_per_second: (answers.counts_tokens && rate.is_finite()).then_some(rate),
        seconds: answers.learning_seconds + writing + answers.ranking.seconds(),
        notes,
        outcomes,
    }
}

fn exact(outcomes: &[Outcome], held_out: &HeldOut) -> Estimate {
    let scores: Vec<f64> = outcomes.iter().map(Outcome::exact).collect();
    interval::mean(&scores, held_out.clusters())
}

fn outcome(row: &Row, completion: &Completion, likelihoods: Option<&[f64]>, labels: Option<&[String]>) -> Outcome {
    let target = Target { text: &row.target, labels: labels.unwrap_or_default(), ..Target::default() };
    let exact = ExactMatch.score(Answer::Written(completion), target);
    // With closed labels an answer that is none of them is unparsed, whatever exact match makes of it.
    let read = match labels {
        Some(_) => Label.score(Answer::Written(completion), target),
        None => exact.clone(),
    };
    Outcome {
        id: row.id.clone(),
        group: row.group.clone(),
        text: completion.text.clone(),
        target: row.target.clone(),
        score: exact.score,
        parse: read.parse,
        label: read.label,
        ranked: likelihoods.map(|likelihoods| ranked(likelihoods, target)),
    }
}

fn ranked(likelihoods: &[f64], target: Target<'_>) -> Ranked {
    let total = LabelLikelihood { per_byte: false }.score(Answer::Ranked(likelihoods), target);
    let per_byte = LabelLikelihood { per_byte: true }.score(Answer::Ranked(likelihoods), target);
    Ranked {
        label: total.label,
        score: total.score,
        label_per_byte: per_byte.label,
        score_per_byte: per_byte.score,
        parse: total.parse,
    }
}

/// Scores that chance explains are often a broken ranking.
fn chance_note(likelihood: Option<Estimate>, labels: Option<&[String]>) -> Option<String> {
    let (estimate, num_labels) = (likelihood?, labels?.len());
    let chance = 1.0 / num_labels as f64;
    (num_labels > 1 && estimate.low <= chance)
        .then(|| format!("the label likelihood is not above chance ({:.1}% with {num_labels} labels)", 100.0 * chance))
}
