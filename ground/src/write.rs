//! Owns how a file or folder comes to be: written beside under a name nobody else has, synced, renamed; a kill at any
//! instant leaves the old one or the new one. Links in the place of what is written are replaced, never followed.
//! Knows nothing about what is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The ending of what is being written; what has it was left by a kill.
pub const PARTIAL: &str = "partial";
/// The ending of a folder that is being replaced.
pub const REPLACED: &str = "replaced";

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the user's mask lets.
    AsUsual,
    /// The user alone: what holds answers or prompts.
    Private,
}

/// Writes a file. Its folder must be there.
///
/// # Errors
/// When the file system refuses; the old file then stays and nothing is left beside it.
pub fn file(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    file_with(path, access, |out| out.write_all(content))
}

/// Writes a file through `fill`. Its folder must be there.
///
/// # Errors
/// When `fill` fails or the file system refuses; the old file then stays and nothing is left beside it.
pub fn file_with<E: From<io::Error>>(
    path: &Path,
    access: Access,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let folder = folder_of(path);
    let beside = beside(path, access)?;
    let mut out = BufWriter::new(beside);
    fill(&mut out)?;
    let beside = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)?;
    Ok(())
}

/// Writes a file that is in no place yet and syncs it: for files inside a folder that [`self::folder`] renames.
///
/// # Errors
/// When there is something of that name, or the file system refuses.
pub fn new_file(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(mode(access));
    }
    let _ = access;
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Fills a folder beside `path`, syncs all that is in it and gives it its name; a folder of that name is replaced. If
/// anything fails, nothing is left of the new one and the old one stays as it was.
///
/// # Errors
/// When `fill` fails or the file system refuses.
pub fn folder<E: From<io::Error>>(path: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let parent = folder_of(path);
    let partial = tempfile::Builder::new()
        .prefix(&format!("{}.", name_of(path)))
        .suffix(&format!(".{PARTIAL}"))
        .tempdir_in(parent)?;
    // A temporary folder is its owner's alone; this one becomes what the user's mask makes of any folder.
    open_up(partial.path(), parent)?;
    fill(partial.path())?;
    sync_all_in(partial.path())?;
    put_in_place(partial.path(), path)?;
    // It has its name now: there is nothing left to remove.
    let _: std::path::PathBuf = partial.keep();
    Ok(())
}

/// Clears what a kill left in a folder, and puts back what it had only half replaced. Only for folders that this
/// program alone writes, while it holds their lock.
///
/// # Errors
/// When the file system refuses.
pub fn settle(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let ending = path.extension().unwrap_or_default();
        let place = path.with_extension("");
        if ending == REPLACED && !place.exists() {
            fs::rename(&path, &place)?;
        } else if ending == PARTIAL || ending == REPLACED {
            // What a link names is somebody else's: the link goes, not what it names.
            if entry.file_type()?.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    Ok(())
}

/// Removes a folder and what is in it, if it is there.
///
/// # Errors
/// When the file system refuses.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder, and those above it, unless it is there. A link in its own place is refused: what is written into a
/// folder of this program must stay in it.
///
/// # Errors
/// When the last part of the path is a link or a file, or the file system refuses.
pub fn own_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_symlink() => Err(is_link()),
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "is not a folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path),
        Err(error) => Err(error),
    }
}

/// Opens a file that lines are added to, and makes it if it is not there. A link in its place is refused.
///
/// # Errors
/// When the path is a link or no regular file, or the file system refuses.
pub fn append(path: &Path, access: Access) -> io::Result<File> {
    open_own(File::options().read(true).append(true), path, access)
}

/// Opens or makes a file of this program in its place, without following a link.
pub(crate) fn open_own(options: &mut fs::OpenOptions, path: &Path, access: Access) -> io::Result<File> {
    options.create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(mode(access)).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    #[cfg(not(unix))]
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink()) {
        return Err(is_link());
    }
    let _ = access;
    let file = options.open(path).map_err(|error| {
        let link = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink());
        if link { is_link() } else { error }
    })?;
    crate::read::regular(&file.metadata()?)?;
    Ok(file)
}

/// A rename is only safe once its folder is on disk.
///
/// # Errors
/// When the file system refuses.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // The folder of a bare name is the current one.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// A folder can be synced on Unix only; elsewhere the rename itself is the best there is.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn beside(path: &Path, access: Access) -> io::Result<tempfile::NamedTempFile> {
    let (prefix, suffix) = (format!("{}.", name_of(path)), format!(".{PARTIAL}"));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(&suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(mode(access)));
    }
    let _ = access;
    builder.tempfile_in(folder_of(path))
}

#[cfg(unix)]
fn mode(access: Access) -> u32 {
    match access {
        Access::AsUsual => 0o666,
        Access::Private => 0o600,
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The start of a temporary name: some file systems take no more than 255 bytes.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().chars().take(48).collect()
}

fn is_link() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "is a link, and what it names may be somebody else's\nhint: remove the link, or choose another folder",
    )
}

fn put_in_place(partial: &Path, path: &Path) -> io::Result<()> {
    let replaced =
        path.with_file_name(format!("{}.{REPLACED}", path.file_name().unwrap_or_default().to_string_lossy()));
    remove_folder(&replaced)?;
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink()) {
        return Err(is_link());
    }
    if path.exists() {
        fs::rename(path, &replaced)?;
    }
    if let Err(error) = fs::rename(partial, path) {
        // The old one gets its name back; the first failure is the one worth telling.
        let _ = fs::rename(&replaced, path);
        return Err(error);
    }
    sync_folder(folder_of(path))?;
    remove_folder(&replaced)
}

#[cfg(unix)]
fn open_up(folder: &Path, like: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // Reading the mask would change it for a moment, for all threads; the folder around has been made with it.
    let around = fs::metadata(like)?.permissions().mode() & 0o777;
    fs::set_permissions(folder, fs::Permissions::from_mode(around | 0o700))
}

#[cfg(not(unix))]
fn open_up(_folder: &Path, _like: &Path) -> io::Result<()> {
    Ok(())
}

fn sync_all_in(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_all_in(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("rows.jsonl");
        file(&path, b"old", Access::AsUsual).unwrap();
        let failed = file_with(&path, Access::AsUsual, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "disk full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(home.path()), ["rows.jsonl"]);
    }

    #[test]
    fn a_folder_that_cannot_be_filled_leaves_the_old_one_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("adapter");
        let put = |name: &'static str| move |new: &Path| new_file(&new.join(name), b"x", Access::AsUsual);
        folder(&path, put("a")).unwrap();
        let failed = folder(&path, |new| {
            put("a")(new)?;
            Err(io::Error::other("no space left on device"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space left on device");
        assert_eq!(names(&path), ["a"]);
        folder(&path, put("b")).unwrap();
        assert_eq!(names(&path), ["b"]);
        assert_eq!(names(home.path()), ["adapter"]);
    }

    #[test]
    fn many_writers_of_one_file_leave_one_whole_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("results.json");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        file(path, &vec![b'a' + writer; 5_000], Access::AsUsual).unwrap();
                    }
                });
            }
        });
        let content = fs::read(&path).unwrap();
        assert!(content.len() == 5_000 && content.iter().all(|byte| *byte == content[0]));
        assert_eq!(names(home.path()), ["results.json"]);
    }

    #[test]
    fn what_a_kill_left_is_cleared_and_what_was_half_replaced_comes_back() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("step.x1.partial")).unwrap();
        fs::write(home.path().join("file.y2.partial"), "half").unwrap();
        fs::create_dir(home.path().join("adapter.replaced")).unwrap();
        settle(home.path()).unwrap();
        assert_eq!(names(home.path()), ["adapter"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_replaced_or_refused_and_never_followed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let home = tempfile::tempdir().unwrap();
        let theirs = home.path().join("theirs");
        fs::write(&theirs, "precious").unwrap();
        let place = home.path().join("place");
        symlink(&theirs, &place).unwrap();
        assert!(append(&place, Access::AsUsual).unwrap_err().to_string().contains("is a link"));
        file(&place, b"mine", Access::Private).unwrap();
        assert_eq!(fs::symlink_metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&theirs).unwrap(), b"precious");
        let their_folder = home.path().join("folder");
        fs::create_dir(&their_folder).unwrap();
        let inside = home.path().join("inside");
        symlink(&their_folder, &inside).unwrap();
        assert!(own_folder(&inside).unwrap_err().to_string().contains("is a link"));
        assert!(folder(&inside, |_| Ok::<_, io::Error>(())).unwrap_err().to_string().contains("is a link"));
        assert!(names(&their_folder).is_empty());
    }
}
