//! Owns where the text of `{% generation %}` blocks stands, found as transformers finds it: a block begins where the text
//! ends that was written before it. Knows no message; whoever writes or catches text tells it here.
//!
//! What a macro, a call, `set` or `filter` catches is written later, and perhaps changed. transformers marks the place
//! where catching began, so a mark counts only where its text is found there.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use minijinja::{Error, Value};

use super::meter;

thread_local! {
    static WRITTEN: Cell<usize> = const { Cell::new(0) };
    static CAUGHT: Cell<u32> = const { Cell::new(0) };
    static FOUND: RefCell<Vec<(usize, Value)>> = const { RefCell::new(Vec::new()) };
}

/// Starts a rendering.
pub(super) fn begin() {
    WRITTEN.set(0);
    CAUGHT.set(0);
    FOUND.with_borrow_mut(Vec::clear);
}

/// Counts what is written.
pub(super) fn write(bytes: usize) {
    if CAUGHT.get() == 0 {
        WRITTEN.set(WRITTEN.get() + bytes);
    }
}

/// What is written from here on is caught, or no longer.
pub(super) fn catch(begins: bool) -> &'static str {
    let deep = CAUGHT.get();
    CAUGHT.set(if begins { deep + 1 } else { deep.saturating_sub(1) });
    ""
}

/// Takes the text of a block.
pub(super) fn mark(text: Value) -> Result<Value, Error> {
    meter::work(4)?;
    FOUND.with_borrow_mut(|found| found.push((WRITTEN.get(), text.clone())));
    Ok(text)
}

/// The places of all blocks in the text that was written; of one inside another, that of the outer one. Nothing where a
/// block's text stands elsewhere.
pub(super) fn places(text: &str) -> Option<Vec<Range<usize>>> {
    let mut outer: Vec<(Range<usize>, bool)> = Vec::new();
    for (start, block) in FOUND.take() {
        let block = block.as_str().unwrap_or_default();
        let place = start..start + block.len();
        // The inner blocks end before the outer one does.
        let inside = |inner: &Range<usize>| inner.start >= place.start && inner.end <= place.end && !place.is_empty();
        while outer.last().is_some_and(|(inner, _)| inside(inner)) {
            outer.pop();
        }
        let stands = text.get(place.clone()) == Some(block);
        outer.push((place, stands));
    }
    outer.into_iter().map(|(place, stands)| stands.then_some(place)).collect()
}
