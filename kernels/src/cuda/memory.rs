//! Addresses of views, and memory that operations need for a moment.

use std::ops::Deref;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Cuda, CudaBuffer};
use crate::device::{View, ViewMut};
use crate::{Dtype, Error, Result};

/// Where numbers lie on the device.
pub(crate) type Pointer = u64;

/// Where a view begins.
pub(crate) fn pointer(view: &View<'_, CudaBuffer>) -> Pointer {
    view.buffer.pointer() + (view.start * view.dtype().bytes()) as u64
}

/// Where a view that is written begins.
pub(crate) fn pointer_mut(view: &ViewMut<'_, CudaBuffer>) -> Pointer {
    view.buffer.pointer() + (view.start * view.dtype().bytes()) as u64
}

/// Pieces that nobody uses.
pub(super) type Free = Vec<CudaBuffer>;

/// How many are kept.
const KEPT: usize = 32;

/// Memory for a moment; goes back when dropped. What was launched with it runs before what the next
/// user launches: there is one stream.
pub(crate) struct Piece<'a> {
    home: &'a Cuda,
    buffer: Option<CudaBuffer>,
}

/// Pieces of up to so many bytes are taken for anything smaller; larger ones for nothing less than half as
/// large, which would keep them from those that need them.
const SMALL_BYTES: usize = 1 << 16;

impl Cuda {
    /// From now on memory for a moment is taken for this many rows where fewer are asked for, so that a
    /// larger batch later needs no more.
    pub(super) fn reserve_rows(&self, rows: usize) {
        self.rows.fetch_max(rows, Ordering::Relaxed);
    }

    /// The number of rows to take memory for.
    pub(crate) fn at_least(&self, rows: usize) -> usize {
        self.rows.load(Ordering::Relaxed).max(rows).max(1)
    }

    /// Memory of any content.
    pub(crate) fn scratch(&self, dtype: Dtype, len: usize) -> Result<Piece<'_>> {
        let buffer = Some(self.take(dtype, len)?);
        Ok(Piece { home: self, buffer })
    }

    /// Numbers on the device for a moment.
    pub(crate) fn told(&self, numbers: &[u32]) -> Result<Piece<'_>> {
        let piece = self.scratch(Dtype::U32, numbers.len())?;
        piece.write_from(&self.stream, 0, numbers)?;
        Ok(piece)
    }

    /// Memory of any content, which [`Cuda::give_back`] takes. Pieces are of few sizes, so that soon there are
    /// enough of each and a step allocates nothing.
    pub(super) fn take(&self, dtype: Dtype, len: usize) -> Result<CudaBuffer> {
        let bytes = len.checked_mul(dtype.bytes()).ok_or(Error::Memory { bytes: usize::MAX })?;
        let most = bytes.saturating_mul(2).max(SMALL_BYTES);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |it: &CudaBuffer| (bytes..=most).contains(&it.capacity());
        let best =
            (0..free.len()).filter(|it| fits(&free[*it])).min_by_key(|it| free[*it].capacity());
        if let Some(n) = best {
            return Ok(free.swap_remove(n).reuse(dtype, len));
        }
        drop(free);
        // A large one is as large as it has to be: its size comes again.
        let capacity = if bytes > SMALL_BYTES { len } else { len.next_power_of_two() };
        Ok(CudaBuffer::new(&self.stream, dtype, capacity)?.reuse(dtype, len))
    }

    /// Keeps memory for the next user.
    pub(super) fn give_back(&self, buffer: CudaBuffer) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() >= KEPT {
            // The smallest goes: it is the cheapest to get again.
            if let Some(n) = (0..free.len()).min_by_key(|it| free[*it].capacity()) {
                free.swap_remove(n);
            }
        }
        free.push(buffer);
    }
}

impl Deref for Piece<'_> {
    type Target = CudaBuffer;

    fn deref(&self) -> &CudaBuffer {
        self.buffer.as_ref().expect("only dropping takes it")
    }
}

impl std::ops::DerefMut for Piece<'_> {
    fn deref_mut(&mut self) -> &mut CudaBuffer {
        self.buffer.as_mut().expect("only dropping takes it")
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.give_back(buffer);
        }
    }
}

impl CudaBuffer {
    /// All of it, to be read.
    pub(crate) fn view(&self) -> View<'_, CudaBuffer> {
        View::all(self)
    }
}
