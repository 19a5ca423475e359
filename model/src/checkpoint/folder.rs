//! Opens a Hugging Face folder: `config.json` and one or several safetensors files.
//! Knows which files belong together; knows no GGUF.

use std::collections::BTreeMap;
use std::path::Path;

use ground::read::Kind;

use super::gguf_blocks::BlockType;
use super::{Checkpoint, Mapped, Origin, Stored, StoredType, safetensors};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::foreign;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Opens the folder and checks every tensor.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let config_path = path.join("config.json");
    let Some(json) = foreign::optional_json(&config_path, Kind::ModelConfig)? else {
        return Err(Error::malformed(path, format!("no config.json in this folder{}", advice(path))));
    };
    let mut config = ModelConfig::from_hf_json(&json, &config_path)?;
    let generation_path = path.join("generation_config.json");
    if let Some(json) = foreign::optional_json(&generation_path, Kind::ModelConfig)? {
        config.add_generation_settings(&json, &generation_path)?;
    }
    let (files, mut tensors) = weights(path)?;
    // Older exports store buffers that follow from the configuration.
    tensors.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
    if config.tie_word_embeddings {
        tie(&files, &mut tensors, path)?;
    }
    Checkpoint { config, path: path.to_path_buf(), files, tensors, origin: Origin::Folder, words: None, template: None }
        .verify()
}

/// The licence of the model card's front matter.
pub(super) fn licence(path: &Path) -> Option<String> {
    let card = ground::read::text(&path.join("README.md"), Kind::Prose).ok()?;
    let mut lines = card.lines();
    if lines.next()?.trim() != "---" {
        return None;
    }
    let value = lines.take_while(|line| line.trim() != "---").find_map(|line| line.strip_prefix("license:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_string())
}

/// The name on the hub where the folder is part of its cache (`models--owner--name/snapshots/…`), else the folder's.
pub(super) fn name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let hub = full.iter().filter_map(|part| part.to_str()?.strip_prefix("models--")).next_back();
    match hub {
        Some(cached) => cached.replacen("--", "/", 1),
        None => full.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Maps the weight files and lists their tensors.
fn weights(path: &Path) -> Result<(Vec<Mapped>, BTreeMap<String, Stored>)> {
    let mut files = Vec::new();
    let mut tensors = BTreeMap::new();
    if foreign::is_there(&path.join(SINGLE)) {
        add(&path.join(SINGLE), &mut files, &mut tensors)?;
        return Ok((files, tensors));
    }
    let index_path = path.join(INDEX);
    if !foreign::is_there(&index_path) {
        return Err(Error::malformed(path, format!("neither {SINGLE} nor {INDEX} in this folder{}", advice(path))));
    }
    let places = places(&index_path)?;
    let mut shards: Vec<&String> = places.values().collect();
    shards.sort();
    shards.dedup();
    if let Some(absent) = shards.iter().find(|shard| !path.join(shard).exists()) {
        return Err(Error::malformed(
            &index_path,
            format!("shard {absent} is missing\nhint: the download is not complete; pull it again"),
        ));
    }
    for shard in &shards {
        let number = files.len();
        add(&path.join(shard), &mut files, &mut tensors)?;
        for (name, _) in tensors.iter().filter(|(_, stored): &(&String, &Stored)| stored.file == number) {
            if places.get(name) != Some(shard) {
                return Err(Error::malformed(
                    &index_path,
                    format!("tensor {name} is in {shard}, the index says {:?}", places.get(name)),
                ));
            }
        }
    }
    match places.iter().find(|(name, _)| !tensors.contains_key(*name)) {
        Some((name, shard)) => Err(Error::malformed(
            &path.join(shard),
            format!("tensor {name} is missing, the index says it is here\nhint: download the shard again"),
        )),
        None => Ok((files, tensors)),
    }
}

/// Maps one file and adds its tensors.
fn add(path: &Path, files: &mut Vec<Mapped>, tensors: &mut BTreeMap<String, Stored>) -> Result<()> {
    let file = Mapped::open(path)?;
    for (name, info) in safetensors::parse(file.bytes(), path)? {
        let format = match info.dtype {
            StoredType::F32 => BlockType::F32,
            StoredType::F16 => BlockType::F16,
            StoredType::BF16 => BlockType::BF16,
        };
        let stored =
            Stored { file: files.len(), range: info.range, shape: info.shape, format, interleaved_heads: None };
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(Error::malformed(path, format!("tensor {name} is in two shards")));
        }
    }
    files.push(file);
    Ok(())
}

/// The shard of each tensor, from the index file. Shards lie in the folder itself, nowhere else.
fn places(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = foreign::parse(&foreign::bytes(path, Kind::ShardIndex)?, path)?;
    for shard in index.weight_map.values() {
        if !ground::name::is_file_name(shard) || !shard.ends_with(".safetensors") {
            return Err(Error::malformed(path, format!("shard name {}", foreign::quoted(shard))));
        }
    }
    Ok(index.weight_map)
}

/// Leaves one tensor for the embedding and the head of a tied model, and refuses two that differ.
fn tie(files: &[Mapped], tensors: &mut BTreeMap<String, Stored>, path: &Path) -> Result<()> {
    let Some(head) = tensors.remove(HEAD) else { return Ok(()) };
    let bytes = |stored: &Stored| files.get(stored.file).and_then(|file| file.bytes().get(stored.range.clone()));
    match tensors.get(EMBEDDING) {
        None => {
            tensors.insert(EMBEDDING.to_string(), head);
            Ok(())
        }
        Some(embedding) if embedding.format == head.format && bytes(embedding) == bytes(&head) => Ok(()),
        Some(_) => Err(Error::malformed(
            &path.join("config.json"),
            format!(
                "tie_word_embeddings is true, but {HEAD} differs from {EMBEDDING}\nhint: one of the two was changed \
                 after training; set tie_word_embeddings to false if the head is meant"
            ),
        )),
    }
}

/// What to do with a folder that holds something else.
fn advice(path: &Path) -> String {
    let names = || std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let first = |suffix: &str| {
        let mut found: Vec<String> = names().filter_map(|name| name.into_string().ok()).collect();
        found.sort();
        found.into_iter().find(|name| name.ends_with(suffix))
    };
    if let Some(file) = first(".gguf") {
        format!("\nhint: give the file itself: {}", path.join(file).display())
    } else if first("adapter_config.json").is_some() {
        "\nhint: this is an adapter; give its base model here and the adapter beside it".to_string()
    } else if let Some(file) = first(".bin").or_else(|| first(".pth")) {
        format!("\nhint: {file} is a pickle, which can run code and is not read; get the safetensors version")
    } else {
        String::new()
    }
}
