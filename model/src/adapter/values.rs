//! Owns the weights of an adapter: their names in the file, and the way into one flat buffer. A tensor that nothing here
//! computes with is refused by name. Knows no setting.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::{MERGE_WITH_PEFT, refused};
use crate::checkpoint::mapped::Mapped;
use crate::checkpoint::{StoredType, safetensors as safetensors_file};
use crate::error::{Error, Result};
use crate::foreign;
use crate::lora::LoraLayout;

const PREFIX: &str = "base_model.model.";

/// What PEFT stores beside A and B of a linear, by a part of its name.
const BESIDE: [(&str, &str); 6] = [
    ("lora_magnitude_vector", "the lengths that DoRA learns"),
    ("lora_diag", "the diagonal that KaSA learns"),
    ("lora_embedding_", "an adapter on the embedding"),
    ("trainable_tokens", "rows of the embedding that were trained"),
    ("lora_monteclora", "what MonteCLoRA draws with"),
    ("lora_B.bias", "a bias beside B"),
];

/// Names and shapes of the tensors of an adapter, by the head of its file: also of one that this program does not compute.
pub fn shapes(path: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let file = Mapped::open(path)?;
    let (entries, _) = safetensors_file::header(file.bytes(), path)?;
    let shape = |entry: &safetensors_file::Entry| {
        entry.shape.iter().map(|one| usize::try_from(*one).unwrap_or(usize::MAX)).collect()
    };
    Ok(entries.iter().map(|(name, entry)| (name.clone(), shape(entry))).collect())
}

/// All matrices of a layout, flat. The file holds them and nothing else.
pub(super) fn read(path: &Path, layout: &LoraLayout) -> Result<Vec<f32>> {
    let file = Mapped::open(path)?;
    let tensors = safetensors_file::parse(file.bytes(), path)?;
    let matrices = layout.matrices();
    // All shapes first: only then is there as much in the file as is about to be allocated.
    let mut found = Vec::with_capacity(matrices.len());
    for matrix in &matrices {
        let key = key(&matrix.module, matrix.matrix);
        let info = tensors.get(&key).ok_or_else(|| {
            refused(path, &format!("{key} is missing\nhint: the adapter was made for another base model"))
        })?;
        if info.shape != matrix.shape {
            let (found, expected) = (&info.shape, matrix.shape);
            return Err(refused(
                path,
                &format!(
                    "{key} has shape {found:?}, expected {expected:?}\nhint: the adapter was made for another base model"
                ),
            ));
        }
        found.push(info);
    }
    let known: HashSet<String> = matrices.iter().map(|matrix| key(&matrix.module, matrix.matrix)).collect();
    refuse_unused(tensors.keys().filter(|name| !known.contains(*name)), path)?;
    let mut values = vec![0.0; layout.length()];
    for (matrix, info) in matrices.iter().zip(found) {
        let out = &mut values[matrix.range.clone()];
        let data = &file.bytes()[info.range.clone()];
        match info.dtype {
            StoredType::F32 => fill(out, data, f32::from_le_bytes),
            StoredType::F16 => fill(out, data, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
            StoredType::BF16 => fill(out, data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        }
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::NonFinite { what: format!("a weight of {}", path.display()) });
    }
    Ok(values)
}

/// Refuses tensors that no matrix of the layout is read from.
fn refuse_unused<'a>(mut unused: impl Iterator<Item = &'a String>, path: &Path) -> Result<()> {
    let Some(first) = unused.next() else { return Ok(()) };
    let shown = foreign::short(first);
    let count = 1 + unused.count();
    let what = match beside_a_and_b(first) {
        Some(what) => format!("{shown} is {what}, which is not computed ({count} such)\nhint: {MERGE_WITH_PEFT}"),
        None => format!(
            "{shown} matches no adapted module ({count} such)\nhint: the adapter was made for another base model"
        ),
    };
    Err(refused(path, &what))
}

/// What a tensor of an adapter holds, by its name, if that is neither A nor B of a linear. Nothing here computes with it.
#[must_use]
pub fn beside_a_and_b(name: &str) -> Option<&'static str> {
    let known = BESIDE.iter().find(|(part, _)| name.contains(part)).map(|(_, what)| *what);
    known.or((!name.contains(".lora_")).then_some("a tensor of the base itself that was trained"))
}

fn fill<const N: usize>(out: &mut [f32], data: &[u8], convert: impl Fn([u8; N]) -> f32) {
    let (values, _) = data.as_chunks::<N>();
    out.iter_mut().zip(values).for_each(|(out, bytes)| *out = convert(*bytes));
}

/// The name of a matrix in the file.
pub(super) fn key(module: &str, matrix: &str) -> String {
    format!("{PREFIX}{module}.{matrix}.weight")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use safetensors::SafeTensors;
    use safetensors::tensor::TensorView;
    use tempfile::TempDir;

    use super::super::{CONFIG_FILE, WEIGHTS_FILE, load};
    use crate::checkpoint::Checkpoint;

    fn golden() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/llama-tied"))
    }

    /// The golden adapter with one more tensor; what reading it says.
    fn with(name: &str) -> String {
        let folder = TempDir::new().unwrap();
        let from = golden().join("adapter");
        std::fs::copy(from.join(CONFIG_FILE), folder.path().join(CONFIG_FILE)).unwrap();
        let bytes = std::fs::read(from.join(WEIGHTS_FILE)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<(String, TensorView<'_>)> = file.tensors();
        let again = tensors[0].1.clone();
        tensors.push((name.to_owned(), again));
        std::fs::write(folder.path().join(WEIGHTS_FILE), safetensors::serialize(tensors, None).unwrap()).unwrap();
        let base = Checkpoint::open(&golden()).unwrap().config;
        load(folder.path(), &base).unwrap_err().to_string()
    }

    #[test]
    fn a_tensor_that_nothing_computes_with_is_refused_with_what_it_is() {
        for (name, told) in [
            ("model.layers.0.self_attn.q_proj.lora_magnitude_vector", "the lengths that DoRA learns"),
            ("model.layers.0.self_attn.q_proj.lora_diag", "the diagonal that KaSA learns"),
            ("model.layers.0.self_attn.q_proj.lora_B.bias", "a bias beside B"),
            ("model.layers.0.self_attn.q_proj.lora_monteclora_sampler.std_prior", "what MonteCLoRA draws with"),
            ("model.embed_tokens.lora_embedding_A", "an adapter on the embedding"),
            ("model.embed_tokens.token_adapter.trainable_tokens_delta", "rows of the embedding that were trained"),
            ("model.embed_tokens.weight", "a tensor of the base itself that was trained"),
            ("lm_head.weight", "a tensor of the base itself that was trained"),
            ("model.layers.0.self_attn.q_proj.bias", "a tensor of the base itself that was trained"),
        ] {
            let name = format!("base_model.model.{name}");
            let said = with(&name);
            let expected = format!("{name} is {told}, which is not computed (1 such)\nhint: merge it with PEFT, ");
            assert!(said.contains(&expected), "{said}");
        }
    }

    #[test]
    fn a_matrix_of_no_module_is_refused_as_of_another_base() {
        for module in ["model.layers.9.self_attn.q_proj", "model.layers.0.mlp.experts", "lm_head"] {
            let name = format!("base_model.model.{module}.lora_A.weight");
            let said = with(&name);
            assert!(said.contains(&format!("{name} matches no adapted module (1 such)\nhint: ")), "{said}");
        }
    }
}
