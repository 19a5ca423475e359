//! What one arm scored: judges its answers row by row and sums them up with intervals.
//! Knows nothing about how the answers were had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metric::{self, Confusion, Metric, Setting};
use crate::outcome::{Call, Class, Sample};
use crate::results::ResultRow;
use crate::scorer::{Answer, Judgements, Scored, Target};
use crate::spending::{Cost, Latency};
use crate::stats::Estimate;
use crate::{Completion, Error, Finish, HeldOut, Outcome, Parse, Reason, Row, Task, work};

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
    /// Tokens of all prompts, as the calls counted them.
    pub prompt_tokens: u64,
    /// Tokens of all written answers, as the calls counted them.
    pub completion_tokens: u64,
    /// Prompt and answer tokens per second of writing answers; none for arms that count no tokens.
    pub tokens_per_second: Option<f64>,
    /// Whether tokens were counted and written one answer after the other, so that there is a speed.
    pub counts_tokens: bool,
    /// Seconds of writing answers.
    pub writing_secs: f64,
    /// Seconds of everything else: learning, ranking.
    pub other_secs: f64,
    /// Seconds of both.
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
        Self { skipped: Some(reason.into()), ..Self::empty(name.into(), identity) }
    }

    fn empty(name: String, identity: Identity) -> Self {
        Self {
            name,
            identity,
            skipped: None,
            n: 0,
            metrics: BTreeMap::new(),
            classes: BTreeMap::new(),
            unparsed: BTreeMap::new(),
            unscored: BTreeMap::new(),
            confusion: None,
            repeats: 0,
            self_agreement: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            tokens_per_second: None,
            counts_tokens: false,
            writing_secs: 0.0,
            other_secs: 0.0,
            seconds: 0.0,
            latency: None,
            first_token: None,
            cost: None,
            notes: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Everything but the rows.
    pub(crate) fn without_outcomes(&self) -> Self {
        Self {
            name: self.name.clone(),
            identity: self.identity.clone(),
            skipped: self.skipped.clone(),
            n: self.n,
            metrics: self.metrics.clone(),
            classes: self.classes.clone(),
            unparsed: self.unparsed.clone(),
            unscored: self.unscored.clone(),
            confusion: self.confusion.clone(),
            repeats: self.repeats,
            self_agreement: self.self_agreement,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            tokens_per_second: self.tokens_per_second,
            counts_tokens: self.counts_tokens,
            writing_secs: self.writing_secs,
            other_secs: self.other_secs,
            seconds: self.seconds,
            latency: self.latency.clone(),
            first_token: self.first_token.clone(),
            cost: self.cost.clone(),
            notes: self.notes.clone(),
            outcomes: Vec::new(),
        }
    }

    /// What it was made from and nothing that was computed; judgements are kept where the answers they were made of are
    /// not here. An arm that was not measured has nothing else.
    pub(crate) fn inputs(&self, keep_judgements: bool) -> Self {
        let bare = Self::empty(self.name.clone(), self.identity.clone());
        if !self.is_measured() {
            return Self { skipped: self.skipped.clone(), ..bare };
        }
        let sample = |sample: &Sample| Sample {
            text: sample.text.clone(),
            written: sample.written.clone(),
            finish: sample.finish.clone(),
            scored: if keep_judgements { sample.scored.clone() } else { Judgements::default() },
            call: sample.call.clone(),
        };
        let outcome = |outcome: &Outcome| Outcome {
            id: String::new(),
            samples: outcome.samples.iter().map(sample).collect(),
            likelihoods: outcome.likelihoods.clone(),
        };
        Self {
            counts_tokens: self.counts_tokens,
            writing_secs: self.writing_secs,
            other_secs: self.other_secs,
            notes: self.notes.clone(),
            outcomes: self.outcomes.iter().map(outcome).collect(),
            ..bare
        }
    }

    /// Answers that came from our own cache.
    pub fn cached(&self) -> usize {
        let samples = self.outcomes.iter().flat_map(|outcome| &outcome.samples);
        samples.filter(|sample| sample.call.as_ref().is_some_and(|call| call.cached)).count()
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
        let target = Target {
            text: &row.target,
            others: &row.others,
            labels: held_out.labels().unwrap_or_default(),
            source: &row.text,
        };
        let sample = |(at, (completion, call)): (usize, &(Completion, Option<Call>))| {
            let said = completion.said();
            // Likelihoods belong to the row and not to one of its answers, so they are judged once.
            let scored = judge_sample(&said, likelihoods.filter(|_| at == 0), target, task);
            Sample { text: said.text, written: said.written, finish: said.finish, scored, call: call.clone() }
        };
        let likelihoods = likelihoods.map(<[f64]>::to_vec);
        Outcome { id: row.id.clone(), samples: samples.iter().enumerate().map(sample).collect(), likelihoods }
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    let n = held_out.rows().len();
    let mut result = ArmResult {
        counts_tokens: answers.counts_tokens,
        writing_secs: answers.writing_secs,
        other_secs: answers.other_secs,
        notes: answers.notes,
        n,
        outcomes,
        ..ArmResult::empty(name, identity)
    };
    count(&mut result);
    result
}

/// Judges the answers of an arm again, from what results keep of them.
pub(crate) fn judge_again(result: &mut ArmResult, rows: &[ResultRow], labels: Option<&[String]>, task: &Task) {
    if !result.is_measured() {
        return;
    }
    for (outcome, row) in result.outcomes.iter_mut().zip(rows) {
        outcome.id.clone_from(&row.id);
        let target =
            Target { text: &row.target, others: &row.others, labels: labels.unwrap_or_default(), source: &row.text };
        let likelihoods = outcome.likelihoods.clone();
        for (at, sample) in outcome.samples.iter_mut().enumerate() {
            let completion = Completion {
                text: sample.text.clone(),
                written: None,
                finish: sample.finish.clone(),
                prompt_tokens: 0,
                completion_tokens: 0,
            };
            sample.scored = judge_sample(&completion, likelihoods.as_deref().filter(|_| at == 0), target, task);
        }
    }
    result.n = rows.len();
    count(result);
}

/// Judges one written answer to a row, before all rows are there.
pub(crate) fn judge_written(completion: &Completion, row: &Row, labels: Option<&[String]>, task: &Task) -> Judgements {
    let target =
        Target { text: &row.target, others: &row.others, labels: labels.unwrap_or_default(), source: &row.text };
    judge_sample(completion, None, target, task)
}

/// Counts the judgements of an arm whose answers are withheld; they stand as they were made.
pub(crate) fn count_again(result: &mut ArmResult, rows: &[ResultRow], task: &Task) -> Result<(), Error> {
    if !result.is_measured() {
        return Ok(());
    }
    let known = |name: &str| task.scorers().iter().any(|scorer| scorer.name() == name);
    for (outcome, row) in result.outcomes.iter_mut().zip(rows) {
        outcome.id.clone_from(&row.id);
        for (scorer, scored) in outcome.samples.iter().flat_map(|sample| sample.scored.iter()) {
            // A judgement that no scorer could have made would carry into every mean.
            if !known(scorer) || scored.score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
                let problem = format!("row \"{}\" has a judgement of {scorer} that no scorer makes", row.id);
                return Err(Error::BadEvidence { problem });
            }
        }
    }
    result.n = rows.len();
    count(result);
    Ok(())
}

/// Every judgement passes here. What is too long to be compared is unscored by every scorer, with the reason; where it is
/// the answer, it counts in the sums over all rows as an answer that says nothing.
fn judge_sample(completion: &Completion, likelihoods: Option<&[f64]>, target: Target<'_>, task: &Task) -> Judgements {
    let targets = || std::iter::once(target.text).chain(target.others.iter().map(String::as_str));
    let unusable = work::too_long_targets(targets().map(str::len));
    let unread = work::too_long_answer(completion.text.len(), targets().count());
    let nothing = Completion {
        text: String::new(),
        written: None,
        finish: completion.finish.clone(),
        prompt_tokens: 0,
        completion_tokens: 0,
    };
    let judged = task.scorers().iter().filter_map(|scorer| {
        let score = |answer| scorer.score(answer, target);
        let scored = match (scorer.ranks(), likelihoods, &unusable, &unread) {
            (true, None, ..) => return None,
            (true, Some(likelihoods), ..) => score(Answer::Ranked(likelihoods)),
            (false, _, Some(reason), _) => Scored::unscored(reason),
            (false, _, None, Some(reason)) => {
                let parse = Parse::Unscored { reason: reason.clone() };
                Scored { score: None, parse, ..score(Answer::Written(&nothing)) }
            }
            (false, _, None, None) => score(Answer::Written(completion)),
        };
        Some((scorer.name().to_owned(), scored))
    });
    judged.collect()
}

/// Counts what became of the answers, and how long they took.
fn count(result: &mut ArmResult) {
    let mut classes = BTreeMap::new();
    let mut unparsed: BTreeMap<String, BTreeMap<Reason, usize>> = BTreeMap::new();
    let mut unscored: BTreeMap<String, usize> = BTreeMap::new();
    for sample in result.outcomes.iter().filter_map(Outcome::first) {
        *classes.entry(Class::of(&sample.finish, &sample.text)).or_default() += 1;
        for (scorer, scored) in sample.scored.iter() {
            match &scored.parse {
                Parse::Parsed => {}
                Parse::Unparsed { reason } => {
                    *unparsed.entry(scorer.to_owned()).or_default().entry(*reason).or_default() += 1;
                }
                Parse::Unscored { .. } => *unscored.entry(scorer.to_owned()).or_default() += 1,
            }
        }
    }
    let calls = || {
        let samples = result.outcomes.iter().flat_map(|outcome| &outcome.samples);
        samples.filter_map(|sample| Some((&sample.finish, sample.call.as_ref()?))).filter(|(_, call)| !call.cached)
    };
    // A call that timed out is slower than every other; one that was never made says nothing.
    let timed = |(finish, call): (&Finish, &Call)| match finish {
        Finish::Timeout => Some(None),
        Finish::Failed { .. } => None,
        _ => call.latency_secs.map(Some),
    };
    let latency = Latency::of(calls().filter_map(timed));
    let first_token = Latency::of(calls().filter_map(|(_, call)| call.first_token_secs.map(Some)));
    // Numbers of a file that somebody else wrote may be too large to add up.
    let tokens = |of: fn(&Call) -> u64| {
        let calls =
            result.outcomes.iter().flat_map(|outcome| &outcome.samples).filter_map(|sample| sample.call.as_ref());
        calls.fold(0_u64, |sum, call| sum.saturating_add(of(call)))
    };
    let (prompt_tokens, completion_tokens) = (tokens(|call| call.prompt_tokens), tokens(|call| call.completion_tokens));
    let rate = prompt_tokens.saturating_add(completion_tokens) as f64 / result.writing_secs;
    result.tokens_per_second = (result.counts_tokens && rate.is_finite()).then_some(rate);
    result.seconds = result.writing_secs + result.other_secs;
    (result.prompt_tokens, result.completion_tokens) = (prompt_tokens, completion_tokens);
    result.repeats = result.outcomes.iter().map(|outcome| outcome.samples.len()).max().unwrap_or(0);
    (result.classes, result.unparsed, result.unscored) = (classes, unparsed, unscored);
    (result.latency, result.first_token) = (latency, first_token);
}

/// Computes the metrics of a judged arm.
pub(crate) fn measure(result: &mut ArmResult, metrics: &[Box<dyn Metric>], primary_scorer: &str, setting: Setting<'_>) {
    if !result.is_measured() {
        return;
    }
    result.metrics = metric::estimates(metrics, &result.outcomes, setting);
    if let Some(labels) = setting.labels {
        result.confusion = Confusion::count(&result.outcomes, setting.targets, labels);
        let note = result.metrics.get("label_likelihood").and_then(|estimate| chance_note(estimate, labels.len()));
        result.notes.extend(note.filter(|note| !result.notes.contains(note)));
    }
    let agreements: Option<Vec<f64>> =
        result.outcomes.iter().map(|outcome| outcome.agrees().map(|same| if same { 1.0 } else { 0.0 })).collect();
    result.self_agreement = agreements
        .filter(|agreements| !agreements.is_empty())
        .map(|agreements| crate::stats::interval::mean(&agreements, setting.clusters));
    result.cost = Cost::of(&result.outcomes, primary_scorer, setting);
}

/// Scores that chance explains are often a broken ranking.
fn chance_note(estimate: &Estimate, num_labels: usize) -> Option<String> {
    let chance = 1.0 / num_labels as f64;
    (num_labels > 1 && estimate.low <= chance)
        .then(|| format!("the label likelihood is not above chance ({:.1}% with {num_labels} labels)", 100.0 * chance))
}
