//! Writes an adapter alone as a GGUF file, as `llama-cli --lora` and `ADAPTER` of an Ollama Modelfile take it.
//! Knows the conventions of llama.cpp's `convert_lora_to_gguf.py`; knows no base weights.
//!
//! llama.cpp scales by `alpha / r` and knows no other rule, so an rsLoRA adapter is written with `alpha · sqrt(r)`, which
//! gives the same scale; the converter of llama.cpp itself does not do this.

use std::io::Write;
use std::path::Path;

use ground::write::{self, Access};

use super::Written;
use super::gguf_header::{self, Entry, Value};
use super::gguf_notes;
use crate::adapter::Adapter;
use crate::checkpoint::gguf_blocks::BlockType;
use crate::checkpoint::{Checkpoint, gguf_name, interleaved_heads};
use crate::error::{Error, Result};

/// Writes the file in f32 and syncs it; the caller gives it its place.
///
/// # Shapes
/// - `blk.N.attn_q.weight.lora_a` `[r, in]`, `….lora_b` `[out, r]`, rows of B in the order in which GGUF has those of W
///
/// # Errors
/// A linear that GGUF has no name for, a base without a tokenizer, a disk that is full.
pub fn write_gguf_adapter(adapter: &Adapter, checkpoint: &Checkpoint, path: &Path, name: &str) -> Result<Written> {
    let config = &checkpoint.config;
    // The adapter was trained with the base as it is, and llama.cpp computes that base: what differs there differs here.
    let mut notes = gguf_notes::of_base(config, &checkpoint.tokenizer()?);
    notes.extend(gguf_notes::window(config).map(|window| {
        format!(
            "the base has a sliding window of {window} tokens, which has no word in this architecture of GGUF; within that \
             many tokens both compute the same"
        )
    }));
    let rank = adapter.lora.r as f32;
    let alpha = if adapter.lora.use_rslora { adapter.lora.lora_alpha * rank.sqrt() } else { adapter.lora.lora_alpha };
    let text = |value: &str| Value::Text(value.to_owned());
    let mut values = vec![
        ("general.architecture".to_owned(), text(config.model_type.gguf.architecture)),
        ("general.type".to_owned(), text("adapter")),
        ("general.name".to_owned(), text(name)),
        ("general.file_type".to_owned(), Value::U32(0)),
        ("adapter.type".to_owned(), text("lora")),
        ("adapter.lora.alpha".to_owned(), Value::F32(alpha)),
    ];
    if let Some(base) = &adapter.base_model {
        values.push(("general.base_model.count".to_owned(), Value::U32(1)));
        values.push(("general.base_model.0.name".to_owned(), text(base)));
    }
    let matrices = adapter.layout.matrices();
    let mut entries = Vec::with_capacity(matrices.len());
    let mut data = Vec::new();
    for matrix in &matrices {
        let weight = format!("{}.weight", matrix.module);
        let there = gguf_name(&weight).ok_or_else(|| Error::feature(path, format!("{weight} in GGUF")))?;
        let [rows, columns] = matrix.shape;
        let stored = &adapter.values[matrix.range.clone()];
        let side = if matrix.matrix == "lora_A" { "lora_a" } else { "lora_b" };
        let heads = interleaved_heads(&weight, config).filter(|_| side == "lora_b");
        let start = data.len();
        for row in 0..rows {
            let from = heads.map_or(row, |heads| source_row(row, rows / heads));
            data.extend(stored[from * columns..][..columns].iter().flat_map(|one| one.to_le_bytes()));
        }
        let bytes = data.len() - start;
        data.resize(data.len() + gguf_header::padding(bytes), 0);
        let entry =
            Entry { name: format!("{there}.{side}"), shape: vec![rows, columns], encoding: BlockType::F32, bytes };
        entries.push(entry);
    }
    let header = gguf_header::header(&values, &entries);
    let put = |out: &mut dyn Write| out.write_all(&header).and_then(|()| out.write_all(&data));
    write::file_with(path, Access::AsUsual, put).map_err(Error::io(path))?;
    Ok(Written {
        files: vec![path.file_name().unwrap_or_default().to_string_lossy().into_owned()],
        bytes: (header.len() + data.len()) as u64,
        formats: vec![(BlockType::F32.name(), entries.len())],
        notes,
    })
}

/// The row of transformers that is row `row` of a file in which the two halves of each head lie row by row in turn.
fn source_row(row: usize, head_rows: usize) -> usize {
    let (head, within) = (row / head_rows, row % head_rows);
    head * head_rows + within % 2 * (head_rows / 2) + within / 2
}
