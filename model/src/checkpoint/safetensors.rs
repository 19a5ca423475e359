//! Reads the header of a safetensors file. Trusts no number in it. Knows no architecture.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::raw_tensor::StoredType;
use crate::error::{Error, Result};

/// Where a tensor lies and how it is stored.
#[derive(Debug)]
pub(super) struct TensorInfo {
    /// Dimensions, slowest first.
    pub(super) shape: Vec<usize>,
    /// The number type.
    pub(super) dtype: StoredType,
    /// Place in the file.
    pub(super) range: Range<usize>,
}

/// Longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// One entry of the header as written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Parses the header of a whole file. `path` is only for messages.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, TensorInfo>> {
    let cut = || Error::malformed(path, "the header is cut off\nhint: download the file again");
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(Error::malformed(path, format!("a header of {length} bytes: not a safetensors file, or broken")));
    }
    let header = rest.get(..length as usize).ok_or_else(cut)?;
    let data_start = 8 + length as usize;
    let mut entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| Error::malformed(path, format!("header: {error}")))?;
    entries.remove("__metadata__");
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries {
        let entry: Entry =
            serde_json::from_value(entry).map_err(|error| Error::malformed(path, format!("tensor {name}: {error}")))?;
        let dtype = match entry.dtype.as_str() {
            "F32" => StoredType::F32,
            "F16" => StoredType::F16,
            "BF16" => StoredType::BF16,
            other => {
                return Err(Error::feature(path, format!("tensor {name} of type {other} (known: F32, F16, BF16)")));
            }
        };
        let num_bytes = entry.shape.iter().try_fold(dtype.size() as u64, |product, one| product.checked_mul(*one));
        let (from, to) = entry.data_offsets;
        let available = (bytes.len() - data_start) as u64;
        if from > to || num_bytes != Some(to - from) {
            return Err(Error::malformed(
                path,
                format!("tensor {name}: shape {:?} of {} does not fill bytes {from} to {to}", entry.shape, entry.dtype),
            ));
        }
        if to > available {
            return Err(Error::malformed(
                path,
                format!(
                    "tensor {name} ends at {to} of {available} bytes\nhint: the file is cut off; download it again"
                ),
            ));
        }
        let range = data_start + from as usize..data_start + to as usize;
        let shape = entry.shape.iter().map(|one| *one as usize).collect();
        tensors.insert(name, TensorInfo { shape, dtype, range });
    }
    refuse_holes(&tensors, data_start, bytes.len(), path)?;
    Ok(tensors)
}

/// The tensors must cover the data without a hole or an overlap, as the format demands.
fn refuse_holes(tensors: &BTreeMap<String, TensorInfo>, start: usize, end: usize, path: &Path) -> Result<()> {
    let mut order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    order.sort_by_key(|(_, info)| (info.range.start, info.range.end));
    let mut covered = start;
    for (name, info) in order {
        if info.range.start != covered {
            return Err(Error::malformed(
                path,
                format!("tensor {name} starts at {} instead of {}", info.range.start - start, covered - start),
            ));
        }
        covered = info.range.end;
    }
    if covered != end {
        return Err(Error::malformed(path, format!("{} bytes after the last tensor", end - covered)));
    }
    Ok(())
}
