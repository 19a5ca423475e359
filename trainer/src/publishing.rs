//! Owns the adapter folder of a run: what goes in, and the proof that it does something after it was written.
//! Knows the run and the base; knows no training.

use anyhow::{Context, Result, bail};
use eval::report::escape::{inline, quoted, table};
use ground::write::Access;
use model::train::{Batch, Session};

use crate::config::Config;
use crate::prepared::Prepared;
use crate::run_dir::RunDir;
use crate::variables;

/// Writes `adapter/`, opens it again, and proves that it equals the adapter in memory and differs from none.
pub fn save_adapter(run_dir: &RunDir, session: &Session, config: &Config, prepared: &Prepared) -> Result<()> {
    let values = session.state()?.parameters;
    let folder = run_dir.publish_folder("adapter", |folder| {
        model::adapter::save(folder, session.lora(), session.layout(), &values, &prepared.base_name)?;
        prepared.speech.tokenizer.save(folder)?;
        crate::disk::write_new(&folder.join("README.md"), card(config, prepared).as_bytes(), Access::AsUsual)
    })?;
    let read = model::adapter::load(&folder, &prepared.checkpoint.config)
        .with_context(|| format!("{} does not open again", folder.display()))?;
    let Some(sample) = prepared.data.train.samples.first() else { bail!("no row to prove the adapter on") };
    let batch = Batch::pack([(sample.ids.as_slice(), sample.supervised.as_slice())]);
    let model = session.model();
    let on = model.log_probabilities(Some(model.add_adapter(&read.layout, &read.values)?), &batch)?;
    let off = model.log_probabilities(None, &batch)?;
    if on != session.log_probabilities(&batch)? {
        bail!("{} read from disk is not the adapter in memory", folder.display());
    }
    if on == off {
        bail!("{} changes nothing: the model answers the same with it and without it", folder.display());
    }
    Ok(())
}

fn card(config: &Config, prepared: &Prepared) -> String {
    let (base, set) = (&prepared.base_name, &prepared.data.name);
    let lines = [
        ("base", format!("{base}, from {}, sha256 {}", prepared.base_source, prepared.base_sha256)),
        ("data", format!("{set}, sha256 {}", prepared.data.sha256)),
        ("rows learnt from", prepared.data.train.samples.len().to_string()),
        ("tokenizer", format!("sha256 {}", prepared.speech.tokenizer.sha256())),
        ("chat template", format!("sha256 {}", prepared.speech.template.sha256())),
    ];
    let sets = variables::json(config).map(|sets| ("it sets, unless told otherwise", sets));
    let lines: Vec<_> = lines.into_iter().chain(sets).map(|(what, value)| vec![what.into(), value.into()]).collect();
    format!(
        "---\nbase_model: {key}\nlibrary_name: peft\n---\n# LoRA adapter for {base}\n\n\
         Made by trainer {version} on {set}.\n\n{lines}\n{attribution}\n",
        key = quoted(base),
        base = inline(base),
        version = env!("CARGO_PKG_VERSION"),
        set = inline(set),
        lines = table(&["what".into(), "value".into()], &lines),
        attribution = inline(prepared.attribution.as_deref().unwrap_or_default()),
    )
}
