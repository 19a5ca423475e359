//! Reads the header of a GGUF file: metadata and where each tensor lies.
//! Trusts no number in the file: every count, length and offset is checked against the bytes that are there.
//! Knows no architecture.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use ground::read::Kind;

use super::gguf_blocks::BlockType;
use crate::error::{Error, Result};
use crate::foreign::short;

/// Metadata and tensors of one file.
pub(crate) struct Header {
    /// Key and value pairs.
    pub(crate) metadata: Metadata,
    /// Tensors by their GGUF name.
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
}

/// Where a tensor lies and how it is stored.
pub(crate) struct TensorInfo {
    /// Dimensions, slowest first, as everywhere in this crate; the file has them fastest first.
    pub(crate) shape: Vec<usize>,
    /// The number format.
    pub(crate) format: BlockType,
    /// Place in the file.
    pub(crate) range: Range<usize>,
}

/// The key and value pairs of a GGUF file.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    values: BTreeMap<String, Metadatum>,
}

/// One metadata value. Arrays of types that no reader needs keep only their length.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Metadatum {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of 32-bit integers, signed or not.
    Integers(Vec<i64>),
    /// An array of 32-bit floats.
    Floats(Vec<f32>),
    /// An array of another type.
    Other(u64),
}

/// Files with more dimensions than this do not exist.
const MOST_DIMENSIONS: u32 = 4;
/// Longest metadata key that the specification allows.
const LONGEST_KEY: u64 = 65_535;

impl Metadata {
    /// A value by its key.
    pub(crate) fn get(&self, key: &str) -> Option<&Metadatum> {
        self.values.get(key)
    }

    /// A non-negative whole number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Metadatum::Unsigned(number) => Some(*number),
            Metadatum::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A float, or an integer as one.
    pub(crate) fn float(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Metadatum::F32(number) => Some(f64::from(*number)),
            Metadatum::F64(number) => Some(*number),
            Metadatum::Unsigned(number) => Some(*number as f64),
            Metadatum::Signed(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Metadatum::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A truth value.
    pub(crate) fn switch(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Metadatum::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An array of texts.
    pub(crate) fn texts(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            Metadatum::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// An array of floats.
    pub(crate) fn floats(&self, key: &str) -> Option<&[f32]> {
        match self.get(key)? {
            Metadatum::Floats(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// All keys in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    #[cfg(test)]
    pub(crate) fn of(values: impl IntoIterator<Item = (&'static str, Metadatum)>) -> Self {
        Self { values: values.into_iter().map(|(key, value)| (key.to_string(), value)).collect() }
    }
}

/// Parses the header of a whole file. `path` is only for messages.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Header> {
    // A false count finds its end there, however long the file is.
    let most = usize::try_from(Kind::TensorHeader.most_bytes()).unwrap_or(usize::MAX);
    let mut reader = Reader { bytes: &bytes[..bytes.len().min(most)], at: 0, path, is_cut: bytes.len() > most };
    if reader.take(4)? != b"GGUF" {
        return Err(Error::malformed(path, "not a GGUF file"));
    }
    match reader.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => return Err(Error::feature(path, "a big-endian GGUF file")),
        version => return Err(Error::feature(path, format!("GGUF version {version}"))),
    }
    let (num_tensors, num_values) = (reader.u64()?, reader.u64()?);
    let mut metadata = Metadata::default();
    for _ in 0..num_values {
        let key = reader.text(LONGEST_KEY)?;
        let kind = reader.u32()?;
        let value = reader.value(kind).map_err(|error| reader.inside(&format!("value of {}", short(&key)), error))?;
        if metadata.values.contains_key(&key) {
            return Err(Error::malformed(path, format!("metadata key {} occurs twice", short(&key))));
        }
        metadata.values.insert(key, value);
    }
    let mut raw = Vec::new();
    for _ in 0..num_tensors {
        raw.push(reader.tensor()?);
    }
    let alignment = metadata.number("general.alignment").unwrap_or(32);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(Error::malformed(path, format!("general.alignment is {alignment}")));
    }
    let tensors = place(raw, reader.at.next_multiple_of(alignment as usize), alignment, bytes.len(), path)?;
    Ok(Header { metadata, tensors })
}

/// A tensor as the header describes it, before its place is checked.
struct Described {
    name: String,
    shape: Vec<usize>,
    format: BlockType,
    num_bytes: usize,
    offset: u64,
}

/// Checks that the tensors lie inside the file, aligned and apart.
fn place(
    described: Vec<Described>,
    start: usize,
    alignment: u64,
    file_size: usize,
    path: &Path,
) -> Result<BTreeMap<String, TensorInfo>> {
    let mut tensors = BTreeMap::new();
    let mut taken: Vec<(Range<usize>, String)> = Vec::with_capacity(described.len());
    for Described { name, shape, format, num_bytes, offset } in described {
        if offset % alignment != 0 {
            return Err(Error::malformed(
                path,
                format!("tensor {name} starts at {offset}, not a multiple of {alignment}"),
            ));
        }
        let end = usize::try_from(offset)
            .ok()
            .and_then(|offset| start.checked_add(offset))
            .and_then(|from| Some(from..from.checked_add(num_bytes)?))
            .filter(|range| range.end <= file_size);
        let Some(range) = end else {
            return Err(Error::malformed(
                path,
                format!("tensor {name} ends after the end of the file\nhint: the file is cut off; download it again"),
            ));
        };
        taken.push((range.clone(), name.clone()));
        if tensors.insert(name.clone(), TensorInfo { shape, format, range }).is_some() {
            return Err(Error::malformed(path, format!("tensor {name} occurs twice")));
        }
    }
    taken.sort_by_key(|(range, _)| range.start);
    for pair in taken.windows(2) {
        if pair[1].0.start < pair[0].0.end {
            return Err(Error::malformed(path, format!("tensors {} and {} overlap", pair[0].1, pair[1].1)));
        }
    }
    Ok(tensors)
}

/// A cursor that never reads past the end and never allocates for a length it has not seen the bytes of.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    path: &'a Path,
    /// Whether the file goes on behind `bytes`.
    is_cut: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let found = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let Some(found) = found else {
            if self.is_cut {
                let most = ground::read::size(self.bytes.len() as u64);
                return Err(Error::malformed(
                    self.path,
                    format!(
                        "metadata and list of tensors are longer than {most} ({count} bytes wanted at byte {})",
                        self.at
                    ),
                ));
            }
            return Err(Error::malformed(
                self.path,
                format!(
                    "{count} bytes wanted at byte {} of {}\nhint: the file is cut off or broken; download it again",
                    self.at,
                    self.bytes.len()
                ),
            ));
        };
        self.at += count;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self, longest: u64) -> Result<String> {
        let (at, length) = (self.at, self.u64()?);
        if length > longest {
            return Err(Error::malformed(self.path, format!("text of {length} bytes at byte {at}")));
        }
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::malformed(self.path, format!("text at byte {at} is not UTF-8")))?;
        Ok(text.to_string())
    }

    fn value(&mut self, kind: u32) -> Result<Metadatum> {
        Ok(match kind {
            0 => Metadatum::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Metadatum::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Metadatum::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Metadatum::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Metadatum::Unsigned(u64::from(self.u32()?)),
            5 => Metadatum::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Metadatum::F32(f32::from_le_bytes(self.array()?)),
            7 => match self.array::<1>()?[0] {
                byte @ 0..=1 => Metadatum::Bool(byte == 1),
                byte => return Err(Error::malformed(self.path, format!("truth value {byte}"))),
            },
            8 => Metadatum::Text(self.text(u64::MAX)?),
            9 => self.values()?,
            10 => Metadatum::Unsigned(self.u64()?),
            11 => Metadatum::Signed(i64::from_le_bytes(self.array()?)),
            12 => Metadatum::F64(f64::from_le_bytes(self.array()?)),
            _ => return Err(Error::malformed(self.path, format!("value type {kind} at byte {}", self.at))),
        })
    }

    /// An array. Fixed-size elements are taken as one slice, so a false count fails before anything is allocated.
    fn values(&mut self) -> Result<Metadatum> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.text(u64::MAX)?);
                }
                return Ok(Metadatum::Texts(texts));
            }
            _ => return Err(Error::malformed(self.path, format!("array of type {kind} at byte {}", self.at))),
        };
        let bytes = self.take(usize::try_from(count.saturating_mul(width)).unwrap_or(usize::MAX))?;
        let words = bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
        Ok(match kind {
            4 => Metadatum::Integers(words.map(|word| i64::from(u32::from_le_bytes(word))).collect()),
            5 => Metadatum::Integers(words.map(|word| i64::from(i32::from_le_bytes(word))).collect()),
            6 => Metadatum::Floats(words.map(f32::from_le_bytes).collect()),
            _ => Metadatum::Other(count),
        })
    }

    fn tensor(&mut self) -> Result<Described> {
        let name = self.text(LONGEST_KEY)?;
        let num_dimensions = self.u32()?;
        if num_dimensions == 0 || num_dimensions > MOST_DIMENSIONS {
            return Err(Error::malformed(self.path, format!("tensor {name} has {num_dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..num_dimensions {
            shape.push(usize::try_from(self.u64()?).unwrap_or(usize::MAX));
        }
        let format = BlockType::from_code(self.u32()?)
            .map_err(|what| Error::feature(self.path, format!("tensor {name} stored as {what}")))?;
        let offset = self.u64()?;
        let fastest = shape[0];
        shape.reverse();
        let elements =
            shape.iter().try_fold(1_usize, |product, one| product.checked_mul(*one)).filter(|count| *count > 0);
        let num_bytes = elements.and_then(|count| (count / format.weights()).checked_mul(format.bytes()));
        match num_bytes {
            Some(num_bytes) if fastest % format.weights() == 0 => {
                Ok(Described { name, shape, format, num_bytes, offset })
            }
            _ => Err(Error::malformed(self.path, format!("tensor {name} has shape {shape:?} in {format:?}"))),
        }
    }

    fn inside(&self, place: &str, error: Error) -> Error {
        match error {
            Error::Malformed { path, what } => Error::Malformed { path, what: format!("{place}: {what}") },
            other => other,
        }
    }
}
