//! The golden adapter with one fault each: what reading it says, with a base and without, and that no hint names another
//! base where the adapter itself is at fault.

use std::path::PathBuf;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{CONFIG_FILE, WEIGHTS_FILE, check, load, misfits, raw_config, shapes};
use super::Contradiction::{Alone, Empty, Rank, Unexplained, Unserved, Untargeted};
use super::{Contradiction, PREFIX};
use crate::checkpoint::Checkpoint;

const Q_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const Q_B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/llama-tied"))
}

/// The golden adapter, changed.
fn changed(settings: &[(&str, Value)], change: impl FnOnce(&mut Vec<Tensor>)) -> TempDir {
    let (folder, from) = (TempDir::new().unwrap(), golden().join("adapter"));
    let mut config = raw_config(&from).unwrap();
    settings.iter().for_each(|(key, value)| config[*key] = value.clone());
    std::fs::write(folder.path().join(CONFIG_FILE), config.to_string()).unwrap();
    let bytes = std::fs::read(from.join(WEIGHTS_FILE)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, TensorView<'_>)| Tensor {
        name,
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let mut tensors: Vec<Tensor> = file.tensors().into_iter().map(read).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|tensor| (tensor.name.clone(), view(tensor)));
    std::fs::write(folder.path().join(WEIGHTS_FILE), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

fn view(tensor: &Tensor) -> TensorView<'_> {
    TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap()
}

fn add(name: &str) -> impl FnOnce(&mut Vec<Tensor>) {
    let name = name.to_owned();
    move |tensors| {
        let (dtype, shape, bytes) = (tensors[0].dtype, tensors[0].shape.clone(), tensors[0].bytes.clone());
        tensors.push(Tensor { name, dtype, shape, bytes });
    }
}

fn drop_all(part: &str) -> impl FnOnce(&mut Vec<Tensor>) {
    let part = part.to_owned();
    move |tensors| tensors.retain(|tensor| !tensor.name.contains(&part))
}

/// What reading a folder says, which is the same with a base and without.
#[track_caller]
fn said(folder: &TempDir) -> String {
    let base = Checkpoint::open(&golden()).unwrap().config;
    let without = check(folder.path()).unwrap_err().to_string();
    assert_eq!(load(folder.path(), &base).unwrap_err().to_string(), without);
    assert!(!without.contains("base that it was made for"), "{without}");
    without
}

fn kinds(folder: &TempDir) -> Vec<Contradiction> {
    let shapes = shapes(&folder.path().join(WEIGHTS_FILE)).unwrap();
    misfits(&raw_config(folder.path()).unwrap(), &shapes).unwrap().into_iter().map(|misfit| misfit.kind).collect()
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
        let name = format!("{PREFIX}{name}");
        let folder = changed(&[], add(&name));
        let expected = format!("{name} is {told}, which is not computed (1 such)\nhint: merge it with PEFT, ");
        assert!(said(&folder).contains(&expected), "{}", said(&folder));
        assert_eq!(kinds(&folder), [Unexplained]);
    }
}

#[test]
fn a_tensor_of_a_strange_name_is_refused_with_what_is_strange() {
    for (name, told) in [
        ("base_model.model.lm_head.lora_A.weight", "belongs to no linear of a layer"),
        ("base_model.model.model.layers.0.mlp.experts.lora_A.weight", "belongs to no linear of a layer"),
        ("base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight", "belongs to no linear of a layer"),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
            "is not named as PEFT names A and B",
        ),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "it does not begin with base_model.model."),
        ("base_model.model.model.layers.0.self_attn.q_proj.hada_w1_a", "is neither A nor B of a linear"),
    ] {
        let folder = changed(&[], add(name));
        let said = said(&folder);
        assert!(said.contains(&format!("{name} ")) && said.contains(told), "{said}");
        assert!(said.contains("(1 such)\nhint: "), "{said}");
        assert_eq!(kinds(&folder), [Unexplained]);
    }
}

#[test]
fn files_that_contradict_each_other_are_refused_by_key_or_tensor_whatever_the_base() {
    let nothing = |_: &mut Vec<Tensor>| {};
    let patterned = json!(r"model\.layers\.0\..*");
    for (folder, kind, told) in [
        (changed(&[("r", json!(8))], nothing), Rank, "lora_A.weight has shape [4, "),
        (changed(&[("r", json!(2))], nothing), Rank, "since r = 2\nhint: "),
        (changed(&[("target_modules", patterned)], nothing), Untargeted, "layers.1."),
        (changed(&[("target_modules", json!(["q_proj"]))], nothing), Untargeted, "no module that target_modules names"),
        (changed(&[], drop_all(".k_proj.")), Unserved, "target_modules names \"k_proj\", and no tensor belongs to it"),
        (changed(&[], drop_all(Q_A)), Alone, Q_A),
        (changed(&[], drop_all(Q_B)), Alone, Q_B),
        (changed(&[], Vec::clear), Empty, "holds no tensor"),
    ] {
        let said = said(&folder);
        assert!(said.contains(told) && said.contains("\nhint: fetch "), "{told}: {said}");
        assert_eq!(kinds(&folder)[0], kind, "{said}");
    }
}

type Change = fn(&mut Vec<Tensor>);

#[test]
fn an_adapter_of_another_base_is_told_from_a_broken_one() {
    let base = Checkpoint::open(&golden()).unwrap().config;
    let fewer: Change = |tensors| tensors.retain(|tensor| !tensor.name.contains("layers.1."));
    let others: Change =
        |tensors| tensors.iter_mut().for_each(|tensor| tensor.name = tensor.name.replace("layers.1.", "layers.7."));
    let narrower: Change = |tensors| {
        for tensor in tensors.iter_mut().filter(|tensor| tensor.name.contains("lora_A")) {
            tensor.shape[1] /= 2;
            tensor.bytes.truncate(tensor.bytes.len() / 2);
        }
    };
    for (change, told) in
        [(fewer, "is missing"), (others, "is not in the base"), (narrower, "and the base makes it [4, ")]
    {
        for (named, hint) in [(json!("owner/base"), "; it names \"owner/base\""), (Value::Null, "")] {
            let folder = changed(&[("base_model_name_or_path", named)], change);
            check(folder.path()).unwrap();
            assert!(kinds(&folder).is_empty());
            let said = load(folder.path(), &base).unwrap_err().to_string();
            let hint = format!("\nhint: use it with the base that it was made for{hint}");
            assert!(said.contains(told) && said.ends_with(&hint), "{said}");
        }
    }
}

#[test]
fn names_that_overlap_or_stand_twice_name_what_they_name() {
    let base = Checkpoint::open(&golden()).unwrap().config;
    let names = raw_config(&golden().join("adapter")).unwrap()["target_modules"].clone();
    let plain = load(&golden().join("adapter"), &base).unwrap().values;
    for more in ["q_proj", "self_attn.q_proj", "model.layers.0.self_attn.q_proj"] {
        let mut names = names.as_array().unwrap().clone();
        names.push(json!(more));
        let folder = changed(&[("target_modules", names.into())], |_| {});
        assert_eq!(load(folder.path(), &base).unwrap().values, plain, "{more}");
    }
}

#[test]
fn a_number_that_is_none_and_a_type_that_is_not_read_are_refused_with_their_tensor() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let folder = changed(&[], |tensors| {
            let tensor = tensors.iter_mut().find(|tensor| tensor.name == Q_B).unwrap();
            tensor.bytes[..4].copy_from_slice(&bad.to_le_bytes());
        });
        assert!(
            said(&folder).contains(&format!("{Q_B} holds a number that is not finite\nhint: ")),
            "{}",
            said(&folder)
        );
    }
    let folder = changed(&[], |tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == Q_B).unwrap();
        (tensor.dtype, tensor.bytes) = (Dtype::F64, [tensor.bytes.clone(), tensor.bytes.clone()].concat());
    });
    assert!(said(&folder).contains(&format!("tensor {Q_B} of type F64")), "{}", said(&folder));
}

#[test]
fn a_key_or_a_tensor_that_stands_twice_is_refused_wherever_the_adapter_is_read() {
    let folder = changed(&[], |_| {});
    let path = folder.path().join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen('{', "{\"r\": 4,", 1)).unwrap();
    assert!(said(&folder).contains("key \"r\" stands twice"), "{}", said(&folder));
    assert!(raw_config(folder.path()).is_err() && super::super::base_of(folder.path()).is_err());
    let folder = changed(&[], |_| {});
    let path = folder.path().join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap().trim_end();
    let entry = serde_json::from_str::<Value>(header).unwrap()[Q_A].to_string();
    let header = format!("{},\"{Q_A}\":{entry}}}", header.strip_suffix('}').unwrap());
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    std::fs::write(&path, bytes).unwrap();
    assert!(said(&folder).contains("stands twice"), "{}", said(&folder));
}
