//! `trainer export`: a model or an adapter as a GGUF file with an Ollama Modelfile beside it, or as a checkpoint folder.
//! Owns the order of the parts and what is told; formats live in `model::export`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ground::write::Access;
use model::Checkpoint;
use model::export::{GgufOptions, GgufType, Merged, write_gguf, write_gguf_adapter};
use serde_json::json;

use super::{WriteLine, merge, note};
use crate::cli::{Export, Merge};
use crate::disk;
use crate::divergence::Divergence;
use crate::modelfile::{self, Content};
use crate::shipped::Shipped;
use crate::variables;

/// The type under which the adapter alone is written.
const ADAPTER: &str = "lora";

/// Runs the command.
pub fn run(arguments: Export) -> Result<ExitCode> {
    match arguments.format.as_str() {
        "gguf" => gguf(&arguments),
        "safetensors" => merge::run(Merge {
            what: arguments.what,
            model: arguments.model,
            out: arguments.out,
            dtype: arguments.kind.unwrap_or_else(|| "bf16".to_owned()),
            max_shard_size: "5GB".to_owned(),
            compared: arguments.compared,
            json: arguments.json,
        }),
        other => bail!("--format {other} is none of gguf, safetensors\nhint: --format gguf"),
    }
}

fn gguf(arguments: &Export) -> Result<ExitCode> {
    let Some(kind) = arguments.kind.as_deref() else {
        bail!("which number format?\nhint: --type f16, bf16, q8_0, q4_0 or q4_k_m; --type lora for the adapter alone");
    };
    let mixture = match kind {
        ADAPTER => None,
        other => Some(other.parse::<GgufType>().map_err(|what| {
            anyhow::anyhow!("--type {what}, {ADAPTER}\nhint: --type q8_0 is the smallest that changes next to nothing")
        })?),
    };
    if arguments.out.extension().is_none_or(|ending| ending != "gguf") {
        bail!(
            "{} does not end in .gguf\nhint: --out {}",
            arguments.out.display(),
            arguments.out.with_extension("gguf").display()
        );
    }
    let recipe = arguments.out.with_extension("Modelfile");
    merge::refuse_taken(&arguments.out)?;
    merge::refuse_taken(&recipe)?;
    let shipped = Shipped::open(&arguments.what, arguments.model.as_deref())?;
    let mut outcome = None;
    // It keeps its ending while it is written: readers know it by that.
    ground::write::new_file_at(&arguments.out, Access::AsUsual, |partial| {
        outcome = Some(match mixture {
            Some(mixture) => model_file(arguments, &shipped, mixture, partial)?,
            None => adapter_file(arguments, &shipped, partial)?,
        });
        anyhow::Ok(())
    })
    .with_context(|| format!("cannot write {}", arguments.out.display()))?;
    let Done { mut account, lines, content } = outcome.context("the file was not written")?;
    let file = arguments.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let recipe_text = modelfile::text(&file, &content, &shipped.checkpoint, &shipped.wording()?)?;
    disk::write(&recipe, recipe_text.text.as_bytes(), Access::AsUsual)?;
    account["out"] = json!(arguments.out);
    account["modelfile"] = json!(recipe);
    account["notes"] = json!(recipe_text.notes);
    merge::tell(&account, &lines, &arguments.out, arguments.json)?;
    recipe_text.notes.iter().for_each(|line| note(&format!("note: {line}")));
    note(&format!("modelfile            {}", recipe.display()));
    Ok(ExitCode::SUCCESS)
}

struct Done {
    account: serde_json::Value,
    lines: Vec<String>,
    content: Content,
}

fn model_file(arguments: &Export, shipped: &Shipped, mixture: GgufType, partial: &Path) -> Result<Done> {
    let reference = merge::reference(shipped, &arguments.compared)?;
    let merged = Merged::new(&shipped.checkpoint, shipped.adapter.as_ref())?;
    let options = GgufOptions {
        kind: mixture,
        name: shipped.name.clone(),
        licence: shipped.checkpoint.licence(),
        base_model: shipped.adapter.is_some().then(|| shipped.base_name.clone()),
    };
    let start = Instant::now();
    let mut line = WriteLine::new("writing", start);
    let written = write_gguf(&merged, partial, &options, &mut |done, all| line.show(done, all))?;
    let seconds = start.elapsed().as_secs_f64();
    let compare = |it| merge::compare(it, &Checkpoint::open(partial)?, &arguments.compared);
    let divergence = reference.as_ref().map(compare).transpose()?;
    let mut lines = vec![
        format!("base                 {} ({})", shipped.base_name, shipped.base_source),
        format!("weights              {}", merge::weights(&written, seconds)),
    ];
    let notes = [written.notes.clone(), variables::notes(shipped.run(), true)].concat();
    lines.extend(notes.iter().map(|line| format!("note: {line}")));
    lines.extend(divergence.as_ref().map(Divergence::lines).unwrap_or_default());
    let account = json!({
        "version": 1,
        "format": "gguf",
        "type": mixture.to_string(),
        "base": shipped.base_name,
        "adapter_sha256": shipped.adapter_sha256(),
        "bytes": written.bytes,
        "tensors": written.formats.iter().map(|(name, count)| json!({ "format": name, "count": count })).collect::<Vec<_>>(),
        "seconds": seconds,
        "model_notes": notes,
        "compared": divergence.as_ref().map(Divergence::json),
    });
    Ok(Done { account, lines, content: Content::Model })
}

fn adapter_file(arguments: &Export, shipped: &Shipped, partial: &Path) -> Result<Done> {
    let Some(adapter) = &shipped.adapter else {
        bail!("{}: a model without an adapter\nhint: --type q8_0 writes the model", arguments.what);
    };
    let start = Instant::now();
    let written = write_gguf_adapter(adapter, &shipped.checkpoint, partial, &shipped.name)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut lines = vec![
        format!("base                 {} ({})", shipped.base_name, shipped.base_source),
        format!("adapter              {}", merge::weights(&written, seconds)),
        "use                  llama-server -m BASE.gguf --lora THIS.gguf".to_owned(),
    ];
    let notes = [written.notes, variables::notes(shipped.run(), false)].concat();
    lines.extend(notes.iter().map(|line| format!("note: {line}")));
    let account = json!({
        "version": 1,
        "format": "gguf",
        "type": ADAPTER,
        "base": shipped.base_name,
        "adapter_sha256": shipped.adapter_sha256(),
        "bytes": written.bytes,
        "seconds": seconds,
        "model_notes": notes,
    });
    Ok(Done { account, lines, content: Content::Adapter { base: shipped.base_name.clone() } })
}
