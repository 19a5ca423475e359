//! The integration tests: the real binary on a tiny model, as a user runs it. No network, no Python, no GPU.
//! Knows the command line and files; knows no private item of any crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adapter_forms;
mod bad_input;
mod bad_models;
mod bases;
mod cli;
mod config_bounds;
mod configs;
mod devices;
mod endings;
mod eval;
mod finished_run;
mod fit;
mod folders;
mod hosted;
mod hosted_forms;
mod hosted_server;
mod hostile_templates;
mod hub_hashes;
mod hub_server;
mod lessons;
mod odd_hub;
mod of_a_run;
mod order;
mod proof;
mod provider_faults;
#[cfg(unix)]
mod pty;
mod publish;
mod publish_card;
mod publish_leaks;
mod pull_hub;
mod resume;
mod row_extras;
mod score;
mod ship;
mod side_files;
#[cfg(unix)]
mod signals;
mod strangers;
#[cfg(unix)]
mod terminal;
mod turns;
mod util;
mod watch;
