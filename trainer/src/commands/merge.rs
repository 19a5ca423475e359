//! `trainer merge`: base and adapter as one checkpoint folder, and how far it is from the two. Owns the order of the
//! parts and what is told; arithmetic and format live in `model::export`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use eval::report::escape::{fence, inline, quoted};
use ground::terminal::shown_in_line;
use ground::write::Access;
use model::checkpoint::StoredType;
use model::export::{FolderOptions, Merged, Written, write_folder};
use model::{Checkpoint, DeviceChoice, LoadOptions, Precision};
use serde_json::{Value, json};

use super::{WriteLine, note, opened, print};
use crate::cli::{Compared, Merge};
use crate::data::answered;
use crate::disk;
use crate::divergence::{self, Divergence, Reference};
use crate::shipped::Shipped;
use crate::variables;

/// The account beside the weights.
const ACCOUNT: &str = "merge.json";

/// Runs the command.
pub fn run(arguments: Merge) -> Result<ExitCode> {
    let dtype = match arguments.dtype.as_str() {
        "bf16" => StoredType::BF16,
        "f32" => StoredType::F32,
        other => bail!("--dtype {other} is none of bf16, f32\nhint: --dtype bf16"),
    };
    let max_shard_bytes = size(&arguments.max_shard_size)?;
    refuse_taken(&arguments.out)?;
    let shipped = Shipped::open(&arguments.what, arguments.model.as_deref())?;
    let Some(adapter) = &shipped.adapter else {
        bail!(
            "{}: nothing to merge, this is a model without an adapter\nhint: trainer export writes it as GGUF",
            arguments.what
        );
    };
    let reference = reference(&shipped, &arguments.compared)?;
    let merged = Merged::new(&shipped.checkpoint, Some(adapter))?;
    let options = FolderOptions { dtype, max_shard_bytes };
    let mut outcome = None;
    let start = Instant::now();
    disk::folder(&arguments.out, |folder| {
        let mut line = WriteLine::new("merging", start);
        let written = write_folder(&merged, folder, options, &mut |done, all| line.show(done, all))?;
        let seconds = start.elapsed().as_secs_f64();
        // What is opened here is what others will open.
        let checkpoint = Checkpoint::open(folder)?;
        let divergence = reference.as_ref().map(|it| compare(it, &checkpoint, &arguments.compared)).transpose()?;
        let account = account(&shipped, &arguments, &written, divergence.as_ref());
        let mut text = serde_json::to_vec_pretty(&account)?;
        text.push(b'\n');
        disk::write_new(&folder.join(ACCOUNT), &text, Access::AsUsual)?;
        let card = card(&shipped, &arguments.dtype, divergence.as_ref());
        disk::write_new(&folder.join("README.md"), card.as_bytes(), Access::AsUsual)?;
        outcome = Some((account, written, divergence, seconds));
        Ok(())
    })?;
    let (mut account, written, divergence, seconds) = outcome.context("the folder was not written")?;
    account["seconds"] = json!(seconds);
    account["bytes_per_second"] = json!(written.bytes as f64 / seconds.max(1e-9));
    account["out"] = json!(arguments.out);
    tell(&account, &told(&shipped, &written, seconds, divergence.as_ref()), &arguments.out, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Where something is already, nothing is written.
pub(super) fn refuse_taken(out: &Path) -> Result<()> {
    let empty = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if out.exists() && !empty {
        bail!("{} is there already, and is not replaced\nhint: choose another --out, or remove it", out.display());
    }
    Ok(())
}

/// What base and adapter say about the held-out rows, asked before anything is written. `None` where there are no rows,
/// which is told.
pub(super) fn reference(shipped: &Shipped, compared: &Compared) -> Result<Option<Reference>> {
    if compared.kl_rows == 0 {
        return Ok(None);
    }
    if compared.rows.is_none() && shipped.run().is_none() {
        note("not compared with its origin: no held-out rows\nhint: --rows FILE.jsonl names some");
        return Ok(None);
    }
    let speech = opened::noted(shipped.speech()?);
    let Some(rows) = shipped.held_out(&speech, compared.rows.as_deref(), compared.kl_rows)? else {
        note("not compared with its origin: the run has no held-out rows\nhint: --rows FILE.jsonl names some");
        return Ok(None);
    };
    let model = load(&shipped.checkpoint, shipped.adapter.as_ref(), answered::longest(&rows), compared)?;
    let adapter = match &shipped.adapter {
        Some(adapter) => Some(model.add_adapter(&adapter.layout, &adapter.values)?),
        None => None,
    };
    divergence::reference(&model, adapter, &rows).map(Some)
}

/// How far a written model is from what was asked before.
pub(super) fn compare(reference: &Reference, written: &Checkpoint, compared: &Compared) -> Result<Divergence> {
    let model = load(written, None, reference.positions(), compared)?;
    reference.compare(&model)
}

fn load(
    checkpoint: &Checkpoint,
    adapter: Option<&model::adapter::Adapter>,
    positions: usize,
    compared: &Compared,
) -> Result<model::Model> {
    let device = opened::device_noted(compared.device.parse::<DeviceChoice>()?, Precision::Auto)?;
    let needed = 4 * checkpoint.config.num_parameters() as u64;
    if let Some(free) =
        crate::memory::available().filter(|free| device.description.starts_with("cpu") && needed > *free)
    {
        bail!(
            "comparing on a CPU takes {:.1} GB, {:.1} GB are free\nhint: --kl-rows 0 writes without comparing; --device cuda",
            needed as f64 / 1e9,
            free as f64 / 1e9
        );
    }
    let layouts: Vec<_> = adapter.iter().map(|adapter| &adapter.layout).collect();
    Ok(device.load(checkpoint, LoadOptions { positions, adapters: &layouts }, |_, _| {})?)
}

/// What was made of what, without a path of this machine.
fn account(shipped: &Shipped, arguments: &Merge, written: &Written, divergence: Option<&Divergence>) -> Value {
    let adapter = shipped.adapter.as_ref();
    json!({
        "version": 1,
        "program": env!("CARGO_PKG_VERSION"),
        "base": { "name": shipped.base_name, "source": shipped.public_source() },
        "adapter": {
            "name": shipped.name,
            "sha256": shipped.adapter_sha256(),
            "r": adapter.map(|it| it.lora.r),
            "lora_alpha": adapter.map(|it| it.lora.lora_alpha),
            "use_rslora": adapter.map(|it| it.lora.use_rslora),
            "scale": adapter.map(|it| it.lora.scale()),
        },
        "asked_with": {
            "system": shipped.run().and_then(|run| run.data.system.as_deref()),
            "prompt_template": shipped.run().and_then(|run| run.prompt.as_ref()).map(|prompt| &prompt.template),
            "template": shipped.run().map(|run| &run.template),
        },
        "dtype": arguments.dtype,
        "files": written.files,
        "bytes": written.bytes,
        "compared": divergence.map(Divergence::json),
    })
}

fn card(shipped: &Shipped, dtype: &str, divergence: Option<&Divergence>) -> String {
    let licence =
        shipped.checkpoint.licence().map(|licence| format!("license: {}\n", quoted(&licence))).unwrap_or_default();
    let compared = match divergence {
        Some(divergence) => divergence.lines().iter().map(|line| format!("    {}\n", shown_in_line(line))).collect(),
        None => "    not measured\n".to_owned(),
    };
    format!(
        "---\nbase_model: {key}\nbase_model_relation: finetune\nlibrary_name: transformers\npipeline_tag: text-generation\n{licence}---\n\
         # {name} on {base}, merged\n\nMade by trainer {version}: `W + scale * B * A` in f32, rounded once to {dtype}.\n\n\
         The merged model beside base and adapter, on held-out answers:\n\n{compared}{asked}",
        asked = asked(shipped),
        key = quoted(&shipped.base_name),
        base = inline(&shipped.base_name),
        name = inline(&shipped.name),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// How a run asks, which no file of a checkpoint says.
fn asked(shipped: &Shipped) -> String {
    let Some(run) = shipped.run() else { return String::new() };
    let mut text = String::new();
    if let Some(system) = &run.data.system {
        text.push_str(&format!("\nIt was trained with this system message:\n\n{}\n", fence("text", system)));
    }
    if let Some(prompt) = &run.prompt {
        let template = fence("text", &prompt.template);
        text.push_str(&format!("\nThe user message stood in this template:\n\n{template}\n"));
    }
    if let Some(sets) = variables::json(run) {
        let sets = fence("json", &sets);
        text.push_str(&format!(
            "\nThe chat template here sets these variables unless it is told otherwise:\n\n{sets}\n"
        ));
    }
    text
}

fn told(shipped: &Shipped, written: &Written, seconds: f64, divergence: Option<&Divergence>) -> Vec<String> {
    let mut lines = vec![
        format!("base                 {} ({})", shipped.base_name, shipped.base_source),
        format!("weights              {}", weights(written, seconds)),
    ];
    lines.extend(divergence.map(Divergence::lines).unwrap_or_default());
    lines
}

/// Files, sizes and speed in words.
pub(super) fn weights(written: &Written, seconds: f64) -> String {
    let formats: Vec<String> = written.formats.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let megabytes = written.bytes as f64 / 1e6;
    format!(
        "{megabytes:.1} MB in {} file{}, tensors: {}; {seconds:.1} s, {:.0} MB/s",
        written.files.len(),
        if written.files.len() == 1 { "" } else { "s" },
        formats.join(", "),
        megabytes / seconds.max(1e-9)
    )
}

/// JSON on stdout, or the path there and lines for a person on stderr.
pub(super) fn tell(account: &Value, lines: &[String], out: &Path, as_json: bool) -> Result<()> {
    if as_json {
        return print(&serde_json::to_string(account)?);
    }
    lines.iter().for_each(|line| note(line));
    print(&out.display().to_string())
}

/// `5GB`, `500MB` or a number of bytes, in powers of ten as transformers counts them.
fn size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => 0,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
    bytes.with_context(|| format!("--max-shard-size {text} is no size\nhint: --max-shard-size 5GB"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_transformers_writes_them() {
        assert_eq!([size("5GB").unwrap(), size("40KB").unwrap(), size("7").unwrap()], [5_000_000_000, 40_000, 7]);
        for wrong in ["", "GB", "5XB", "0", "-1", "99999999999GB"] {
            assert!(size(wrong).unwrap_err().to_string().contains("hint: "), "{wrong}");
        }
    }
}
