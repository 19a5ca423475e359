//! Checks and chores of the workspace: which one was asked for, and the exit code.
//!
//! Owns the command line of `cargo xtask`. Knows nothing about the workspace's code: it calls cargo and reads text.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a check finds is its output")]

mod bench;
mod ci;
mod golden;
mod parity;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
Checks and chores of the workspace.

usage: cargo xtask ci                             everything below that can fail, cheapest first
       cargo xtask tidy                           what the compiler cannot see: crate borders, lists, file heads
       cargo xtask golden [--check] [--python P]  make the golden values again, or compare them; what follows `--`
                                                  goes to tests/golden/generate.py
       cargo xtask bench [--only WORDS] [--best] [--programs FOLDER] [--python P]
                                                  on a GPU: training beside its peers, and kernels beside their floors
       cargo xtask parity --device X [--precision P] [--out FILE] [--programs FOLDER]
                                                  every operation and 50 steps of training beside the CPU, as a table

exit codes: 0 done, 1 something was found, 2 error";

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Found,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<Outcome> {
    let (command, rest) = match arguments.split_first() {
        None => bail!("no command\n\n{USAGE}"),
        Some((command, rest)) => (command.as_str(), rest),
    };
    match (command, rest) {
        ("-h" | "--help" | "help", _) => {
            println!("{USAGE}");
            Ok(Outcome::Good)
        }
        ("ci", []) => ci::run(&root()?),
        ("tidy", []) => tidy::run(&root()?),
        ("golden", rest) => golden::run(&root()?, rest),
        ("parity", rest) => parity::run(&root()?, rest),
        // Needs no workspace where the programs that measure were built elsewhere.
        ("bench", rest) => bench::run(root, rest),
        ("ci" | "tidy", [extra, ..]) => bail!("`{command}` takes no argument, found `{extra}`\n\n{USAGE}"),
        (other, _) => bail!("unknown command `{other}`\n\n{USAGE}"),
    }
}

/// The folder of the workspace: the one above this crate.
fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .context("CARGO_MANIFEST_DIR is not set\nhint: run `cargo xtask`, not the program itself")?;
    Ok(here.parent().context("xtask lies in no workspace")?.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        run(&arguments).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_command_line_shows_the_right_ones() {
        assert!(refusal(&[]).starts_with("no command\n\nChecks and chores"));
        assert!(refusal(&["tydi"]).starts_with("unknown command `tydi`"));
        assert!(refusal(&["ci", "--fast"]).starts_with("`ci` takes no argument, found `--fast`"));
    }
}
