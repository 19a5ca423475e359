//! Owns the held-out rows of a config as models are asked them: which are scored, in which words, with what is known of each
//! beforehand. Knows no arm and no score.

use std::collections::BTreeMap;

use anyhow::Result;
use datasets::{Message, Record};
use eval::{HeldOut, Row};
use serde_json::Value;

use crate::config::Config;
use crate::data::{self, SourceRows, pack};
use crate::prepared::Prepared;

/// The held-out rows of a config as models are asked them.
pub(super) fn rows(config: &Config, prepared: &Prepared) -> Result<HeldOut> {
    let data = &prepared.data;
    let row = |at: usize| {
        let row = &data.test[at];
        Ok(as_asked(&row.record, row.prompt.clone(), prepared.speech.prompt_ids(&row.prompt)?.len()))
    };
    held_out(config, data.test.len(), row, &data.labels, data.group_name.as_deref())
}

/// The same before any of them is tokenised: without the words around them, and nobody has counted their tokens. With them how
/// many there are before `eval.limit` takes some.
pub(super) fn before_tokens(config: &Config, rows: &SourceRows) -> Result<(HeldOut, usize)> {
    let test: Vec<&Record> = rows.prepared.splits.test.iter().filter(|record| data::is_asked(record)).collect();
    let kept = chosen(test.len(), config.data.limit_test, config.train.seed);
    let row = |at: usize| Ok(as_asked(test[kept[at]], test[kept[at]].prompt().to_vec(), 0));
    Ok((held_out(config, kept.len(), row, &rows.labels, rows.group_name.as_deref())?, kept.len()))
}

/// Those of `total` rows that are scored.
fn held_out(
    config: &Config,
    total: usize,
    row: impl Fn(usize) -> Result<Row>,
    labels: &[String],
    group_name: Option<&str>,
) -> Result<HeldOut> {
    let rows: Result<Vec<Row>> = chosen(total, config.eval.limit, config.train.seed).into_iter().map(row).collect();
    let labels = config.eval.labels.clone().or_else(|| (!labels.is_empty()).then(|| labels.to_vec()));
    let held_out = HeldOut::new(rows?, labels)?;
    Ok(match group_name {
        Some(name) => held_out.grouped_by(name),
        None => held_out,
    })
}

/// A seeded sample: the first rows of a file may all be of one group.
fn chosen(total: usize, limit: Option<usize>, seed: u64) -> Vec<usize> {
    match limit.filter(|limit| *limit < total) {
        Some(limit) => pack::sample(total, limit, seed),
        None => (0..total).collect(),
    }
}

/// A row as it is asked, with what is known of it beforehand.
fn as_asked(record: &Record, prompt: Vec<Message>, tokens: usize) -> Row {
    let mut covariates: BTreeMap<String, f64> =
        record.meta.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
    covariates.insert("input_tokens".to_owned(), tokens as f64);
    let slices = record.meta.iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((name.clone(), text.clone())),
        _ => None,
    });
    let slices = slices.collect();
    Row { prompt, covariates, slices, ..Row::from_record(record) }
}
