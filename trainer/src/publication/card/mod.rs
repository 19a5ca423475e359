//! The card of an adapter: its head, which programs read, and its text, which people read.
//!
//! Owns the order of both. Every number on it stands in `trainer/results.json` or `trainer/summary.json` beside it.
//! Knows what was found and how it was made; finds nothing out itself.

mod made;
mod metadata;
mod proven;
mod usage;
mod yaml;

use eval::Results;
use eval::report::escape::{code, inline};
use serde_json::Value;

use super::origin::Origin;

/// What a card is made from.
pub struct Facts<'a> {
    /// `owner/name` of the adapter.
    pub repo: &'a str,
    /// The address of the hub.
    pub hub: &'a str,
    /// The base model.
    pub base: &'a Origin,
    /// The rows.
    pub data: &'a Origin,
    /// What the rows ask, in a sentence.
    pub task: Option<&'a str>,
    /// Languages of the rows, as ISO 639 codes; empty when nobody said.
    pub languages: &'a [String],
    /// The published `summary.json`.
    pub summary: &'a Value,
    /// The published results and the arm that is the adapter; none when nothing was evaluated.
    pub found: Option<(&'a Results, &'a str)>,
}

impl Facts<'_> {
    /// The name of the base on the hub.
    fn base_on_hub(&self) -> &str {
        self.base.hub.as_deref().unwrap_or(&self.base.name)
    }

    /// The name of the adapter without its owner.
    fn name(&self) -> &str {
        self.repo.split_once('/').map_or(self.repo, |(_, name)| name)
    }
}

/// The whole card.
pub fn render(facts: &Facts<'_>) -> String {
    let sections = [
        opening(facts),
        proven::section(facts),
        proven::limits(facts),
        usage::section(facts),
        made::section(facts),
        made::evidence(facts),
        made::licences(facts),
    ];
    format!("---\n{}---\n\n{}\n", yaml::block(&metadata::of(facts)), sections.join("\n\n"))
}

fn opening(facts: &Facts<'_>) -> String {
    let task = match facts.task {
        Some(task) => format!("It was trained on this task: {}.", inline(task.trim().trim_end_matches('.'))),
        None => format!("It was trained on rows of {}.", inline(&facts.data.name)),
    };
    format!(
        "# {}\n\nA low-rank adapter (LoRA) for {base}. {task}\n\
         trainer made it, measured it and wrote this card.",
        inline(facts.name()),
        base = code(facts.base_on_hub()),
    )
}

/// A number with three decimals, and a negative zero as zero.
fn three(value: f64) -> String {
    format!("{:.3}", (1000.0 * value).round() / 1000.0 + 0.0)
}

/// A value of the summary as it stands there; `-` when it is not there.
fn stated(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        Value::Array(items) => items.iter().map(stated).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
