//! The name git gives to a file's content, which is the one hash a hub lists for every file.
//!
//! Owns the forms that git hashes with SHA-1 (integrity only, never trust) and the text of a large-file pointer. Knows
//! nothing about the network.

use sha1::{Digest as _, Sha1};

/// Git's object name of a file with this content, as 40 hexadecimal digits.
#[must_use]
pub(crate) fn blob_id(content: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    super::cache::hex(&hasher.finalize())
}

/// Git's object name of the pointer that stands for a large file of this SHA-256 and size.
#[must_use]
pub(crate) fn pointer_id(sha256: &str, bytes: u64) -> String {
    blob_id(format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {bytes}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_the_name_git_gives_it() {
        assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob_id(b"hello world\n"), "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
        // git hash-object of a million letters, over many blocks.
        assert_eq!(blob_id(&[b'a'; 1_000_000]), "de1fbf0c2f34f67f01f355f31ed0cf7319643c5e");
    }
}
