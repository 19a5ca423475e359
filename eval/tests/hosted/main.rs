//! Hosted models against a server that fails in every way providers do: what is paid, what is answered, what is written down.
//! Knows nothing about the inside of the call path, only its public items and the server's own ledger.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arms;
mod clocks;
mod faults;
mod killed;
mod leaks;
mod questions;
mod server;
mod unsent;
mod waits;
