//! Owns what the tests share: running the binary, a folder with a config and rows, and reading what a run left.
//! Knows file names of a run folder; knows nothing of what is right or wrong.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The root of the repository, in which the program runs.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The tiny chat model.
pub(crate) fn tiny_chat() -> PathBuf {
    root().join("tests/golden/tiny-chat")
}

/// What a run of the binary gave.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts a refusal: exit code 2, nothing on stdout, no panic, a hint, and every part in the message.
    #[track_caller]
    pub(crate) fn refused(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a refusal goes to stderr");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        // Under `--json` an error is an object.
        let is_json = self.stderr.contains("{\"error\":");
        let frame = if is_json { ["{\"error\":", "\"hint\":\""] } else { ["error: ", "hint: "] };
        for part in parts.iter().chain(&frame) {
            assert!(self.stderr.contains(part), "`{part}` is not in:\n{}", self.stderr);
        }
        self
    }

    /// Stdout as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Stdout as one JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The binary with an environment in which nothing outside the repository is found.
pub(crate) fn command(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.current_dir(root()).stdin(Stdio::null()).env("TRAINER_CACHE", cache).env("NO_COLOR", "1");
    // A key of whoever runs the tests must not be spent.
    for key in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"] {
        command.env_remove(key);
    }
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", cache).env_remove("HF_TOKEN").env_remove("RUST_BACKTRACE");
    command
}

/// Runs the binary without a scene.
pub(crate) fn trainer(arguments: &[&str]) -> Done {
    let cache = TempDir::new().unwrap();
    Done::of(command(cache.path()).args(arguments).output().unwrap())
}

/// A temporary folder with rows, a config and whatever a test puts there.
pub(crate) struct Scene {
    folder: TempDir,
}

/// What every config of a scene says; a line of a test that sets the same key replaces the one here.
const CONFIG: &str = r#"version = 1
name = "scene"

[model]
base = "BASE"

[data]
train = "train.jsonl"
test = "test.jsonl"
near_duplicates = "none"

[lora]
r = 4
lora_alpha = 8

[train]
epochs = 2
rows_per_step = 4
learning_rate = 5e-3
warmup_steps = 2
save_every_steps = 3
seed = 7

[eval]
enabled = false

[device]
name = "cpu"
"#;

impl Scene {
    /// Sixteen training rows, six held-out ones, and a config that trains without an evaluation.
    pub(crate) fn new() -> Self {
        let scene = Scene { folder: TempDir::new().unwrap() };
        scene.write("train.jsonl", rows(0..16));
        scene.write("test.jsonl", rows(16..22));
        scene.write("config.toml", CONFIG.replace("BASE", &tiny_chat().display().to_string()));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Replaces a part of the config that must be there.
    pub(crate) fn edit_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in the config");
        self.write("config.toml", text.replacen(from, to, 1));
    }

    /// A copy of the tiny chat model in the scene.
    pub(crate) fn copy_model(&self, name: &str) -> PathBuf {
        copy_folder(&tiny_chat(), &self.path(name));
        self.path(name)
    }

    /// The command, in the root of the repository.
    pub(crate) fn command(&self) -> Command {
        command(&self.path("cache"))
    }

    /// Runs the command with these words.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Done {
        Done::of(self.command().args(arguments).output().unwrap())
    }

    /// `fit config.toml --out RUN` and more words.
    pub(crate) fn fit(&self, run: &str, more: &[&str]) -> Done {
        Done::of(self.fit_command(run, more).output().unwrap())
    }

    /// The same, started and not waited for.
    pub(crate) fn start_fit(&self, run: &str, more: &[&str]) -> Child {
        self.fit_command(run, more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `fit` for sixty steps on eight rows, after which each of them is known by heart.
    pub(crate) fn overfit(&self, run: &str) -> Done {
        let settings = "train.epochs=60 train.rows_per_step=8 train.learning_rate=1e-2 train.schedule=constant lora.r=8 \
            lora.lora_alpha=16 train.save_every_steps=60";
        self.fit(run, &settings.split(' ').flat_map(|setting| ["--set", setting]).collect::<Vec<_>>())
    }

    pub(crate) fn fit_command(&self, run: &str, more: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("fit").arg(self.path("config.toml")).arg("--out").arg(self.path(run)).arg("--plain").args(more);
        command
    }

    /// The bytes of the trained adapter of a run.
    #[track_caller]
    pub(crate) fn adapter(&self, run: &str) -> Vec<u8> {
        fs::read(self.path(run).join("adapter/adapter_model.safetensors")).unwrap()
    }

    /// Asserts that a refused run left no adapter, and nothing half-written.
    #[track_caller]
    pub(crate) fn nothing_written(&self, run: &str) {
        let folder = self.path(run);
        assert!(!folder.join("adapter").exists(), "an adapter was left behind");
        assert!(!folder.join("summary.json").exists(), "a summary was left behind");
        let left = files(&folder);
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Rows about numbered things, each with its own group.
pub(crate) fn rows(numbers: impl IntoIterator<Item = usize>) -> String {
    let answers = ["governing law", "termination", "assignment", "definitions"];
    let line = |number: usize| {
        let question = format!("Clause {number} of contract {}: which kind is it?", number * 37 % 101);
        row(&format!("row-{number}"), &question, answers[number % answers.len()])
    };
    numbers.into_iter().map(line).collect()
}

/// One row as a line of the file.
pub(crate) fn row(id: &str, question: &str, answer: &str) -> String {
    let messages = serde_json::json!([
        { "role": "user", "content": question },
        { "role": "assistant", "content": answer },
    ]);
    format!("{}\n", serde_json::json!({ "id": id, "messages": messages, "group": id, "meta": {} }))
}

/// One optimiser step as the log has it, its numbers as the text of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) step: u64,
    pub(crate) loss: f64,
    pub(crate) learning_rate: f64,
    pub(crate) gradient_norm: f64,
}

/// The steps of a run, in the order of its log. Asserts that none stands twice.
#[track_caller]
pub(crate) fn steps(run: &Path) -> Vec<Step> {
    let steps: Vec<Step> = events(run)
        .iter()
        .filter(|event| event["event"] == "step")
        .map(|event| Step {
            step: event["step"].as_u64().unwrap(),
            loss: event["loss"].as_f64().unwrap(),
            learning_rate: event["learning_rate"].as_f64().unwrap(),
            gradient_norm: event["gradient_norm"].as_f64().unwrap(),
        })
        .collect();
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    assert_eq!(numbers, (1..=steps.len() as u64).collect::<Vec<_>>(), "each step stands once and in order");
    steps
}

/// Every line of the log of a run.
pub(crate) fn events(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn summary(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap()
}

/// All files below a folder, by their path in it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&file), target).unwrap();
    }
}

/// Sets a key of a JSON file.
pub(crate) fn set_json(path: &Path, key: &str, value: Value) {
    let mut whole: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    whole[key] = value;
    fs::write(path, whole.to_string()).unwrap();
}

/// Takes out what differs between runs and machines: the folder of the scene, the root, times and rates.
pub(crate) fn steady(text: &str, scene: &Scene) -> String {
    let text = text.replace(&scene.text(""), "SCENE/").replace(&root().display().to_string(), "ROOT");
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
