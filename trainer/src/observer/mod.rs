//! Owns who hears what a run says: one trait, one file for each listener. Knows nothing about how a run works.

pub mod dashboard;
pub mod jsonl;
pub mod plain;
pub mod sampled;

use anyhow::Result;

use crate::event::Event;

pub use dashboard::Dashboard;
pub use jsonl::Jsonl;
pub use plain::Plain;
pub use sampled::Sampled;

/// Hears every event of a run, in order.
pub trait Observer {
    /// Takes one event. An error, such as a full disk, ends the run: its record must not have holes.
    fn on(&mut self, event: &Event) -> Result<()>;
}

/// Several observers as one. All of them hear an event, even if one fails; the first failure is returned.
pub struct Observers(pub Vec<Box<dyn Observer>>);

impl Observer for Observers {
    fn on(&mut self, event: &Event) -> Result<()> {
        let results: Vec<Result<()>> = self.0.iter_mut().map(|observer| observer.on(event)).collect();
        results.into_iter().collect()
    }
}
