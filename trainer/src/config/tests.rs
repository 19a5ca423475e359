//! Proofs about configs as a user meets them: which text is read, and what is said about one that is not.

use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};

use super::schema::{KEYS, Key, SECTIONS};
use super::shape::Shape;
use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn configs() -> PathBuf {
    repository().join("configs")
}

const GOOD: &str = r#"version = 1
name = "legal"
[model]
base = "smollm2-135m-instruct"
[data]
set = "legal-provisions"
"#;

fn read(text: &str, overrides: &[&str]) -> Result<Config, ConfigErrors> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    parse(text, &configs().join("test.toml"), &overrides)
}

fn check(text: &str, overrides: &[&str], expected: Expect) {
    let error = read(text, overrides).unwrap_err().to_string();
    let root = plan::Roots::of(&configs().join("test.toml")).configs.parent().unwrap().display().to_string();
    let given = configs().display().to_string();
    expected.assert_eq(&error.replace(&given, "configs").replace(&format!("{root}/"), ""));
}

/// A value for every key that differs from its default.
fn sample(key: &Key) -> &'static str {
    match key.path().as_str() {
        "version" => "1",
        "name" => "\"other\"",
        "model.base" => "\"qwen2.5-7b\"",
        "data.set" => "\"legal-provisions\"",
        "data.train" | "data.valid" | "data.test" => "\"legal.toml\"",
        "data.prompt" => "\"prompts/test.jinja\"",
        "data.system" => "\"Answer briefly.\"",
        "data.overflow" => "\"truncate-left\"",
        "data.train_on" => "\"assistant\"",
        "data.near_duplicates" => "\"both\"",
        "lora.target_modules" => "[\"q_proj\", \"v_proj\"]",
        "lora.init_lora_weights" => "\"gaussian\"",
        "train.schedule" => "\"cosine\"",
        "eval.labels" => "[\"a\", \"b\"]",
        "eval.arm" => "[{ name = \"base\", provider = \"base\" }]",
        "eval.scorer" => "[{ kind = \"exact_match\" }]",
        "eval.egress" => "\"private\"",
        "eval.private_hosts" => "[\".corp\"]",
        "decision.candidate" => "\"base\"",
        "decision.baseline" => "[\"tfidf\"]",
        "decision.metric" => "\"macro_f1\"",
        "decision.covariates" => "[\"words\"]",
        "decision.bin_edges" => "[100.0, 200.0]",
        "decision.slices" => "[\"category\"]",
        "decision.guardrail" => "[{ kind = \"latency_p95\", limit_secs = 2.0 }]",
        "cost.prices" => "\"legal.toml\"",
        "redact.kinds" => "[\"email\"]",
        "redact.names" => "\"legal.toml\"",
        "redact.pattern" => "[{ label = \"case\", pattern = \"x\" }]",
        "device.name" => "\"cuda:3\"",
        "lora.init_adapter" => "\"owner/name\"",
        "output.dir" => "\"elsewhere\"",
        "train.micro_batch_tokens" => "8192",
        "train.max_steps" => "77",
        "train.recompute" => "\"never\"",
        "model.template" => "{ enable_thinking = false }",
        "device.precision" => "\"f16\"",
        "decision.power" => "0.9",
        _ => match key.field.shape {
            Shape::Flag if ["enabled", "baselines"].contains(&key.field.name.as_str()) => "false",
            Shape::Flag => "true",
            Shape::Whole(_) => "3",
            _ => "0.25",
        },
    }
}

/// A file with one key.
fn alone(key: &Key) -> Table {
    let line = format!("{} = {}", key.field.name, sample(key));
    let text = if key.section.is_empty() { line } else { format!("[{}]\n{line}", key.section) };
    text.parse().unwrap()
}

#[test]
fn every_key_is_read_into_its_field_and_written_back() {
    let defaults = Table::try_from(RawConfig::default()).unwrap();
    assert_eq!(Table::new().try_into::<RawConfig>().unwrap(), RawConfig::default());
    for key in KEYS.iter() {
        let mut table = alone(key);
        let found = check::take_out_faulty(&mut table, &Places::default());
        assert_eq!(found.faults, [], "{}", key.path());
        let raw = table.clone().try_into::<RawConfig>().unwrap_or_else(|error| panic!("{}: {error}", key.path()));
        let written = Table::try_from(&raw).unwrap();
        let of = |table: &Table| match key.section.as_str() {
            "" => table.get(&key.field.name).cloned(),
            section => table[section].get(&key.field.name).cloned(),
        };
        assert_eq!(of(&written), of(&table), "{}", key.path());
        assert!(key.field.name == "version" || of(&written) != of(&defaults), "{} equals its default", key.path());
    }
}

#[test]
fn every_default_is_in_the_range_of_its_key() {
    let mut table = Table::try_from(RawConfig::default()).unwrap();
    assert_eq!(check::take_out_faulty(&mut table, &Places::default()).faults, []);
    let mut full = Table::new();
    for key in KEYS.iter() {
        for (name, value) in alone(key) {
            match (full.get_mut(&name), value) {
                (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
                (_, value) => drop(full.insert(name, value)),
            }
        }
    }
    let written = Table::try_from(full.try_into::<RawConfig>().unwrap()).unwrap();
    let count: usize = written.values().map(|value| value.as_table().map_or(1, Table::len)).sum();
    assert_eq!(count, KEYS.len(), "a key of the file is not in the list");
    assert!(SECTIONS.iter().all(|section| written[*section].is_table()));
}

#[test]
fn every_misspelt_key_is_refused_with_the_right_one() {
    for key in KEYS.iter() {
        let name = &key.field.name;
        for at in 0..name.len() {
            for letter in ['x', 'q', '_', 'z'] {
                let mut wrong = name.clone();
                wrong.replace_range(at..=at, &letter.to_string());
                if KEYS.iter().any(|known| known.section == key.section && known.field.name == wrong) {
                    continue;
                }
                let line = format!("\"{wrong}\" = {}\n", sample(key));
                let text = match key.section.as_str() {
                    "" => format!("{line}{GOOD}"),
                    "model" | "data" => {
                        GOOD.replace(&format!("[{}]\n", key.section), &format!("[{}]\n{line}", key.section))
                    }
                    section => format!("{GOOD}[{section}]\n{line}"),
                };
                let errors = read(&text, &[]).unwrap_err();
                let fault = errors
                    .faults
                    .iter()
                    .find(|fault| fault.what.contains(&format!("`{}`", schema::path(&key.section, &wrong))));
                let fault = fault.unwrap_or_else(|| panic!("{wrong}: {errors}"));
                assert!(fault.hint.contains(&format!("`{}`", key.path())), "{wrong}: {}", fault.hint);
                assert!(matches!(fault.place, Place::Line(_)));
            }
        }
    }
}

#[test]
fn all_errors_are_told_at_once_with_their_lines() {
    check(
        r#"version = 1
nme = "legal"
[model]
base = "smollm2-135m-instrukt"
[data]
set = "legal-provision"
train = "rows.jsonl"
train_on = "lst"
[lora]
r = 0
lora_dropout = 1.0
[trian]
epochs = 1
[eval]
labels = []
arm = [{ name = "base", provider = "tunded" }]
[train]
epochs = 0
learning_rate = "1e-3"
warmup_steps = 30
max_steps = 20
[device]
name = "tpu"
"#,
        &["train.leraning_rate=1", "lora.r=0"],
        expect![[r#"
            configs/test.toml:2: unknown key `nme`
            hint: did you mean `name`?
            configs/test.toml:4: model.base: configs/models has no "smollm2-135m-instrukt"
            hint: did you mean `smollm2-135m-instruct`?
            configs/test.toml:6: data.set and data.train are both given
            hint: keep one of the two
            configs/test.toml:6: data.set: datasets has no "legal-provision"
            hint: did you mean `legal-provisions`?
            configs/test.toml:7: data.train: there is no file configs/rows.jsonl
            hint: paths are relative to the config file
            configs/test.toml:8: data.train_on has the unknown value "lst"
            hint: did you mean `last`?
            configs/test.toml:11: lora.lora_dropout is 1.0
            hint: write a number from 0 to below 1
            configs/test.toml:12: unknown section [trian]
            hint: did you mean `train`?
            configs/test.toml:15: eval.labels is empty
            hint: leave labels out for those of the set's dataset.toml
            configs/test.toml:16: eval.arm number 1: provider has the unknown value "tunded"
            hint: did you mean `tuned`?
            configs/test.toml:18: train.epochs is 0
            hint: write a number above 0, at most 10000
            configs/test.toml:19: train.learning_rate is "1e-3"
            hint: write a number above 0, at most 10
            configs/test.toml:20: train.warmup_steps is 30, and the run ends after 20 steps
            hint: write a smaller warmup_steps, such as 0, or leave it out for one that fits the run
            configs/test.toml:23: device.name: device "tpu": no such device
            hint: devices are auto, cpu, cuda[:N], vulkan[:N] and metal[:N]; what is here: trainer doctor
            --set lora.r=0: lora.r is 0
            hint: write a whole number from 1 to 4096
            --set train.leraning_rate=1: unknown key `train.leraning_rate`
            hint: did you mean `train.learning_rate`?"#]],
    );
}

#[test]
fn a_missing_section_is_told_without_a_line() {
    check(
        "version = 1\n",
        &[],
        expect![[r#"
        configs/test.toml: no name
        hint: it names the run's folder: letters, digits, `-`, `_` and `.`, such as name = "legal"
        configs/test.toml: no model.base
        hint: write base = "smollm2-135m-instruct" under [model], or the path of a checkpoint
        configs/test.toml: no rows: neither data.set nor data.train
        hint: write set = "legal-provisions" or train = "rows.jsonl" under [data]"#]],
    );
}

#[test]
fn broken_toml_and_another_version_are_told_alone() {
    check(
        "version = 1\nname = legal\n",
        &[],
        expect![[r#"
        configs/test.toml:2: not TOML: string values must be quoted, expected literal string
        hint: texts are in quotes, sections in [brackets], a key stands once"#]],
    );
    check(
        "version = 1\nname = \"a\"\nname = \"b\"\n",
        &[],
        expect![[r#"
        configs/test.toml:3: not TOML: duplicate key
        hint: texts are in quotes, sections in [brackets], a key stands once"#]],
    );
    check(
        "version = 2\nbrand_new = 1\n",
        &[],
        expect![[r#"
        configs/test.toml:1: version is 2, this program reads version 1
        hint: use the program the file was written for, or compare its keys with configs/README.md"#]],
    );
    check(
        "name = \"a\"\n",
        &[],
        expect![[r#"
        configs/test.toml: no version
        hint: add `version = 1` at the top"#]],
    );
}

#[test]
fn sections_and_values_of_a_wrong_kind_are_told() {
    check(
        &format!("{GOOD}[train]\nseed = -1\nrecompute = \"no\"\n[eval]\nlabels = \"a\"\n"),
        &[],
        expect![[r#"
        configs/test.toml:8: train.seed is -1
        hint: write a whole number from 0
        configs/test.toml:9: train.recompute has the unknown value "no"
        hint: write one of: auto, never, always
        configs/test.toml:11: eval.labels is "a"
        hint: write a list of texts, such as ["a", "b"], at most 100000"#]],
    );
    check(
        "version = 1\nname = \"a\"\ntrain = 3\ndata = \"x\"\n[model]\nbase = \"smollm2-135m-instruct\"\n",
        &[],
        expect![[r#"
        configs/test.toml:3: train is not a section
        hint: write [train]
        configs/test.toml:4: data is not a section
        hint: write [data]"#]],
    );
}

#[test]
fn contradictions_of_length_and_overflow_are_told() {
    check(
        &GOOD.replace(
            "[data]",
            "[data]\nmax_tokens = 5000\noverflow = \"truncate-right\"\nsystem = \" \"\nvalid = \"x\"",
        ),
        &["train.schedule=constant", "train.min_learning_rate_share=0.1"],
        expect![[r#"
            configs/test.toml:6: train.micro_batch_tokens is 4096, and a row may have data.max_tokens = 5000
            hint: a row is never cut between micro-batches: raise one or lower the other
            configs/test.toml:7: data.overflow = "truncate-right" cuts off the answer, which is all that data.train_on = "last" learns
            hint: write overflow = "truncate-left", or "refuse"
            configs/test.toml:8: data.system is empty
            hint: leave it out for rows without a system message
            configs/test.toml:9: data.valid beside data.set
            hint: valid and test belong to train: a set brings its own
            configs/test.toml:9: data.valid: there is no file configs/x
            hint: paths are relative to the config file
            --set train.min_learning_rate_share=0.1: train.min_learning_rate_share for a learning rate that does not fall
            hint: remove it, or write schedule = "linear""#]],
    );
}

#[test]
fn overrides_come_before_the_checks_and_can_mend_a_config() {
    let config =
        read(&GOOD.replace("name = \"legal\"", "name = \"\""), &["name=mended", "train.max_steps=12"]).unwrap();
    assert_eq!((config.name.as_str(), config.train.max_steps), ("mended", Some(12)));
    assert!(config.run_folder.ends_with("runs/mended"));
}

#[test]
fn what_was_resolved_reads_back_as_the_same_config() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), "").unwrap();
    std::fs::write(folder.path().join("ask.jinja"), "Name it: {{ text }}\n").unwrap();
    let text = GOOD
        .replace(
            "set = \"legal-provisions\"",
            "train = \"rows.jsonl\"\nprompt = \"./sub/../ask.jinja\"\nsystem = \"Be brief.\"",
        )
        .replace("smollm2-135m-instruct", "./");
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, text).unwrap();
    let config = load(&file, &["lora.r=3".to_owned(), "train.learning_rate=0.1".to_owned()]).unwrap();
    assert_eq!(config.data.train.as_deref(), Some(folder.path().join("rows.jsonl").as_path()));
    assert_eq!(config.prompt.as_ref().unwrap().path, folder.path().join("ask.jinja"));
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("config.toml");
    std::fs::write(&copy, config.to_toml().unwrap()).unwrap();
    let mut again = load(&copy, &[]).unwrap();
    assert_eq!(again.hash(), config.hash());
    assert_eq!(again.training_differences(&config), Vec::<String>::new());
    (again.file, again.roots) = (config.file.clone(), config.roots.clone());
    assert_eq!(again, config);
}

#[test]
fn a_run_has_the_prompt_it_was_trained_with_and_may_outlive_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let text = GOOD
        .replace("set = \"legal-provisions\"", "train = \"gone.jsonl\"\nprompt = \"ask.jinja\"")
        .replace("smollm2-135m-instruct", "./no-model");
    write("config.toml", &text);
    write("ask.jinja", "Changed since: {{ text }}");
    write("events.jsonl", "");
    let path = folder.path().join("config.toml");
    let faults = load(&path, &[]).unwrap_err().to_string();
    assert!(faults.contains("gone.jsonl") && faults.contains("no-model"), "{faults}");
    assert_eq!(load_of_run(&path).unwrap().prompt.unwrap().template, "Changed since: {{ text }}");
    write(plan::PROMPT_OF_RUN, "As it was: {{ text }}");
    assert_eq!(load_of_run(&path).unwrap().prompt.unwrap().template, "As it was: {{ text }}");
    // What contradicts itself is told all the same.
    write("config.toml", &text.replace("train = ", "set = \"smoke\"\ntrain = "));
    let faults = load_of_run(&path).unwrap_err().to_string();
    assert!(faults.contains("data.set and data.train are both given"), "{faults}");
}

#[test]
fn the_hash_follows_what_is_learnt_and_nothing_else() {
    let hash = |overrides: &[&str]| read(GOOD, overrides).unwrap().hash();
    let plain = hash(&[]);
    for same in [
        "name=b",
        "output.dir=x",
        "eval.limit=3",
        "train.save_every_steps=1",
        "train.recompute=always",
        "device.name=cpu",
        "data.limit_test=9",
    ] {
        assert_eq!(hash(&[same]), plain, "{same}");
    }
    for other in
        ["lora.r=8", "train.seed=1", "data.system=x", "data.max_tokens=100", "train.max_steps=50", "data.limit_train=9"]
    {
        assert_ne!(hash(&[other]), plain, "{other}");
    }
    let differences = read(GOOD, &["lora.r=8", "train.max_steps=50"]).unwrap();
    let differences = differences.training_differences(&read(GOOD, &[]).unwrap());
    assert_eq!(differences, ["lora.r is 8, was 16", "train.max_steps is 50, was unset"]);
}

#[test]
fn a_prompt_must_use_the_message_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ask.jinja");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        validate::read_prompt(&path).map_err(|fault| fault.what)
    };
    assert!(read("Which? {{ text }}").is_ok());
    assert!(read("Which?").unwrap_err().contains("does not use the message"));
    assert!(read("{{ text }} {{ labels }}").unwrap_err().contains("unknown variable `labels`"));
    assert!(read("{{ text").unwrap_err().contains("is not a template"));
}

#[test]
fn every_shipped_config_loads() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(text.contains(&format!("trainer fit configs/{name}")), "{name} does not say its command");
            loaded += 1;
        }
    }
    assert!(loaded >= 2);
}
