//! Owns the adapter folder of a run: what goes in, and the proof that it does something after it was written.
//! Knows the run and the base; knows no training.

use anyhow::{Context, Result, bail};
use ground::write::Access;
use model::train::{Batch, Session};

use crate::prepared::Prepared;
use crate::run_dir::RunDir;

/// Writes `adapter/`, opens it again, and proves that it equals the adapter in memory and differs from none.
pub fn save_adapter(run_dir: &RunDir, session: &Session, prepared: &Prepared) -> Result<()> {
    let values = session.state()?.parameters;
    let folder = run_dir.publish_folder("adapter", |folder| {
        model::adapter::save(folder, session.lora(), session.layout(), &values, &prepared.base_name)?;
        prepared.speech.tokenizer.save(folder)?;
        crate::disk::write_new(&folder.join("README.md"), card(prepared).as_bytes(), Access::AsUsual)
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

fn card(prepared: &Prepared) -> String {
    let attribution = prepared.attribution.as_deref().unwrap_or("");
    format!(
        "---\nbase_model: {base}\nlibrary_name: peft\n---\n# LoRA adapter for {base}\n\n\
         Made by trainer {version} on {set}.\n\n\
         | what | value |\n|---|---|\n\
         | base | {base}, from {source}, sha256 {base_sha256} |\n\
         | data | {set}, sha256 {set_sha256} |\n\
         | rows learnt from | {rows} |\n\
         | tokenizer | sha256 {tokenizer} |\n\
         | chat template | sha256 {template} |\n\n{attribution}\n",
        base = prepared.base_name,
        version = env!("CARGO_PKG_VERSION"),
        set = prepared.data.name,
        source = prepared.base_source,
        base_sha256 = prepared.base_sha256,
        set_sha256 = prepared.data.sha256,
        rows = prepared.data.train.samples.len(),
        tokenizer = prepared.speech.tokenizer.sha256(),
        template = prepared.speech.template.sha256(),
    )
}
