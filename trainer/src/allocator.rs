//! Owns the allocator of the process and how it treats freed memory. Knows nothing of who allocates.

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc.h, versions 2 and 3; the bindings do not name it.
const PURGE_DELAY: mi_option_t = 15;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps freed memory in the process. A training step frees and takes the same large buffers again and again; giving
/// them back to the system in between costs 5 to 35 % of the step in page faults.
pub fn keep_memory() {
    #[expect(unsafe_code, reason = "a call into the allocator's settings, before any other thread runs")]
    unsafe {
        mi_option_set(PURGE_DELAY, -1);
    }
}
