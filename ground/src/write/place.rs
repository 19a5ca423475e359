//! Owns how what was written takes its name: only where nothing has it, or in one exchange with what has it. Knows nothing
//! about what is written.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// How often a place is looked at again that changes under our hands.
const ATTEMPTS: usize = 64;

/// Gives something a name that nothing has.
///
/// # Errors
/// When something has it, or the file system refuses.
pub(super) fn only_if_free(from: &Path, to: &Path) -> io::Result<()> {
    match renamed(from, to, How::OnlyIfFree) {
        Err(error) if cannot(&error) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "is there already"));
            }
            fs::rename(from, to)
        }
        other => other,
    }
}

/// Gives a folder its name; a folder that has it is replaced. Says whether the old one lies under the first name now.
///
/// # Errors
/// When a link or a file has that name, or the file system refuses.
pub(super) fn folder(from: &Path, to: &Path) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        match fs::symlink_metadata(to) {
            Ok(found) if found.file_type().is_symlink() => return Err(super::is_link()),
            Ok(found) if !found.is_dir() => {
                return Err(io::Error::new(ErrorKind::NotADirectory, "is there already, and is not a folder"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => match only_if_free(from, to) {
                // Another process was faster.
                Err(error) if is_taken(&error) => continue,
                Err(error) => return Err(error),
                Ok(()) => {
                    super::sync_folder(super::folder_of(to))?;
                    return Ok(false);
                }
            },
            Err(error) => return Err(error),
        }
        match renamed(from, to, How::Exchange) {
            Ok(()) => {
                super::sync_folder(super::folder_of(to))?;
                return Ok(true);
            }
            Err(error) if cannot(&error) => return in_two_steps(from, to).map(|()| false),
            Err(error) if error.kind() == ErrorKind::NotFound && from.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("is replaced by other processes again and again"))
}

/// Where names cannot be swapped: the old one steps aside first, and comes back if the new one cannot take its place.
fn in_two_steps(from: &Path, to: &Path) -> io::Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let aside = to.with_file_name(format!("{name}.{}", super::REPLACED));
    super::remove_folder(&aside)?;
    fs::rename(to, &aside)?;
    if let Err(error) = fs::rename(from, to) {
        // The first failure is the one worth telling.
        let _ = fs::rename(&aside, to);
        return Err(error);
    }
    super::sync_folder(super::folder_of(to))?;
    super::remove_folder(&aside)
}

#[derive(Clone, Copy)]
enum How {
    OnlyIfFree,
    Exchange,
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn renamed(from: &Path, to: &Path, how: How) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let flags = match how {
        How::OnlyIfFree => RenameFlags::NOREPLACE,
        How::Exchange => RenameFlags::EXCHANGE,
    };
    Ok(renameat_with(CWD, from, CWD, to, flags)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn renamed(_from: &Path, _to: &Path, _how: How) -> io::Result<()> {
    Err(io::Error::from(ErrorKind::Unsupported))
}

/// Whether a file system, or the system itself, knows no such rename.
fn cannot(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput | ErrorKind::CrossesDevices)
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_one_folder_never_mix_and_its_name_is_never_missing() {
        use std::sync::atomic::{AtomicBool, Ordering};

        use crate::write::{Access, folder, new_file};
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("eval");
        let put = |content: u8| {
            move |new: &Path| {
                new_file(&new.join("results"), &[content], Access::Private)?;
                new_file(&new.join("proof"), &[content], Access::Private)
            }
        };
        folder(&path, put(0)).unwrap();
        fs::create_dir(home.path().join("probe")).unwrap();
        let is_swapped = renamed(&home.path().join("probe"), &path, How::Exchange).is_ok();
        if is_swapped {
            renamed(&home.path().join("probe"), &path, How::Exchange).unwrap();
        }
        fs::remove_dir(home.path().join("probe")).unwrap();
        let done = AtomicBool::new(false);
        let put_often = |content: u8| (0..60).for_each(|_| folder(&path, put(content)).unwrap());
        let put_often = &put_often;
        std::thread::scope(|scope| {
            let writers = [1, 2].map(|content| scope.spawn(move || put_often(content)));
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(path.is_dir() || !is_swapped);
                }
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(fs::read(path.join("proof")).unwrap(), fs::read(path.join("results")).unwrap());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_an_exchange_the_new_one_still_takes_the_place() {
        let home = tempfile::tempdir().unwrap();
        let (old, new) = (home.path().join("eval"), home.path().join("eval.x.partial"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&new).unwrap();
        fs::write(new.join("proof"), "new").unwrap();
        in_two_steps(&new, &old).unwrap();
        assert_eq!(fs::read(old.join("proof")).unwrap(), b"new");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert!(in_two_steps(&new, &old).is_err());
        assert_eq!(fs::read(old.join("proof")).unwrap(), b"new");
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_stays() {
        let home = tempfile::tempdir().unwrap();
        let (file, new) = (home.path().join("eval"), home.path().join("new"));
        fs::write(&file, "mine").unwrap();
        fs::create_dir(&new).unwrap();
        assert!(folder(&new, &file).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}
