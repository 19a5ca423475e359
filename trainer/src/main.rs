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
mod evaluation;
mod event;
#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by it")]
mod fuzz;
mod held_out;
mod hub;
mod local_lm;
mod memory;
mod memory_advice;
mod model_source;
mod modelfile;
mod observer;
mod outside;
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
mod train_loop;
mod tui;
mod words;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    allocator::keep_memory();
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            commands::note(&format!("error: {}", words::of(&error)));
            ExitCode::from(commands::EXIT_ERROR)
        }
    }
}
