//! Devices by their names: what is refused and with which words, and a GPU that fails in the middle of a run.
//!
//! What needs an adapter runs where the loader of Vulkan finds a software one, named by `TRAINER_SOFTWARE_ICD=icd.json`.

use std::path::PathBuf;
use std::process::Command;

use crate::util::{Done, Scene, files, steps, tiny_chat};

/// The same command on a machine without any driver of Vulkan.
fn without_adapters(command: &mut Command) -> &mut Command {
    command.env("VK_ICD_FILENAMES", "/nowhere/icd.json").env("VK_DRIVER_FILES", "/nowhere/icd.json")
}

/// The same command with the software adapter alone, if this machine has one.
fn with_software(command: &mut Command) -> Option<&mut Command> {
    let icd = PathBuf::from(std::env::var_os("TRAINER_SOFTWARE_ICD")?);
    Some(command.env("VK_ICD_FILENAMES", &icd).env("VK_DRIVER_FILES", &icd))
}

fn generate(scene: &Scene, device: &str) -> Command {
    let mut command = scene.command();
    command.args(["generate", "--model"]).arg(tiny_chat()).args(["--device", device, "--max-tokens", "2", "hello"]);
    command
}

fn done(command: &mut Command) -> Done {
    Done::of(command.output().unwrap())
}

#[test]
fn a_gpu_that_is_not_here_is_refused_with_what_to_install() {
    let scene = Scene::new();
    let refused = |device: &str| done(without_adapters(&mut generate(&scene, device)));
    for device in ["vulkan", "vulkan:0", "vulkan:7"] {
        refused(device).refused(&["vulkan was asked for, and no adapter answers here", "install the Vulkan loader"]);
    }
    if !cfg!(target_os = "macos") {
        refused("metal").refused(&["metal is for macOS"]);
    }
    refused("vulkan:x").refused(&["\"vulkan:x\": the part after ':' is no number", "vulkan[:N]"]);
    let text = done(without_adapters(scene.command().arg("doctor"))).good().stdout;
    assert!(text.contains("device  vulkan: compiled in, no adapter answers\n"), "{text}");
}

#[test]
fn a_run_on_a_gpu_that_is_not_here_leaves_nothing_behind() {
    let scene = Scene::new();
    let fit = |more: &[&str]| done(without_adapters(&mut scene.fit_command("run", more)));
    fit(&["--device", "vulkan"]).refused(&["no adapter answers here"]);
    fit(&["--set", "device.precision=f16"]).refused(&["cpu computes in f32, and device.precision asks for f16"]);
    fit(&["--set", "device.precision=fp16"]).refused(&["device.precision", "did you mean `f16`"]);
    assert!(!scene.path("run").exists());
    fit(&["--set", "device.precision=f32", "--max-steps", "1", "--set", "train.warmup_steps=0"]).good();
}

#[test]
fn software_is_listed_named_and_never_taken_by_itself() {
    let scene = Scene::new();
    let Some(text) = with_software(scene.command().arg("doctor")).map(done) else { return };
    let text = text.good().stdout;
    assert!(text.contains("device  vulkan:0 ") && text.contains("        takes f32, plain products\n"), "{text}");
    let asked = |device: &str| done(with_software(&mut generate(&scene, device)).unwrap());
    asked("vulkan").refused(&["only software answers here: vulkan:0 ", "--device vulkan:0 runs on the software"]);
    asked("vulkan:1").refused(&["1 adapter answers here: vulkan:0 "]);
    asked("auto").good();
    asked("vulkan:0").good();
}

#[test]
fn memory_that_a_gpu_has_not_is_refused_before_anything_is_written() {
    let scene = Scene::new();
    // All rows in one micro-batch: some two million tokens.
    let row = |number: usize| {
        let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
        let question = format!("{number}: {}", "quick foxes jump; lazy dogs nap. ".repeat(24));
        serde_json::json!({ "messages": [turn("user", &question), turn("assistant", "yes")] }).to_string() + "\n"
    };
    scene.write("train.jsonl", (0..4000).map(row).collect::<String>());
    let settings = [
        "data.max_tokens=1000",
        "train.micro_batch_tokens=16000000",
        "train.rows_per_step=1000000",
        "train.warmup_steps=0",
        "train.recompute=never",
    ];
    let more = settings.iter().flat_map(|set| ["--set", set]).chain(["--device", "vulkan:0"]).collect::<Vec<_>>();
    let Some(refused) = with_software(&mut scene.fit_command("run", &more)).map(done) else { return };
    refused.refused(&["one activation of ", "the largest tensor of the device is", "--set train.micro_batch_tokens="]);
    let left: Vec<String> = files(&scene.path("run")).into_iter().filter(|file| file != ".lock").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn twenty_steps_on_a_gpu_equal_those_of_the_processor() {
    let scene = Scene::new();
    let fit = |device: &str| {
        let mut command = scene.command();
        command.args(["fit", "configs/smoke.toml", "--plain", "--device", device, "--max-steps", "20"]);
        command.args(["--set", "train.epochs=20", "--set", "device.precision=f32", "--set", "eval.enabled=false"]);
        command.args(["--out", &scene.text(&device.replace(':', "-"))]);
        command
    };
    let Some(there) = with_software(&mut fit("vulkan:0")).map(done) else { return };
    there.good();
    done(&mut fit("cpu")).good();
    let (there, here) = (steps(&scene.path("vulkan-0")), steps(&scene.path("cpu")));
    assert_eq!((there.len(), here.len()), (20, 20));
    for (there, here) in there.iter().zip(&here) {
        let difference = (there.loss - here.loss).abs() / here.loss.abs();
        assert!(difference < 1e-3, "step {}: {} beside {} on the processor", here.step, there.loss, here.loss);
    }
}
