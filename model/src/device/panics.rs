//! Owns turning panics of the framework into failures: a boundary around work on a GPU, and a hook that keeps them from
//! being told twice. Knows no engine.
//!
//! The framework has no fallible form of an operation. What goes wrong in one is told by the next read, or by a panic: of
//! the caller, or of a thread of the framework's own, of which only the hook hears.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use super::failure::{DeviceFailure, FailureKind};

/// Panics of the framework's threads so far.
static PANICS: AtomicU64 = AtomicU64::new(0);
/// What the last of them said.
static SAID: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
/// How many of those are kept.
const KEPT: usize = 8;
/// Crates whose own threads panic where a device fails.
const FRAMEWORK: [&str; 5] = ["/cubecl", "/cubek", "/burn-cubecl", "/wgpu", "/naga"];

thread_local! {
    /// Boundaries around what this thread does.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic inside one came from.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs work on a GPU; a panic in it is a failure. Calls may be nested.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, DeviceFailure> {
    install();
    DEPTH.set(DEPTH.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    outcome.map_err(|payload| failure(payload, PLACE.take()))
}

/// How often a thread of the framework has panicked, to be compared with a later answer.
pub(super) fn of_framework() -> u64 {
    PANICS.load(Ordering::Acquire)
}

/// What the framework's threads said last.
pub(super) fn last_said() -> Option<String> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
}

fn failure(payload: Box<dyn Any + Send>, place: Option<String>) -> DeviceFailure {
    let payload = match payload.downcast::<DeviceFailure>() {
        Ok(failure) => return *failure,
        Err(other) => other,
    };
    let text = text(payload.as_ref()).unwrap_or_default();
    let mut failure = DeviceFailure::told(&text);
    if failure.kind == FailureKind::Other {
        // What was torn down knows no reason; the thread that tore it down told it.
        if let Some(cause) = last_said().filter(|_| text.contains("torn down")) {
            return DeviceFailure::told(&cause);
        }
        failure.reason.extend(place.map(|place| format!(" ({place})")));
    }
    failure
}

fn text(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

/// From now on panics inside a boundary are told by whoever made it. Others are told as before.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        // Whoever wants backtraces wants them here too.
        let wanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        std::panic::set_hook(Box::new(move |panic| {
            if !hear(panic) || wanted {
                tell(panic);
            }
        }));
    });
}

/// Keeps what a panic says, if it is one of ours or of the framework's threads.
fn hear(panic: &PanicHookInfo<'_>) -> bool {
    let file = panic.location().map(|place| place.file().replace('\\', "/")).unwrap_or_default();
    if DEPTH.get() > 0 {
        let line = panic.location().map_or(0, std::panic::Location::line);
        let name = file.rsplit('/').take(3).collect::<Vec<_>>();
        PLACE.set(Some(format!("{}:{line}", name.into_iter().rev().collect::<Vec<_>>().join("/"))));
        return true;
    }
    let theirs = is_of_framework(std::thread::current().name(), &file);
    if theirs {
        keep(text(panic.payload()));
    }
    theirs
}

/// Threads of the framework have no name, or that of a device's queue; ours have one.
fn is_of_framework(thread: Option<&str>, file: &str) -> bool {
    let theirs = thread.is_none_or(|name| name.starts_with("DSU-") || name.starts_with("DSD-"));
    theirs && FRAMEWORK.iter().any(|part| file.contains(part))
}

/// Counts a panic of a thread of the framework, and keeps what it said.
pub(super) fn keep(text: Option<String>) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.extend(text);
    while said.len() > KEPT {
        said.pop_front();
    }
    PANICS.fetch_add(1, Ordering::Release);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_a_failure_with_its_place_and_the_next_call_works() {
        let failure = caught(|| -> u32 { panic!("no such row") }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Other);
        assert!(failure.reason.starts_with("no such row (src/device/panics.rs:"), "{failure}");
        assert_eq!(caught(|| 7).unwrap(), 7);
    }

    #[test]
    fn a_failure_that_is_unwound_stays_as_it_is() {
        let lost = DeviceFailure { device: "vulkan:1".into(), kind: FailureKind::Lost, reason: "gone".into() };
        let unwound = lost.clone();
        let failure = caught(|| -> u32 { std::panic::resume_unwind(Box::new(unwound)) }).unwrap_err();
        assert_eq!(failure, lost);
    }

    #[test]
    fn only_threads_of_the_framework_that_panic_in_it_are_kept() {
        let wgpu = "registry/src/index/wgpu-30.0.1/src/backend/wgpu_core.rs";
        assert!(is_of_framework(None, wgpu) && is_of_framework(Some("DSU-96-0"), wgpu));
        assert!(!is_of_framework(Some("main"), wgpu), "ours are told as before");
        assert!(!is_of_framework(None, "trainer/src/data/ahead.rs"));
    }

    #[test]
    fn what_was_torn_down_has_the_reason_of_the_thread_that_did_it() {
        keep(Some("wgpu error: Out of Memory".to_owned()));
        let failure = caught(|| -> u32 { panic!("The work writing this buffer was torn down before") }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}");
    }

    #[test]
    fn boundaries_nest_and_the_inner_one_tells() {
        let outer = caught(|| caught(|| -> u32 { panic!("inner") }).unwrap_err().reason);
        assert!(outer.unwrap().starts_with("inner"));
        assert_eq!(DEPTH.get(), 0);
    }
}
