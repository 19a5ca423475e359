//! Owns how a file comes to be: written beside, synced, renamed, so that a kill at any instant leaves the old file or
//! the new one. Knows nothing about what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Writes `path` through `fill`. On any failure the old file stays and nothing is left beside it.
pub(crate) fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let beside = beside(path);
    let result = fill_and_rename(path, folder, &beside, fill);
    if result.is_err() {
        // The first failure is the one worth telling.
        let _ = fs::remove_file(&beside);
    }
    result
}

fn fill_and_rename(
    path: &Path,
    folder: &Path,
    beside: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).open(beside).map_err(Error::io("create", beside))?;
    let mut out = BufWriter::new(file);
    fill(&mut out).map_err(Error::io("write", beside))?;
    let file = out.into_inner().map_err(|error| Error::io("write", beside)(error.into_error()))?;
    file.sync_all().map_err(Error::io("sync", beside))?;
    fs::rename(beside, path).map_err(Error::io("rename a new file to", path))?;
    sync_folder(folder)
}

/// The rename itself is only safe once the folder is on disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(Error::io("sync", folder))
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> Result<(), Error> {
    Ok(())
}

/// The process id keeps two runs that build the same set from writing into one file.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/rows.jsonl");
        write(&path, |out| out.write_all(b"x")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}
