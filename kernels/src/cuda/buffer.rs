//! Memory of a CUDA device: numbers of one type.

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DriverError, result, sys};

use super::refused;
use crate::device::Buffer;
use crate::{Dtype, Element, Error, Result};

/// Where parts of a piece of memory begin: at multiples of this, as whole pieces do.
const ALIGNMENT: usize = 256;

/// The driver refuses to give nothing.
const LEAST_BYTES: usize = 16;

/// A buffer in a device's memory.
pub struct CudaBuffer {
    dtype: Dtype,
    len: usize,
    /// What it is a part of.
    bytes: Arc<CudaSlice<u8>>,
    start: u64,
    /// How many bytes are its own.
    capacity: usize,
}

impl Buffer for CudaBuffer {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl CudaBuffer {
    /// Memory of any content.
    pub(super) fn new(stream: &Arc<CudaStream>, dtype: Dtype, len: usize) -> Result<Self> {
        let bytes = len.checked_mul(dtype.bytes()).ok_or(Error::Memory { bytes: usize::MAX })?;
        // SAFETY: who uses the memory writes it first: `zeros` and `upload` at once, scratch memory by
        // the kernels it is for.
        let memory = unsafe { stream.alloc::<u8>(bytes.max(LEAST_BYTES)) };
        let memory = memory.map_err(|it| out_of_memory(it, bytes))?;
        let (start, capacity) = (memory.device_ptr(stream).0, memory.len());
        Ok(Self { dtype, len, bytes: Arc::new(memory), start, capacity })
    }

    /// Zeros of several types and lengths, in one piece of memory.
    pub(super) fn zeros_of(
        stream: &Arc<CudaStream>,
        lengths: &[(Dtype, usize)],
    ) -> Result<Vec<Self>> {
        let bytes_of = |it: &(Dtype, usize)| {
            let bytes = it.1.checked_mul(it.0.bytes())?;
            bytes.checked_next_multiple_of(ALIGNMENT)
        };
        let all = lengths.iter().try_fold(0usize, |all, it| all.checked_add(bytes_of(it)?));
        let all = all.ok_or(Error::Memory { bytes: usize::MAX })?;
        let whole = Self::new(stream, Dtype::U32, all / Dtype::U32.bytes())?;
        whole.clear(stream, 0..whole.len)?;
        let mut start = whole.start;
        let part = |it: &(Dtype, usize)| {
            let capacity = bytes_of(it).unwrap_or(0);
            let part =
                Self { dtype: it.0, len: it.1, bytes: Arc::clone(&whole.bytes), start, capacity };
            start += capacity as u64;
            part
        };
        Ok(lengths.iter().map(part).collect())
    }

    /// Zeros.
    pub(super) fn zeros(stream: &Arc<CudaStream>, dtype: Dtype, len: usize) -> Result<Self> {
        let buffer = Self::new(stream, dtype, len)?;
        buffer.clear(stream, 0..len)?;
        Ok(buffer)
    }

    /// The address of its first number on the device.
    pub(super) fn pointer(&self) -> u64 {
        self.start
    }

    /// How many bytes there are.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The same memory with other numbers in it, as far as there is room.
    pub(super) fn reuse(self, dtype: Dtype, len: usize) -> Self {
        debug_assert!(len * dtype.bytes() <= self.capacity());
        Self { dtype, len, ..self }
    }

    fn at(&self, index: usize) -> u64 {
        self.start + (index * self.dtype.bytes()) as u64
    }

    /// Makes a range zero.
    pub(super) fn clear(&self, stream: &CudaStream, range: Range<usize>) -> Result<()> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        let bytes = range.len() * self.dtype.bytes();
        if bytes == 0 {
            return Ok(());
        }
        bind(stream)?;
        // SAFETY: the range lies in the buffer, which lives until all that the stream does with it is
        // done, since it is freed in the stream's order.
        unsafe { result::memset_d8_async(self.at(range.start), 0, bytes, stream.cu_stream()) }
            .map_err(refused("clear"))
    }

    /// Writes numbers from `start` on.
    pub(super) fn write_from<E: Element>(
        &self,
        stream: &CudaStream,
        start: usize,
        data: &[E],
    ) -> Result<()> {
        assert!(E::DTYPE == self.dtype && start + data.len() <= self.len);
        if data.is_empty() {
            return Ok(());
        }
        bind(stream)?;
        // SAFETY: the target lies in the buffer (asserted). The source is ordinary memory, which the
        // driver has copied when the call returns.
        unsafe { result::memcpy_htod_async(self.at(start), data, stream.cu_stream()) }
            .map_err(refused("write"))
    }

    /// Reads numbers from `start` on. They are there when the stream has been waited for, so the caller
    /// waits before it lets go of `data`.
    pub(super) fn read_into<E: Element>(
        &self,
        stream: &CudaStream,
        start: usize,
        data: &mut [E],
    ) -> Result<()> {
        assert!(E::DTYPE == self.dtype && start + data.len() <= self.len);
        if data.is_empty() {
            return Ok(());
        }
        bind(stream)?;
        // SAFETY: the source lies in the buffer (asserted). For ordinary memory the driver returns when
        // the numbers are there or the stream is waited for, which the callers do.
        unsafe { result::memcpy_dtoh_async(data, self.at(start), stream.cu_stream()) }
            .map_err(refused("read"))
    }

    /// Copies numbers of the same type between buffers.
    pub(super) fn copy_to(
        &self,
        stream: &CudaStream,
        from: Range<usize>,
        to: (&Self, usize),
    ) -> Result<()> {
        let (target, start) = to;
        assert!(from.end <= self.len && start + from.len() <= target.len);
        assert_eq!(self.dtype, target.dtype);
        let bytes = from.len() * self.dtype.bytes();
        if bytes == 0 {
            return Ok(());
        }
        bind(stream)?;
        let (source, target) = (self.at(from.start), target.at(start));
        // SAFETY: both ranges lie in their buffers (asserted), which live as for `clear`.
        unsafe { result::memcpy_dtod_async(target, source, bytes, stream.cu_stream()) }
            .map_err(refused("copy"))
    }
}

/// The calling thread talks to the stream's device.
pub(super) fn bind(stream: &CudaStream) -> Result<()> {
    stream.context().bind_to_thread().map_err(refused("choose the device"))
}

fn out_of_memory(it: DriverError, bytes: usize) -> Error {
    match it.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { bytes },
        _ => refused("allocate")(it),
    }
}
