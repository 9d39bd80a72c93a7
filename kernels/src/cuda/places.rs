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
const MOST: usize = 8;

impl Cuda {
    /// The table on the device.
    pub(crate) fn table(&self, table: Vec<u32>) -> Result<Upload> {
        let mut kept = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, it)) = kept.iter().find(|it| it.0 == table) {
            return Ok(Arc::clone(it));
        }
        let buffer = self.take(Dtype::U32, table.len())?;
        buffer.write_from(&self.stream, 0, &table)?;
        let upload = Arc::new(buffer);
        kept.push_front((table, Arc::clone(&upload)));
        while kept.len() > MOST {
            // Where somebody still holds it, it is freed when they let go.
            let last = kept.pop_back().and_then(|it| Arc::into_inner(it.1));
            last.into_iter().for_each(|it| self.give_back(it));
        }
        Ok(upload)
    }
}
