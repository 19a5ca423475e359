//! Small checkpoints of both formats, made here byte by byte, whole and defective. Knows no real checkpoint.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use serde_json::json;

use super::*;

mod mutations;

/// Values by place, so that every weight of a tensor is distinct and small.
fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|at| at as f32 / 64.0 - 1.0).collect()
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|one| one.to_le_bytes()).collect()
}

fn config_json() -> serde_json::Value {
    json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 8, "eos_token_id": 2,
        "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": false
    })
}

fn config() -> ModelConfig {
    ModelConfig::from_hf_json(&config_json(), Path::new("config.json")).unwrap()
}

/// A safetensors file of f32 tensors.
fn safetensors_file(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let from = data.len();
        data.extend(bytes_of(&ramp(shape.iter().product())));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn folder(config: &serde_json::Value, tensors: &[(String, Vec<usize>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::write(folder.path().join("model.safetensors"), safetensors_file(tensors)).unwrap();
    folder
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// One metadata entry: key, type code, bytes.
fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn entries() -> Vec<Vec<u8>> {
    let number = |key: &str, value: u32| entry(key, 4, &value.to_le_bytes());
    let list = |kind: u32, count: u64, items: Vec<u8>| [&kind.to_le_bytes()[..], &count.to_le_bytes(), &items].concat();
    let tokens = ["<s>", "a", "b", "ab", "c", "d", "e", "f"];
    vec![
        entry("general.architecture", 8, &text("llama")),
        entry("general.license", 8, &text("apache-2.0")),
        number("llama.block_count", 1),
        number("llama.context_length", 2048),
        number("llama.embedding_length", 32),
        number("llama.feed_forward_length", 32),
        number("llama.attention.head_count", 2),
        number("llama.attention.head_count_kv", 1),
        entry("llama.attention.layer_norm_rms_epsilon", 6, &1e-6_f32.to_le_bytes()),
        number("tokenizer.ggml.eos_token_id", 0),
        entry("tokenizer.ggml.model", 8, &text("gpt2")),
        entry("tokenizer.ggml.pre", 8, &text("smollm")),
        entry("tokenizer.ggml.tokens", 9, &list(8, 8, tokens.into_iter().flat_map(text).collect())),
        entry(
            "tokenizer.ggml.token_type",
            9,
            &list(5, 8, [3_i32, 1, 1, 1, 1, 1, 1, 1].into_iter().flat_map(i32::to_le_bytes).collect()),
        ),
        entry("tokenizer.ggml.merges", 9, &list(8, 1, text("a b"))),
        entry("tokenizer.chat_template", 8, &text("{{ messages[0].content }}")),
    ]
}

/// Tensor name, shape slowest first, format code, bytes.
type GgufTensor = (String, Vec<usize>, u32, Vec<u8>);

fn gguf_file(entries: &[Vec<u8>], tensors: &[GgufTensor]) -> Vec<u8> {
    let (mut head, mut data) = (b"GGUF".to_vec(), Vec::new());
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((entries.len() as u64).to_le_bytes());
    head.extend(entries.concat());
    for (name, shape, code, bytes) in tensors {
        head.extend(text(name));
        head.extend((shape.len() as u32).to_le_bytes());
        head.extend(shape.iter().rev().flat_map(|one| (*one as u64).to_le_bytes()));
        head.extend(code.to_le_bytes());
        head.extend((data.len() as u64).to_le_bytes());
        data.extend(bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    head.resize(head.len().next_multiple_of(32), 0);
    [head, data].concat()
}

/// The tensors of the small llama under their GGUF names, in f32 except for one in Q8_0.
fn gguf_tensors() -> Vec<GgufTensor> {
    let name = |name: &str| {
        let mut name = name.to_string();
        for (from, to) in [
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("model.layers.", "blk."),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.", "attn_"),
            ("mlp.", "ffn_"),
            ("_proj", ""),
        ] {
            name = name.replace(from, to);
        }
        name
    };
    let tensor = |(hugging_face, shape): (String, Vec<usize>)| {
        let name = name(&hugging_face);
        if name == "blk.0.ffn_up.weight" {
            let row = [&half::f16::from_f32(0.5).to_le_bytes()[..], &[2_u8; 32]].concat();
            return (name, shape, 8, row.repeat(32));
        }
        // The head must not look like the embedding.
        let scale = if name == "output.weight" { -3.0 } else { 1.0 };
        let values: Vec<f32> = ramp(shape.iter().product()).iter().map(|one| one * scale).collect();
        (name, shape, 0, bytes_of(&values))
    };
    config().tensors().into_iter().map(tensor).collect()
}

fn gguf_on_disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn a_folder_gives_its_configuration_and_tensors() {
    let folder = folder(&config_json(), &config().tensors());
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [2, 5]}"#).unwrap();
    fs::write(folder.path().join("README.md"), "---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n").unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config.eos_token_ids, [2, 5]);
    assert_eq!(checkpoint.licence().as_deref(), Some("apache-2.0"));
    let up = checkpoint.tensor("model.layers.0.mlp.up_proj.weight").unwrap();
    assert_eq!((up.shape.as_slice(), up.to_f32()), (&[32, 32][..], ramp(1024)));
    assert_eq!(checkpoint.names().count(), config().tensors().len());
    let file = fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(checkpoint.sha256().unwrap(), hex(&Sha256::digest(&file)));
    assert_eq!(checkpoint.weight_bytes(), file.len() as u64);
    assert!(checkpoint.tensor("nothing").is_err());
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_named() {
    let all = config().tensors();
    let mut missing = all.clone();
    missing.remove(3);
    let mut wrong = all.clone();
    wrong[1].1 = vec![31];
    let mut extra = all.clone();
    extra.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![32]));
    for (tensors, expected) in [
        (&missing, all[3].0.as_str()),
        (&wrong, "input_layernorm.weight has shape [31], expected [32]"),
        (&extra, "self_attn.q_proj.bias is not part of llama"),
    ] {
        let message = Checkpoint::open(folder(&config_json(), tensors).path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let mut buffers = all;
    buffers.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![8]));
    assert!(Checkpoint::open(folder(&config_json(), &buffers).path()).is_ok());
}

#[test]
fn a_tied_head_is_one_tensor_and_a_differing_one_is_refused() {
    let mut tied = config_json();
    tied["tie_word_embeddings"] = json!(true);
    let same = folder(&tied, &config().tensors());
    let checkpoint = Checkpoint::open(same.path()).unwrap();
    assert!(!checkpoint.contains("lm_head.weight") && checkpoint.contains("model.embed_tokens.weight"));
    drop(checkpoint);
    let path = same.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(Checkpoint::open(same.path()).unwrap_err().to_string().contains("tie_word_embeddings"));
    let only_head: Vec<_> = config().tensors().into_iter().filter(|(name, _)| !name.contains("embed_tokens")).collect();
    assert!(Checkpoint::open(folder(&tied, &only_head).path()).unwrap().contains("model.embed_tokens.weight"));
}

#[test]
fn shards_are_read_together_and_a_missing_one_is_named() {
    let folder = folder(&config_json(), &[]);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let all = config().tensors();
    let (one, two) = all.split_at(4);
    let mut places = serde_json::Map::new();
    for (shard, part) in [("model-1.safetensors", one), ("model-2.safetensors", two)] {
        fs::write(folder.path().join(shard), safetensors_file(part)).unwrap();
        places.extend(part.iter().map(|(name, _)| (name.clone(), json!(shard))));
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"metadata": {}, "weight_map": places}).to_string()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.names().count(), all.len());
    assert_eq!(checkpoint.sha256().unwrap().len(), 64);
    drop(checkpoint);
    fs::remove_file(folder.path().join("model-2.safetensors")).unwrap();
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("model-2.safetensors is missing"), "{message}");
    fs::write(&index, json!({"weight_map": {"x": "../model.safetensors"}}).to_string()).unwrap();
    assert!(Checkpoint::open(folder.path()).unwrap_err().to_string().contains("shard name"));
}

#[test]
fn folders_with_something_else_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str| {
        fs::write(folder.path().join(name), "").unwrap();
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        fs::remove_file(folder.path().join(name)).unwrap();
        message
    };
    assert!(message("a.gguf").contains("hint: give the file itself"));
    assert!(message("adapter_config.json").contains("this is an adapter"));
    assert!(message("pytorch_model.bin").contains("pickle"));
    assert!(Checkpoint::open(&folder.path().join("absent")).unwrap_err().to_string().contains("absent"));
}

#[test]
fn a_gguf_file_gives_hugging_face_names_and_row_order() {
    let mut tensors = gguf_tensors();
    // The converter's permutation of a q of 2 heads of 16 rows: [heads, 2, 8] to [heads, 8, 2].
    let original = ramp(1024);
    let q = tensors.iter_mut().find(|tensor| tensor.0 == "blk.0.attn_q.weight").unwrap();
    let mut rows = Vec::new();
    for (head, pair, side) in (0..2).flat_map(|h| (0..8).flat_map(move |p| (0..2).map(move |s| (h, p, s)))) {
        rows.extend(&original[(head * 16 + side * 8 + pair) * 32..][..32]);
    }
    q.3 = bytes_of(&rows);
    let (_folder, path) = gguf_on_disk(&gguf_file(&entries(), &tensors));
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.tensor("model.layers.0.self_attn.q_proj.weight").unwrap().to_f32(), original);
    assert_eq!(checkpoint.tensor("model.layers.0.self_attn.v_proj.weight").unwrap().to_f32(), ramp(512));
    assert_ne!(checkpoint.tensor("model.layers.0.self_attn.k_proj.weight").unwrap().to_f32(), ramp(512));
    assert_eq!(checkpoint.tensor("model.layers.0.mlp.up_proj.weight").unwrap().to_f32(), [1.0; 1024]);
    assert_eq!((checkpoint.licence().as_deref(), checkpoint.name().as_str()), (Some("apache-2.0"), "m"));
    assert_eq!(checkpoint.config, ModelConfig { bos_token_id: None, eos_token_ids: vec![0], ..config() });
    let tokenizer = checkpoint.tokenizer().unwrap();
    assert_eq!(tokenizer.encode("ab<s>ba").unwrap(), [3, 0, 2, 1]);
    assert_eq!(checkpoint.chat_template().unwrap().unwrap().source(), "{{ messages[0].content }}");
}

#[test]
fn a_head_stored_once_more_in_gguf_is_tied_and_the_finer_copy_is_kept() {
    let mut tensors = gguf_tensors();
    let finer: Vec<f32> = ramp(256).iter().map(|one| one * 1.001).collect();
    tensors.iter_mut().find(|tensor| tensor.0 == "output.weight").unwrap().3 = bytes_of(&finer);
    let coarse = tensors.iter_mut().find(|tensor| tensor.0 == "token_embd.weight").unwrap();
    coarse.2 = 1;
    coarse.3 = ramp(256).iter().flat_map(|one| half::f16::from_f32(*one).to_le_bytes()).collect();
    let (_folder, path) = gguf_on_disk(&gguf_file(&entries(), &tensors));
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert!(checkpoint.config.tie_word_embeddings && !checkpoint.contains("lm_head.weight"));
    assert_eq!(checkpoint.tensor("model.embed_tokens.weight").unwrap().to_f32(), finer);
}

#[test]
fn frequency_factors_of_gguf_become_part_of_the_configuration() {
    let mut tensors = gguf_tensors();
    tensors.push(("rope_freqs.weight".into(), vec![8], 0, bytes_of(&[1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 8.0])));
    let (_folder, path) = gguf_on_disk(&gguf_file(&entries(), &tensors));
    let config = Checkpoint::open(&path).unwrap().config;
    let plain = self::config().inverse_frequencies().0;
    assert_eq!(config.inverse_frequencies().0[3..6], [plain[3], plain[4] / 2.0, plain[5] / 4.0]);
}

#[test]
fn an_id_for_which_there_is_no_row_is_refused_wherever_it_is_named() {
    let added = |id: usize| {
        json!([{
            "id": id, "content": "<tool>", "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false
        }])
    };
    let tokenizer = |vocab: serde_json::Value, added: serde_json::Value| {
        json!({"version": "1.0", "added_tokens": added, "model": {"type": "BPE", "vocab": vocab, "merges": []}})
            .to_string()
    };
    let folder = folder(&config_json(), &config().tensors());
    let refused = |text: String| {
        fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        Checkpoint::open(folder.path()).unwrap().tokenizer().unwrap_err().to_string()
    };
    // A gap: there are fewer tokens than rows.
    let message = refused(tokenizer(json!({"a": 0, "zé\n": 8}), json!([])));
    assert!(message.contains(r#"token "zé\n" has the id 8, and the embedding has 8 rows"#), "{message}");
    let full: serde_json::Map<String, serde_json::Value> = (0..8).map(|id| (format!("t{id}"), json!(id))).collect();
    let message = refused(tokenizer(json!(full), added(8)));
    assert!(message.contains(r#"token "<tool>" has the id 8"#), "{message}");
    // An added token behind a gap gets another id from the library than the file says.
    let message = refused(tokenizer(json!({"a": 0}), added(5)));
    assert!(message.contains("has the id 5 in the file and would get 1"), "{message}");
    fs::write(folder.path().join("tokenizer.json"), tokenizer(json!({"a": 0}), added(1))).unwrap();
    Checkpoint::open(folder.path()).unwrap().tokenizer().unwrap();

    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        let mut config = config_json();
        config[key] = json!([2, 8]);
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("{key} 8 is beyond the 8 rows")), "{message}");
    }
    fs::write(folder.path().join("config.json"), config_json().to_string()).unwrap();
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [2, 9]}"#).unwrap();
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("generation_config.json") && message.contains("eos_token_id 9"), "{message}");

    let edited = |place: usize, bytes: Vec<u8>| {
        let mut entries = entries();
        entries[place] = bytes;
        gguf_on_disk(&gguf_file(&entries, &gguf_tensors()))
    };
    let (_kept, path) = edited(9, entry("tokenizer.ggml.eos_token_id", 4, &8_u32.to_le_bytes()));
    assert!(Checkpoint::open(&path).unwrap_err().to_string().contains("eos_token_id 8 is beyond"));
    let tokens: Vec<u8> = (0..9).flat_map(|id| text(["<s>", "a", "b", "ab", "c", "d", "e", "f", "g"][id])).collect();
    let list = [&8_u32.to_le_bytes()[..], &9_u64.to_le_bytes(), &tokens].concat();
    let mut entries = entries();
    entries[12] = entry("tokenizer.ggml.tokens", 9, &list);
    entries.remove(13);
    let (_kept, path) = gguf_on_disk(&gguf_file(&entries, &gguf_tensors()));
    let message = Checkpoint::open(&path).unwrap().tokenizer().unwrap_err().to_string();
    assert!(message.contains(r#"token "g" has the id 8"#), "{message}");
}

#[test]
fn what_is_no_file_and_what_has_no_end_is_refused_at_once() {
    let folder = folder(&config_json(), &config().tensors());
    for name in
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
    {
        let path = folder.path().join(name);
        let before = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        let message = || match Checkpoint::open(folder.path()) {
            Err(error) => error.to_string(),
            Ok(checkpoint) => checkpoint.tokenizer().unwrap_err().to_string(),
        };
        if name != "config.json" && name != "generation_config.json" {
            fs::write(
                folder.path().join("tokenizer.json"),
                r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#,
            )
            .unwrap();
            let _ = fs::remove_file(&path);
        }
        fs::create_dir(&path).unwrap();
        assert!(message().contains(&format!("{name}: is a folder, not a file")), "{}", message());
        fs::remove_dir(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(20 << 30).unwrap();
        assert!(message().contains("has 20.0 GiB"), "{name}: {}", message());
        fs::remove_file(&path).unwrap();
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
    }
    // A list of two billion numbers, all of which are there: the file is sparse.
    let mut entries = entries();
    entries.push(entry("x", 9, &[&5_u32.to_le_bytes()[..], &2_000_000_000_u64.to_le_bytes()].concat()));
    let (_kept, path) = gguf_on_disk(&gguf_file(&entries, &[])[..]);
    fs::File::options().write(true).open(&path).unwrap().set_len(10 << 30).unwrap();
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(message.contains("longer than 32.0 MiB"), "{message}");
    // A header of 100 MB.
    let long = [&100_000_000_u64.to_le_bytes()[..], b"{"].concat();
    assert!(
        safetensors::header(&long, Path::new("m")).err().unwrap().to_string().contains("a header of 100000000 bytes")
    );
}

#[test]
fn hostile_counts_in_gguf_are_refused_before_anything_is_allocated() {
    let huge = u64::MAX.to_le_bytes();
    let list = |kind: u32| [&kind.to_le_bytes()[..], &huge].concat();
    for extra in [
        entry("x", 8, &huge),
        entry("x", 9, &list(8)),
        entry("x", 9, &list(5)),
        entry("x", 9, &list(9)),
        entry("x", 77, &huge),
    ] {
        let mut entries = entries();
        entries.push(extra);
        assert!(gguf::parse(&gguf_file(&entries, &gguf_tensors()), Path::new("m.gguf")).is_err());
    }
    let whole = gguf_file(&entries(), &gguf_tensors());
    for at in [8, 16] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&huge);
        assert!(gguf::parse(&bytes, Path::new("m.gguf")).is_err());
    }
    let mut tensors = gguf_tensors();
    tensors[0].2 = 10;
    let message = gguf::parse(&gguf_file(&entries(), &tensors), Path::new("m.gguf")).err().unwrap().to_string();
    assert!(message.contains("token_embd.weight") && message.contains("Q2_K"), "{message}");
    for shape in [vec![0, 32], vec![1 << 40, 1 << 40], vec![8, 31], vec![2, 2, 2, 2, 2]] {
        let mut tensors = gguf_tensors();
        tensors[0] = ("token_embd.weight".into(), shape, 8, Vec::new());
        assert!(gguf::parse(&gguf_file(&entries(), &tensors), Path::new("m.gguf")).is_err());
    }
}
