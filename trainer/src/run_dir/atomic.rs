//! Owns how a file or folder of a run comes to be: written beside, synced, read back where asked, renamed. A kill at
//! any instant leaves the old one or the new one. Knows nothing about what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The ending of a folder that is being written.
const PARTIAL: &str = "partial";
/// The ending of a folder that is being replaced.
const REPLACED: &str = "replaced";

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = with_ending(path, PARTIAL);
    let result = write_synced(&beside, bytes).and_then(|()| {
        fs::rename(&beside, path).with_context(|| format!("cannot rename a new file to {}", path.display()))
    });
    if result.is_err() {
        // The first failure is the one worth telling.
        let _ = fs::remove_file(&beside);
        return result;
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Writes a file in place and syncs it: for files inside a folder that is renamed later.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// Fills a folder beside `path`, syncs what is in it and gives it its name. If anything fails, nothing is left of it
/// and a folder that was there before stays as it was.
pub(super) fn folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = with_ending(path, PARTIAL);
    let result = remove(&partial)
        .and_then(|()| fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display())))
        .and_then(|()| fill(&partial))
        .and_then(|()| sync_all_in(&partial))
        .and_then(|()| put_in_place(&partial, path));
    if result.is_err() {
        let _ = remove(&partial);
    }
    result
}

/// Removes a folder if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Clears what a kill left in a folder, and puts back what it had only half replaced.
pub(super) fn settle(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let ending = path.extension().unwrap_or_default();
        let place = path.with_extension("");
        if ending == REPLACED && !place.exists() {
            fs::rename(&path, &place).with_context(|| format!("cannot rename {}", path.display()))?;
        } else if ending == PARTIAL || ending == REPLACED {
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A path with one more ending.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{ending}"))
}

fn put_in_place(partial: &Path, path: &Path) -> Result<()> {
    let replaced = with_ending(path, REPLACED);
    let rename = |from: &Path, to: &Path| {
        fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
    };
    remove(&replaced)?;
    if path.exists() {
        rename(path, &replaced)?;
    }
    rename(partial, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    remove(&replaced)
}

fn sync_all_in(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            sync_all_in(&path)?;
        } else {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.with_context(|| format!("cannot sync {}", path.display()))?;
        }
    }
    sync_folder(folder)
}

/// A rename is only safe once its folder is on disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    // The folder of a bare name is the current one.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let synced = File::open(folder).and_then(|open| open.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_folder_that_cannot_be_filled_leaves_the_old_one_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("adapter");
        folder(&path, |new| write_synced(&new.join("a"), b"old")).unwrap();
        let failed = folder(&path, |new| {
            write_synced(&new.join("a"), b"half")?;
            bail!("no space left on device")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space left on device");
        assert_eq!(fs::read(path.join("a")).unwrap(), b"old");
        folder(&path, |new| write_synced(&new.join("b"), b"new")).unwrap();
        assert!(!path.join("a").exists() && path.join("b").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_says_which() {
        let home = tempfile::tempdir().unwrap();
        write(&home.path().join("summary.json"), b"{}").unwrap();
        let error = write(&home.path().join("none/summary.json"), b"{}").unwrap_err();
        assert!(format!("{error:#}").contains("none/summary.json.partial"), "{error:#}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
