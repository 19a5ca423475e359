//! Runs arms over held-out rows: asks in batches and keeps the time.
//! Knows nothing about scores, and never prints: it tells a callback how far it is.

use crate::arm_result::{Answers, ArmResult, Identity, judge};
use crate::baseline::Learned;
use crate::clock::Stopwatch;
use crate::outcome::Call;
use crate::{Completion, Error, Finish, GenerateOptions, HeldOut, LanguageModel, Message, Row, Task};

/// Something that is scored.
pub enum Arm<'a> {
    /// A cheap baseline, learned from the training rows.
    Baseline {
        /// The name in tables.
        name: String,
        /// The baseline.
        learned: &'a Learned,
    },
    /// A language model in this process.
    Model {
        /// The name in tables: the same model may stand in two arms, as base and as tuned.
        name: String,
        /// What it is.
        identity: Identity,
        /// The model.
        model: &'a mut dyn LanguageModel,
    },
    /// Answers that were had elsewhere: from a hosted model, or from a record.
    Answered {
        /// The name in tables.
        name: String,
        /// What answered.
        identity: Identity,
        /// Its answers, in the order of the rows.
        answers: Answers,
    },
    /// An arm that cannot be measured here.
    Skipped {
        /// The name in tables.
        name: String,
        /// What would have answered.
        identity: Identity,
        /// Why it does not.
        reason: String,
    },
}

impl Arm<'_> {
    /// The name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Baseline { name, .. }
            | Self::Model { name, .. }
            | Self::Answered { name, .. }
            | Self::Skipped { name, .. } => name,
        }
    }
}

/// How arms are run.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateOptions {
    /// How answers are written; the seed grows by one from call to call.
    pub generate: GenerateOptions,
    /// Rows asked in one call.
    pub batch_rows: usize,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        let generate = GenerateOptions { max_tokens: 64, temperature: 0.0, seed: 0 };
        Self { generate, batch_rows: 16 }
    }
}

/// How far an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress<'a> {
    /// An arm begins.
    Started {
        /// The arm.
        arm: &'a str,
        /// Rows it will answer.
        rows: usize,
    },
    /// Answers were written.
    Generated {
        /// The arm.
        arm: &'a str,
        /// Rows answered so far.
        done: usize,
        /// Rows in all.
        rows: usize,
        /// Prompt and answer tokens so far.
        tokens: usize,
        /// Seconds spent on them.
        seconds: f64,
    },
    /// A row was answered; comes before the progress of its batch.
    Answered {
        /// The arm.
        arm: &'a str,
        /// The place of the row.
        row: usize,
        /// The answer.
        completion: &'a Completion,
        /// What the call took.
        call: &'a Call,
    },
    /// A hosted model answered.
    Called {
        /// The arm.
        arm: &'a str,
        /// Rows answered so far.
        done: usize,
        /// Rows in all.
        rows: usize,
        /// Dollars the evaluation has spent so far, those that may have been billed included.
        spent_usd: f64,
        /// Requests that may be in flight.
        in_flight: usize,
        /// Why there is no answer, if there is none.
        failure: Option<&'static str>,
    },
    /// Labels were ranked.
    Ranked {
        /// The arm.
        arm: &'a str,
        /// Rows ranked so far.
        done: usize,
        /// Rows in all.
        rows: usize,
    },
    /// An arm is done.
    Finished {
        /// The arm.
        arm: &'a str,
        /// Seconds it took.
        seconds: f64,
    },
}

/// Asks and judges every arm on the same rows, one after the other. Metrics come with the results of all.
///
/// # Errors
/// When an option cannot work or an arm fails as a whole; a row that fails is an unscored outcome.
pub fn evaluate_arms(
    held_out: &HeldOut,
    task: &Task,
    arms: Vec<Arm<'_>>,
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<ArmResult>, Error> {
    arms.into_iter().map(|arm| evaluate_arm(held_out, task, arm, options, progress)).collect()
}

/// Asks and judges one arm.
///
/// # Errors
/// As [`evaluate_arms`].
pub fn evaluate_arm(
    held_out: &HeldOut,
    task: &Task,
    arm: Arm<'_>,
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ArmResult, Error> {
    if options.batch_rows == 0 {
        return Err(Error::BadOption { option: "batch_rows", expected: "at least 1" });
    }
    if options.generate.max_tokens == 0 {
        return Err(Error::BadOption { option: "max_tokens", expected: "at least 1" });
    }
    let name = arm.name().to_owned();
    let rows = held_out.rows().len();
    progress(Progress::Started { arm: &name, rows });
    let (identity, answers) = match arm {
        Arm::Baseline { learned, .. } => {
            let identity = Identity {
                provider: "baseline".to_owned(),
                model: Some(learned.baseline.name().to_owned()),
                egress: "none".to_owned(),
                ..Identity::default()
            };
            (identity, predict(held_out, learned))
        }
        Arm::Model { model, identity, .. } => (identity, ask(held_out, task, &name, model, options, progress)?),
        Arm::Answered { identity, answers, .. } => {
            check_count(&name, "answered rows", rows, answers.samples.len())?;
            if answers.samples.iter().any(Vec::is_empty) {
                return Err(Error::WrongCount { model: name, what: "answers to a row", expected: 1, found: 0 });
            }
            (identity, answers)
        }
        Arm::Skipped { name, identity, reason } => return Ok(ArmResult::skipped(name, identity, reason)),
    };
    let result = judge(held_out, task, name, identity, answers);
    progress(Progress::Finished { arm: &result.name, seconds: result.seconds });
    Ok(result)
}

fn ask(
    held_out: &HeldOut,
    task: &Task,
    name: &str,
    model: &mut dyn LanguageModel,
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Answers, Error> {
    // Asked before the run: a model that cannot rank must not turn into scores by chance.
    let labels = held_out.labels().filter(|_| task.ranks());
    let can_rank = match labels {
        Some(labels) => can_rank(model, labels)?,
        None => false,
    };
    let mut answers = generate(held_out, name, model, options, progress)?;
    match labels {
        Some(labels) if can_rank => rank(held_out, name, model, labels, options, progress, &mut answers)?,
        Some(_) => answers.notes.push("this model cannot rank labels by likelihood".to_owned()),
        None => {}
    }
    Ok(answers)
}

fn predict(held_out: &HeldOut, learned: &Learned) -> Answers {
    let say = |row: &Row| {
        let mut watch = Stopwatch::default();
        let text = watch.time(|| learned.baseline.predict(&row.text));
        let said = Completion { text, written: None, finish: Finish::Stop, prompt_tokens: 0, completion_tokens: 0 };
        let call = Call { latency_secs: Some(watch.seconds()), cost_usd: Some(0.0), ..Call::default() };
        vec![(said, Some(call))]
    };
    let mut writing = Stopwatch::default();
    let samples = writing.time(|| held_out.rows().iter().map(say).collect());
    Answers {
        samples,
        writing_secs: writing.seconds(),
        other_secs: learned.seconds,
        notes: learned.baseline.notes(),
        ..Answers::default()
    }
}

fn can_rank(model: &mut dyn LanguageModel, labels: &[String]) -> Result<bool, Error> {
    match model.rank(&[], labels) {
        Ok(_) => Ok(true),
        Err(Error::Unsupported { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn generate(
    held_out: &HeldOut,
    name: &str,
    model: &mut dyn LanguageModel,
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Answers, Error> {
    let rows = held_out.rows().len();
    let mut writing = Stopwatch::default();
    let mut samples = vec![Vec::new(); rows];
    let (mut done, mut tokens) = (0, 0);
    for (call, batch) in batches(held_out, options.batch_rows).iter().enumerate() {
        let prompts = prompts(held_out, batch);
        let seed = options.generate.seed.wrapping_add(call as u64);
        let settings = GenerateOptions { seed, ..options.generate.clone() };
        let before = writing.seconds();
        let said = writing.time(|| model.generate(&prompts, &settings))?;
        // Nobody reads an answer before its batch is done.
        let latency_secs = Some(writing.seconds() - before);
        check_count(name, "completions", batch.len(), said.len())?;
        done += batch.len();
        tokens += said.iter().map(|s| s.prompt_tokens + s.completion_tokens).sum::<usize>();
        for (&row, completion) in batch.iter().zip(said) {
            let (prompt_tokens, completion_tokens) =
                (completion.prompt_tokens as u64, completion.completion_tokens as u64);
            let call = Call { latency_secs, prompt_tokens, completion_tokens, ..Call::default() };
            progress(Progress::Answered { arm: name, row, completion: &completion, call: &call });
            samples[row] = vec![(completion, Some(call))];
        }
        let seconds = writing.seconds();
        progress(Progress::Generated { arm: name, done, rows, tokens, seconds });
    }
    let note = format!("answers were written {} at a time; a latency is that of its batch", options.batch_rows);
    let notes = if options.batch_rows > 1 { vec![note] } else { Vec::new() };
    Ok(Answers { samples, writing_secs: writing.seconds(), counts_tokens: true, notes, ..Answers::default() })
}

fn rank(
    held_out: &HeldOut,
    name: &str,
    model: &mut dyn LanguageModel,
    labels: &[String],
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(Progress<'_>),
    answers: &mut Answers,
) -> Result<(), Error> {
    let rows = held_out.rows().len();
    let mut by_row = vec![Vec::new(); rows];
    let mut done = 0;
    let mut watch = Stopwatch::default();
    for batch in batches(held_out, options.batch_rows) {
        let prompts = prompts(held_out, &batch);
        let ranked = watch.time(|| model.rank(&prompts, labels))?;
        check_count(name, "rankings", batch.len(), ranked.len())?;
        done += batch.len();
        for (row, likelihoods) in batch.into_iter().zip(ranked) {
            by_row[row] = likelihoods;
        }
        progress(Progress::Ranked { arm: name, done, rows });
    }
    answers.likelihoods = Some(by_row);
    answers.other_secs += watch.seconds();
    Ok(())
}

/// Rows of like length together, the longest first: little padding, and too little memory shows at once.
fn batches(held_out: &HeldOut, batch_rows: usize) -> Vec<Vec<usize>> {
    let length = |row: &Row| row.prompt.iter().map(|message| message.content.len()).sum::<usize>();
    let mut order: Vec<usize> = (0..held_out.rows().len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(length(&held_out.rows()[row])));
    order.chunks(batch_rows).map(<[usize]>::to_vec).collect()
}

fn prompts(held_out: &HeldOut, batch: &[usize]) -> Vec<Vec<Message>> {
    batch.iter().map(|&row| held_out.rows()[row].prompt.clone()).collect()
}

fn check_count(model: &str, what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::WrongCount { model: model.to_owned(), what, expected, found })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::provider::scripted::{Scripted, says};
    use crate::results::Results;
    use crate::{Parse, Reason, Role};

    const LABELS: [&str; 3] = ["term", "export", "assignment"];

    fn held_out(num_rows: usize) -> HeldOut {
        let rows = (0..num_rows).map(|row| Row {
            id: format!("r{row}"),
            group: Some(format!("g{}", row % 5)),
            prompt: vec![Message::new(Role::User, format!("{row} {}", "x".repeat(row)))],
            text: format!("text {row}"),
            target: LABELS[row % 3].to_owned(),
            ..Row::default()
        });
        HeldOut::new(rows.collect(), Some(LABELS.map(str::to_owned).to_vec())).unwrap()
    }

    fn row_of(prompt: &[Message]) -> usize {
        prompt[0].content.split(' ').next().unwrap().parse().unwrap()
    }

    fn fake(model: &mut dyn LanguageModel) -> Arm<'_> {
        Arm::Model { name: "fake".to_owned(), identity: Identity::default(), model }
    }

    fn run(model: &mut dyn LanguageModel) -> ArmResult {
        let options = EvaluateOptions { batch_rows: 4, ..EvaluateOptions::default() };
        measured(&held_out(10), fake(model), &options)
    }

    fn measured(held_out: &HeldOut, arm: Arm<'_>, options: &EvaluateOptions) -> ArmResult {
        let task = Task::standard(held_out.labels(), None).unwrap();
        let result = evaluate_arm(held_out, &task, arm, options, &mut |_| {}).unwrap();
        Results::new(held_out, &task, vec![result], None, 0).unwrap().arms.remove(0)
    }

    #[test]
    fn a_scripted_model_gives_the_known_score_and_rows_keep_their_order() {
        // Rows 0 to 5 right, 6 right but for the case, 7 no label, 8 cut off, 9 lost.
        let mut model = Scripted::new("fake", |prompt, _| {
            let row = row_of(prompt);
            let right = LABELS[row % 3];
            match row {
                0..=5 => says(prompt, right),
                6 => says(prompt, "TERM."),
                7 => says(prompt, "I think it is export"),
                8 => Completion { finish: Finish::Length, ..says(prompt, right) },
                _ => Completion { finish: Finish::Failed { reason: "lost".to_owned() }, ..says(prompt, right) },
            }
        });
        let result = run(&mut model);
        let exact = result.metrics["exact_match"];
        assert_eq!((result.n, exact.n, exact.groups), (10, 10, 5));
        assert_eq!(exact.value, 0.6);
        assert_eq!(result.metrics["label_valid"].value, 0.7);
        assert_eq!((result.unscored["exact_match"], result.unparsed["exact_match"][&Reason::Truncated]), (1, 1));
        assert_eq!(result.metrics.get("label_likelihood"), None);
        assert_eq!(result.notes[1], "this model cannot rank labels by likelihood");
        let ids: Vec<_> = result.outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
        assert_eq!(ids, ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"]);
        assert_eq!(result.outcomes[7].scored("label").unwrap().parse, Parse::Unparsed { reason: Reason::NotALabel });
        assert_eq!(result.outcomes[9].scored("label").unwrap().parse, Parse::Unscored { reason: "lost".to_owned() });
        assert_eq!(result.outcomes[9].score("exact_match"), None);
        assert!(result.outcomes[9].is_missing());
        assert!(result.tokens_per_second.unwrap() > 0.0);
    }

    #[test]
    fn a_model_that_fails_on_every_row_scores_zero_of_all_rows() {
        let mut model = Scripted::new("fake", |prompt, _| Completion {
            finish: Finish::Failed { reason: "lost".to_owned() },
            ..says(prompt, LABELS[row_of(prompt) % 3])
        });
        let result = run(&mut model);
        let exact = result.metrics["exact_match"];
        assert_eq!((exact.value, exact.n, result.unscored["exact_match"]), (0.0, 10, 10));
        assert_eq!(result.metrics["macro_f1"].value, 0.0);
    }

    #[test]
    fn likelihoods_are_scored_beside_the_text_and_a_broken_one_is_counted() {
        let silent = Scripted::new("fake", |prompt, _| says(prompt, "that is hard to say"));
        let mut model = silent.with_ranking(|prompt, labels| {
            let row = row_of(prompt);
            let likely = |class| if row == 0 || class == row % 3 { -1.0 } else { -7.0 };
            (0..labels.len()).map(likely).collect()
        });
        let result = run(&mut model);
        assert_eq!((result.metrics["exact_match"].value, result.metrics["label_likelihood"].value), (0.0, 0.9));
        assert_eq!((result.unscored["label_likelihood"], result.unscored.get("exact_match")), (1, None));
        assert_eq!(result.notes.len(), 1, "{:?}", result.notes);
    }

    #[test]
    fn a_ranking_at_chance_level_is_named() {
        let silent = Scripted::new("fake", |prompt, _| says(prompt, "no"));
        let mut model = silent.with_ranking(|_, _| vec![-1.0, -2.0, -3.0]);
        assert!(run(&mut model).notes[1].contains("not above chance (33.3% with 3 labels)"));
    }

    #[test]
    fn progress_reaches_every_row_and_each_call_has_its_own_seed() {
        let mut seeds = Vec::new();
        let mut model = Scripted::new("fake", |prompt, options| says(prompt, &options.seed.to_string()));
        let options = EvaluateOptions { batch_rows: 4, ..EvaluateOptions::default() };
        let mut steps = Vec::new();
        let task = Task::standard(held_out(3).labels(), None).unwrap();
        let result = evaluate_arm(&held_out(10), &task, fake(&mut model), &options, &mut |step| {
            if let Progress::Generated { done, rows, .. } = step {
                steps.push((done, rows));
            }
        });
        seeds.extend(result.unwrap().outcomes.iter().map(|outcome| outcome.text().to_owned()));
        assert_eq!(steps, [(4, 10), (8, 10), (10, 10)]);
        // The longest prompts go first, so the last rows have the first seed.
        assert_eq!(seeds, ["2", "2", "1", "1", "1", "1", "0", "0", "0", "0"]);
    }

    #[test]
    fn free_text_has_exact_match_only() {
        let mut rows = held_out(4).rows().to_vec();
        rows[0].target = "anything at all".to_owned();
        let held_out = HeldOut::new(rows, None).unwrap();
        let mut model = Scripted::new("fake", |prompt, _| says(prompt, "anything at all"));
        let result = measured(&held_out, fake(&mut model), &EvaluateOptions::default());
        assert_eq!(result.metrics["exact_match"].value, 0.25);
        assert_eq!(result.metrics.len(), 1);
    }

    struct Short;

    impl LanguageModel for Short {
        fn name(&self) -> &str {
            "short"
        }

        fn generate(&mut self, prompts: &[Vec<Message>], _: &GenerateOptions) -> Result<Vec<Completion>, Error> {
            Ok(prompts.iter().skip(1).map(|prompt| says(prompt, "term")).collect())
        }
    }

    #[test]
    fn a_missing_answer_stops_the_run_instead_of_shifting_the_others() {
        let mut short = Short;
        let arm = Arm::Model { name: "short".to_owned(), identity: Identity::default(), model: &mut short };
        let options = EvaluateOptions::default();
        let error = evaluate_arm(
            &held_out(3),
            &Task::standard(held_out(3).labels(), None).unwrap(),
            arm,
            &options,
            &mut |_| {},
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "short returned 2 completions for 3 asked");
    }
}
