//! A file that is to be published: where it lies, what it is on the hub, and how the hub is told of it.
//! Owns the name git gives to it and the text of a commit. Knows no connection.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ground::read;
use serde_json::{Value, json};

use super::LARGEST_PLAIN_FILE;
use super::listing::{HINT, Listed};
use crate::pull::git_object;

/// The first bytes of a file, by which the hub tells text from data.
const SAMPLE_BYTES: u64 = 512;

/// One file of a publication.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// Its path in the repository.
    pub path: String,
    /// Where it lies here.
    pub at: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl LocalFile {
    /// Whether what the hub lists is this file: by the name git gives to its content, or to the pointer to it.
    pub(super) fn is(&self, listed: &Listed) -> Result<bool> {
        if git_object::pointer_id(&self.sha256, self.bytes) == listed.object {
            return Ok(true);
        }
        if listed.bytes != self.bytes || self.bytes > LARGEST_PLAIN_FILE {
            return Ok(false);
        }
        Ok(git_object::blob_id(&self.read()?) == listed.object)
    }

    fn read(&self) -> Result<Vec<u8>> {
        let content = read::open(&self.at).and_then(|file| read::at_most(file, self.bytes));
        content.with_context(|| format!("cannot read {}", self.at.display()))
    }

    /// What the hub is told to choose how the file is sent.
    pub(super) fn sample(&self) -> Result<Value> {
        let head = read::open(&self.at).and_then(|file| read::first(file, SAMPLE_BYTES));
        let head = head.with_context(|| format!("cannot read {}", self.at.display()))?;
        Ok(json!({ "path": self.path, "size": self.bytes, "sample": BASE64.encode(head) }))
    }
}

/// The commit as lines of JSON.
pub(super) fn commit(
    message: &str,
    parent: Option<&str>,
    plain: &[&LocalFile],
    large: &[&LocalFile],
) -> Result<Vec<u8>> {
    let mut header = json!({ "summary": message, "description": "" });
    if let Some(parent) = parent {
        header["parentCommit"] = json!(parent);
    }
    let whole = plain.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    if whole > LARGEST_PLAIN_FILE {
        bail!(
            "the hub wants {} in one commit, and takes large files apart from it everywhere else\n{HINT}",
            read::size(whole)
        );
    }
    let mut lines = vec![json!({ "key": "header", "value": header })];
    for file in plain {
        let content = BASE64.encode(file.read()?);
        lines.push(json!({ "key": "file", "value": { "path": file.path, "content": content, "encoding": "base64" } }));
    }
    for file in large {
        let value = json!({ "path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.bytes });
        lines.push(json!({ "key": "lfsFile", "value": value }));
    }
    let mut body = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut body, &line)?;
        body.push(b'\n');
    }
    Ok(body)
}

/// A branch as one segment of an address.
pub(super) fn segment(branch: &str) -> String {
    let mut out = String::new();
    for byte in branch.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_one_segment_of_an_address() {
        assert_eq!(segment("refs/pr/1 ä"), "refs%2Fpr%2F1%20%C3%A4");
    }

    #[test]
    fn a_file_is_known_by_its_content_and_by_its_pointer() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("a");
        std::fs::write(&at, "hello world\n").unwrap();
        let sha256 = datasets::digest::sha256_hex(b"hello world\n");
        let file = LocalFile { path: "a".to_owned(), at, bytes: 12, sha256: sha256.clone() };
        let listed = |object: String| Listed { bytes: 12, object };
        assert!(file.is(&listed("3b18e512dba79e4c8300dd08aeb37f8e728b8dad".to_owned())).unwrap());
        assert!(file.is(&listed(git_object::pointer_id(&sha256, 12))).unwrap());
        assert!(!file.is(&listed(git_object::blob_id(b"hello earth\n"))).unwrap());
    }
}
