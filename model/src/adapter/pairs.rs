//! Owns whether the tensors of an adapter are those that its settings explain: beside each linear that `target_modules`
//! names one A and one B, both of rank `r`, and nothing else. Knows names and shapes; knows no base, so that an adapter is
//! judged where there is none, and reads no file.

use std::collections::BTreeMap;

use super::{MERGE_WITH_PEFT, PREFIX};
use crate::error::Result;
use crate::foreign;
use crate::lora::{LoraConfig, Targets};
use crate::nn::Group;

const FETCH: &str = "fetch both files of the adapter again, from where they are from";
const RENAME: &str = "save it with PEFT's save_pretrained, which names them base_model.model.PATH.lora_A.weight";
const WRITE_R: &str =
    "fetch both files of the adapter again, or write the r that it was trained with into adapter_config.json";
const NAME_IT: &str =
    "fetch both files of the adapter again, or name its module in target_modules of adapter_config.json";
const TAKE_OUT: &str = "fetch both files of the adapter again, or take it out of target_modules in adapter_config.json";

/// What PEFT stores beside A and B of a linear, by a part of its name.
const BESIDE: [(&str, &str); 6] = [
    ("lora_magnitude_vector", "the lengths that DoRA learns"),
    ("lora_diag", "the diagonal that KaSA learns"),
    ("lora_embedding_", "an adapter on the embedding"),
    ("trainable_tokens", "rows of the embedding that were trained"),
    ("lora_monteclora", "what MonteCLoRA draws with"),
    ("lora_B.bias", "a bias beside B"),
];

/// In which way tensors and settings say two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// There is no tensor.
    Empty,
    /// A tensor is no A and no B of a linear of a layer.
    Unexplained,
    /// A or B is alone.
    Alone,
    /// A or B has another rank than the settings.
    Rank,
    /// A tensor belongs to no module that the settings name.
    Untargeted,
    /// A name of the settings has no tensor.
    Unserved,
}

/// A contradiction, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which.
    pub kind: Contradiction,
    /// The tensor or setting, and what it contradicts.
    pub what: String,
    /// What to type instead.
    pub way_out: &'static str,
}

/// Shapes of tensors by the names of the file.
pub(super) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// Of each kind of contradiction the first, those that make others first.
pub(super) fn misfits(tensors: &Shapes<'_>, lora: &LoraConfig) -> Result<Vec<Misfit>> {
    if tensors.is_empty() {
        let what = "the file of weights holds no tensor, so nothing is adapted".to_owned();
        return Ok(vec![Misfit { kind: Contradiction::Empty, what, way_out: FETCH }]);
    }
    let targets = Targets::new(&lora.target_modules)?;
    let mut matched = vec![false; targets.count()];
    let mut found = Vec::new();
    let mut first = |kind, what: &dyn Fn() -> String, way_out| {
        if !found.iter().any(|misfit: &Misfit| misfit.kind == kind) {
            found.push(Misfit { kind, what: what(), way_out });
        }
    };
    let strange = || tensors.keys().filter(|name| pair(name).is_none());
    if let Some(name) = strange().next() {
        let (why, way_out) = unexplained(name);
        let what = || format!("{} {why} ({} such)", foreign::short(name), strange().count());
        first(Contradiction::Unexplained, &what, way_out);
    }
    for (name, shape) in tensors {
        let Some((module, is_a)) = pair(name) else { continue };
        let shown = foreign::short(name);
        let other = key(module, if is_a { "lora_B" } else { "lora_A" });
        if !tensors.contains_key(other.as_str()) {
            let what = || format!("{shown} is alone: {} is missing", foreign::short(&other));
            first(Contradiction::Alone, &what, FETCH);
        }
        let (rank, expected) = match (*shape, is_a) {
            ([rank, _], true) => (Some(*rank), format!("[{}, …]", lora.r)),
            ([_, rank], false) => (Some(*rank), format!("[…, {}]", lora.r)),
            (_, _) => (None, "two dimensions".to_owned()),
        };
        if rank != Some(lora.r) {
            let what = || {
                let shape = foreign::short(&format!("{shape:?}"));
                format!("{shown} has shape {shape}, expected {expected}, since r = {}", lora.r)
            };
            first(Contradiction::Rank, &what, WRITE_R);
        }
        if !targets.matches(module, &mut matched) {
            let what = || format!("{shown} belongs to no module that target_modules names");
            first(Contradiction::Untargeted, &what, NAME_IT);
        }
    }
    if let Some(name) = targets.unmatched(&matched) {
        let what = || format!("target_modules names {}, and no tensor belongs to it", foreign::quoted(name));
        first(Contradiction::Unserved, &what, TAKE_OUT);
    }
    Ok(found)
}

/// The module of a layer beside which a tensor lies, and whether it is A; `None` for any other tensor.
fn pair(name: &str) -> Option<(&str, bool)> {
    let path = name.strip_prefix(PREFIX)?;
    let a = path.strip_suffix(".lora_A.weight").map(|module| (module, true));
    let (module, is_a) = a.or_else(|| path.strip_suffix(".lora_B.weight").map(|module| (module, false)))?;
    let (layer, part) = in_layer(module)?;
    let is_linear = Group::ALL.iter().any(|group| group.names().contains(&part));
    (is_linear && module == format!("model.layers.{layer}.{part}")).then_some((module, is_a))
}

/// The layer of a tensor or module, and what follows it.
pub(super) fn in_layer(path: &str) -> Option<(usize, &str)> {
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    let (layer, part) = path.strip_prefix("model.layers.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// What a tensor is that is neither A nor B of a linear of a layer, and a way out.
fn unexplained(name: &str) -> (String, &'static str) {
    if let Some((_, what)) = BESIDE.iter().find(|(part, _)| name.contains(part)) {
        return (format!("is {what}, which is not computed"), MERGE_WITH_PEFT);
    }
    if [".lora_A.weight", ".lora_B.weight"].iter().any(|end| name.ends_with(end)) && name.starts_with(PREFIX) {
        return ("belongs to no linear of a layer, which is not computed".to_owned(), MERGE_WITH_PEFT);
    }
    if name.contains("lora_") || !name.starts_with(PREFIX) {
        return (
            format!("is not named as PEFT names A and B, so PEFT leaves it out{}", prefix_is_missing(name)),
            RENAME,
        );
    }
    match [".weight", ".bias"].iter().any(|end| name.ends_with(end)) {
        true => ("is a tensor of the base itself that was trained, which is not computed".to_owned(), MERGE_WITH_PEFT),
        false => ("is neither A nor B of a linear, and is not computed".to_owned(), MERGE_WITH_PEFT),
    }
}

fn prefix_is_missing(name: &str) -> String {
    if name.starts_with(PREFIX) { String::new() } else { format!(": it does not begin with {PREFIX}") }
}

/// The name of a matrix in the file.
pub(super) fn key(module: &str, matrix: &str) -> String {
    format!("{PREFIX}{module}.{matrix}.weight")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
