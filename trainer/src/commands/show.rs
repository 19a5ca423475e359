//! `trainer show`: what is in a folder or file. Reads and changes nothing.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ground::read::Kind;
use serde_json::{Value, json};

use super::{nothing_there, print, there};
use crate::cli::Show;
use crate::disk;

/// Runs the command.
pub fn run(arguments: Show) -> Result<ExitCode> {
    let path = there(&arguments.path).ok_or_else(|| nothing_there(&arguments.path))?;
    let mut value = describe(&path)?;
    if arguments.json {
        print(&serde_json::to_string(&value)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // What was scored is a table that is written already.
    let table = disk::text(&path.join("eval/table.txt"), Kind::Results).ok();
    if let (Some(fields), Some(_)) = (value.as_object_mut(), &table) {
        fields.shift_remove("eval");
    }
    let mut lines = Vec::new();
    lines_of("", &value, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().try_for_each(|(name, text)| print(&format!("{name:<width$}  {text}")))?;
    if let Some(table) = table {
        print("")?;
        print(table.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each value on a line of its own, behind the names that lead to it; what is empty or not there has none.
fn lines_of(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.iter().for_each(|(part, value)| lines_of(&below(part), value, lines)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (at, item) in items.iter().enumerate() {
                // An arm or a metric has a name of its own, which says more than its place.
                let own = item.get("name").or_else(|| item.pointer("/named/name")).and_then(Value::as_str);
                let part = own.map_or_else(|| (at + 1).to_string(), str::to_owned);
                lines_of(&below(&part), item, lines);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => lines.push((name.to_owned(), items.iter().map(plain).collect::<Vec<_>>().join(", "))),
        other => lines.push((name.to_owned(), plain(other))),
    }
}

fn describe(path: &Path) -> Result<Value> {
    let has = |name: &str| path.join(name).is_file();
    if path.extension().is_some_and(|extension| extension == "jsonl") {
        return rows(path);
    }
    if has("summary.json") || has("events.jsonl") {
        return run_folder(path);
    }
    if has(model::adapter::CONFIG_FILE) {
        return adapter(path);
    }
    if has("config.json") || path.extension().is_some_and(|extension| extension == "gguf") {
        return checkpoint(path);
    }
    bail!(
        "{}: neither a run, an adapter, a checkpoint, a .gguf nor a .jsonl\nhint: trainer show runs/NAME",
        path.display()
    );
}

fn rows(path: &Path) -> Result<Value> {
    let rows = datasets::survey::survey(path)?;
    Ok(json!({
        "kind": "rows",
        "rows": rows.rows,
        "groups": rows.groups,
        "messages": rows.messages,
        "blank_lines": rows.blank_lines,
        "first_target": rows.first_target,
        "sha256": rows.sha256,
    }))
}

fn run_folder(path: &Path) -> Result<Value> {
    let summary = path.join("summary.json");
    if !summary.is_file() {
        return Ok(json!({ "kind": "run", "status": "unfinished", "hint": "trainer fit CONFIG --resume" }));
    }
    let mut value: Value = disk::json(&summary, Kind::Account)?;
    if let Value::Object(fields) = &mut value {
        fields.shift_insert(0, "kind".to_owned(), json!("run"));
    }
    Ok(value)
}

fn adapter(path: &Path) -> Result<Value> {
    let config = model::adapter::raw_config(path)?;
    let weights = path.join(model::adapter::WEIGHTS_FILE);
    // What is no file of tensors is not worth the time that its hash takes.
    model::adapter::shapes(&weights)?;
    let bytes = std::fs::metadata(&weights).with_context(|| format!("cannot read {}", weights.display()))?.len();
    Ok(json!({
        "kind": "adapter",
        "base": config["base_model_name_or_path"],
        "r": config["r"],
        "lora_alpha": config["lora_alpha"],
        "target_modules": config["target_modules"],
        "bytes": bytes,
        "sha256": crate::pull::cache::hash_file(&weights)?.sha256,
    }))
}

fn checkpoint(path: &Path) -> Result<Value> {
    let checkpoint = model::Checkpoint::open(path)?;
    let config = &checkpoint.config;
    let tokenizer = checkpoint.has_tokenizer().then(|| checkpoint.tokenizer()).transpose()?;
    let template = match tokenizer.as_ref().map(|tokenizer| tokenizer.chat_template()) {
        Some(Ok(template)) => json!(template.is_some()),
        // The rest of the folder is shown all the same.
        Some(Err(error)) => json!(format!("refused: {error}")),
        None => json!(false),
    };
    Ok(json!({
        "kind": "checkpoint",
        "name": checkpoint.name(),
        "licence": checkpoint.licence(),
        "config": config,
        "parameters": config.num_parameters(),
        "weight_bytes": checkpoint.weight_bytes(),
        "tokens": tokenizer.as_ref().map(|tokenizer| tokenizer.vocab_size()),
        "chat_template": template,
        "sha256": checkpoint.sha256()?,
    }))
}
