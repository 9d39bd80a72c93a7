//! Memory that operations need for a moment, kept between calls: fresh memory costs a fault for
//! every page.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::buffer::{Line, zero_lines};
use crate::Result;

/// What is free.
#[derive(Default)]
pub(crate) struct Scratch(Mutex<Vec<Vec<Line>>>);

/// How many pieces are kept.
const KEPT: usize = 64;

impl Scratch {
    /// Room for this many `f32`, of any content.
    pub(crate) fn take(&self, len: usize) -> Result<Piece<'_>> {
        let bytes = len * size_of::<f32>();
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough; else one grows.
        let fits = |it: &Vec<Line>| size_of_val(it.as_slice()) >= bytes;
        let best =
            free.iter().enumerate().filter(|(_, it)| fits(it)).min_by_key(|(_, it)| it.len());
        let lines = match best.map(|(n, _)| n) {
            Some(n) => free.swap_remove(n),
            None => {
                drop(free);
                zero_lines(bytes)?
            }
        };
        Ok(Piece { home: self, lines, len })
    }
}

/// A piece of scratch memory; goes back when dropped.
pub(crate) struct Piece<'a> {
    home: &'a Scratch,
    lines: Vec<Line>,
    len: usize,
}

impl Piece<'_> {
    pub(crate) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl Deref for Piece<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.as_slice()
    }
}

impl DerefMut for Piece<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.as_mut_slice()
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() >= KEPT {
            // The smallest goes: it is the cheapest to make again.
            let smallest = free.iter().enumerate().min_by_key(|(_, it)| it.len());
            if let Some(n) = smallest.map(|(n, _)| n) {
                free.swap_remove(n);
            }
        }
        free.push(lines);
    }
}

/// A slice whose parts are written by several threads, each its own.
#[derive(Debug)]
pub(crate) struct Shared<T>(*mut T, usize);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the pointer is only used in `unsafe` blocks whose authors promise that no two threads
// touch the same element; sending the numbers themselves is harmless.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice. Its borrow ends here: whoever uses the pointer keeps the owner borrowed.
    pub(crate) fn new(of: &mut [T]) -> Self {
        Self(of.as_mut_ptr(), of.len())
    }

    /// Where an element lies; one within the slice.
    pub(crate) fn at(self, index: usize) -> *mut T {
        debug_assert!(index <= self.1);
        self.0.wrapping_add(index)
    }

    /// A part of the slice.
    ///
    /// # Safety
    ///
    /// The part lies in the slice, whose owner is borrowed for `'a`, and no one else uses an element
    /// of it meanwhile.
    #[allow(clippy::mut_from_ref, reason = "that nobody else has it is the caller's promise")]
    pub(crate) unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        debug_assert!(start + len <= self.1);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.wrapping_add(start), len) }
    }
}
