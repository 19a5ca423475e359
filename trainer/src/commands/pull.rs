//! `trainer pull`: a base model or a set by its name, into the cache. Knows nothing of what is done with it.

use std::process::ExitCode;

use anyhow::{Result, bail};

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
    } else {
        let mut known = ModelSource::names(&configs);
        known.extend(known_sets);
        let hint = match nearest(name, known.iter().map(String::as_str)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("known names are {}", known.join(", ")),
        };
        bail!("nothing is named {name}\nhint: {hint}");
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
