//! A read-only memory map of a weight file. Knows no format.

use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A whole file as bytes, read by the operating system when they are touched.
pub(crate) struct Mapped {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    /// Maps a file that is not empty.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = ground::read::open(path).map_err(Error::io(path))?;
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Err(Error::malformed(path, "the file is empty\nhint: download it again"));
        }
        #[expect(
            unsafe_code,
            reason = "a map is only unsound if another process cuts or rewrites the file while it is open; weight files \
                      are written once, and our own writers replace files by rename, which leaves an open map intact"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        Ok(Self { path: path.to_path_buf(), map })
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
