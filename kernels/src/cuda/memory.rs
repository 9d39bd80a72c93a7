//! Addresses of views, and memory that operations need for a moment.

use std::ops::Deref;
use std::sync::PoisonError;

use super::{Cuda, CudaBuffer};
use crate::device::{View, ViewMut};
use crate::{Dtype, Result};

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

impl Cuda {
    /// Memory of any content.
    pub(crate) fn scratch(&self, dtype: Dtype, len: usize) -> Result<Piece<'_>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |it: &CudaBuffer| it.capacity() >= len * dtype.bytes();
        let best =
            (0..free.len()).filter(|it| fits(&free[*it])).min_by_key(|it| free[*it].capacity());
        let buffer = match best {
            Some(n) => free.swap_remove(n).reuse(dtype, len),
            None => {
                drop(free);
                CudaBuffer::new(&self.stream, dtype, len)?
            }
        };
        Ok(Piece { home: self, buffer: Some(buffer) })
    }
}

impl Cuda {
    /// Numbers on the device for a moment, in a piece of one of few sizes.
    pub(crate) fn told(&self, numbers: &[u32]) -> Result<Piece<'_>> {
        let piece = self.scratch(Dtype::U32, numbers.len().next_power_of_two())?;
        piece.write_from(&self.stream, 0, numbers)?;
        Ok(piece)
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
        let Some(buffer) = self.buffer.take() else { return };
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() >= KEPT {
            // The smallest goes: it is the cheapest to get again.
            if let Some(n) = (0..free.len()).min_by_key(|it| free[*it].capacity()) {
                free.swap_remove(n);
            }
        }
        free.push(buffer);
    }
}

impl CudaBuffer {
    /// All of it, to be read.
    pub(crate) fn view(&self) -> View<'_, CudaBuffer> {
        View::all(self)
    }
}
