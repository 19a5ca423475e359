//! Owns what observers are told of an evaluation while it runs: how each arm stands, rows to read, flips and the verdict.
//! Knows what `eval` tells; computes no score and no interval itself.

use std::time::{Duration, Instant};

use eval::{ArmResult, HeldOut, Outcome, Parse, Progress, Results, Running, Task};

use crate::event::{ArmStanding, Disagreement, Event, Flips, Sample};

/// The least time between two standings of an arm.
const PAUSE: Duration = Duration::from_millis(250);
/// Rows of the candidate that are told with their outputs.
const CANDIDATE_SAMPLES: usize = 50;
/// The same of every other arm that writes.
const OTHER_SAMPLES: usize = 10;
/// Rows that are told on which two arms disagree.
const DISAGREEMENTS: usize = 50;
/// Characters of a text that are told; the middle of a longer one is left out.
const MOST_CHARS: usize = 2000;

/// Tells an observer how an evaluation stands.
pub struct Live<'a> {
    held_out: &'a HeldOut,
    task: &'a Task,
    candidate: &'a str,
    budget_usd: Option<f64>,
    tell: &'a mut dyn FnMut(&Event),
    running: Running<'a>,
    standing: ArmStanding,
    told: Option<Instant>,
}

impl<'a> Live<'a> {
    /// Before the first arm.
    pub fn new(
        held_out: &'a HeldOut,
        task: &'a Task,
        candidate: &'a str,
        budget_usd: Option<f64>,
        tell: &'a mut dyn FnMut(&Event),
    ) -> Self {
        let (running, standing) = (Running::new(held_out, task), ArmStanding::default());
        Live { held_out, task, candidate, budget_usd, tell, running, standing, told: None }
    }

    /// Hears of progress.
    pub fn hear(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Started { arm, rows } => self.begin(arm, rows),
            Progress::Answered { row, completion, call, .. } => self.running.take(row, completion, Some(call)),
            Progress::Generated { arm, done, rows, .. } => {
                self.progress(&format!("{arm}, answers"), done, rows);
                self.standing.done = done as u64;
                self.stand();
            }
            Progress::Called { arm, done, rows, spent_usd, in_flight, failure } => {
                self.progress(&format!("{arm}, calls, ${spent_usd:.4} spent"), done, rows);
                self.standing.done = done as u64;
                (self.standing.spent_usd, self.standing.in_flight) = (Some(spent_usd), in_flight as u64);
                if let Some(failure) = failure {
                    *self.standing.errors.entry(failure.to_owned()).or_default() += 1;
                }
                self.stand();
            }
            Progress::Ranked { arm, done, rows } => self.progress(&format!("{arm}, labels ranked"), done, rows),
            Progress::Finished { .. } => {}
        }
    }

    fn begin(&mut self, arm: &str, rows: usize) {
        if self.standing.arm == arm {
            // A hosted arm begins when it is asked and again when its answers are judged.
            return;
        }
        self.running = Running::new(self.held_out, self.task);
        self.standing = ArmStanding {
            arm: arm.to_owned(),
            rows: rows as u64,
            metric: self.task.primary_scorer().replace('_', " "),
            ..ArmStanding::default()
        };
        self.told = None;
        self.stand();
        // The first rows are news whenever they come.
        self.told = None;
    }

    fn progress(&mut self, arm: &str, done: usize, rows: usize) {
        (self.tell)(&Event::EvalProgress { arm: arm.to_owned(), done: done as u64, rows: rows as u64 });
    }

    /// Tells how the arm stands, but not too often.
    fn stand(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        self.told = Some(Instant::now());
        if self.standing.spent_usd.is_some() {
            self.standing.budget_usd = self.budget_usd;
        }
        if let Some(estimate) = self.running.estimate() {
            let standing = &mut self.standing;
            standing.scored = estimate.n as u64;
            (standing.score, standing.low, standing.high) =
                (Some(estimate.value), Some(estimate.low), Some(estimate.high));
            let classes = self.running.classes().iter().filter(|(class, _)| **class != eval::Class::Ok);
            standing.errors = classes.map(|(class, count)| (class.title().to_owned(), *count as u64)).collect();
        }
        if let Some(latency) = self.running.latency() {
            (self.standing.p50_secs, self.standing.p95_secs) = (latency.p50.seconds, latency.p95.seconds);
        }
        (self.tell)(&Event::EvalArm(Box::new(self.standing.clone())));
    }

    /// An arm is done: its standing until the results of all are there, and rows to read.
    pub fn done(&mut self, arm: &ArmResult) {
        self.begin(&arm.name, arm.n);
        for (row, outcome) in arm.outcomes.iter().enumerate().filter(|_| self.standing.scored == 0) {
            // Answers that came all at once were not told one by one.
            if let Some(sample) = outcome.first() {
                let (text, finish) = (sample.text.clone(), sample.finish.clone());
                let said = eval::Completion { text, written: None, finish, prompt_tokens: 0, completion_tokens: 0 };
                self.running.take(row, &said, sample.call.as_ref());
            }
        }
        (self.standing.finished, self.standing.in_flight) = (true, 0);
        self.standing.skipped.clone_from(&arm.skipped);
        self.standing.done = arm.outcomes.len() as u64;
        self.told = None;
        self.stand();
        // What a baseline writes is a label or a row of the training set, and no text to read.
        if arm.identity.provider != "baseline" {
            let most = if arm.name == self.candidate { CANDIDATE_SAMPLES } else { OTHER_SAMPLES };
            self.samples(arm, most);
        }
    }

    fn samples(&mut self, arm: &ArmResult, most: usize) {
        let every = arm.outcomes.len().div_ceil(most).max(1);
        for (row, outcome) in self.held_out.rows().iter().zip(&arm.outcomes).step_by(every) {
            (self.tell)(&Event::Sample(Box::new(Sample {
                step: None,
                arm: arm.name.clone(),
                id: row.id.clone(),
                prompt: shortened(&row.text),
                target: shortened(&row.target),
                output: shortened(outcome.text()),
                score: outcome.score(self.task.primary_scorer()),
                verdict: reading(outcome, self.task.primary_scorer()),
            })));
        }
    }

    /// All arms are done: final figures, flips, rows on which arms disagree, and the verdict.
    pub fn results(&mut self, results: &Results) {
        let primary = &results.measured.primary;
        for arm in results.arms.iter().filter(|arm| arm.is_measured()) {
            let estimate = arm.metrics.get(primary);
            let latency = arm.latency.as_ref();
            let errors = arm.classes.iter().filter(|(class, _)| **class != eval::Class::Ok);
            (self.tell)(&Event::EvalArm(Box::new(ArmStanding {
                arm: arm.name.clone(),
                done: arm.n as u64,
                rows: arm.n as u64,
                metric: primary.replace('_', " "),
                scored: estimate.map_or(0, |estimate| estimate.n as u64),
                score: estimate.map(|estimate| estimate.value),
                low: estimate.map(|estimate| estimate.low),
                high: estimate.map(|estimate| estimate.high),
                p50_secs: latency.and_then(|latency| latency.p50.seconds),
                p95_secs: latency.and_then(|latency| latency.p95.seconds),
                spent_usd: (self.standing.arm == arm.name).then_some(self.standing.spent_usd).flatten(),
                errors: errors.map(|(class, count)| (class.title().to_owned(), *count as u64)).collect(),
                finished: true,
                ..ArmStanding::default()
            })));
        }
        self.flips(results);
        let (answer, reason) = match &results.decided {
            Some(decided) => {
                let (answer, sentence) = (decided.verdict.answer.name().to_owned(), decided.verdict.sentence());
                // The sentence begins with the answer, which stands by itself here.
                let reason = sentence.strip_prefix(&answer).map(|rest| rest.trim_start_matches(':').trim_start());
                (answer.clone(), reason.unwrap_or(&sentence).to_owned())
            }
            None => ("none".to_owned(), results.no_verdict.clone().unwrap_or_default()),
        };
        (self.tell)(&Event::EvalVerdict { answer, reason });
    }

    fn flips(&mut self, results: &Results) {
        let candidate = results.arms.iter().find(|arm| arm.name == self.candidate && arm.is_measured());
        let Some(candidate) = candidate else { return };
        let scorer = self.task.primary_scorer();
        let is_right = |outcome: &Outcome| outcome.score(scorer).is_some_and(|score| score >= 1.0);
        let others = results.arms.iter().filter(|arm| arm.is_measured() && arm.name != candidate.name);
        for other in others.clone() {
            let mut flips =
                Flips { candidate: candidate.name.clone(), baseline: other.name.clone(), ..Flips::default() };
            for (ours, theirs) in candidate.outcomes.iter().zip(&other.outcomes) {
                let cell = match (is_right(ours), is_right(theirs)) {
                    (true, true) => &mut flips.both_right,
                    (true, false) => &mut flips.gains,
                    (false, true) => &mut flips.regressions,
                    (false, false) => &mut flips.both_wrong,
                };
                *cell += 1;
            }
            (self.tell)(&Event::EvalFlips(flips));
        }
        // The rows of the strongest rival are those worth reading.
        let value = |arm: &ArmResult| arm.metrics.get(&results.measured.primary).map_or(0.0, |found| found.value);
        let Some(rival) = others.max_by(|a, b| value(a).total_cmp(&value(b))) else { return };
        let pairs = self.held_out.rows().iter().zip(candidate.outcomes.iter().zip(&rival.outcomes));
        let differ: Vec<_> = pairs.filter(|(_, (ours, theirs))| is_right(ours) != is_right(theirs)).collect();
        for (row, (ours, theirs)) in differ.into_iter().rev().take(DISAGREEMENTS).rev() {
            (self.tell)(&Event::EvalDisagreement(Box::new(Disagreement {
                id: row.id.clone(),
                prompt: shortened(&row.text),
                target: shortened(&row.target),
                candidate: candidate.name.clone(),
                candidate_output: shortened(ours.text()),
                candidate_score: ours.score(scorer),
                baseline: rival.name.clone(),
                baseline_output: shortened(theirs.text()),
                baseline_score: theirs.score(scorer),
            })));
        }
    }
}

/// How an answer was read, in a few words.
fn reading(outcome: &Outcome, scorer: &str) -> String {
    match outcome.scored(scorer).map(|scored| &scored.parse) {
        Some(Parse::Unparsed { reason }) => words_of(reason),
        Some(Parse::Unscored { reason }) => reason.clone(),
        _ => String::new(),
    }
}

/// A name as files have it, in words.
fn words_of(value: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).ok().and_then(|name| name.as_str().map(str::to_owned));
    name.unwrap_or_default().replace('_', " ")
}

/// A text without its middle, where it is long.
fn shortened(text: &str) -> String {
    let num_chars = text.chars().count();
    if num_chars <= MOST_CHARS {
        return text.to_owned();
    }
    let start: String = text.chars().take(MOST_CHARS / 2).collect();
    let end: String = text.chars().skip(num_chars - MOST_CHARS / 2).collect();
    format!("{start}\n[{} characters]\n{end}", num_chars - MOST_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_middle_of_a_long_text_is_left_out_and_that_is_told() {
        assert_eq!(shortened("short"), "short");
        let long = "a".repeat(1500) + &"z".repeat(1500);
        let told = shortened(&long);
        assert!(told.starts_with(&"a".repeat(1000)) && told.ends_with(&"z".repeat(1000)), "{told}");
        assert!(told.contains("[1000 characters]"), "{told}");
    }

    #[test]
    fn names_are_those_of_the_files() {
        assert_eq!(words_of(&eval::Reason::NotALabel), "not a label");
    }
}
