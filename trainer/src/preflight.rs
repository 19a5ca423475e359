//! Owns the order in which everything is looked at before a run or an evaluation, cheapest first: files, rows, arms and
//! keys, the base, tokens. `check`, `fit` and `eval` ask here, so that none passes what another refuses.
//! Knows no device and loads no weights.

use std::path::{Path, PathBuf};

use anyhow::Result;
use model::lora::LoraLayout;

use crate::config::Config;
use crate::data::pack::Order;
use crate::evaluation::{self, Scope};
use crate::learnt_by;
use crate::prepared::{FoundBase, Prepared, Rows};
use crate::schedule;
use crate::start::{self, Start};

/// What is about to be done.
pub struct Wanted<'a> {
    /// Whether it trains.
    pub training: bool,
    /// The evaluation, if there is one.
    pub evaluation: Option<Evaluation<'a>>,
}

/// An evaluation that is about to be done.
pub struct Evaluation<'a> {
    /// What it may ask.
    pub scope: &'a Scope,
    /// Metrics that something else waits for.
    pub metrics: &'a [String],
    /// The folder of the run that is evaluated.
    pub run: &'a Path,
}

/// What was looked at, ready to be used.
pub struct Ready {
    /// Base and rows.
    pub prepared: Prepared,
    /// The adapter that training starts from.
    pub start: Option<Start>,
}

/// Looks at everything that can be known without loading weights, and refuses what would be refused later.
pub fn look(config: &Config, wanted: &Wanted<'_>) -> Result<Ready> {
    if wanted.training {
        start::look(config)?;
    }
    if let Some(Evaluation { scope, run, .. }) = &wanted.evaluation {
        evaluation::look_at_files(config, scope, run)?;
    }
    let rows = Rows::read(config)?;
    rows.rows.refuse_other_targets()?;
    if wanted.training {
        longest_run(config, &rows)?;
    }
    let mut looked_at = 0;
    if let Some(Evaluation { scope, metrics, .. }) = &wanted.evaluation {
        looked_at = evaluation::look_at_rows(config, &rows.rows, scope, metrics)?;
    }
    let words = in_words_of(config, wanted)?;
    let base = FoundBase::of(config, words.as_deref())?;
    let start = if wanted.training {
        // A target that matches no module is told before any row is tokenised.
        LoraLayout::new(&base.checkpoint.config, &config.lora)?;
        start::read(config, &base.checkpoint.config)?
    } else {
        None
    };
    let prepared = Prepared::of(config, rows, base)?;
    if let Some(folder) = words.filter(|_| wanted.training) {
        learnt_by::warn_of_base(&folder, &prepared);
    }
    // Rows that cannot be tokenised are gone now, so what hangs on rows is looked at once more.
    if wanted.training {
        schedule::check(&config.train, prepared.loader(config)?.total_steps())?;
    }
    if let Some(Evaluation { scope, metrics, .. }) = &wanted.evaluation {
        evaluation::preflight(config, &prepared, scope, metrics, looked_at)?;
    }
    Ok(Ready { prepared, start })
}

/// The adapter folder in whose words everything is rendered: a run that is trained goes on in those of the adapter that it
/// starts from. One that is evaluated was trained in the words that it keeps, whatever has become of the base or of what it
/// started from.
fn in_words_of(config: &Config, wanted: &Wanted<'_>) -> Result<Option<PathBuf>> {
    match &wanted.evaluation {
        Some(Evaluation { run, .. }) if !wanted.training => Ok(Some(run.join("adapter"))),
        _ => start::folder(config),
    }
}

/// Refuses a warm-up that is longer than the run would be if every row could be learnt.
fn longest_run(config: &Config, rows: &Rows) -> Result<()> {
    let found = rows.rows.prepared.splits.train.len();
    let rows = config.data.limit_train.map_or(found, |limit| limit.min(found));
    if rows == 0 {
        // That there is nothing to learn from is told with the account of the rows.
        return Ok(());
    }
    let order = Order { seed: config.train.seed, rows, rows_per_step: config.train.rows_per_step };
    schedule::check(&config.train, order.total_steps(config.train.epochs, config.train.max_steps))
}
