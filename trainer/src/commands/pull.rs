//! `trainer pull`: a base model, a set, or a repository of the hub with the base it names, into the cache. Knows nothing of
//! what is done with it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::{PullLine, configs_root, datasets_root, note, print};
use crate::cli::Pull;
use crate::dataset_source;
use crate::model_source::{ModelSource, nearest};
use crate::pull::{self, Cache};

/// Runs the command.
pub fn run(arguments: Pull) -> Result<ExitCode> {
    let configs = configs_root(None);
    let sets = datasets_root(&configs);
    let name = arguments.name.as_str();
    let mut cache = Cache::open()?;
    if arguments.verify {
        cache = cache.read_everything();
    }
    let mut line = PullLine::new();
    let mut report = |text: &str| note(text);
    let mut watch = |progress: &pull::Progress| line.show(progress);
    let known_sets = dataset_source::names(&sets);
    let (path, source, sha256, rows, from_cache) = if ModelSource::find(name, &configs)?.is_some() {
        let pulled = pull::model(name, &configs, &cache, &mut report, &mut watch)?;
        (pulled.path, pulled.source, pulled.sha256, None, pulled.from_cache)
    } else if known_sets.iter().any(|known| known == name) {
        let pulled = pull::dataset(name, &sets, &cache, &mut report, &mut watch)?;
        let path = pulled.jsonl.unwrap_or_else(|| pulled.folder.path.clone());
        (path, pulled.source, pulled.sha256, pulled.rows, pulled.from_cache)
    } else if pull::is_repository(name) {
        return repository(&arguments, &configs, &cache);
    } else {
        let mut known = ModelSource::names(&configs);
        known.extend(known_sets);
        let hint = match nearest(name, known.iter().map(String::as_str)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("known names are {}", known.join(", ")),
        };
        bail!("nothing is named {name}\nhint: {hint}; a repository of the hub is OWNER/NAME");
    };
    if arguments.json {
        let value = serde_json::json!({
            "name": name,
            "path": path,
            "source": source,
            "sha256": sha256,
            "rows": rows,
            "from_cache": from_cache,
        });
        print(&serde_json::to_string(&value)?)?;
    } else {
        print(&path.display().to_string())?;
        note(&format!("{name}: {source}"));
        if let Some(sha256) = sha256 {
            note(&format!("sha256 {sha256}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A repository of the hub: a model, or an adapter with the base that it names.
fn repository(arguments: &Pull, configs: &Path, cache: &Cache) -> Result<ExitCode> {
    let name = arguments.name.as_str();
    let mut line = PullLine::new();
    let mut report = |text: &str| note(text);
    let mut watch = |progress: &pull::Progress| line.show(progress);
    let pulled = pull::repository(name, None, cache, &mut report, &mut watch)?;
    let is_adapter = pulled.path.join(model::adapter::CONFIG_FILE).is_file();
    let base = if is_adapter {
        let named = model::adapter::base_of(&pulled.path)?;
        let shown = pulled.path.display();
        let Some(base) = named.name else {
            bail!("{name} names no base; it lies in {shown}\nhint: name the base when it is used: --model NAME");
        };
        let found = pull::base(&base, named.revision.as_deref(), configs, cache, &mut report, &mut watch);
        let found = found.with_context(|| {
            format!("{name} lies in {shown}, and the base it names, {base}, cannot be had\nhint: --model names it when the adapter is used")
        })?;
        Some((base, found))
    } else {
        None
    };
    if arguments.json {
        let base = base.as_ref().map(|(name, base)| {
            serde_json::json!({ "name": name, "path": base.path, "source": base.source, "sha256": base.sha256 })
        });
        let value = serde_json::json!({
            "name": name,
            "kind": if is_adapter { "adapter" } else { "model" },
            "path": pulled.path,
            "source": pulled.source,
            "sha256": pulled.sha256,
            "from_cache": pulled.from_cache,
            "base": base,
        });
        print(&serde_json::to_string(&value)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&pulled.path.display().to_string())?;
    note(&format!("{name}: {}", pulled.source));
    if let Some((base, found)) = base {
        note(&format!("base {base}: {} ({})", found.path.display(), found.source));
        note(&format!("use it with  --model {} --adapter {name}", model_argument(&base, configs, &found)));
    }
    Ok(ExitCode::SUCCESS)
}

/// How `--model` names a base that was found.
fn model_argument(name: &str, configs: &Path, found: &pull::Pulled) -> String {
    match ModelSource::find(name, configs) {
        Ok(Some(_)) => name.to_owned(),
        _ => found.path.display().to_string(),
    }
}
