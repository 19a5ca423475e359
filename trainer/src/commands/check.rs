//! `trainer check`: everything a run would trip over, before it runs. Pulls and tokenises; trains nothing.

use std::process::ExitCode;

use anyhow::Result;
use model::lora::LoraLayout;
use model::tokenizer::Tokenizer;

use super::{fit, note, print};
use crate::cli::Check;
use crate::data::template_mask::Sample;
use crate::evaluation::{self, Scope};
use crate::prepared::Prepared;
use crate::{schedule, start};

/// Runs the command.
pub fn run(arguments: Check) -> Result<ExitCode> {
    let config = fit::load(&arguments.config, None)?;
    let prepared = Prepared::new(&config)?;
    let scope = Scope { outside: true, ..Scope::default() };
    evaluation::preflight(&config, &prepared, &scope, &[])?;
    let layout = LoraLayout::new(&prepared.checkpoint.config, &config.lora)?;
    start::read(&config, &prepared.checkpoint.config)?;
    let steps = prepared.loader(&config)?.total_steps();
    schedule::check(steps, &schedule::Settings::of(&config.train))?;
    if arguments.json {
        let value = serde_json::json!({
            "config": config.file,
            "base": prepared.base_name,
            "base_sha256": prepared.base_sha256,
            "data": prepared.data.name,
            "data_sha256": prepared.data.sha256,
            "ledger": prepared.data.ledger,
            "trainable": layout.length(),
            "steps": steps,
            "warnings": prepared.data.ledger.warnings,
        });
        print(&serde_json::to_string(&value)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("base      {} ({})", prepared.base_name, prepared.base_source))?;
    print(&format!("data      {} ({})", prepared.data.name, prepared.set_source))?;
    for line in prepared.data.ledger.lines() {
        print(&line)?;
    }
    print(&format!("adapter   {} trainable weights", layout.length()))?;
    print(&format!("steps     {steps}"))?;
    if let Some(sample) = prepared.data.train.samples.first() {
        print(&format!("sample    {} with what is learnt in [[ ]]:", sample.id))?;
        print(&marked(sample, &prepared.speech.tokenizer)?)?;
    }
    prepared.data.ledger.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
    Ok(ExitCode::SUCCESS)
}

/// The text of a sample with what is learnt in double brackets, decoded from the very ids that are trained on.
fn marked(sample: &Sample, tokenizer: &Tokenizer) -> Result<String> {
    let mut text = String::new();
    let mut start = 0;
    while start < sample.ids.len() {
        let learnt = sample.supervised[start];
        let end = (start..sample.ids.len()).find(|&at| sample.supervised[at] != learnt).unwrap_or(sample.ids.len());
        let piece = tokenizer.decode(&sample.ids[start..end], false)?;
        text.push_str(&if learnt { format!("[[{piece}]]") } else { piece });
        start = end;
    }
    Ok(text)
}
