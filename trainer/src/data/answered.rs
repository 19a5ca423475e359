//! Owns rows as ids with the place where the answer begins: what `score` asks about, and what a written model is compared
//! on. They are made as a run makes what it learns, so that none takes what another refuses.
//! Knows no model and no number.

use std::path::Path;

use anyhow::{Result, bail};
use datasets::Record;

use super::messages::Wording;
use super::refused::RowFaults;
use super::template_mask::{Masking, Outcome, Refusal};
use super::{Language, contents, outcomes, weights};
use crate::config::raw::{Overflow, TrainOn};
use crate::terminal_lines::note;

/// A row as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of the record.
    pub id: String,
    /// Prompt and answer, with the token that ends it.
    pub ids: Vec<u32>,
    /// Where the answer begins.
    pub first_target: usize,
}

impl Answered {
    /// Tokens of the answer.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.ids.len().saturating_sub(self.first_target)
    }
}

/// The first `limit` rows of a file in the words around them. Those that weigh nothing are left out, which is told.
pub fn read(file: &Path, limit: usize, language: &Language<'_>, wording: &Wording) -> Result<Vec<Answered>> {
    let mut records = datasets::jsonl::read(file)?;
    records.truncate(limit);
    let shown = file.display();
    if records.is_empty() {
        bail!("{shown}: no rows\nhint: one JSON object a line, with messages whose last is the answer");
    }
    let found = records.len();
    for reason in [weights::OF_THE_ROW, weights::OF_THE_ANSWERS] {
        let before = records.len();
        records.retain(|record| weights::left_out(record) != Some(reason));
        let gone = before - records.len();
        if gone > 0 {
            note(&format!("{gone} of {found} rows are left out: {reason}"));
        }
    }
    if records.is_empty() {
        bail!("{shown}: every row has `weight` 0\nhint: take `weight` out of rows that count");
    }
    rows(&records, language, wording)
}

/// Rows in the words around them; an error with all that cannot be used.
pub fn rows(records: &[Record], language: &Language<'_>, wording: &Wording) -> Result<Vec<Answered>> {
    let masking = Masking {
        tokenizer: language.tokenizer,
        template: language.template,
        train_on: TrainOn::Last,
        max_tokens: language.context_tokens,
        overflow: Overflow::Refuse,
        system: wording.system(),
    };
    let mut faults = RowFaults::default();
    let mut rows = Vec::with_capacity(records.len());
    for (record, outcome) in records.iter().zip(outcomes(records, wording, &masking)?) {
        match outcome {
            Outcome::Used(sample, _) => {
                let end = sample.supervised.iter().rposition(|learnt| *learnt).map_or(0, |last| last + 1);
                let mut ids = sample.ids;
                ids.truncate(end);
                // The first token has nothing before it and is never asked about.
                rows.push(Answered { id: sample.id, ids, first_target: sample.prompt_tokens.max(1) });
            }
            Outcome::Refused(Refusal::SpecialToken(token)) => {
                let fault = contents::of_control(&token);
                faults.add(&record.id, &fault.what, &fault.hint);
            }
            Outcome::Refused(Refusal::TooLong(tokens)) => faults.add(
                &record.id,
                &format!("it has {tokens} tokens, the model takes {}", language.context_tokens),
                "shorten the row, or take a base model with a longer context",
            ),
            Outcome::Refused(refusal) => {
                faults.add(&record.id, &refusal.reason(language.context_tokens), "correct the row, or take it out");
            }
        }
    }
    faults.into_result(records.len())?;
    Ok(rows)
}

/// The longest row, in tokens.
#[must_use]
pub fn longest(rows: &[Answered]) -> usize {
    rows.iter().map(|row| row.ids.len()).max().unwrap_or(1)
}
