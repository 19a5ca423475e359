//! Owns files that hold what took time to find out, so that a second start need not. Knows bytes; knows no meaning.

use std::path::{Path, PathBuf};

use ground::read::{self, Kind};
use ground::write::{self, Access};
use sha2::{Digest, Sha256};

/// A folder of such files, where there is one.
#[derive(Clone)]
pub(super) struct Cache(pub(super) Option<PathBuf>);

impl Cache {
    /// What a file holds, if it is there and whole.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut file = read::bytes(&self.0.as_ref()?.join(name), Kind::Kernel).ok()?;
        let hash = file.split_off(file.len().checked_sub(32)?);
        (Sha256::digest(&file).as_slice() == hash).then_some(file)
    }

    /// Keeps bytes. A cache that cannot be written costs time at the next start and nothing else.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        // A file is the bytes and the hash of them, so that a broken one is not taken.
        let write = |folder: &Path| {
            write::own_folder(folder)?;
            write::file(&folder.join(name), &[bytes, Sha256::digest(bytes).as_slice()].concat(), Access::AsUsual)
        };
        if let Some(folder) = &self.0 {
            let _: std::io::Result<()> = write(folder);
        }
    }
}

/// The first half of a hash, as part of a name.
pub(super) fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_does_not() {
        let folder = std::env::temp_dir().join(format!("trainer-cache-test-{}", std::process::id()));
        let cache = Cache(Some(folder.clone()));
        assert_eq!(cache.read("a"), None);
        cache.write("a", b"bytes");
        assert_eq!(cache.read("a").as_deref(), Some(b"bytes".as_slice()));
        let file = folder.join("a");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(cache.read("a"), None);
        std::fs::write(&file, b"short").unwrap();
        assert_eq!(cache.read("a"), None);
        std::fs::remove_dir_all(folder).unwrap();
        Cache(None).write("a", b"nowhere");
        assert_eq!(Cache(None).read("a"), None);
    }
}
