//! The binary: reads what was typed, runs it, and turns the result into an exit code. Knows nothing else.
#![allow(unreachable_pub, reason = "a binary has no outside; `pub` marks what a module offers to the others")]

mod allocator;
mod claims;
mod cli;
mod commands;
mod config;
mod controls;
mod data;
mod dataset_source;
mod device_sampler;
mod disk;
mod divergence;
mod ending;
mod evaluation;
mod event;
#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by it")]
mod fuzz;
mod held_out;
mod hub;
mod learnt_by;
mod local_lm;
mod memory;
mod memory_advice;
mod model_source;
mod modelfile;
mod observer;
mod outside;
mod preflight;
mod prepared;
mod publication;
mod publishing;
mod pull;
mod readers;
mod retention;
mod run_dir;
mod schedule;
mod secret;
mod shipped;
mod start;
mod terminal_lines;
mod train_loop;
mod tui;
mod variables;
mod words;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    allocator::keep_memory();
    ground::panics::tell_shown();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return told(&refusal),
    };
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => ExitCode::from(ending::tell(&error)),
    }
}

/// Help, the version, or what is wrong with what was typed. An argument may be a name of a file, so that this is text of
/// others too.
fn told(refusal: &clap::Error) -> ExitCode {
    // Not `to_string`, which would take escape sequences out of an argument without a word.
    let text = refusal.render().ansi().to_string();
    let text = text.trim_end();
    let code = u8::try_from(refusal.exit_code()).unwrap_or(ending::ERROR);
    if refusal.use_stderr() {
        ending::tell_refusal(text, code);
    } else if let Err(error) = terminal_lines::print(text) {
        return ExitCode::from(ending::tell(&error));
    }
    ExitCode::from(code)
}
