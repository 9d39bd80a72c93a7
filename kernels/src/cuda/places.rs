//! Small tables that go to the device before a launch, such as the borders of sequences. All layers of
//! a step ask for the same ones, so that the last few are kept.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::{Cuda, CudaBuffer};
use crate::{Dtype, Result};

/// The tables, the newest first.
pub(super) type Kept = VecDeque<(Vec<u32>, Upload)>;

/// A table on the device.
pub(crate) type Upload = Arc<CudaBuffer>;

/// How many are kept.
const MOST: usize = 16;
/// The most numbers of a table for a row of a batch.
const EACH: usize = 4;

impl Cuda {
    /// Room for all the tables that are kept, as large as they may get.
    pub(super) fn make_tables(&self) -> Result<()> {
        let mut kept = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clear();
        for _ in 0..MOST {
            let room = EACH * self.at_least(0);
            let buffer = CudaBuffer::new(&self.stream, Dtype::U32, room)?.reuse(Dtype::U32, 0);
            kept.push_back((Vec::new(), Arc::new(buffer)));
        }
        Ok(())
    }

    /// The table on the device.
    pub(crate) fn table(&self, table: Vec<u32>) -> Result<Upload> {
        let mut kept = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, it)) = kept.iter().find(|it| it.0 == table) {
            return Ok(Arc::clone(it));
        }
        // The memory of a table that nobody will ask for: what reads it was launched before what writes it.
        let old = if kept.len() < MOST { None } else { kept.pop_back() };
        let old = old.and_then(|it| Arc::into_inner(it.1));
        let fits = |it: &CudaBuffer| it.capacity() >= table.len() * Dtype::U32.bytes();
        let buffer = match old {
            Some(it) if fits(&it) => it.reuse(Dtype::U32, table.len()),
            old => {
                old.into_iter().for_each(|it| self.give_back(it));
                let room = (EACH * self.at_least(0)).max(table.len());
                self.take(Dtype::U32, room)?.reuse(Dtype::U32, table.len())
            }
        };
        buffer.write_from(&self.stream, 0, &table)?;
        let upload = Arc::new(buffer);
        kept.push_front((table, Arc::clone(&upload)));
        Ok(upload)
    }
}
