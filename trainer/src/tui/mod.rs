//! Owns the dashboard: what is shown of a run in a terminal, and which key does what. State and drawing are apart:
//! `App` hears events and keys, `view` draws it. Knows events and files of a run folder; knows no loop and no model.

pub mod app;
pub mod attached;
pub mod axis;
pub mod board;
pub mod chart;
pub mod differing;
pub mod eta;
pub mod follower;
pub mod health;
pub mod input;
pub mod output;
pub mod runs;
pub mod series;
pub mod session;
pub mod terminal;
pub mod theme;
pub mod view;
pub mod watched;
pub mod words;
