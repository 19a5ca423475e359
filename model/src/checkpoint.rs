//! A checkpoint on disk: a Hugging Face folder or a GGUF file, memory-mapped, with its configuration, tokenizer and
//! chat template. Every tensor is checked by name and shape before any is read.
//! Knows no layer arithmetic and no device.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::chat_template::ChatTemplate;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::tokenizer::{self, Brought, Tokenizer};

mod folder;
mod from_gguf;
pub(crate) mod gguf;
pub(crate) mod gguf_blocks;
pub(crate) mod mapped;
mod raw_tensor;
pub(crate) mod rows;
pub(crate) mod safetensors;

pub(crate) use from_gguf::{gguf_name, interleaved_heads};
use gguf_blocks::BlockType;
use mapped::Mapped;
pub use raw_tensor::{RawTensor, StoredType};

/// The file of the tokenizer in a folder.
const TOKENIZER: &str = tokenizer::FILES[0].0;

/// An opened base model.
pub struct Checkpoint {
    /// What the engine needs to know about it.
    pub config: ModelConfig,
    path: PathBuf,
    files: Vec<Mapped>,
    tensors: BTreeMap<String, Stored>,
    origin: Origin,
    /// The adapter folder whose tokenizer and template are used, where it brings others than lie with the weights.
    words: Option<PathBuf>,
    /// The source of the chat template that is used in place of every other.
    template: Option<String>,
}

/// Where everything but the weights comes from.
enum Origin {
    Folder,
    Gguf(gguf::Metadata),
}

/// A tensor of a file, under its Hugging Face name.
struct Stored {
    file: usize,
    range: Range<usize>,
    shape: Vec<usize>,
    format: BlockType,
    /// Heads whose rows are in the interleaved order of GGUF's llama, to be put back.
    interleaved_heads: Option<usize>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and safetensors, or a `.gguf` file.
    pub fn open(path: &Path) -> Result<Self> {
        let details = std::fs::metadata(path).map_err(Error::io(path))?;
        if details.is_dir() {
            return folder::open(path);
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gguf") => from_gguf::open(path),
            Some("safetensors" | "json") => Err(Error::malformed(
                path,
                "a checkpoint is a folder or a .gguf file\nhint: give the folder that holds this file",
            )),
            _ => Err(Error::malformed(path, "not a folder and not a .gguf file")),
        }
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The Hugging Face names of all tensors, in name order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name. A tied head has none.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor by its Hugging Face name, rows in the order of transformers; quantised weights as f32.
    pub fn tensor(&self, name: &str) -> Result<RawTensor<'_>> {
        let missing = || Error::MissingTensor { path: self.path.clone(), name: name.to_string() };
        let stored = self.tensors.get(name).ok_or_else(missing)?;
        let bytes =
            self.files.get(stored.file).and_then(|file| file.bytes().get(stored.range.clone())).ok_or_else(missing)?;
        Ok(stored.read(bytes))
    }

    /// The tokenizer in use: that of an adapter that was adopted, else the one beside the weights or inside the GGUF file. One
    /// with an id for which the embedding has no row is refused here, whoever asks for it.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let base = || self.has_own_tokenizer().then(|| self.own_tokenizer()).transpose();
        let adopted =
            self.words.as_deref().map(|folder| Tokenizer::of_adapter(folder, base()?.as_ref())).transpose()?;
        let tokenizer = match adopted.flatten() {
            Some(tokenizer) => tokenizer,
            None => self.own_tokenizer()?,
        };
        Ok(match &self.template {
            Some(source) => tokenizer.with_template(source),
            None => tokenizer,
        })
    }

    /// Uses the tokenizer and the chat template of an adapter folder from here on, where it brings any: whatever is encoded,
    /// rendered, hashed or written from this checkpoint is as the adapter was trained. Gives what is not as in the base.
    ///
    /// # Errors
    /// A tokenizer that gives an id of the base another meaning, or one for which the embedding has no row.
    pub fn adopt(&mut self, folder: &Path) -> Result<Brought> {
        let base = self.has_own_tokenizer().then(|| self.own_tokenizer()).transpose()?;
        let Some(own) = Tokenizer::of_adapter(folder, base.as_ref())? else { return Ok(Brought::default()) };
        own.refuse_ids_beyond(self.config.vocab_size, folder)?;
        if let Some(base) = &base {
            own.refuse_other_ids(base, folder)?;
        }
        let brought = own.brings(base.as_ref());
        // What is the same is taken from the base, and copied from it byte for byte.
        self.words = (brought != Brought::default()).then(|| folder.to_path_buf());
        Ok(brought)
    }

    /// Uses a chat template from here on, in place of the one that goes with the tokenizer. Its variables are set by the
    /// template itself, for whoever is not told them.
    pub fn use_template(&mut self, template: &ChatTemplate) {
        self.template = Some(template.source_with_variables());
    }

    /// Whether the tokenizer or the chat template in use is another than lies with the weights.
    pub(crate) fn has_other_words(&self) -> bool {
        self.words.is_some() || self.template.is_some()
    }

    /// The tokenizer that came with the weights.
    fn own_tokenizer(&self) -> Result<Tokenizer> {
        let (tokenizer, path) = match &self.origin {
            Origin::Folder => {
                let path = self.path.join(TOKENIZER);
                (Tokenizer::from_file(&path)?, path)
            }
            Origin::Gguf(metadata) => (Tokenizer::from_gguf(metadata, &self.path)?, self.path.clone()),
        };
        tokenizer.refuse_ids_beyond(self.config.vocab_size, &path)?;
        Ok(tokenizer)
    }

    /// Whether there is a tokenizer: with the weights, or that of an adapter that was adopted.
    pub fn has_tokenizer(&self) -> bool {
        self.words.is_some() || self.has_own_tokenizer()
    }

    fn has_own_tokenizer(&self) -> bool {
        match &self.origin {
            Origin::Folder => crate::foreign::is_there(&self.path.join(TOKENIZER)),
            Origin::Gguf(metadata) => metadata.get("tokenizer.ggml.tokens").is_some(),
        }
    }

    /// The chat template that goes with the tokenizer in use, if there is one.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        self.tokenizer()?.chat_template()
    }

    /// Whether the weights lie in a folder of Hugging Face, with a `config.json` beside them.
    pub fn is_folder(&self) -> bool {
        matches!(self.origin, Origin::Folder)
    }

    /// The first format in which weights are rounded to blocks, if any are.
    pub(crate) fn quantised_as(&self) -> Option<&'static str> {
        self.tensors.values().map(|stored| stored.format).find(|format| format.weights() > 1).map(BlockType::name)
    }

    /// SHA-256 of the weights: of the file itself, or of the lines `name sha` in name order where there are several.
    pub fn sha256(&self) -> Result<String> {
        let sum = |file: &Mapped| -> Result<(String, String)> {
            let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, hash_of(file.path())?))
        };
        let sums: Vec<(String, String)> = self.files.par_iter().map(sum).collect::<Result<_>>()?;
        Ok(match sums.as_slice() {
            [(_, only)] => only.clone(),
            several => {
                let mut lines: Vec<String> = several.iter().map(|(name, sum)| format!("{name} {sum}\n")).collect();
                lines.sort();
                hex(&Sha256::digest(lines.concat()))
            }
        })
    }

    /// The licence that the checkpoint states, as an SPDX-like name.
    pub fn licence(&self) -> Option<String> {
        match &self.origin {
            Origin::Folder => folder::licence(&self.path),
            Origin::Gguf(metadata) => metadata.text("general.license").map(str::to_string),
        }
    }

    /// A name for people: that of the hub where it is known, else that of the file or folder.
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::Folder => folder::name(&self.path),
            Origin::Gguf(metadata) => match metadata.text("general.name") {
                Some(name) if !name.trim().is_empty() => name.to_string(),
                _ => self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            },
        }
    }

    /// Size of the weight files.
    pub fn weight_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes().len() as u64).sum()
    }

    /// Checks that the tensors are those of the configuration: none missing, none of another shape, none left over.
    fn verify(self) -> Result<Self> {
        let mut left: BTreeMap<&str, &Stored> =
            self.tensors.iter().map(|(name, stored)| (name.as_str(), stored)).collect();
        for (name, expected) in self.config.tensors() {
            match left.remove(name.as_str()) {
                None => return Err(Error::MissingTensor { path: self.path.clone(), name }),
                Some(stored) if stored.shape != expected => {
                    return Err(Error::WrongShape { name, expected, found: stored.shape.clone() });
                }
                Some(_) => {}
            }
        }
        match left.keys().next() {
            None => Ok(self),
            Some(name) => Err(Error::UnknownTensor {
                path: self.path.clone(),
                name: (*name).to_string(),
                model_type: self.config.model_type.to_string(),
                count: left.len(),
            }),
        }
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Checkpoint").field("path", &self.path).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Stored {
    /// Hands the tensor out: borrowed if the file has it as it is needed, else converted row by row.
    fn read<'a>(&self, bytes: &'a [u8]) -> RawTensor<'a> {
        let plain = match self.format {
            BlockType::F32 => Some(StoredType::F32),
            BlockType::F16 => Some(StoredType::F16),
            BlockType::BF16 => Some(StoredType::BF16),
            _ => None,
        };
        let dtype = plain.unwrap_or(StoredType::F32);
        if plain.is_some() && self.interleaved_heads.is_none() {
            return RawTensor { shape: self.shape.clone(), dtype, bytes: Cow::Borrowed(bytes) };
        }
        let columns = self.shape.last().copied().unwrap_or(0);
        let rows = self.shape.iter().product::<usize>() / columns.max(1);
        let row_bytes = columns / self.format.weights() * self.format.bytes();
        let mut out = vec![0; rows * columns * dtype.size()];
        out.par_chunks_mut((columns * dtype.size()).max(1)).enumerate().for_each_init(
            || vec![0.0_f32; columns],
            |wide, (row, out)| {
                let from = self.source_row(row, rows) * row_bytes;
                let bytes = &bytes[from..from + row_bytes];
                if plain.is_some() {
                    out.copy_from_slice(bytes);
                } else {
                    self.format.dequantise(bytes, wide);
                    for (to, from) in out.chunks_exact_mut(4).zip(wide.iter()) {
                        to.copy_from_slice(&from.to_le_bytes());
                    }
                }
            },
        );
        RawTensor { shape: self.shape.clone(), dtype, bytes: Cow::Owned(out) }
    }

    /// The row of the file that is row `row` of transformers. GGUF's llama keeps the two halves of a head interleaved.
    fn source_row(&self, row: usize, rows: usize) -> usize {
        let Some(heads) = self.interleaved_heads else { return row };
        let head_rows = rows / heads;
        let (head, within) = (row / head_rows, row % head_rows);
        let (side, pair) = (within / (head_rows / 2), within % (head_rows / 2));
        head * head_rows + pair * 2 + side
    }
}

/// SHA-256 of a file, through plain reads: a map would leave all its pages in memory.
fn hash_of(path: &Path) -> Result<String> {
    use std::io::Read as _;
    let mut file = ground::read::open(path).map_err(Error::io(path))?;
    let (mut sum, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(Error::io(path))? {
            0 => return Ok(hex(&sum.finalize())),
            count => sum.update(&piece[..count]),
        }
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
