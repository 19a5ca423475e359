//! Owns the way from rows to samples: reading and splitting, the words around them, limits, the mask, the account.
//! Knows no optimiser, no device and no run; it hands out token ids with a mask and held-out rows as messages.

pub mod ahead;
pub mod answered;
pub mod contents;
pub mod ledger;
pub mod loader;
pub mod messages;
pub mod pack;
mod parallel;
mod refused;
mod rows;
pub mod template_mask;
mod weights;

use anyhow::{Result, bail};
use datasets::overlap::{self, Near};
use datasets::{Folder, Message, Record, Split};
use model::chat_template::ChatTemplate;
use model::tokenizer::Tokenizer;

use crate::config::Config;
use crate::config::raw::{Overflow, RawEval, TrainOn};

use ledger::DataLedger;
use messages::Wording;
use refused::RowFaults;
pub use rows::{SourceRows, read};
use template_mask::{Masking, Outcome, Refusal, Sample};
pub use weights::is_asked;

/// Share of a split's rows that may be left out or cut before it is worth a warning.
pub const WARN_SHARE: f64 = 0.005;

/// Everything a run needs to know about its rows.
#[derive(Debug, Clone)]
pub struct Data {
    /// The name of the set, or of the file.
    pub name: String,
    /// SHA-256 of the files the rows came from.
    pub sha256: String,
    /// Closed list of answers; empty if there is none.
    pub labels: Vec<String>,
    /// The JSON Schema of the answers, if there is one.
    pub schema: Option<serde_json::Value>,
    /// What a group is, in the plural.
    pub group_name: Option<String>,
    /// How repeats between the splits were looked for; exact ones always are.
    pub overlap: overlap::Settings,
    /// Whether the rows that the evaluated run learnt from are known; those of a config that trains are its own.
    pub rows_of_run_known: bool,
    /// Rows that are learnt.
    pub train: Part,
    /// Rows whose loss is watched. May be empty.
    pub valid: Part,
    /// Rows that are scored at the end, whatever their length. May be empty.
    pub test: Vec<HeldOutRow>,
    /// Where every row went.
    pub ledger: DataLedger,
}

impl Data {
    /// Held-out rows that are among the rows that are learnt: none, since repeats are left out; unknown where nobody looked.
    #[must_use]
    pub fn leaked_rows(&self) -> Option<usize> {
        (self.rows_of_run_known && self.overlap.near != Near::None).then_some(0)
    }
}

/// The used rows of a split, as text and as tokens, in the same order.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// As they were read.
    pub records: Vec<Record>,
    /// As they are learnt.
    pub samples: Vec<Sample>,
}

/// A held-out row.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOutRow {
    /// As it was read: what baselines see, and the target.
    pub record: Record,
    /// What a model is asked: the same words as in training, without the answer.
    pub prompt: Vec<Message>,
    /// Tokens of the question and the right answer.
    pub tokens: usize,
}

/// What turns messages into tokens.
#[derive(Debug, Clone, Copy)]
pub struct Language<'a> {
    /// Text to ids.
    pub tokenizer: &'a Tokenizer,
    /// Messages to text.
    pub template: &'a ChatTemplate,
    /// The longest text the model can take, in tokens.
    pub context_tokens: usize,
}

/// Reads the rows of a config and makes samples of them. `set` is the pulled set when the config names one.
pub fn load(config: &Config, set: Option<Folder>, language: &Language<'_>) -> Result<Data> {
    build(config, read(config, set)?, language)
}

/// The same for rows that were read already.
pub fn build(config: &Config, rows: SourceRows, language: &Language<'_>) -> Result<Data> {
    if config.data.max_tokens > language.context_tokens {
        bail!(
            "data.max_tokens is {}, and the model's context is {} tokens\nhint: --set data.max_tokens={}",
            config.data.max_tokens,
            language.context_tokens,
            language.context_tokens
        );
    }
    let SourceRows { name, labels, schema, group_name, overlap, sha256, prepared } = rows;
    let wording = Wording::of(config)?;
    let mut ledger = DataLedger::new(prepared.ledger, config.data.max_tokens);
    let mut chosen = |split, records, limit| {
        let counted = weights::counted(split, records, config.data.train_on, &mut ledger)?;
        anyhow::Ok(limited(split, counted, limit, config.train.seed, &mut ledger))
    };
    let train = chosen(Split::Train, prepared.splits.train, config.data.limit_train)?;
    let valid = chosen(Split::Valid, prepared.splits.valid, config.data.limit_valid)?;
    let test = chosen(Split::Test, prepared.splits.test, config.data.limit_test)?;
    let masking = Masking {
        tokenizer: language.tokenizer,
        template: language.template,
        train_on: config.data.train_on,
        max_tokens: config.data.max_tokens,
        overflow: config.data.overflow,
        system: config.data.system.as_deref(),
    };
    let train = learnt(Split::Train, train, &wording, &masking, &mut ledger)?;
    if train.samples.is_empty() {
        bail!(
            "no training row is left\n{}\nhint: do what the reasons say: a larger data.max_tokens for rows that are too long; for rows whose last answer has \
             weight 0 --set 'data.train_on=\"assistant\"', which learns the other answers",
            ledger.lines().join("\n")
        );
    }
    let valid = learnt(Split::Valid, valid, &wording, &masking, &mut ledger)?;
    let test = held_out(test, &wording, &masking, language.context_tokens, &config.eval, &mut ledger)?;
    if language.template.uses_clock() {
        ledger.warn("the chat template writes today's date, so a model trained today is asked differently tomorrow");
    }
    check_validation(config, valid.samples.len())?;
    let rows_of_run_known = true;
    Ok(Data { name, sha256, labels, schema, group_name, overlap, rows_of_run_known, train, valid, test, ledger })
}

/// Refuses validations every few steps where there is no row to validate on.
pub fn check_validation(config: &Config, rows: usize) -> Result<()> {
    if config.train.valid_every_steps > 0 && rows == 0 {
        bail!(
            "train.valid_every_steps is {}, and there are no validation rows\n\
             hint: --set data.valid_fraction=0.1 (data.valid where data.test is given), or --set train.valid_every_steps=0",
            config.train.valid_every_steps
        );
    }
    Ok(())
}

fn limited(
    split: Split,
    records: Vec<Record>,
    limit: Option<usize>,
    seed: u64,
    ledger: &mut DataLedger,
) -> Vec<Record> {
    let Some(limit) = limit.filter(|limit| *limit < records.len()) else { return records };
    let mut chosen = pack::sample(records.len(), limit, seed).into_iter().peekable();
    let reason = format!("above data.limit_{} = {limit}", split.as_str());
    ledger.rows.refuse(split, &reason, records.len() - limit);
    let kept = records.into_iter().enumerate().filter(|(at, _)| chosen.next_if_eq(at).is_some());
    kept.map(|(_, record)| record).collect()
}

fn learnt(
    split: Split,
    records: Vec<Record>,
    wording: &Wording,
    masking: &Masking<'_>,
    ledger: &mut DataLedger,
) -> Result<Part> {
    let rows = records.len();
    let outcomes = outcomes(&records, wording, masking)?;
    let mut part = Part::default();
    let mut touched = 0;
    for (record, outcome) in records.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Used(sample, cut) => {
                touched += usize::from(cut.is_some());
                ledger.used(split, &sample, cut);
                part.records.push(record);
                part.samples.push(sample);
            }
            Outcome::Refused(refusal) => {
                touched += 1;
                ledger.refused(split, &record.id, &refusal);
            }
        }
    }
    if touched as f64 > WARN_SHARE * rows as f64 {
        let share = 100.0 * touched as f64 / rows as f64;
        ledger.warn(&format!("{touched} of {rows} {} rows ({share:.1} %) were left out or cut", split.as_str()));
    }
    Ok(part)
}

/// Held-out rows are never cut and never left out for their length: a score over shorter rows would be another score.
fn held_out(
    records: Vec<Record>,
    wording: &Wording,
    masking: &Masking<'_>,
    context_tokens: usize,
    eval: &RawEval,
    ledger: &mut DataLedger,
) -> Result<Vec<HeldOutRow>> {
    let total = records.len();
    let room = context_tokens.saturating_sub(eval.max_new_tokens);
    // Only the last answer of a held-out row is asked for, whatever is learnt.
    let train_on = if masking.train_on == TrainOn::All { TrainOn::All } else { TrainOn::Last };
    let unlimited = Masking { max_tokens: usize::MAX, overflow: Overflow::Refuse, train_on, ..*masking };
    let outcomes = outcomes(&records, wording, &unlimited)?;
    let mut rows = Vec::with_capacity(records.len());
    let mut faults = RowFaults::default();
    // Tokens of right answers that are longer than an answer may get, with the end of the turn.
    let mut too_long = Vec::new();
    for (record, outcome) in records.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Refused(refusal) => ledger.refused(Split::Test, &record.id, &refusal),
            Outcome::Used(sample, _) if sample.prompt_tokens > room => faults.add(
                &record.id,
                &format!("a prompt of {} tokens, and the context leaves room for {room}", sample.prompt_tokens),
                "remove the row, or take a base model with a longer context",
            ),
            Outcome::Used(sample, _) => {
                ledger.used(Split::Test, &sample, None);
                let answer = sample.supervised_tokens();
                too_long.extend((train_on == TrainOn::Last && answer > eval.max_new_tokens).then_some(answer));
                let mut prompt = wording.messages(&record)?;
                prompt.pop();
                rows.push(HeldOutRow { record, prompt, tokens: sample.ids.len() });
            }
        }
    }
    faults.into_result(total)?;
    if (total - rows.len()) as f64 > WARN_SHARE * total as f64 {
        ledger.warn(&format!("{} of {total} test rows were left out", total - rows.len()));
    }
    if let Some(longest) = too_long.iter().max().filter(|_| eval.enabled) {
        ledger.warn(&format!(
            "{} of {total} right answers have more than eval.max_new_tokens = {} tokens: said in full they are cut and score 0; \
             --set eval.max_new_tokens={longest}",
            too_long.len(),
            eval.max_new_tokens
        ));
    }
    Ok(rows)
}

/// What becomes of each row, in order; a row that shows a fault of the template is an error with all such rows.
fn outcomes(records: &[Record], wording: &Wording, masking: &Masking<'_>) -> Result<Vec<Outcome>> {
    let results = parallel::map(records, |record| {
        let messages = wording.messages(record)?;
        let unlearnt = weights::unlearnt(record, messages.len());
        anyhow::Ok(masking.sample(&record.id, &record.group, &messages::for_template(&messages), &unlearnt))
    });
    let mut faults = RowFaults::default();
    let mut outcomes = Vec::with_capacity(records.len());
    for (record, result) in records.iter().zip(results) {
        match result {
            Ok(Ok(outcome)) => outcomes.push(outcome),
            Ok(Err(mismatch)) => faults.add(&record.id, &mismatch.what, &mismatch.hint),
            Err(error) => faults.add(&record.id, &format!("{error:#}"), "look at data.prompt"),
        }
    }
    faults.into_result(records.len())?;
    Ok(outcomes)
}

impl Refusal {
    /// The reason in the account; rows with the same words are counted together.
    fn reason(&self, max_tokens: usize) -> String {
        match self {
            Refusal::SpecialToken(token) => format!("a message holds the special token {token} as text"),
            Refusal::NothingSupervised => "nothing in it would be learnt".to_owned(),
            Refusal::TooManyTurns => {
                "too many answers in one talk for data.train_on = \"assistant\": split it, or learn the last answer only"
                    .to_owned()
            }
            Refusal::TooLong(_) => format!("longer than data.max_tokens = {max_tokens}"),
            Refusal::TargetCut(_) => format!("cutting it to data.max_tokens = {max_tokens} would take its answer away"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
