//! Owns the stream from the files of a base to the files of an export: one thread reads, all cores add and round, one
//! thread writes and one syncs. What is in flight is bounded, whatever the size of a tensor.
//! Knows rows and number formats; knows no header.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use ground::write::{Access, fresh};
use rayon::prelude::*;

use super::Watch;
use super::merged::Merged;
use crate::checkpoint::gguf_blocks::BlockType;
use crate::checkpoint::rows::{RawRows, RowReader};
use crate::error::{Error, Result};

/// Numbers of one piece: 8 MiB as f32, so that a handful in flight stay far below any limit.
const PIECE: usize = 1 << 21;
/// Numbers that one task of the pool widens, adds and rounds: they fit the second-level cache.
const TASK: usize = 1 << 17;
/// Pieces that wait between two threads.
const WAITING: usize = 3;

/// One file to write.
pub(super) struct OutFile {
    pub(super) path: PathBuf,
    /// Everything before the first tensor.
    pub(super) header: Vec<u8>,
    pub(super) tensors: Vec<OutTensor>,
}

/// One tensor of a file.
pub(super) struct OutTensor {
    /// Its name in the base, as Hugging Face calls it.
    pub(super) name: String,
    /// Rows and columns; a vector is one row.
    pub(super) shape: [usize; 2],
    /// How its numbers are stored.
    pub(super) encoding: BlockType,
    /// Values that are in no file of the base.
    pub(super) values: Option<Vec<f32>>,
    /// Heads whose two halves the file has row by row in turn.
    pub(super) interleaved_heads: Option<usize>,
    /// Zeros after it.
    pub(super) padding: usize,
}

impl OutTensor {
    /// Bytes without padding.
    pub(super) fn bytes(&self) -> usize {
        self.shape[0] * self.row_bytes()
    }

    fn row_bytes(&self) -> usize {
        self.shape[1] / self.encoding.weights() * self.encoding.bytes()
    }
}

/// Rows that were read.
struct Piece<'a> {
    tensor: &'a OutTensor,
    rows: Range<usize>,
    raw: Option<RawRows>,
}

/// Buffers that were used and may be used again: fresh memory for every piece costs more time than the arithmetic.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.0.lock().ok().and_then(|mut free| free.pop()).unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        if let Ok(mut free) = self.0.lock() {
            free.push(buffer);
        }
    }
}

/// What a thread hands to the next.
enum Step<T> {
    /// A file begins.
    File(usize),
    Part(T),
}

/// Writes all files and syncs them.
pub(super) fn write(merged: &Merged<'_>, files: &[OutFile], watch: Watch<'_>) -> Result<u64> {
    let total: u64 = files.iter().map(file_bytes).sum();
    let (to_compute, read) = sync_channel(WAITING);
    let (to_disk, computed) = sync_channel(WAITING);
    let buffers = &Buffers::default();
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(merged, files, buffers, &to_compute));
        let writer = scope.spawn(move || write_all(files, buffers, &computed));
        let mut done = 0;
        let compute = || -> Result<()> {
            for step in read {
                let step = match step {
                    Step::File(index) => Step::File(index),
                    Step::Part(piece) => {
                        let bytes = encode(merged, piece, buffers)?;
                        done += bytes.len() as u64;
                        watch(done, total);
                        Step::Part(bytes)
                    }
                };
                // The writer went away: it has the reason.
                if to_disk.send(step).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let computed = compute();
        // Whoever still waits for us must see that nothing more comes.
        drop(to_disk);
        let read = joined(reader.join(), "reads");
        let written = joined(writer.join(), "writes");
        read.and(computed).and(written)
    })?;
    Ok(total)
}

fn file_bytes(file: &OutFile) -> u64 {
    let tensors: usize = file.tensors.iter().map(|tensor| tensor.bytes() + tensor.padding).sum();
    (file.header.len() + tensors) as u64
}

fn joined(outcome: thread::Result<Result<()>>, what: &str) -> Result<()> {
    outcome.unwrap_or_else(|_| {
        let source = std::io::Error::other(format!("the thread that {what} ended in the middle"));
        Err(Error::Io { path: PathBuf::from("export"), source })
    })
}

fn read_all<'a>(
    merged: &Merged<'_>,
    files: &'a [OutFile],
    buffers: &Buffers,
    out: &SyncSender<Step<Piece<'a>>>,
) -> Result<()> {
    let mut reader = RowReader::new(merged.checkpoint());
    for (index, file) in files.iter().enumerate() {
        if out.send(Step::File(index)).is_err() {
            return Ok(());
        }
        for tensor in &file.tensors {
            let [rows, columns] = tensor.shape;
            let unit = match (&tensor.values, tensor.interleaved_heads) {
                (Some(_), _) => rows,
                (None, Some(heads)) => rows / heads,
                (None, None) => reader.unit(&tensor.name)?,
            };
            let step = (PIECE / columns.max(1) / unit).max(1) * unit;
            for first in (0..rows).step_by(step) {
                let rows = first..rows.min(first + step);
                let raw = match tensor.values {
                    Some(_) => None,
                    None => Some(reader.read(&tensor.name, rows.clone(), buffers.take())?),
                };
                if out.send(Step::Part(Piece { tensor, rows, raw })).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

const FINE: u8 = 0;
const NOT_FINITE: u8 = 1;
const TOO_LARGE: u8 = 2;
/// The largest number of IEEE half precision.
const LARGEST_HALF: f32 = 65_504.0;

/// The bytes of some rows: base and adapter added in f32, rounded once.
fn encode(merged: &Merged<'_>, piece: Piece<'_>, buffers: &Buffers) -> Result<Vec<u8>> {
    let Piece { tensor, rows, raw } = piece;
    let [all_rows, columns] = tensor.shape;
    let row_bytes = tensor.row_bytes();
    let padding = if rows.end == all_rows { tensor.padding } else { 0 };
    let same = |raw: &RawRows| raw.is_stored_as(tensor.encoding) && tensor.interleaved_heads.is_none();
    let raw = match raw {
        Some(raw) if same(&raw) && !merged.changes(&tensor.name) => {
            let mut bytes = raw.into_bytes();
            bytes.resize(bytes.len() + padding, 0);
            return Ok(bytes);
        }
        raw => raw,
    };
    let from = raw.as_ref().map(RawRows::tensor);
    let mut out = buffers.take();
    out.resize(rows.len() * row_bytes + padding, 0);
    out[rows.len() * row_bytes..].fill(0);
    let group = match tensor.interleaved_heads {
        Some(heads) => all_rows / heads,
        None => (TASK / columns.max(1)).clamp(1, rows.len().max(1)),
    };
    let verdict = AtomicU8::new(FINE);
    let body = &mut out[..rows.len() * row_bytes];
    body.par_chunks_mut((group * row_bytes).max(1)).enumerate().for_each_init(
        || vec![0.0_f32; group * columns],
        |wide, (index, out)| {
            let first = index * group;
            let count = out.len() / row_bytes;
            let wide = &mut wide[..count * columns];
            match (&from, &tensor.values) {
                (Some(from), _) => from.widen(first * columns, wide),
                (None, Some(values)) => wide.copy_from_slice(&values[(rows.start + first) * columns..][..wide.len()]),
                (None, None) => {}
            }
            merged.add(&tensor.name, rows.start + first, wide);
            let largest = wide.iter().fold(0.0_f32, |most, one| if one.abs() > most { one.abs() } else { most });
            if wide.iter().any(|one| !one.is_finite()) {
                verdict.store(NOT_FINITE, Ordering::Relaxed);
            } else if tensor.encoding == BlockType::F16 && largest > LARGEST_HALF {
                verdict.store(TOO_LARGE, Ordering::Relaxed);
            }
            if tensor.interleaved_heads.is_some() {
                for (row, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                    let from = row % 2 * (count / 2) + row / 2;
                    tensor.encoding.quantise(&wide[from * columns..][..columns], out);
                }
            } else {
                tensor.encoding.quantise(wide, out);
            }
        },
    );
    if let Some(raw) = raw {
        buffers.give(raw.into_bytes());
    }
    match verdict.into_inner() {
        FINE => Ok(out),
        TOO_LARGE => Err(Error::NonFinite {
            what: format!("{} in half precision (the type bf16 has the range that it needs)", tensor.name),
        }),
        _ => Err(Error::NonFinite { what: format!("a weight of {}", tensor.name) }),
    }
}

fn write_all(files: &[OutFile], buffers: &Buffers, steps: &Receiver<Step<Vec<u8>>>) -> Result<()> {
    let (to_sync, finished) = std::sync::mpsc::channel::<(File, &Path)>();
    thread::scope(|scope| {
        let syncer = scope.spawn(move || -> Result<()> {
            finished.iter().try_for_each(|(file, path)| file.sync_all().map_err(Error::io(path)))
        });
        let mut open: Option<(File, &Path)> = None;
        let mut write = || -> Result<()> {
            for step in steps {
                let bytes = match step {
                    Step::File(index) => {
                        let path = files[index].path.as_path();
                        let next = (fresh(path, Access::AsUsual).map_err(Error::io(path))?, path);
                        // A syncer that went away has the reason.
                        let _ = open.replace(next).map(|done| to_sync.send(done));
                        Cow::Borrowed(files[index].header.as_slice())
                    }
                    Step::Part(bytes) => Cow::Owned(bytes),
                };
                if let Some((file, path)) = &mut open {
                    file.write_all(&bytes).map_err(Error::io(path))?;
                }
                if let Cow::Owned(bytes) = bytes {
                    buffers.give(bytes);
                }
            }
            let _ = open.take().map(|done| to_sync.send(done));
            Ok(())
        };
        let written = write();
        drop(to_sync);
        written.and(joined(syncer.join(), "syncs"))
    })
}
