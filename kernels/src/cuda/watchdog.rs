//! Kernels whose waits end: where a barrier of Hopper's stays closed for seconds, the kernel notes where it was
//! and ends with an error, instead of running for ever and saying nothing.
//!
//! An error of a launch takes the device's memory along, so the note is in a page of the host's, which kernels
//! write to through the bus. Every module has a slot of its own, so that the host knows which kernel it was. For
//! checks only: the counting costs registers (`Settings::waits`).

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaModule, CudaStream, DriverError, result};

use super::{Cuda, refused};
use crate::{Error, Result};

/// How long kernels wait for a barrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// As long as it takes.
    #[default]
    Unbounded,
    /// Two seconds; then the launch fails, and the error says where.
    Bounded,
}

/// What bounded waits are compiled with; hopper.cuh: WAIT_LIMIT_NS.
pub(super) const BOUNDED: (&str, &str) = ("WAIT_LIMIT_NS", "2000000000");

/// Words of a note; hopper.cuh: give_up.
const WORDS: usize = 8;
/// Modules that have a slot; more than there are variants.
const SLOTS: usize = 1024;

/// The page, and whose slots are whose.
pub(super) struct Notes {
    page: *mut u32, // [SLOTS, WORDS]
    titles: Mutex<Vec<String>>,
}

// SAFETY: the page is memory of the driver's that every thread may read; the host only reads it with
// `read_volatile`, after the device has stopped.
unsafe impl Send for Notes {}
// SAFETY: as above.
unsafe impl Sync for Notes {}

impl Notes {
    /// A page of zeros that devices can write to.
    pub(super) fn new() -> Result<Self> {
        const EVERY_CONTEXT_AND_MAPPED: u32 = 1 | 2; // CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_DEVICEMAP
        let bytes = SLOTS * WORDS * size_of::<u32>();
        // SAFETY: the memory is written before it is read, in the next lines.
        let page = unsafe { result::malloc_host(bytes, EVERY_CONTEXT_AND_MAPPED) };
        let page = page.map_err(refused("allocate memory of the host"))?.cast::<u32>();
        // SAFETY: it has this many words, and nobody else knows it yet.
        unsafe { page.write_bytes(0, SLOTS * WORDS) };
        Ok(Self { page, titles: Mutex::default() })
    }

    /// Tells a module where to write.
    pub(super) fn attach(
        &self,
        module: &Arc<CudaModule>,
        stream: &Arc<CudaStream>,
        title: &str,
    ) -> Result<()> {
        let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = titles.len();
        assert!(slot < SLOTS, "there are fewer variants than slots");
        titles.push(title.to_owned());
        let mut global =
            module.get_global("wait_note", stream).map_err(refused("find `wait_note`"))?;
        // With unified addresses the device knows the page by the host's own address.
        let at = (self.page as u64 + (slot * WORDS * size_of::<u32>()) as u64).to_le_bytes();
        stream.memcpy_htod(&at, &mut global).map_err(refused("write `wait_note`"))?;
        stream.synchronize().map_err(refused("write `wait_note`"))
    }

    /// What the first kernel that gave up has noted.
    fn read(&self) -> Option<Error> {
        let titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, title) in titles.iter().enumerate() {
            // SAFETY: the slot lies in the page; the device may be writing, hence volatile.
            let word = |n: usize| unsafe { self.page.add(slot * WORDS + n).read_volatile() };
            if word(0) != 0 {
                return Some(Error::Stuck {
                    kernel: title.clone(),
                    line: word(0),
                    block: (word(1), word(2)),
                    thread: word(3),
                    barrier: word(4),
                    parity: word(5),
                });
            }
        }
        None
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        // SAFETY: it is the driver's memory, given back once; no kernel runs any more that knows it, or its
        // context is lost. An error leaves nothing to do.
        let _ = unsafe { result::free_host(self.page.cast::<c_void>()) };
    }
}

impl Cuda {
    /// The same result, or what the driver's refusal means.
    pub(super) fn explained<T>(&self, result: Result<T>) -> Result<T> {
        match (result, &self.notes) {
            (Err(refusal @ Error::Driver { .. }), Some(notes)) => {
                Err(notes.read().unwrap_or(refusal))
            }
            (result, _) => result,
        }
    }

    /// What a refusal of the driver's means: where a kernel gave up waiting, that; else the refusal itself.
    pub(super) fn refused(&self, call: &'static str, it: DriverError) -> Error {
        let stuck = self.notes.as_ref().and_then(Notes::read);
        stuck.unwrap_or_else(|| refused(call)(it))
    }
}
