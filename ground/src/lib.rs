//! Owns what every member needs and none should own: reading foreign bytes within bounds, writing files so that a kill
//! leaves the old or the new one, locks, text of files on a terminal, text that stands for one value, randomness from
//! seed, name and step, and templates of strangers, run within bounds. Knows no format of files, no model, no record, no
//! network and no other member.
#![warn(missing_docs)]

pub mod lock;
pub mod mutate;
pub mod name;
pub mod panics;
pub mod random;
pub mod read;
pub mod terminal;
pub mod write;
