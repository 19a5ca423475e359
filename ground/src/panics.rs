//! Owns the boundary around code of others that reads foreign bytes: it runs on a thread with a stack of its own, and a
//! panic in it becomes an error. Knows nothing about what is read. What aborts (a stack that overflows, memory that is
//! refused) cannot be caught: sizes are limited before, see [`crate::read`].

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use crate::terminal::note;

/// The stack that foreign code gets; pages that it does not touch cost nothing.
const STACK_BYTES: usize = 256 << 20;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Has every panic told as other text is: the words of a panic may hold text of a file. For the start of a program.
pub fn tell_shown() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        note(format_args!("\nthread '{}' {panic}", thread.name().unwrap_or("without a name")));
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => note(format_args!("stack backtrace:\n{trace}")),
            _ => note("note: RUST_BACKTRACE=1 shows where it came from"),
        }
    }));
}

/// Runs `parse` here; a panic comes back as its words, and is told to nobody.
///
/// # Errors
/// The words of the panic.
pub fn caught<T>(parse: impl FnOnce() -> T) -> Result<T, String> {
    quiet_hook();
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(parse));
    QUIET.set(before);
    result.map_err(|panic| words(panic.as_ref()))
}

/// Runs `parse` on a thread with a stack of 256 MiB: for recursive readers. A panic comes back as its words.
///
/// # Errors
/// The words of the panic, or of the system when it has no thread.
pub fn caught_with_stack<T: Send>(parse: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("foreign bytes".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || caught(parse))
            .map_err(|error| format!("no thread: {error}"))?;
        thread.join().unwrap_or_else(|panic| Err(words(panic.as_ref())))
    })
}

/// Runs `parse` on a thread of its own and waits for it no longer than `limit`: for readers that may not end. A thread that
/// is given up goes on until the process ends.
///
/// # Errors
/// The words of the panic, that it was not done, or that the system has no thread.
pub fn caught_within<T: Send + 'static>(
    limit: Duration,
    parse: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (done, outcome) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("foreign bytes".to_owned())
        // Whoever gave up does not listen any more.
        .spawn(move || done.send(caught(parse)).unwrap_or_default())
        .map_err(|error| format!("no thread: {error}"))?;
    outcome.recv_timeout(limit).unwrap_or_else(|_| Err(format!("was not done after {limit:?}")))
}

/// The hook tells no panic that is caught here; all others are told as ever.
fn quiet_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_words() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u8 { panic!("bad {}", 1) }), Err("bad 1".to_owned()));
        assert_eq!(caught_with_stack(|| -> u8 { panic!("deep") }), Err("deep".to_owned()));
    }

    #[test]
    fn what_does_not_end_is_given_up() {
        let moment = Duration::from_millis(50);
        assert_eq!(caught_within(Duration::from_secs(60), || 7), Ok(7));
        assert_eq!(caught_within(Duration::from_secs(60), || -> u8 { panic!("bad") }), Err("bad".to_owned()));
        assert_eq!(
            caught_within(moment, move || std::thread::sleep(moment * 20)),
            Err("was not done after 50ms".to_owned())
        );
    }

    #[test]
    fn recursion_has_room() {
        fn deep(levels: u32) -> u32 {
            let room = std::hint::black_box([levels; 64]);
            if levels == 0 { 0 } else { deep(levels - 1) + room[0] - room[63] + 1 }
        }
        assert_eq!(caught_with_stack(|| deep(100_000)), Ok(100_000));
    }
}
