//! What a config and a command line may not do, whatever they say: ask for more than there is, take hours to be refused,
//! or have a key repeated that was typed in the wrong place.

use std::fs;
use std::time::{Duration, Instant};

use crate::util::{Done, Scene, files, tiny_chat};

const KEY: &str = "sk-live-NOTAKEY0123456789";

/// Asserts that a secret stands in nothing that was said or written.
#[track_caller]
fn unseen(scene: &Scene, done: &Done, secret: &str) {
    assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{}{}", done.stdout, done.stderr);
    for file in files(&scene.path("run")) {
        let bytes = fs::read(scene.path("run").join(&file)).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the key stands in {file}");
    }
}

#[test]
fn a_number_out_of_its_range_is_refused_by_its_key_before_anything_is_made_of_it() {
    let scene = Scene::new();
    for (set, told) in [
        ("lora.r=9223372036854775807", "lora.r is 9223372036854775807\nhint: write a whole number from 1 to 4096"),
        ("lora.r=1099511627776", "lora.r is 1099511627776\nhint: "),
        ("lora.r=1000000", "lora.r is 1000000\nhint: "),
        ("lora.lora_alpha=inf", "lora.lora_alpha is inf\nhint: "),
        ("train.epochs=1e308", "train.epochs is 1e308\nhint: write a number above 0, at most 10000"),
        ("train.learning_rate=nan", "train.learning_rate is nan\nhint: "),
        ("train.rows_per_step=9223372036854775807", "train.rows_per_step is "),
        ("train.micro_batch_tokens=9223372036854775807", "train.micro_batch_tokens is "),
        ("data.max_tokens=9223372036854775807", "data.max_tokens is "),
        ("data.split_modulus=1", "data.split_modulus is 1\nhint: write a whole number from 2 to "),
        ("eval.max_new_tokens=9223372036854775807", "eval.max_new_tokens is "),
        ("eval.batch_rows=9223372036854775807", "eval.batch_rows is "),
        ("train.keep_checkpoints=-1", "train.keep_checkpoints is -1\nhint: "),
        ("decision.alpha=nan", "decision.alpha is nan\nhint: "),
        ("cost.max_usd=inf", "cost.max_usd is inf\nhint: "),
        (
            "eval.arm=[{name=\"a\", provider=\"openai\", model=\"m\", repeats=1000000000}]",
            "eval.arm number 1: repeats is 1000000000\nhint: write a whole number from 1 to 100",
        ),
        ("eval.arm=[{name=\"a\", provider=\"openai\", model=\"m\", temperature=nan}]", "temperature is nan\nhint: "),
        (
            "eval.arm=[{name=\"a\", provider=\"openai\", model=\"m\", timeout_secs=1e300}]",
            "timeout_secs is 1e300\nhint: ",
        ),
        ("eval.scorer=[{kind=\"numeric\", absolute_tolerance=nan}]", "absolute_tolerance is nan\nhint: "),
    ] {
        for command in ["check", "plan", "fit"] {
            let words = [command, &scene.text("config.toml"), "--set", set, "--out", &scene.text("run")];
            scene.run(&words).refused(&[told]);
            scene.nothing_written("run");
        }
    }
}

#[test]
fn all_numbers_are_refused_at_once() {
    let scene = Scene::new();
    scene.edit_config("r = 4", "r = 0");
    scene.edit_config("epochs = 2", "epochs = inf");
    let done = scene.run(&["check", &scene.text("config.toml"), "--set", "train.max_steps=0"]);
    done.refused(&["lora.r is 0\n", "train.epochs is inf\n", "--set train.max_steps=0: train.max_steps is 0\n"]);
}

#[test]
fn more_steps_than_any_run_has_are_refused_and_a_long_run_is_planned() {
    let scene = Scene::new();
    let long = ["--set", "train.epochs=10000", "--set", "train.rows_per_step=1"];
    let config = scene.text("config.toml");
    let done = scene.run(&[&["plan", "--no-probe", &config][..], &long].concat()).good();
    assert!(done.stdout.contains("steps 160000, "), "{}", done.stdout);
    let row = |number: usize| {
        let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
        let messages = [turn("user", &format!("question {number}")), turn("assistant", "yes")];
        serde_json::json!({ "messages": messages }).to_string() + "\n"
    };
    scene.write("train.jsonl", (0..1100).map(row).collect::<String>());
    for command in ["check", "plan", "fit"] {
        let out = scene.text("run");
        scene.run(&[&[command, &config, "--out", &out][..], &long].concat()).refused(&[
            "train.epochs",
            "steps",
            "--set train.max_steps=",
        ]);
    }
}

#[test]
fn a_rise_that_a_run_would_never_leave_is_refused_by_all_who_read_the_config() {
    let scene = Scene::new();
    for command in ["check", "plan", "fit"] {
        let words = [command, &scene.text("config.toml"), "--set", "train.warmup_steps=8", "--out", &scene.text("run")];
        scene.run(&words).refused(&["train.warmup_steps is 8, and the run has 8 steps"]);
    }
}

#[test]
fn numbers_of_a_command_line_have_the_same_ranges() {
    let scene = Scene::new();
    let model = tiny_chat().display().to_string();
    for number in ["18446744073709551615", "9223372036854775808", "-1", "nan", "1e3"] {
        let tokens = format!("--max-tokens={number}");
        scene
            .run(&["generate", "--model", &model, "--device", "cpu", &tokens, "x"])
            .refused(&["--max-tokens", "from 1 to "]);
        let limit = format!("--limit={number}");
        scene
            .run(&["score", "--model", &model, &limit, &scene.text("train.jsonl")])
            .refused(&["--limit", "from 1 to "]);
        scene.run(&["eval", &scene.text("config.toml"), &limit]).refused(&["--limit", "from 1 to "]);
        let steps = format!("--max-steps={number}");
        scene.run(&["fit", &scene.text("config.toml"), &steps]).refused(&["--max-steps", "from 1 to "]);
    }
    for heat in ["nan", "inf", "-0.1", "1e30"] {
        let heat = format!("--temperature={heat}");
        scene
            .run(&["generate", "--model", &model, "--device", "cpu", &heat, "x"])
            .refused(&["--temperature", "from 0 to "]);
    }
}

#[test]
fn a_key_in_the_wrong_place_is_refused_unshown() {
    let scene = Scene::new();
    let arm = |more: &str| format!("eval.arm=[{{name=\"a\", provider=\"openai-compatible\", model=\"m\", {more}}}]");
    let local = "url=\"http://127.0.0.1:9/v1\"";
    for (set, told) in [
        (arm(&format!("{local}, key_variable=\"{KEY}\"")), "key_variable"),
        (arm(&format!("{local}, key_variable=\"NOTAKEY0123456789\"")), "key_variable is not the name of a variable"),
        (arm(&format!("url=\"http://team:{KEY}@127.0.0.1:9/v1\"")), "url holds "),
        (arm("url=\"http://team:NOTAKEY@127.0.0.1:9/v1\""), "url holds a user name or a password"),
        (arm("url=\"http://127.0.0.1:9/v1?key=NOTAKEY\""), "url holds more than a host and a path"),
        (
            arm(&format!("{local}, extra={{headers={{Authorization=\"{KEY}\"}}}}")),
            "extra holds a field `Authorization`",
        ),
        (arm(&format!("{local}, extra={{user=\"{KEY}\"}}")), "extra holds what looks like a key"),
        (arm(&format!("{local}, api_key=\"{KEY}\"")), "api_key is an unknown key"),
        (format!("eval.api_key={KEY}"), "--set eval.api_key: unknown key `eval.api_key`"),
        ("eval.api_key=NOTAKEY".to_owned(), "--set eval.api_key: unknown key"),
        (format!("train.epochs={KEY}"), "--set train.epochs: train.epochs holds a key"),
        (format!("data.system=Use {KEY}."), "--set data.system: data.system holds a key"),
        (KEY.to_owned(), "--set [not shown]: no value"),
        (format!("{KEY}=1"), "unknown key `[not shown]`"),
    ] {
        for command in ["check", "fit", "eval"] {
            let words = [command, &scene.text("config.toml"), "--set", "eval.egress=loopback", "--set", &set];
            let out = scene.text("run");
            let done = scene.run(&[&words[..], &["--out", &out]].concat()).refused(&[told]);
            unseen(&scene, &done, "NOTAKEY");
        }
    }
    // As a line of a file that is no TOML.
    for line in [format!("api_key = {KEY}"), format!("api_key = \"{KEY}"), KEY.to_owned()] {
        scene.write("broken.toml", format!("version = 1\n{line}\n"));
        let done = scene.run(&["check", &scene.text("broken.toml")]).refused(&["broken.toml:2: not TOML"]);
        unseen(&scene, &done, "NOTAKEY");
    }
}

#[test]
fn a_config_of_unknown_keys_is_refused_in_time_and_in_few_words() {
    let scene = Scene::new();
    let many: String = (0..100_000).map(|number| format!("k{number} = 1\n")).collect();
    let config = fs::read_to_string(scene.path("config.toml")).unwrap();
    scene.write("keys.toml", format!("{config}{many}"));
    let start = Instant::now();
    let done =
        scene.run(&["check", &scene.text("keys.toml")]).refused(&["unknown key `device.k0`", "99900 more faults"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(done.stderr.lines().count() < 300);
}

#[test]
fn a_config_that_is_no_file_or_has_no_end_is_refused() {
    let scene = Scene::new();
    fs::create_dir(scene.path("folder.toml")).unwrap();
    fs::File::create(scene.path("huge.toml")).unwrap().set_len(20 << 30).unwrap();
    scene.write("bytes.toml", b"version = 1\nname = \"\xff\"\n");
    for (file, told) in [
        ("/dev/zero".to_owned(), "is a device, not a file"),
        (scene.text("folder.toml"), "is a folder, not a file"),
        (scene.text("huge.toml"), "has 20.0 GiB, and a config has at most "),
        (scene.text("bytes.toml"), "is not UTF-8 text"),
    ] {
        for command in ["check", "plan", "fit", "eval"] {
            scene.run(&[command, &file]).refused(&[told]);
        }
    }
}
