//! The two files of a decision on disk: `decision.json`, replaced as a whole, and `reads.jsonl`, only ever appended to.
//! Knows nothing about what a decision means; a kill at any instant leaves the old or the new registration.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ground::lock;
use ground::read::{self, Kind};
use ground::write::{self, Access};

use super::{Read, Reads, Registration, later};
use crate::Error;

/// The registration of a folder.
pub const REGISTRATION_FILE: &str = "decision.json";
/// The log of reads of a folder.
pub const READS_FILE: &str = "reads.jsonl";

/// Reads the registration at `path`; none when there is no such file.
///
/// # Errors
/// When the file cannot be read or is not a registration of this program, edited ones included.
pub fn load(path: &Path) -> Result<Option<Registration>, Error> {
    let Some(text) = read_if_there(path, Kind::Account)? else { return Ok(None) };
    Registration::parse(&text).map(Some).map_err(|error| {
        let line = if let Error::Json { source } = &error { source.line() } else { 1 };
        Error::BadRegistration { path: path.to_owned(), line, problem: error.to_string() }
    })
}

/// Writes the registration beside `path`, syncs it, and renames it. Its folder is made, and must not be a link.
///
/// # Errors
/// When the file system refuses; the old file then stays.
pub fn save(path: &Path, registration: &Registration) -> Result<(), Error> {
    let text = format!("{}\n", serde_json::to_string_pretty(registration)?);
    let folder = folder(path);
    write::own_folder(folder).map_err(failed("use", folder))?;
    write::file(path, text.as_bytes(), Access::AsUsual).map_err(failed("write", path))
}

/// Reads the log of reads at `path`; empty when there is no such file.
///
/// # Errors
/// When the file cannot be read or a line is not what this program wrote.
pub fn load_reads(path: &Path) -> Result<Reads, Error> {
    let text = read_if_there(path, Kind::Events)?.unwrap_or_default();
    Reads::parse(&text).map_err(|(line, problem)| Error::BadRegistration { path: path.to_owned(), line, problem })
}

/// Appends a read in one write and syncs it, before the result is shown; returns how often this set has now been read. Several
/// evaluations may append at once, one after the other. Its time becomes that of the read before it where the clock was set back.
///
/// # Errors
/// When the file system refuses or the log is not what this program wrote.
pub fn append_read(path: &Path, read: &mut Read) -> Result<usize, Error> {
    let folder = folder(path);
    std::fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let mut file = write::append(path, Access::AsUsual).map_err(failed("open", path))?;
    lock::of_file(&file).map_err(failed("lock", path))?;
    if let Some(last) = load_reads(path)?.reads.last() {
        read.at = later(&read.at, &last.at)?;
    }
    let torn = ends_inside_a_line(&mut file).map_err(failed("read", path))?;
    // A line that a kill cut short gets its end, so that the new one stays whole.
    let text = format!("{}{}", if torn { "\n" } else { "" }, read.line()?);
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("append to", path))?;
    write::sync_folder(folder).map_err(failed("sync", folder))?;
    Ok(load_reads(path)?.count(&read.set_sha256))
}

fn ends_inside_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn read_if_there(path: &Path, kind: Kind) -> Result<Option<String>, Error> {
    match read::text(path, kind) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path)(source)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error + use<> {
    let path: PathBuf = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::fs;

    use super::*;
    use crate::decision::reads::tests::read;
    use crate::decision::tests::decision;

    #[test]
    fn a_registration_comes_back_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(REGISTRATION_FILE);
        assert_eq!(load(&path).unwrap(), None);
        let (registration, _) = Registration::register(None, &decision(), "2026-03-01T12:00:00Z").unwrap();
        save(&path, &registration).unwrap();
        let observed = registration.observe("2026-03-01T13:00:00Z").unwrap();
        save(&path, &observed).unwrap();
        assert_eq!(load(&path).unwrap(), Some(observed));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_edited_file_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(REGISTRATION_FILE);
        let (registration, _) = Registration::register(None, &decision(), "2026-03-01T12:00:00Z").unwrap();
        save(&path, &registration).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("0.03", "0.09")).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(REGISTRATION_FILE) && error.contains("edited") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn reads_are_appended_also_after_a_cut_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(READS_FILE);
        assert_eq!(append_read(&path, &mut read("a")).unwrap(), 1);
        assert_eq!(append_read(&path, &mut read("b")).unwrap(), 1);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 30]).unwrap();
        assert_eq!(append_read(&path, &mut read("a")).unwrap(), 3);
        assert_eq!(load_reads(&path).unwrap().torn, 1);
    }

    #[test]
    fn a_read_is_never_noted_before_the_one_in_front_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(READS_FILE);
        append_read(&path, &mut read("a")).unwrap();
        let mut back = Read { at: "2026-02-01T12:00:00Z".to_owned(), ..read("a") };
        assert_eq!(append_read(&path, &mut back).unwrap(), 2);
        assert_eq!(back.at, read("a").at);
        assert_eq!(load_reads(&path).unwrap().reads[1].at, read("a").at);
    }

    #[test]
    fn every_read_of_many_at_once_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(READS_FILE);
        let counts: Vec<usize> = std::thread::scope(|scope| {
            let once = || append_read(&path, &mut read("a")).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(once)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=8).collect::<Vec<_>>(), "{counts:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_or_log_that_is_a_link_is_refused_and_what_it_names_stays() {
        let home = tempfile::tempdir().unwrap();
        let theirs = home.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("log"), "precious").unwrap();
        let (decisions, reads) = (home.path().join("decisions"), home.path().join(READS_FILE));
        std::os::unix::fs::symlink(&theirs, &decisions).unwrap();
        std::os::unix::fs::symlink(theirs.join("log"), &reads).unwrap();
        let (registration, _) = Registration::register(None, &decision(), "2026-03-01T12:00:00Z").unwrap();
        let errors = [
            save(&decisions.join("a.json"), &registration).unwrap_err().to_string(),
            append_read(&reads, &mut read("a")).unwrap_err().to_string(),
        ];
        assert!(errors.iter().all(|error| error.contains("is a link") && error.contains("hint: ")), "{errors:?}");
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 1);
        assert_eq!(fs::read(theirs.join("log")).unwrap(), b"precious");
    }
}
