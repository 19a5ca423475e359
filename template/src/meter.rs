//! Owns what one rendering may cost: work, bytes written, the size of one value, and the bytes of all values that live at
//! once. Knows nothing about templates; whatever makes, copies or reads a value asks here before it does.
//!
//! Limits follow from the size of what is rendered and a constant, so that no template can make a small conversation
//! expensive and none that reads a large one a few hundred times is refused.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::{Arc, Weak};

use minijinja::{Error, ErrorKind};

use super::value::List;

const MIB: u64 = 1 << 20;
/// Texts below this size are not watched one by one: what makes them pays for them with work.
pub(super) const SMALL: u64 = 512;
/// So many new bytes may come before what is no longer in use is looked for.
const SLACK: u64 = 32 * MIB;
/// Bytes that are copied for one unit of work, which is what one step of a template takes: some 60 ns.
const BYTES_A_UNIT: u64 = 32;

/// What a rendering reads: its limits follow from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Messages, rows, answers.
    pub items: u64,
    /// Bytes of all their texts.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    work: u64,
    value: u64,
    live: u64,
    written: u64,
}

impl Limits {
    fn of(input: Input) -> Self {
        let grown = |base: u64, factor: u64| base.saturating_add(input.bytes.saturating_mul(factor));
        Self {
            work: grown(4_000_000, 4).saturating_add(input.items.saturating_mul(4096)),
            value: grown(32 * MIB, 4),
            live: grown(96 * MIB, 8),
            written: grown(32 * MIB, 8),
        }
    }
}

/// A value that lives as long as a template holds it.
enum Held {
    Text(Weak<str>),
    List(Weak<List>),
}

impl Held {
    /// Its address, while something holds it.
    fn alive(&self) -> Option<usize> {
        match self {
            Self::Text(text) => (text.strong_count() > 0).then(|| text.as_ptr().cast::<u8>().addr()),
            Self::List(list) => (list.strong_count() > 0).then(|| list.as_ptr().addr()),
        }
    }
}

struct Meter {
    limits: Cell<Limits>,
    work: Cell<u64>,
    written: Cell<u64>,
    fresh: Cell<u64>,
    macros: Cell<u64>,
    met: Cell<bool>,
    held: RefCell<Vec<(Held, u64)>>,
}

thread_local! {
    static METER: Meter = Meter {
        limits: Cell::new(Limits::of(Input { items: 0, bytes: 0 })),
        work: Cell::new(0),
        written: Cell::new(0),
        fresh: Cell::new(0),
        macros: Cell::new(0),
        met: Cell::new(false),
        held: RefCell::new(Vec::new()),
    };
}

/// Runs `rendering` with a meter that starts at zero, and says whether it met a limit.
pub(super) fn within<T>(input: Input, rendering: impl FnOnce() -> T) -> (T, bool) {
    METER.with(|meter| {
        meter.limits.set(Limits::of(input));
        for count in [&meter.work, &meter.written, &meter.fresh, &meter.macros] {
            count.set(0);
        }
        meter.met.set(false);
    });
    let result = rendering();
    let met = METER.with(|meter| {
        // A panic may have come while the list was in use.
        if let Ok(mut held) = meter.held.try_borrow_mut() {
            held.clear();
            held.shrink_to(1024);
        }
        meter.met.get()
    });
    (result, met)
}

/// Takes units of work.
pub(super) fn work(units: u64) -> Result<(), Error> {
    METER.with(|meter| {
        let done = meter.work.get().saturating_add(units);
        meter.work.set(done);
        let limit = meter.limits.get().work;
        if done > limit { Err(met(meter, format!("it takes more than {limit} steps"))) } else { Ok(()) }
    })
}

/// Takes the work of reading or copying bytes.
pub(super) fn read(bytes: u64) -> Result<(), Error> {
    work(1 + bytes / BYTES_A_UNIT)
}

/// Whether one value may have this size.
pub(super) fn room(bytes: u64) -> Result<(), Error> {
    METER.with(|meter| {
        let limit = meter.limits.get().value;
        if bytes > limit {
            Err(met(meter, format!("it makes a value of more than {}", megabytes(limit))))
        } else {
            Ok(())
        }
    })
}

/// The largest size of one value.
pub(super) fn largest() -> u64 {
    METER.with(|meter| meter.limits.get().value)
}

/// Takes bytes that are written.
pub(super) fn write(bytes: u64) -> Result<(), Error> {
    METER.with(|meter| {
        let written = meter.written.get().saturating_add(bytes);
        meter.written.set(written);
        let limit = meter.limits.get().written;
        if written > limit { Err(met(meter, format!("it writes more than {}", megabytes(limit)))) } else { Ok(()) }
    })?;
    work(bytes / BYTES_A_UNIT)
}

/// Takes the definition of a macro: the engine copies the list of all macros with some of them.
pub(super) fn defines(nodes: u64) -> Result<(), Error> {
    let known = METER.with(|meter| {
        meter.macros.set(meter.macros.get() + 1);
        meter.macros.get()
    });
    work(nodes.saturating_mul(4).saturating_add(known / 8))
}

/// Refuses by a limit that is no sum.
pub(super) fn refuse(what: &str) -> Error {
    METER.with(|meter| met(meter, what.to_owned()))
}

/// Watches a text until nothing holds it any more.
pub(super) fn hold_text(text: &Arc<str>) -> Result<(), Error> {
    hold(Held::Text(Arc::downgrade(text)), text.len() as u64)
}

/// Watches a list or map until nothing holds it any more.
pub(super) fn hold_list(list: &Arc<List>, bytes: u64) -> Result<(), Error> {
    hold(Held::List(Arc::downgrade(list)), bytes)
}

fn hold(value: Held, bytes: u64) -> Result<(), Error> {
    METER.with(|meter| {
        let fresh = meter.fresh.get() + bytes;
        meter.fresh.set(fresh);
        let mut held = meter.held.borrow_mut();
        held.push((value, bytes));
        if fresh <= SLACK {
            return Ok(());
        }
        meter.fresh.set(0);
        held.retain(|(value, _)| value.alive().is_some());
        // One value may have been seen many times.
        held.sort_by_key(|(value, _)| value.alive());
        held.dedup_by_key(|(value, _)| value.alive());
        let live = held.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        drop(held);
        let limit = meter.limits.get().live;
        if live > limit { Err(met(meter, format!("it holds more than {} at once", megabytes(limit)))) } else { Ok(()) }
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

fn met(meter: &Meter, what: String) -> Error {
    meter.met.set(true);
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Text that is written until a size is met; then the writer is told to stop.
pub(super) struct Bounded<'a> {
    out: &'a mut dyn fmt::Write,
    left: u64,
    written: u64,
}

impl<'a> Bounded<'a> {
    /// A text that may grow to the largest size of a value.
    pub(super) fn new(out: &'a mut dyn fmt::Write) -> Self {
        Self { out, left: largest(), written: 0 }
    }

    /// How much was written, or that it was too much.
    pub(super) fn done(self, result: fmt::Result) -> Result<u64, Error> {
        match result {
            Ok(()) => read(self.written).map(|()| self.written),
            Err(fmt::Error) => {
                room(u64::MAX)?;
                Ok(0)
            }
        }
    }
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = text.len() as u64;
        self.left = self.left.checked_sub(bytes).ok_or(fmt::Error)?;
        self.written += bytes;
        self.out.write_str(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn work_and_writing_end_at_their_limits_and_the_next_rendering_starts_again() {
        let (result, hit) = within(Input::default(), || work(4_000_000).and_then(|()| work(1)));
        assert!(result.is_err() && hit);
        let (result, hit) = within(Input { items: 1, bytes: 0 }, || work(4_000_001));
        assert!(result.is_ok() && !hit);
        let (result, hit) = within(Input::default(), || write(33 << 20));
        assert!(result.is_err() && hit);
    }

    #[test]
    fn only_what_is_alive_counts_and_each_text_once() {
        let megabyte = || Arc::<str>::from("a".repeat(1 << 20));
        let (result, _) = within(Input::default(), || (0..1000).try_for_each(|_| hold_text(&megabyte())));
        assert!(result.is_ok(), "none of them is kept");
        let one = megabyte();
        let (result, _) = within(Input::default(), || (0..1000).try_for_each(|_| hold_text(&one)));
        assert!(result.is_ok(), "it is one text");
        let mut kept = Vec::new();
        let (result, hit) = within(Input::default(), || {
            (0..1000).try_for_each(|_| {
                kept.push(megabyte());
                hold_text(kept.last().unwrap())
            })
        });
        assert!(result.is_err() && hit && kept.len() < 140, "{}", kept.len());
    }
}
