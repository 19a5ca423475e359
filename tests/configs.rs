//! Configs as users write them: every shipped one is read, and every fault is told, all at once, before anything starts.

use std::fs;

use expect_test::expect;

use crate::util::{Scene, files, root, steady, trainer};

/// Every key of the format with a value that another key does not contradict. `version` has a test of its own.
const KEYS: &[(&str, &str, &str)] = &[
    ("", "name", "\"a\""),
    ("model", "base", "\"smollm2-135m-instruct\""),
    ("data", "set", "\"legal-provisions\""),
    ("data", "train", "\"a\""),
    ("data", "valid", "\"a\""),
    ("data", "test", "\"a\""),
    ("data", "system", "\"a\""),
    ("data", "prompt", "\"a\""),
    ("data", "max_tokens", "1"),
    ("data", "overflow", "\"refuse\""),
    ("data", "train_on", "\"last\""),
    ("data", "valid_fraction", "0.1"),
    ("data", "split_modulus", "5"),
    ("data", "split_remainder", "0"),
    ("data", "near_duplicates", "\"none\""),
    ("data", "jaccard", "0.8"),
    ("data", "cosine", "0.9"),
    ("data", "limit_train", "1"),
    ("data", "limit_valid", "1"),
    ("data", "limit_test", "1"),
    ("lora", "r", "1"),
    ("lora", "lora_alpha", "1"),
    ("lora", "lora_dropout", "0"),
    ("lora", "target_modules", "\"all-linear\""),
    ("lora", "use_rslora", "false"),
    ("lora", "init_lora_weights", "true"),
    ("lora", "init_adapter", "\"a\""),
    ("train", "epochs", "1"),
    ("train", "max_steps", "1"),
    ("train", "rows_per_step", "1"),
    ("train", "micro_batch_tokens", "1"),
    ("train", "learning_rate", "1"),
    ("train", "schedule", "\"linear\""),
    ("train", "warmup_steps", "0"),
    ("train", "min_learning_rate_share", "0"),
    ("train", "adam_beta1", "0.9"),
    ("train", "adam_beta2", "0.9"),
    ("train", "adam_epsilon", "1"),
    ("train", "weight_decay", "0"),
    ("train", "max_grad_norm", "1"),
    ("train", "seed", "0"),
    ("train", "recompute", "\"auto\""),
    ("train", "save_every_steps", "1"),
    ("train", "keep_checkpoints", "1"),
    ("train", "valid_every_steps", "1"),
    ("train", "log_every_steps", "1"),
    ("eval", "enabled", "true"),
    ("eval", "baselines", "true"),
    ("eval", "max_new_tokens", "1"),
    ("eval", "batch_rows", "1"),
    ("eval", "labels", "[\"a\"]"),
    ("eval", "arm", "[{ name = \"base\", provider = \"base\" }]"),
    ("eval", "limit", "1"),
    ("eval", "scorer", "[{ kind = \"exact_match\" }]"),
    ("eval", "egress", "\"none\""),
    ("eval", "private_hosts", "[\"a\"]"),
    ("decision", "candidate", "\"tuned\""),
    ("decision", "baseline", "[\"tfidf\"]"),
    ("decision", "metric", "\"exact_match\""),
    ("decision", "margin", "0.03"),
    ("decision", "alpha", "0.05"),
    ("decision", "power", "0.8"),
    ("decision", "n_max", "1"),
    ("decision", "baseline_floor", "0.5"),
    ("decision", "min_groups", "2"),
    ("decision", "covariates", "[\"input_tokens\"]"),
    ("decision", "bin_edges", "[1.0]"),
    ("decision", "expected_flips", "0.1"),
    ("decision", "slices", "[\"a\"]"),
    ("decision", "guardrail", "[{ kind = \"latency_p95\", limit_secs = 1.0 }]"),
    ("cost", "max_usd", "1"),
    ("cost", "prices", "\"a.toml\""),
    ("cost", "hardware_usd_per_hour", "1"),
    ("cost", "fixed_usd_per_month", "1"),
    ("cost", "local_share", "1"),
    ("redact", "kinds", "[\"email\"]"),
    ("redact", "names", "\"a.txt\""),
    ("redact", "pattern", "[{ label = \"a\", pattern = \"a\" }]"),
    ("device", "name", "\"cpu\""),
    ("output", "dir", "\"runs\""),
];

fn path((section, name, _): &(&str, &str, &str)) -> String {
    if section.is_empty() { (*name).to_owned() } else { format!("{section}.{name}") }
}

/// The key with its first letter written twice.
fn misspelt(name: &str) -> String {
    format!("{}{name}", &name[..1])
}

#[test]
fn every_misspelt_key_is_refused_with_the_right_one_and_all_are_told_at_once() {
    let scene = Scene::new();
    let mut text = String::from("version = 1\n");
    let mut last = "";
    for key in KEYS {
        if key.0 != last {
            text.push_str(&format!("[{}]\n", key.0));
            last = key.0;
        }
        text.push_str(&format!("{} = {}\n", misspelt(key.1), key.2));
    }
    let config = scene.write("bad.toml", &text).display().to_string();
    let done = scene.run(&["check", &config]).refused(&[]);
    for key in KEYS {
        let wrong = path(&(key.0, &misspelt(key.1), ""));
        let line = 1 + text.lines().position(|line| line.starts_with(&format!("{} ", misspelt(key.1)))).unwrap();
        let line = text.lines().take(line).count();
        let told = format!("unknown key `{wrong}`\nhint: did you mean `{}`?", path(key));
        assert!(done.stderr.contains(&told), "{told}\nis not in\n{}", done.stderr);
        // `name` stands in two sections.
        if key.1 != "name" {
            assert!(done.stderr.contains(&format!("bad.toml:{line}: unknown key `{wrong}`")), "{}", done.stderr);
        }
    }
}

#[test]
fn this_list_of_keys_is_the_list_of_the_documentation() {
    let documented = fs::read_to_string(root().join("configs/README.md")).unwrap();
    for key in KEYS {
        let alone = documented.contains(&format!("`{}`", path(key)));
        let beside = documented.lines().any(|line| {
            line.starts_with(&format!("| `{}.", key.0))
                && line.split('|').nth(1).unwrap().contains(&format!("`{}`", key.1))
        });
        assert!(alone || beside, "{} is not documented", path(key));
    }
    let rows = documented.lines().filter(|line| line.starts_with("| `") && line.contains(" | "));
    let keys = rows.filter(|line| {
        let first = line.split('`').nth(1).unwrap_or_default();
        KEYS.iter().any(|key| path(key) == first) || first == "version"
    });
    assert!(keys.count() > 40);
}

#[test]
fn several_kinds_of_fault_are_told_in_one_run_with_their_places() {
    let scene = Scene::new();
    scene.edit_config("learning_rate = 5e-3", "learning_rte = 5e-3\nschedule = \"lineer\"\nepochz = 1");
    scene.edit_config("r = 4", "r = 0");
    scene.edit_config("test = \"test.jsonl\"", "test = \"tset.jsonl\"");
    scene.edit_config("[eval]", "[evall]");
    let done = scene.fit("run", &["--set", "train.warmup_stps=1"]).refused(&[
        "unknown key `train.learning_rte`\nhint: did you mean `train.learning_rate`?",
        "has the unknown value \"lineer\"\nhint: did you mean `linear`?",
        "unknown key `train.epochz`\nhint: did you mean `train.epochs`?",
        "lora.r is 0\nhint: ",
        "data.test: there is no file",
        "unknown section [evall]\nhint: did you mean `eval`?",
        "--set train.warmup_stps=1: unknown key `train.warmup_stps`\nhint: did you mean `train.warmup_steps`?",
    ]);
    assert!(done.stderr.matches("config.toml:").count() >= 5, "{}", done.stderr);
    scene.nothing_written("run");
}

#[test]
fn a_refused_config_reads_well() {
    let scene = Scene::new();
    scene.write("bad.toml", "version = 1\nname = \"bad\"\n[model]\nbase = \"./nowhere\"\n[data]\nset = \"smoke\"\n[train]\nlearning_rte = 1\nseed = -1\n");
    let done = scene.run(&["check", &scene.text("bad.toml")]).refused(&[]);
    expect![[r#"
        error: SCENE/bad.toml:4: model.base: there is no SCENE/nowhere
        hint: a folder with config.json and *.safetensors, or a .gguf file, relative to the config file
        SCENE/bad.toml:8: unknown key `train.learning_rte`
        hint: did you mean `train.learning_rate`?
        SCENE/bad.toml:9: train.seed is -1
        hint: write a whole number from 0
    "#]]
    .assert_eq(&steady(&done.stderr, &scene));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let contradictions = [
        ("near_duplicates = \"none\"", "set = \"smoke\"", "data.set and data.train are both given"),
        ("train = \"train.jsonl\"", "", "data.train"),
        ("test = \"test.jsonl\"", "valid = \"test.jsonl\"", "data.valid without data.test"),
        (
            "near_duplicates = \"none\"",
            "split_modulus = 3",
            "data.split_modulus for rows that data.test divides already",
        ),
        ("near_duplicates = \"none\"", "overflow = \"truncate-right\"", "cuts off the answer"),
        ("near_duplicates = \"none\"", "max_tokens = 9000", "train.micro_batch_tokens"),
        ("warmup_steps = 2", "warmup_steps = 5\nmax_steps = 5", "train.warmup_steps"),
        ("epochs = 2", "epochs = 0", "train.epochs"),
        ("learning_rate = 5e-3", "learning_rate = 0.0", "train.learning_rate"),
        ("r = 4", "r = 4\ntarget_modules = []", "lora.target_modules"),
        ("save_every_steps = 3", "save_every_steps = 0", "train.save_every_steps"),
        ("name = \"cpu\"", "name = \"cuda:99x\"", "device.name"),
        ("name = \"cpu\"", "name = \"metal:x\"", "device.name"),
        ("enabled = false", "arm = [{ name = \"a\", provider = \"replay\" }]", "eval.arm"),
        ("version = 1", "version = 2", "version is 2"),
        ("version = 1", "", "no version"),
        ("[lora]", "[[lora]]", "lora"),
        ("[lora]", "[lora", "not TOML"),
    ];
    for (from, to, told) in contradictions {
        let scene = Scene::new();
        scene.edit_config(from, to);
        for command in ["check", "fit", "plan", "eval"] {
            let out = scene.text("run");
            let done = scene.run(&[command, &scene.text("config.toml"), "--out", &out]);
            done.refused(&[told, "config.toml"]);
            scene.nothing_written("run");
        }
    }
}

#[test]
fn names_that_are_not_known_are_refused_with_the_nearest() {
    let scene = Scene::new();
    let config = scene.text("config.toml");
    let refused = |key: &str, told: &[&str]| {
        scene.run(&["check", &config, "--set", key]).refused(told);
    };
    refused("model.base=smolm2-135m-instruct", &["model.base", "did you mean `smollm2-135m-instruct`?"]);
    refused("model.base=./nowhere", &["model.base: there is no "]);
    refused("train.epochs", &["--set train.epochs: ", "hint: write --set key=value"]);
    let set = ["check", &config, "--set", "data.train=", "--set", "data.test=", "--set", "data.set=legal-provision"];
    scene.run(&set).refused(&["data.set", "did you mean `legal-provisions`?"]);
    scene.run(&["check", "configs/lgal.toml"]).refused(&["configs/lgal.toml: cannot be read"]);
    scene.run(&["pull", "smollm2-135m-instrct"]).refused(&["did you mean smollm2-135m-instruct?"]);
    scene.run(&["generate", "--model", "qwen2.5-7", "hello"]).refused(&["did you mean qwen2.5-7b?"]);
}

#[test]
fn every_shipped_config_has_only_known_keys_and_names() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            // A wrong key on the command line stops the run after the file was read: nothing is pulled.
            let shown = format!("configs/{}", path.file_name().unwrap().to_string_lossy());
            let done = trainer(&["check", &shown, "--set", "data.nonsense_key=1"]).refused(&["data.nonsense_key"]);
            let faults =
                done.stderr.lines().filter(|line| !line.contains("nonsense_key") && !line.starts_with("hint: "));
            assert_eq!(faults.collect::<Vec<_>>(), Vec::<&str>::new(), "{shown}");
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} configs");
}

#[test]
fn check_passes_the_smoke_config_and_gives_the_ledger() {
    let scene = Scene::new();
    let done = scene.run(&["check", "configs/smoke.toml"]).good();
    let text = format!("{}{}", done.stdout, done.stderr);
    assert!(text.contains("rows ") && text.contains(" read, "), "{text}");
    let json = scene.run(&["check", "--json", "configs/smoke.toml"]).good().json();
    assert!(json.is_object());
    assert!(
        !root().join("runs/smoke").exists() || files(&root().join("runs/smoke")).iter().all(|f| !f.contains("check"))
    );
}
