//! The processor as a device: the backend that is always there, and the definition of every result.
//!
//! Results do not depend on the instruction set or the number of threads: sums are chains or fixed
//! lanes (`math.rs`), and work is cut into tasks that own what they write.

mod buffer;
mod device;
pub(crate) mod isa;
pub(crate) mod math;
pub(crate) mod scratch;

pub use buffer::CpuBuffer;

use crate::machine::Isa;
use crate::{Error, Result};

/// The processor, with threads of its own.
pub struct Cpu {
    pub(crate) isa: Isa,
    pub(crate) scratch: scratch::Scratch,
    pool: rayon::ThreadPool,
}

impl Cpu {
    /// The processor with this many threads (at least one) and its best instructions.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_isa(threads, Isa::here())
    }

    /// The same with at most these instructions: for tests that compare the sets.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        let threads = threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("cpu-{n}"))
            .build()
            .map_err(|it| Error::Threads { threads, reason: it.to_string() })?;
        Ok(Self { isa: isa.min(Isa::here()), scratch: scratch::Scratch::default(), pool })
    }

    /// How many threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}
