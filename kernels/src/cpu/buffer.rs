//! Memory of the processor: numbers of one type, aligned to cache lines.

use bytemuck::{Pod, Zeroable};

use crate::device::{Buffer, View, ViewMut};
use crate::{Dtype, Element, Error, Result};

/// A cache line. Buffers are made of whole ones, so that they are aligned for every instruction.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u32; 16]);

/// Lines of zeros, or an error where the system refuses.
pub(crate) fn zero_lines(bytes: usize) -> Result<Vec<Line>> {
    bytemuck::allocation::try_zeroed_vec(bytes.div_ceil(size_of::<Line>()))
        .map_err(|()| Error::Memory { bytes })
}

/// A buffer in the processor's memory.
pub struct CpuBuffer {
    dtype: Dtype,
    len: usize,
    lines: Vec<Line>,
}

impl Buffer for CpuBuffer {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl CpuBuffer {
    /// Zeros.
    pub(crate) fn zeros(dtype: Dtype, len: usize) -> Result<Self> {
        let bytes = len.checked_mul(dtype.bytes()).ok_or(Error::Memory { bytes: usize::MAX })?;
        Ok(Self { dtype, len, lines: zero_lines(bytes)? })
    }

    /// The numbers, where they are of this type.
    pub fn as_slice<E: Element>(&self) -> Option<&[E]> {
        let all = bytemuck::cast_slice(&self.lines);
        (self.dtype == E::DTYPE).then(|| &all[..self.len])
    }

    /// The numbers, to be changed.
    pub fn as_mut_slice<E: Element>(&mut self) -> Option<&mut [E]> {
        let all = bytemuck::cast_slice_mut(&mut self.lines);
        (self.dtype == E::DTYPE).then(|| &mut all[..self.len])
    }
}

/// The operand's name, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Name(pub(crate) &'static str, pub(crate) &'static str);

impl Name {
    fn dtype(self, got: Dtype) -> Error {
        Error::Dtype { op: self.0, buffer: self.1, got }
    }
}

impl<'a> View<'a, CpuBuffer> {
    /// The numbers.
    pub(crate) fn get<E: Element>(self, name: Name) -> Result<&'a [E]> {
        let all = self.buffer.as_slice().ok_or_else(|| name.dtype(self.dtype()))?;
        Ok(&all[self.start..self.start + self.len])
    }
}

impl<'a> ViewMut<'a, CpuBuffer> {
    /// The numbers, to be changed.
    pub(crate) fn get<E: Element>(self, name: Name) -> Result<&'a mut [E]> {
        let Self { buffer, start, len } = self;
        let dtype = buffer.dtype;
        let all = buffer.as_mut_slice().ok_or_else(|| name.dtype(dtype))?;
        Ok(&mut all[start..start + len])
    }
}

/// Runs `$body` with `$E` as the element type of `$dtype`, where that is a real one.
macro_rules! for_real {
    ($dtype:expr, $name:expr, $E:ident => $body:expr) => {
        match $dtype {
            $crate::Dtype::F32 => {
                type $E = f32;
                $body
            }
            $crate::Dtype::Bf16 => {
                type $E = half::bf16;
                $body
            }
            got => Err($crate::Error::Dtype { op: $name.0, buffer: $name.1, got }),
        }
    };
}

pub(crate) use for_real;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_an_error() {
        assert!(matches!(CpuBuffer::zeros(Dtype::F32, usize::MAX), Err(Error::Memory { .. })));
        assert!(matches!(CpuBuffer::zeros(Dtype::F32, 1 << 60), Err(Error::Memory { .. })));
    }

    #[test]
    fn a_buffer_is_read_only_as_what_it_is() {
        let buffer = CpuBuffer::zeros(Dtype::Bf16, 3).unwrap();
        assert_eq!(buffer.as_slice::<half::bf16>().map(<[_]>::len), Some(3));
        assert!(buffer.as_slice::<f32>().is_none());
    }
}
