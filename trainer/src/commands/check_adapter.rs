//! `trainer check-adapter`: which programs would load an adapter, with the reason and what to type. Loads no weights on a
//! device and asks no network but for an adapter that is named by its repository.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ground::terminal::shown_in_line;
use model::Checkpoint;
use serde_json::json;

use super::{configs_root, note, opened, print};
use crate::cli::CheckAdapter;
use crate::config;
use crate::ending::Ended;
use crate::pull::{self, Cache};
use crate::readers::{ALL, Facts, Judgement};
use crate::shipped;

/// Runs the command.
pub fn run(arguments: CheckAdapter) -> Result<ExitCode> {
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    if let Some(unknown) = arguments.require.iter().find(|wanted| !ALL.iter().any(|one| is(one.name(), wanted))) {
        let names: Vec<&str> = ALL.iter().map(|reader| reader.name()).collect();
        bail!("--require {unknown} is none of {}\nhint: --require {}", names.join(", "), names[0]);
    }
    let folder = shipped::adapter_folder(&arguments.what)?;
    let base = match &arguments.model {
        Some(model) => Some(Checkpoint::open(&opened::pull_model(model, &configs_root(None))?.path)?),
        None => base_here(&arguments.what, &folder),
    };
    let mut facts = Facts::read(&folder, base.as_ref().map(|base| base.config.clone()))?;
    facts.words = base.map(|mut base| base.adopt(&folder).map_err(|error| error.to_string()));
    let judged: Vec<(&str, Judgement)> = ALL.iter().map(|reader| (reader.name(), reader.judge(&facts))).collect();
    if arguments.json {
        let readers: Vec<_> = judged
            .iter()
            .map(|(name, judgement)| {
                let reasons = judgement.against.iter().map(|it| json!({ "what": it.what, "hint": it.hint }));
                json!({
                    "reader": name,
                    "loads": judgement.loads(),
                    "reasons": reasons.collect::<Vec<_>>(),
                    "how": judgement.loads().then_some(&judgement.how),
                    "notes": judgement.notes,
                })
            })
            .collect();
        let base = facts.base.as_ref().map(|base| base.model_type.to_string());
        print(&serde_json::to_string(&json!({ "rank": facts.largest_rank(), "base": base, "readers": readers }))?)?;
    } else {
        judged.iter().try_for_each(|(name, judgement)| print(&line(name, judgement)))?;
    }
    let refuses = |wanted: &&String| judged.iter().any(|(name, it)| is(name, wanted) && !it.loads());
    let missed: Vec<&str> = arguments.require.iter().filter(refuses).map(String::as_str).collect();
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Ended::NotMet(format!("required, and would not load it: {}", missed.join(", "))).into())
}

fn line(name: &str, judgement: &Judgement) -> String {
    let mut lines = Vec::new();
    if judgement.loads() {
        lines.push(format!("{name:<12} yes  {}", judgement.how));
    }
    for (at, reason) in judgement.against.iter().enumerate() {
        let (name, no) = if at == 0 { (name, "no ") } else { ("", "   ") };
        lines.push(format!("{name:<12} {no}  {}", reason.what));
        lines.push(format!("{:<12}      hint: {}", "", reason.hint));
    }
    lines.extend(judgement.notes.iter().map(|text| format!("{:<12}      note: {text}", "")));
    lines.join("\n")
}

/// The base that the run or the adapter names, if it is on this machine: nothing is fetched for a question.
fn base_here(what: &str, folder: &Path) -> Option<Checkpoint> {
    let run = config::load_of_run(&Path::new(what).join("config.toml")).ok();
    let (name, found) = match run {
        // The config of a run may name a folder, which lies where the run was made.
        Some(run) => (Some(run.base.to_string()), crate::prepared::base_here(&run).ok()),
        None => {
            let named = model::adapter::base_of(folder).ok()?;
            let cache = Cache::open().ok()?;
            let here = |name: &String| pull::base_here(name, named.revision.as_deref(), &configs_root(None), &cache);
            let found = named.name.as_ref().and_then(here);
            (named.name, found)
        }
    };
    let checkpoint = found.and_then(|pulled| Checkpoint::open(&pulled.path).ok());
    if checkpoint.is_none() {
        let which = match name {
            Some(name) => format!("the base that it names, {}, is not on this machine", shown_in_line(&name)),
            None => "it names no base".to_owned(),
        };
        note(&format!("{which}, so names and shapes were not compared with it\nhint: --model says where the base is"));
    }
    checkpoint
}
