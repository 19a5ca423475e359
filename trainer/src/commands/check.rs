//! `trainer check`: everything a run would trip over, before it runs. Pulls and tokenises; trains nothing.

use std::process::ExitCode;

use anyhow::Result;
use model::DeviceChoice;
use model::lora::LoraLayout;
use model::tokenizer::Tokenizer;

use super::{fit, note, opened, print};
use crate::cli::Check;
use crate::data::template_mask::Sample;
use crate::evaluation::Scope;
use crate::preflight::{self, Evaluation, Ready, Wanted};
use crate::run_dir;

/// Runs the command.
pub fn run(arguments: Check) -> Result<ExitCode> {
    let config = fit::load(&arguments.config, None)?;
    let scope = Scope { outside: true, ..Scope::default() };
    let evaluation = Evaluation { scope: &scope, metrics: &[], run: &config.run_folder };
    let wanted = Wanted { training: true, evaluation: Some(evaluation) };
    let Ready { prepared, .. } = preflight::look(&config, &wanted)?;
    let layout = LoraLayout::new(&prepared.checkpoint.config, &config.lora)?;
    let steps = prepared.loader(&config)?.total_steps();
    // A number format that the processor has not is told; any other device may be that of another machine.
    if config.device == DeviceChoice::Cpu {
        opened::device(config.device, config.precision)?;
    }
    let mut warnings = prepared.data.ledger.warnings.clone();
    // The config may be that of a run to go on with, so this alone is no fault of it.
    warnings.extend(run_dir::refuse_used(&config.run_folder).err().map(|error| error.to_string()));
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
            "warnings": warnings,
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
    warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
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
