//! Reads the header of a safetensors file. Trusts no number in it. Knows no architecture.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use ground::read::Kind;

use super::raw_tensor::StoredType;
use crate::error::{Error, Result};
use crate::foreign::{self, short};

/// Where a tensor lies and how it is stored.
#[derive(Debug)]
pub(crate) struct TensorInfo {
    /// Dimensions, slowest first.
    pub(crate) shape: Vec<usize>,
    /// The number type.
    pub(crate) dtype: StoredType,
    /// Place in the file.
    pub(crate) range: Range<usize>,
}

/// Most tensors of a file; the largest mixtures of experts have half as many in all their shards.
const MOST_TENSORS: usize = 1 << 17;

/// One entry of the header, whose bytes are all there.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The name of the number type.
    pub(crate) dtype: String,
    /// Dimensions, slowest first.
    pub(crate) shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The entries of a header, and where the data begins. `path` is only for messages.
pub(crate) fn header(bytes: &[u8], path: &Path) -> Result<(BTreeMap<String, Entry>, usize)> {
    let cut = || Error::malformed(path, "the header is cut off\nhint: download the file again");
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = u64::from_le_bytes(*length);
    let most = Kind::TensorHeader.most_bytes();
    if length > most {
        return Err(Error::malformed(
            path,
            format!("a header of {length} bytes, more than {most}: not a safetensors file, or broken"),
        ));
    }
    let header = rest.get(..length as usize).ok_or_else(cut)?;
    let data_start = 8 + length as usize;
    let broken = |what: String| Error::malformed(path, format!("header: {what}"));
    let serde_json::Value::Object(mut raw) = foreign::parse_text_once(header).map_err(broken)? else {
        return Err(broken("not valid JSON: no object".to_owned()));
    };
    raw.remove("__metadata__");
    if raw.len() > MOST_TENSORS {
        return Err(broken(format!("{} tensors, more than the {MOST_TENSORS} that are read", raw.len())));
    }
    let mut entries = BTreeMap::new();
    for (name, entry) in raw {
        let entry: Entry = serde_json::from_value(entry).map_err(|error| {
            Error::malformed(path, format!("tensor {}: {}", short(&name), short(&error.to_string())))
        })?;
        let (from, to) = entry.data_offsets;
        let available = (bytes.len() - data_start) as u64;
        if from > to {
            return Err(Error::malformed(path, format!("tensor {}: bytes {from} to {to}", short(&name))));
        }
        if to > available {
            return Err(Error::malformed(
                path,
                format!(
                    "tensor {} ends at {to} of {available} bytes\nhint: the file is cut off; download it again",
                    short(&name)
                ),
            ));
        }
        entries.insert(name, entry);
    }
    Ok((entries, data_start))
}

/// Parses the header of a whole file. `path` is only for messages.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, TensorInfo>> {
    let (entries, data_start) = header(bytes, path)?;
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries {
        let dtype = match entry.dtype.as_str() {
            "F32" => StoredType::F32,
            "F16" => StoredType::F16,
            "BF16" => StoredType::BF16,
            other => {
                let (name, other) = (short(&name), short(other));
                return Err(Error::feature(path, format!("tensor {name} of type {other} (known: F32, F16, BF16)")));
            }
        };
        let num_bytes = entry.shape.iter().try_fold(dtype.size() as u64, |product, one| product.checked_mul(*one));
        let (from, to) = entry.data_offsets;
        if num_bytes != Some(to - from) {
            let (name, shape) = (short(&name), short(&format!("{:?}", entry.shape)));
            return Err(Error::malformed(
                path,
                format!("tensor {name}: shape {shape} of {} does not fill bytes {from} to {to}", entry.dtype),
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
