//! Owns the file of weights of an adapter: opened once, held against the settings and then against a base, and read into
//! one flat buffer. What its tensors have to be without a base is in `pairs`. Knows no setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::pairs::{self, Shapes, in_layer, key};
use super::{WEIGHTS_FILE, refused};
use crate::checkpoint::StoredType;
use crate::checkpoint::mapped::Mapped;
use crate::checkpoint::safetensors::{self as safetensors_file, TensorInfo};
use crate::error::Result;
use crate::foreign;
use crate::lora::{LoraConfig, LoraLayout};

/// Names and shapes of the tensors of an adapter, by the head of its file: also of one that this program does not compute.
pub fn shapes(path: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let file = Mapped::open(path)?;
    let (entries, _) = safetensors_file::header(file.bytes(), path)?;
    let shape = |entry: &safetensors_file::Entry| {
        entry.shape.iter().map(|one| usize::try_from(*one).unwrap_or(usize::MAX)).collect()
    };
    Ok(entries.iter().map(|(name, entry)| (name.clone(), shape(entry))).collect())
}

/// The file, opened, with what its head says.
pub(super) struct Weights {
    path: PathBuf,
    file: Mapped,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Weights {
    /// Opens the file of a folder.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(WEIGHTS_FILE);
        if !foreign::is_there(&path) && foreign::is_there(&folder.join("adapter_model.bin")) {
            return Err(refused(
                folder,
                "there is no adapter_model.safetensors, and adapter_model.bin is a pickle, which can run code and is not read\n\
                 hint: load it with PEFT where you trust it, and save_pretrained(DIR) writes the other form",
            ));
        }
        let file = Mapped::open(&path)?;
        let tensors = safetensors_file::parse(file.bytes(), &path)?;
        Ok(Weights { path, file, tensors })
    }

    /// Refuses what says another thing than the settings, and numbers that are none, whatever the base.
    pub(super) fn check(&self, lora: &LoraConfig) -> Result<()> {
        let shapes: Shapes<'_> =
            self.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice())).collect();
        if let Some(misfit) = pairs::misfits(&shapes, lora)?.first() {
            return Err(self.refused(&misfit.what, misfit.way_out));
        }
        for (name, info) in &self.tensors {
            let mut all_finite = true;
            self.each(info, |value| all_finite &= value.is_finite());
            if !all_finite {
                let what = format!("{} holds a number that is not finite", foreign::short(name));
                let hint = "fetch the adapter again; if its source has the same, its training failed";
                return Err(self.refused(&what, hint));
            }
        }
        Ok(())
    }

    /// Refuses layers that a base of so many does not have. `other_base` is the hint.
    pub(super) fn within(&self, layers: usize, other_base: &str) -> Result<()> {
        let is_beyond = |name: &&String| in_layer(name).is_none_or(|(layer, _)| layer >= layers);
        let Some(name) = self.tensors.keys().find(is_beyond) else { return Ok(()) };
        let what = format!("{} is not in the base, which has {layers} layers", foreign::short(name));
        Err(self.refused(&what, other_base))
    }

    /// Refuses matrices of a base that are not in the file, or of another size. All shapes are looked at before as much is
    /// allocated as a layout takes.
    pub(super) fn fits(&self, layout: &LoraLayout, other_base: &str) -> Result<()> {
        for matrix in layout.matrices() {
            let key = key(&matrix.module, matrix.matrix);
            let found = self.tensors.get(&key).map(|info| info.shape.as_slice());
            let expected = matrix.shape;
            match found {
                Some(shape) if *shape == expected => {}
                Some(shape) => {
                    let what = format!("{key} has shape {shape:?}, and the base makes it {expected:?}");
                    return Err(self.refused(&what, other_base));
                }
                None => {
                    let what = format!("{key} is missing: target_modules names its module, which the base has");
                    return Err(self.refused(&what, other_base));
                }
            }
        }
        Ok(())
    }

    /// All matrices of a layout that fits, flat.
    pub(super) fn read(&self, layout: &LoraLayout) -> Vec<f32> {
        let mut values = vec![0.0; layout.length()];
        for matrix in layout.matrices() {
            let Some(info) = self.tensors.get(&key(&matrix.module, matrix.matrix)) else { continue };
            let mut out = values[matrix.range].iter_mut();
            self.each(info, |value| {
                if let Some(out) = out.next() {
                    *out = value;
                }
            });
        }
        values
    }

    fn each(&self, info: &TensorInfo, take: impl FnMut(f32)) {
        let data = &self.file.bytes()[info.range.clone()];
        match info.dtype {
            StoredType::F32 => numbers(data, f32::from_le_bytes).for_each(take),
            StoredType::F16 => numbers(data, |bytes| half::f16::from_le_bytes(bytes).to_f32()).for_each(take),
            StoredType::BF16 => numbers(data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()).for_each(take),
        }
    }

    fn refused(&self, what: &str, hint: &str) -> crate::error::Error {
        refused(&self.path, &format!("{what}\nhint: {hint}"))
    }
}

fn numbers<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> impl Iterator<Item = f32> {
    data.as_chunks::<N>().0.iter().map(move |bytes| convert(*bytes))
}
