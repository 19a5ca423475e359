//! Reads rows of tensors in order, through plain file reads instead of the map: what was read leaves no page behind, so
//! a checkpoint larger than memory passes through a few buffers. Knows no adapter and no output.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::gguf_blocks::BlockType;
use super::{Checkpoint, RawTensor, Stored};
use crate::error::{Error, Result};

/// The files of a checkpoint, open for reading.
pub(crate) struct RowReader<'a> {
    checkpoint: &'a Checkpoint,
    files: Vec<Option<File>>,
}

/// Rows of a tensor as they lie in the file.
pub(crate) struct RawRows {
    bytes: Vec<u8>,
    stored: Stored,
}

impl RawRows {
    /// The rows in the order of transformers; quantised ones as f32.
    pub(crate) fn tensor(&self) -> RawTensor<'_> {
        self.stored.read(&self.bytes)
    }

    /// Whether the bytes are already those of a format, row after row.
    pub(crate) fn is_stored_as(&self, format: BlockType) -> bool {
        self.stored.format == format && self.stored.interleaved_heads.is_none()
    }

    /// The bytes as they were read.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Self {
        RowReader { checkpoint, files: checkpoint.files.iter().map(|_| None).collect() }
    }

    /// Rows that can only be read together: those of a head where the file interleaves its halves, else one.
    pub(crate) fn unit(&self, name: &str) -> Result<usize> {
        let stored = self.stored(name)?;
        Ok(stored.interleaved_heads.map_or(1, |heads| stored.rows() / heads))
    }

    /// Some rows, from a multiple of [`RowReader::unit`] to another. `buffer` is overwritten.
    pub(crate) fn read(&mut self, name: &str, rows: Range<usize>, mut buffer: Vec<u8>) -> Result<RawRows> {
        let stored = self.stored(name)?;
        let row_bytes = stored.columns() / stored.format.weights() * stored.format.bytes();
        let shape = match stored.shape.as_slice() {
            [_] => stored.shape.clone(),
            _ => vec![rows.len(), stored.columns()],
        };
        let part = Stored {
            file: stored.file,
            range: stored.range.start + rows.start * row_bytes..stored.range.start + rows.end * row_bytes,
            shape,
            format: stored.format,
            interleaved_heads: stored.interleaved_heads.map(|heads| rows.len() * heads / stored.rows()),
        };
        let path = self.checkpoint.files[part.file].path();
        buffer.clear();
        let mut read = || -> std::io::Result<()> {
            let file = match &mut self.files[part.file] {
                Some(file) => file,
                closed => closed.insert(ground::read::open(path)?),
            };
            file.seek(SeekFrom::Start(part.range.start as u64))?;
            buffer.reserve_exact(part.range.len());
            file.take(part.range.len() as u64).read_to_end(&mut buffer)?;
            Ok(())
        };
        read().map_err(Error::io(path))?;
        let bytes = buffer;
        if bytes.len() != part.range.len() {
            return Err(Error::malformed(path, "the file became shorter while it was read"));
        }
        Ok(RawRows { bytes, stored: part })
    }

    fn stored(&self, name: &str) -> Result<&'a Stored> {
        let missing = || Error::MissingTensor { path: self.checkpoint.path.clone(), name: name.to_owned() };
        self.checkpoint.tensors.get(name).ok_or_else(missing)
    }
}

impl Stored {
    /// Width of a row; a vector is one row.
    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    /// Number of rows.
    fn rows(&self) -> usize {
        self.shape.iter().product::<usize>() / self.columns().max(1)
    }
}
