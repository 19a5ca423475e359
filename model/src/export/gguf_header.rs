//! Owns the head of a GGUF file: metadata, and where each tensor lies; the inverse of `checkpoint/gguf.rs`.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, version 3, little-endian. Knows no architecture.

use crate::checkpoint::gguf_blocks::BlockType;

/// Data of each tensor starts at a multiple of this, as files without `general.alignment` have it.
pub(super) const ALIGNMENT: usize = 32;

/// A metadata value, in the type that readers of its key expect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 32-bit float.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of 32-bit signed integers.
    I32s(Vec<i32>),
    /// An array of 32-bit floats.
    F32s(Vec<f32>),
}

/// A tensor as the head names it.
pub(super) struct Entry {
    pub(super) name: String,
    /// Dimensions, slowest first; the file has them fastest first.
    pub(super) shape: Vec<usize>,
    pub(super) encoding: BlockType,
    /// Bytes without padding.
    pub(super) bytes: usize,
}

/// Everything before the first tensor, padded to [`ALIGNMENT`].
pub(super) fn header(values: &[(String, Value)], tensors: &[Entry]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        text(&mut out, key);
        value.write(&mut out);
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(tensor.encoding.code().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes + padding(tensor.bytes);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

/// Zeros after so many bytes.
pub(super) fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.kind().to_le_bytes());
        match self {
            Value::U32(number) => out.extend(number.to_le_bytes()),
            Value::F32(number) => out.extend(number.to_le_bytes()),
            Value::Bool(value) => out.push(u8::from(*value)),
            Value::Text(value) => text(out, value),
            Value::Texts(texts) => {
                array(out, 8, texts.len());
                texts.iter().for_each(|one| text(out, one));
            }
            Value::I32s(numbers) => {
                array(out, 5, numbers.len());
                numbers.iter().for_each(|one| out.extend(one.to_le_bytes()));
            }
            Value::F32s(numbers) => {
                array(out, 6, numbers.len());
                numbers.iter().for_each(|one| out.extend(one.to_le_bytes()));
            }
        }
    }

    /// The code of its type.
    fn kind(&self) -> u32 {
        match self {
            Value::U32(_) => 4,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::Text(_) => 8,
            Value::Texts(_) | Value::I32s(_) | Value::F32s(_) => 9,
        }
    }
}

fn array(out: &mut Vec<u8>, kind: u32, length: usize) {
    out.extend(kind.to_le_bytes());
    out.extend((length as u64).to_le_bytes());
}
