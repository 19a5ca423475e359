//! A repository of the hub by its own name, and the base that an adapter names. Owns which place a name means first:
//! what this program knows, then this machine, then the hub. Knows no transfer and no cache layout.

use std::path::Path;

use anyhow::{Result, bail};

use super::source::Source;
use super::{Cache, Pulled, Surroundings, Watch, any_here, first_that_answers, local_model, one_source};
use crate::hub;
use crate::model_source::ModelSource;

/// Whether what was typed can only mean a repository of the hub. A name in a folder of this machine is a path, misspelt or
/// not, and no hub is asked for it.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    let path = Path::new(text);
    let is_path = path.exists() || path.parent().is_some_and(Path::is_dir) || text.ends_with(".gguf");
    hub::is_repository(text) && !is_path
}

/// A repository of the hub: an adapter, or a checkpoint.
pub fn repository(
    repo: &str,
    revision: Option<&str>,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    repository_in(&Surroundings::from_env(), repo, revision, cache, report, watch)
}

/// The same in given surroundings.
pub fn repository_in(
    surroundings: &Surroundings,
    repo: &str,
    revision: Option<&str>,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    if let Some(revision) = revision.filter(|revision| !ground::name::is_revision(revision)) {
        let shown = ground::terminal::shown_in_line(revision).into_owned();
        bail!("{repo} at `{shown}`: that is no name of a branch, a tag or a commit");
    }
    let source = Source::Hub { repo: repo.to_owned(), revision: revision.map(str::to_owned), files: Vec::new() };
    // What is known of it: where it is from. Its own page says the rest.
    let model = ModelSource {
        name: repo.to_owned(),
        licence: "see README.md of the repository".to_owned(),
        attribution: format!("{repo}, from the model hub."),
        sources: vec![source.clone()],
        shape: None,
        file: repo.into(),
    };
    one_source(surroundings, &model, &source, cache, report, watch)
}

/// The base that an adapter names: a name under `configs_root/models/`, the name or the repository that a file there
/// gives, the path of a folder or file of this machine, or a repository of the hub. A bare name that is none of ours was a
/// folder where the adapter was made.
pub fn base(
    name: &str,
    revision: Option<&str>,
    configs_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    base_in(&Surroundings::from_env(), name, revision, configs_root, cache, report, watch)
}

/// The same in given surroundings.
pub fn base_in(
    surroundings: &Surroundings,
    name: &str,
    revision: Option<&str>,
    configs_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Pulled> {
    if let Some(model) = known(name, configs_root)? {
        return first_that_answers(surroundings, &model, cache, report, watch);
    }
    if !is_bare(name) && Path::new(name).exists() {
        return local_model(name, configs_root);
    }
    if hub::is_repository(name) {
        return repository_in(surroundings, name, revision, cache, report, watch);
    }
    bail!(
        "{name} is neither under {}, nor the path of a folder of this machine, nor owner/name on the hub",
        configs_root.join("models").display()
    )
}

/// Whether a person could type this name to fetch it: it is one of ours, or a repository has it.
#[must_use]
pub fn is_fetched_by_name(name: &str, configs_root: &Path) -> bool {
    hub::is_repository(name) || known(name, configs_root).is_ok_and(|model| model.is_some())
}

/// Whether a file names a folder without saying where: its writer's folder of that name is not the one that lies here.
fn is_bare(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

/// The base that an adapter names, if it is on this machine already.
#[must_use]
pub fn base_here(name: &str, revision: Option<&str>, configs_root: &Path, cache: &Cache) -> Option<Pulled> {
    let quiet = &mut |_: &str| {};
    let mut sources = known(name, configs_root).ok()?.map(|model| model.sources).unwrap_or_default();
    if sources.is_empty() && hub::is_repository(name) && !Path::new(name).exists() {
        let (repo, revision) = (name.to_owned(), revision.map(str::to_owned));
        sources.push(Source::Hub { repo, revision, files: Vec::new() });
    }
    if sources.is_empty() {
        return if is_bare(name) { None } else { local_model(name, configs_root).ok() };
    }
    any_here(&sources, cache, quiet).ok()?
}

/// The file that means this name, this title or this repository.
fn known(name: &str, configs_root: &Path) -> Result<Option<ModelSource>> {
    if let Some(model) = ModelSource::find(name, configs_root)? {
        return Ok(Some(model));
    }
    for other in ModelSource::names(configs_root) {
        let Some(model) = ModelSource::find(&other, configs_root)? else { continue };
        let is_source = |source: &Source| matches!(source, Source::Hub { repo, .. } if repo.eq_ignore_ascii_case(name));
        if model.name.eq_ignore_ascii_case(name) || model.sources.iter().any(is_source) {
            return Ok(Some(model));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_told_from_a_path() {
        for name in ["owner/name", "meta-llama/Llama-3.1-8B", "a_b/c.d"] {
            assert!(is_repository(name), "{name}");
        }
        for name in
            ["name", "./name", "../name", "/a/b", "a/b/c", "runs/", "models/x.gguf", "src/nothing", "-a/b", "a b/c"]
        {
            assert!(!is_repository(name), "{name}");
        }
    }
}
