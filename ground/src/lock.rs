//! Owns locks between processes: one file, held while its handle lives, gone with the process however it ends. Knows
//! nothing about what is protected. Links in the place of a lock are refused.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::write::{Access, open_own};

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Attempt {
    /// The lock is ours until the value is dropped.
    Taken(Lock),
    /// Another process, or another handle of this one, has it.
    Held,
}

/// Tries to take a lock, without waiting. The file stays when the lock goes.
///
/// # Errors
/// When the path is a link or no regular file, or the file system refuses.
pub fn attempt(path: &Path) -> io::Result<Attempt> {
    let file = open_own(File::options().read(true).write(true), path, Access::AsUsual)?;
    match file.try_lock() {
        Ok(()) => Ok(Attempt::Taken(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(Attempt::Held),
        // Some network file systems know no locks; what the lock protects is written by a rename in any case.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(Attempt::Taken(Lock { _file: file }))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes a lock and calls `waiting` once before it waits for another process.
///
/// # Errors
/// As [`attempt`].
pub fn wait(path: &Path, waiting: impl FnOnce()) -> io::Result<Lock> {
    if let Attempt::Taken(lock) = attempt(path)? {
        return Ok(lock);
    }
    waiting();
    let file = open_own(File::options().read(true).write(true), path, Access::AsUsual)?;
    file.lock()?;
    Ok(Lock { _file: file })
}

/// Takes the lock of a file that is open, waiting for it; it goes with the file. For files that are only added to.
///
/// # Errors
/// When the file system refuses.
pub fn of_file(file: &File) -> io::Result<()> {
    match file.lock() {
        // What is added in one write stays whole without a lock too.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_excludes_the_next_until_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let Attempt::Taken(first) = attempt(&path).unwrap() else { unreachable!("nobody else has it") };
        assert!(matches!(attempt(&path).unwrap(), Attempt::Held));
        drop(first);
        assert!(matches!(attempt(&path).unwrap(), Attempt::Taken(_)));
        wait(&path, || unreachable!("nobody has it")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_lock_is_refused_and_what_it_names_stays() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs");
        std::fs::write(&theirs, "precious").unwrap();
        let path = folder.path().join(".lock");
        std::os::unix::fs::symlink(&theirs, &path).unwrap();
        assert!(attempt(&path).unwrap_err().to_string().contains("is a link"));
        assert_eq!(std::fs::read(&theirs).unwrap(), b"precious");
    }
}
