//! The command line itself: help, version, unknown words, and the commands that only look.

use expect_test::expect;

use crate::util::{Scene, tiny_chat, trainer};

#[test]
fn help_names_every_command() {
    let help = trainer(&["--help"]).good().stdout;
    expect![[r#"
        Fine-tune a small model on your domain and prove whether it can replace a frontier API

        Usage: trainer <COMMAND>

        Commands:
          fit            Train as a config says, then evaluate on held-out rows
          watch          Watch runs in the terminal, from any other one
          eval           Prove on held-out rows whether a run may replace another model
          compare        Compare two folders of results, paired on the same rows
          verify         Compute every number of a proof again
          generate       Write text
          score          Log-likelihood of the target of each row
          merge          Add an adapter to its base and write a checkpoint folder
          export         Write a model or an adapter in the form of other programs
          check-adapter  Whether other programs would load an adapter, each with the reason
          publish        Publish the adapter of a run to the model hub, with its card and evidence
          pull           Fetch a base model, a set or an adapter by its name
          check          Validate a config and its data and report all errors at once
          plan           Memory and time of a run, before it runs
          show           What is in a folder or file
          doctor         What devices and programs are here
          help           Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version

        Exit codes:
          0    done
          1    ran, and missed a bar that you set, or verify found a difference
          2    error
          75   stopped and saved, start it again to go on
          130  ended at once by a second Ctrl-C

        With --json the ends 1, 2 and 75 are told as one JSON object, the last line on stderr:
          {"error":{"message":TEXT,"hint":TEXT or null,"exit_code":NUMBER}}
    "#]]
    .assert_eq(&help);
    for command in [
        "fit",
        "eval",
        "compare",
        "verify",
        "generate",
        "score",
        "merge",
        "export",
        "check-adapter",
        "publish",
        "pull",
        "check",
        "plan",
        "show",
        "doctor",
    ] {
        let help = trainer(&[command, "--help"]).good().stdout;
        assert!(help.contains(&format!("Usage: trainer {command}")), "{help}");
        assert!(help.contains("--json"), "{command} prints a result and has no --json");
    }
}

#[test]
fn the_help_of_a_run_says_what_signals_do() {
    let help = trainer(&["fit", "--help"]).good().stdout;
    assert!(help.contains("INT (Ctrl-C), TERM, USR1, USR2") && help.contains("HUP"), "{help}");
}

#[test]
fn version_is_the_version_of_the_crate() {
    let expected = format!("trainer {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(trainer(&["--version"]).good().stdout, expected);
}

#[test]
fn an_unknown_command_or_option_is_an_error() {
    for words in [&["fitt"][..], &[], &["fit"], &["fit", "configs/legal.toml", "--resum"], &["doctor", "extra"]] {
        let done = trainer(words);
        assert_eq!(done.code, Some(2), "{words:?}");
        assert!(done.stdout.is_empty(), "{words:?}");
        assert!(done.stderr.contains("Usage: trainer"), "{words:?}: {}", done.stderr);
    }
    assert!(trainer(&["fitt"]).stderr.contains("'fit'"), "no near command is named");
}

#[test]
fn doctor_says_what_is_here() {
    let scene = Scene::new();
    let text = scene.run(&["doctor"]).good().stdout;
    assert!(text.starts_with(&format!("trainer {}\ndevice  cpu (", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains(&format!("cache   {}\n", scene.text("cache"))), "{text}");
    let json = scene.run(&["doctor", "--json"]).good().json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["devices"].as_array().is_some_and(|devices| !devices.is_empty()));
    assert_eq!(json["cache"].as_str().unwrap(), scene.text("cache"));
}

#[test]
fn a_command_writes_nothing_outside_the_run_and_the_cache() {
    let scene = Scene::new();
    let before = crate::util::files(&scene.path(""));
    let (config, model) = (scene.text("config.toml"), tiny_chat().display().to_string());
    scene.run(&["check", &config]).good();
    scene.run(&["show", &model]).good();
    scene.run(&["plan", "--no-probe", &config]).good();
    let mut after = crate::util::files(&scene.path(""));
    after.retain(|file| !file.starts_with("cache/"));
    assert_eq!(after, before);
}

#[test]
fn show_tells_what_is_in_a_path() {
    let scene = Scene::new();
    let model = tiny_chat().display().to_string();
    let json = scene.run(&["show", "--json", &model]).good().json();
    assert_eq!((&json["kind"], &json["name"]), (&"checkpoint".into(), &"tiny-chat".into()));
    assert_eq!((&json["tokens"], &json["chat_template"]), (&307.into(), &true.into()));
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    let words = scene.run(&["show", &model]).good().stdout;
    let first = words.lines().next().unwrap();
    assert!(first.starts_with("kind  ") && first.ends_with("  checkpoint"), "{words}");
    assert!(words.lines().any(|line| line.starts_with("config.hidden_size ")) && !words.contains('{'), "{words}");

    let adapter = scene.run(&["show", "--json", &format!("{model}/adapter")]).good().json();
    assert_eq!((&adapter["kind"], &adapter["r"]), (&"adapter".into(), &4.into()));
    let rows = scene.run(&["show", "--json", &scene.text("train.jsonl")]).good().json();
    assert_eq!((&rows["kind"], &rows["rows"], &rows["groups"]), (&"rows".into(), &16.into(), &16.into()));
    scene.run(&["show", &scene.text("config.toml")]).refused(&["config.toml: neither a run"]);
    scene.run(&["show", &scene.text("absent.jsonl")]).refused(&["absent.jsonl"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    use std::process::Stdio;
    let scene = Scene::new();
    let model = tiny_chat().display().to_string();
    let rows = scene.text("train.jsonl");
    let mut command = scene.command();
    command.args(["score", "--model", &model, "--json", &rows]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let done = crate::util::Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}
