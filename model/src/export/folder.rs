//! Writes a Hugging Face folder: shards of safetensors with their index, `config.json`, tokenizer and chat template.
//! Knows names and sizes; the numbers come from the pipeline. Fills a folder that the caller puts in its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ground::read::Kind;
use ground::write::{self, Access};
use serde_json::{Value, json};

use super::pipeline::{self, OutFile, OutTensor};
use super::{Merged, Watch, Written, config_json};
use crate::checkpoint::gguf_blocks::BlockType;
use crate::checkpoint::{Checkpoint, StoredType};
use crate::error::{Error, Result};
use crate::foreign;
use crate::tokenizer;

/// How a folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// The type of all weights.
    pub dtype: StoredType,
    /// Most bytes of a file, unless one tensor is larger.
    pub max_shard_bytes: u64,
}

/// What belongs to a base beside weights, configuration and the tokenizer that is read, byte for byte: what it generates
/// with, and the forms of its vocabulary that other programs read.
const COPIED: [(&str, Kind); 4] = [
    ("generation_config.json", Kind::ModelConfig),
    ("tokenizer.model", Kind::Tokenizer),
    ("vocab.json", Kind::Tokenizer),
    ("merges.txt", Kind::Tokenizer),
];
/// Beginnings of the names of texts that go along with everything derived from a base.
const TERMS: [&str; 4] = ["LICENSE", "NOTICE", "USE_POLICY", "ATTRIBUTION"];

/// Fills `folder`, which exists, with the merged model.
///
/// # Errors
/// A base that a `config.json` cannot describe, a sum that is not finite, a disk that is full.
pub fn write_folder(merged: &Merged<'_>, folder: &Path, options: FolderOptions, watch: Watch<'_>) -> Result<Written> {
    let checkpoint = merged.checkpoint();
    let config = config_json::config(checkpoint, options.dtype)?;
    let shards = shards(checkpoint, options)?;
    let names: Vec<String> = match shards.len() {
        1 => vec!["model.safetensors".to_owned()],
        count => (1..=count).map(|index| format!("model-{index:05}-of-{count:05}.safetensors")).collect(),
    };
    let mut places = BTreeMap::new();
    let mut weight_bytes = 0;
    let mut files = Vec::with_capacity(shards.len());
    for (tensors, name) in shards.into_iter().zip(&names) {
        weight_bytes += tensors.iter().map(|(tensor, _)| tensor.bytes() as u64).sum::<u64>();
        places.extend(tensors.iter().map(|(tensor, _)| (tensor.name.clone(), name.clone())));
        let header = header(&tensors, options.dtype)?;
        let tensors = tensors.into_iter().map(|(tensor, _)| tensor).collect();
        files.push(OutFile { path: folder.join(name), header, tensors });
    }
    write_json(&folder.join("config.json"), &config)?;
    copy_texts(checkpoint, folder)?;
    if names.len() > 1 {
        let index = json!({ "metadata": { "total_size": weight_bytes }, "weight_map": places });
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    let bytes = pipeline::write(merged, &files, watch)?;
    let format = config_json::dtype_name(options.dtype);
    Ok(Written { files: names, bytes, formats: vec![(format, places.len())], notes: Vec::new() })
}

type Shaped = (OutTensor, Vec<usize>);

/// The tensors in the order of computation, cut where the next one would make a file too large.
fn shards(checkpoint: &Checkpoint, options: FolderOptions) -> Result<Vec<Vec<Shaped>>> {
    let encoding = match options.dtype {
        StoredType::F32 => BlockType::F32,
        StoredType::F16 => BlockType::F16,
        StoredType::BF16 => BlockType::BF16,
    };
    let mut shards: Vec<Vec<Shaped>> = vec![Vec::new()];
    let mut filled = 0;
    for (name, dimensions) in checkpoint.config.tensors() {
        let columns = dimensions.last().copied().unwrap_or(1);
        let shape = [dimensions.iter().product::<usize>() / columns.max(1), columns];
        let tensor = OutTensor { name, shape, encoding, values: None, interleaved_heads: None, padding: 0 };
        let bytes = tensor.bytes() as u64;
        if filled > 0 && filled + bytes > options.max_shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(last) = shards.last_mut() {
            last.push((tensor, dimensions));
        }
    }
    Ok(shards)
}

/// Length, then JSON with spaces at its end, so that the first tensor is aligned.
fn header(tensors: &[Shaped], dtype: StoredType) -> Result<Vec<u8>> {
    let kind = match dtype {
        StoredType::F32 => "F32",
        StoredType::F16 => "F16",
        StoredType::BF16 => "BF16",
    };
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut at = 0;
    for (tensor, dimensions) in tensors {
        let end = at + tensor.bytes();
        let entry = json!({ "dtype": kind, "shape": dimensions, "data_offsets": [at, end] });
        entries.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut text = serde_json::to_vec(&Value::Object(entries)).map_err(unwritable)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    Ok(header)
}

/// Tokenizer, template and terms: copies of the base's files, or what is used in their place, and what a GGUF file or an adapter holds of
/// them.
fn copy_texts(checkpoint: &Checkpoint, folder: &Path) -> Result<()> {
    let generation = folder.join("generation_config.json");
    if checkpoint.is_folder() {
        let base = checkpoint.path();
        let mut names: Vec<(String, Kind)> = COPIED.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let entries = fs::read_dir(base).map_err(Error::io(base))?;
        let listed = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let terms = listed.filter(|name| TERMS.iter().any(|start| name.starts_with(start)));
        names.extend(terms.map(|name| (name, Kind::Prose)));
        // A template of the base beside the words in use would count before them.
        if !checkpoint.has_other_words() {
            names.extend(tokenizer::FILES.iter().map(|(name, kind)| ((*name).to_owned(), *kind)));
            let templates = tokenizer::templates::additional(base)?.into_iter();
            names.extend(templates.map(|name| (format!("{}/{name}", tokenizer::templates::FOLDER), Kind::Template)));
        }
        for (name, kind) in names {
            if let Some(bytes) = foreign::optional(&base.join(&name), kind)? {
                let path = folder.join(name);
                let parent = path.parent().unwrap_or(folder);
                fs::create_dir_all(parent).map_err(Error::io(parent))?;
                put(&path, &bytes)?;
            }
        }
    }
    if checkpoint.has_other_words() || !checkpoint.is_folder() {
        checkpoint.tokenizer()?.save(folder)?;
    }
    let end = learnt_end(checkpoint)?;
    if foreign::is_there(&generation) {
        if let (Some(end), Value::Object(mut map)) = (end, foreign::json(&generation, Kind::ModelConfig)?)
            && config_json::ends_at(&mut map, end)
        {
            write_json(&generation, &Value::Object(map))?;
        }
    } else if let Value::Object(mut map) = config_json::generation(&checkpoint.config) {
        end.map(|end| config_json::ends_at(&mut map, end));
        if map.contains_key("eos_token_id") {
            write_json(&generation, &Value::Object(map))?;
        }
    }
    Ok(())
}

/// The token that ends answers as they are learnt, whatever the base names.
fn learnt_end(checkpoint: &Checkpoint) -> Result<Option<u32>> {
    // A folder of weights alone is written as one.
    if checkpoint.is_folder() && !foreign::is_there(&checkpoint.path().join("tokenizer.json")) {
        return Ok(None);
    }
    let tokenizer = checkpoint.tokenizer()?;
    let end = tokenizer.chat_template()?.and_then(|template| template.end_of_answer());
    Ok(end.and_then(|end| tokenizer.token_id(&end)))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(unwritable)?;
    text.push(b'\n');
    put(path, &text)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    write::file(path, bytes, Access::AsUsual).map_err(Error::io(path))
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::malformed(Path::new("config.json"), error.to_string())
}
