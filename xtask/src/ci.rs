//! `cargo xtask ci`: the same command everywhere, cheapest first, stops at the first failure.
//!
//! Owns the order of the checks, and how lints and tests share one build. Knows nothing about what they check.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{Outcome, tidy};

/// What `cargo clippy -- -D warnings` hands to the lint driver. Its parts end with this separator.
const DENY_WARNINGS: &str = "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__";

/// Runs all checks.
pub(crate) fn run(root: &Path) -> Result<Outcome> {
    require_lint_driver()?;
    if std::env::var_os("TRAINER_TEST_VULKAN").is_none() {
        println!(
            "ci: WITHOUT the tests on a Vulkan device\n\
             hint: .ci/run brings a device in software; or set TRAINER_TEST_VULKAN to gpu or software where there is one"
        );
    }
    if step("fmt", || status(&mut format(root)))?
        && step("tidy", || tidy::run(root).map(|outcome| outcome == Outcome::Good))?
        && step("clippy and tests, in one build", || status(&mut lints_and_tests(root)))?
    {
        println!("ci: all good");
        return Ok(Outcome::Good);
    }
    Ok(Outcome::Found)
}

fn format(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["fmt", "--all", "--check"]);
    command
}

/// Lints and tests in one build: the wrapper stands in for the compiler of the members only, so that dependencies are
/// compiled once and by the plain compiler. `cargo clippy` and then `cargo test` would compile them twice.
/// The members are optimised a little less this way (the lint driver switches off MIR optimisation).
fn lints_and_tests(root: &Path) -> Command {
    let mut command = cargo(root);
    command
        .args(["test", "--locked", "--release", "--workspace", "--no-fail-fast"])
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_ARGS", DENY_WARNINGS);
    command
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // These describe this program to itself and would describe it wrongly to others.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

fn status(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    Ok(command.status().with_context(|| format!("cannot start {program}"))?.success())
}

fn step(name: &str, check: impl FnOnce() -> Result<bool>) -> Result<bool> {
    println!("ci: {name}");
    let started = Instant::now();
    let good = check()?;
    let verdict = if good { "good" } else { "FAILED" };
    println!("ci: {name}: {verdict} after {:.0} s", started.elapsed().as_secs_f64());
    Ok(good)
}

fn require_lint_driver() -> Result<()> {
    let answered = Command::new("clippy-driver").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !answered.is_ok_and(|status| status.success()) {
        bail!("clippy-driver does not start\nhint: rustup component add clippy");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_denied_in_the_build_of_the_tests() {
        let command = lints_and_tests(Path::new("."));
        let environment: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))).collect();
        assert!(environment.contains(&("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")));
        assert!(environment.contains(&("CLIPPY_ARGS", DENY_WARNINGS)));
        let parts: Vec<&str> = DENY_WARNINGS.split("__CLIPPY_HACKERY__").filter(|part| !part.is_empty()).collect();
        assert_eq!(parts, ["-D", "warnings"]);
    }
}
