//! Owns host memory that the copy engines read without the processor: slots for writes, and letters for small reads.
//! Knows bytes and their order; knows no meaning.
#![expect(unsafe_code, reason = "pinned memory is raw memory from the driver")]

use std::ffi::c_void;
use std::sync::{Condvar, Mutex, PoisonError};

use cudarc::driver::sys as cu;

use super::super::{Letter, MAIL_BYTES, MAIL_SLOTS};
use super::{OK, check};
use crate::error::Result;

/// Bytes of a slot: large enough that a copy runs at the speed of the bus.
const SLOT_BYTES: usize = 8 << 20;
/// Most slots. A writer waits for the oldest copy when all are on their way.
const SLOTS: usize = 12;

/// A piece of pinned memory, and the event that says that its last copy is done.
#[derive(Clone, Copy)]
struct Slot {
    memory: usize,
    done: usize,
}

/// Slots through which bytes reach the device. Several threads may write at once: filling a slot is what takes time.
pub(super) struct Staging {
    free: Mutex<Slots>,
    returned: Condvar,
}

#[derive(Default)]
struct Slots {
    waiting: std::collections::VecDeque<Slot>,
    made: usize,
}

impl Staging {
    pub(super) fn open() -> Self {
        Staging { free: Mutex::default(), returned: Condvar::new() }
    }

    /// Writes `rows` rows of `width` bytes through slots; `copy` puts one piece (pinned bytes, first row, first byte of
    /// its rows, width, rows) into the stream.
    pub(super) fn write(
        &self,
        stream: cu::CUstream,
        from: &[u8],
        width: usize,
        rows: usize,
        copy: impl Fn(*const c_void, usize, usize, usize, usize) -> Result<()>,
    ) -> Result<()> {
        if width == 0 || rows == 0 {
            return Ok(());
        }
        let (step_rows, step_width) = (SLOT_BYTES.checked_div(width).unwrap_or(0).max(1), width.min(SLOT_BYTES));
        for first in (0..rows).step_by(step_rows) {
            let count = step_rows.min(rows - first);
            // More than one piece a row only where a row is longer than a slot, and then `count` is one.
            for column in (0..width).step_by(step_width) {
                let piece = step_width.min(width - column);
                let bytes = &from[first * width + column..][..count * piece];
                let slot = self.take()?;
                // SAFETY: the slot is ours and no copy reads it any more; the bytes fit.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), slot.memory as *mut u8, bytes.len()) };
                let put = copy(slot.memory as *const c_void, first, column, piece, count);
                self.give(slot, stream)?;
                put?;
            }
        }
        Ok(())
    }

    /// Reads bytes through a slot; waits for them.
    pub(super) fn read(&self, stream: cu::CUstream, from: u64, bytes: &mut [u8]) -> Result<()> {
        let mut address = from;
        for piece in bytes.chunks_mut(SLOT_BYTES) {
            let slot = self.take()?;
            // SAFETY: the slot is ours and as long as a piece; the copy is waited for before it is read.
            unsafe {
                check(
                    "cuMemcpyDtoHAsync",
                    cu::cuMemcpyDtoHAsync_v2(slot.memory as *mut c_void, address, piece.len(), stream),
                )?;
                check("cuStreamSynchronize", cu::cuStreamSynchronize(stream))?;
                std::ptr::copy_nonoverlapping(slot.memory as *const u8, piece.as_mut_ptr(), piece.len());
            }
            address += piece.len() as u64;
            self.give(slot, stream)?;
        }
        Ok(())
    }

    fn take(&self) -> Result<Slot> {
        let mut slots = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = loop {
            // A slot whose copy is done, else a new one, else the oldest.
            let ready = slots.waiting.front().is_some_and(|slot| {
                // SAFETY: the event lives as long as the slot.
                unsafe { cu::cuEventQuery(slot.done as cu::CUevent) == OK }
            });
            if !ready && slots.made < SLOTS {
                slots.made += 1;
                break new_slot()?;
            }
            match slots.waiting.pop_front() {
                Some(slot) => break slot,
                None => slots = self.returned.wait(slots).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(slots);
        // SAFETY: as above; an event that was never recorded counts as done.
        check("cuEventSynchronize", unsafe { cu::cuEventSynchronize(slot.done as cu::CUevent) })?;
        Ok(slot)
    }

    fn give(&self, slot: Slot, stream: cu::CUstream) -> Result<()> {
        // SAFETY: the event lives as long as the slot.
        let recorded = check("cuEventRecord", unsafe { cu::cuEventRecord(slot.done as cu::CUevent, stream) });
        self.free.lock().unwrap_or_else(PoisonError::into_inner).waiting.push_back(slot);
        self.returned.notify_one();
        recorded
    }
}

fn new_slot() -> Result<Slot> {
    Ok(Slot { memory: pinned(SLOT_BYTES)?, done: event()? })
}

fn pinned(bytes: usize) -> Result<usize> {
    let mut memory = std::ptr::null_mut();
    // SAFETY: writes one address.
    check("cuMemHostAlloc", unsafe { cu::cuMemHostAlloc(&raw mut memory, bytes, 0) })?;
    Ok(memory as usize)
}

fn event() -> Result<usize> {
    let mut event = std::ptr::null_mut();
    let flags = cu::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING as u32;
    // SAFETY: writes one handle.
    check("cuEventCreate", unsafe { cu::cuEventCreate(&raw mut event, flags) })?;
    Ok(event as usize)
}

/// Letters: a few bytes each, on their way to the host while work goes on.
pub(super) struct Mailbox {
    memory: usize,
    events: Vec<usize>,
    used: Mutex<[bool; MAIL_SLOTS]>,
}

impl Mailbox {
    pub(super) fn open() -> Result<Self> {
        let events: Result<Vec<usize>> = (0..MAIL_SLOTS).map(|_| event()).collect();
        Ok(Mailbox { memory: pinned(MAIL_BYTES * MAIL_SLOTS)?, events: events?, used: Mutex::default() })
    }

    pub(super) fn post(&self, stream: cu::CUstream, from: u64, length: usize) -> Result<Letter> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = used.iter().position(|used| !used).ok_or_else(|| crate::Error::Driver {
            call: "post",
            code: format!("{MAIL_SLOTS} letters are on their way and none was opened"),
        })?;
        // SAFETY: the slot is free, and long enough, which `Device::post` asserts.
        unsafe {
            let to = (self.memory + slot * MAIL_BYTES) as *mut c_void;
            check("cuMemcpyDtoHAsync", cu::cuMemcpyDtoHAsync_v2(to, from, length, stream))?;
            check("cuEventRecord", cu::cuEventRecord(self.events[slot] as cu::CUevent, stream))?;
        }
        used[slot] = true;
        Ok(Letter { slot, length })
    }

    pub(super) fn open_letter(&self, letter: Letter, wait: bool) -> Result<Option<Vec<u8>>> {
        let event = self.events[letter.slot] as cu::CUevent;
        // SAFETY: the event lives as long as the mailbox.
        match unsafe { cu::cuEventQuery(event) } {
            OK => {}
            cu::CUresult::CUDA_ERROR_NOT_READY if !wait => return Ok(None),
            // SAFETY: as above.
            _ => check("cuEventSynchronize", unsafe { cu::cuEventSynchronize(event) })?,
        }
        let mut bytes = vec![0; letter.length];
        // SAFETY: the copy into this slot is done, and nobody writes it before it is free again.
        unsafe {
            let from = (self.memory + letter.slot * MAIL_BYTES) as *const u8;
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), letter.length);
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner)[letter.slot] = false;
        Ok(Some(bytes))
    }
}
