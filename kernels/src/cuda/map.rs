//! Descriptions of matrices for Hopper's copies.

use cudarc::driver::sys;

use super::module::TensorMap;
use super::{Cuda, Pointer, buffer, refused};
use crate::Result;

/// Rows of bf16, and the box of them that is copied at once: lines of at most 64 numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boxed {
    pub(crate) at: Pointer,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// From the start of a row to the start of the next, in numbers.
    pub(crate) stride: usize,
    /// Lines and numbers of a box.
    pub(crate) lines: u32,
    pub(crate) length: u32,
}

impl Cuda {
    /// The matrix as kernels take it. Its place, and its rows, are multiples of 16 bytes.
    pub(crate) fn map(&self, it: Boxed) -> Result<TensorMap> {
        use sys::{
            CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 as BF16,
            CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE as ZERO,
            CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE as PLAIN,
            CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B as CACHE,
            CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B as SWIZZLE,
        };
        let mut map = TensorMap([0; 16]);
        let sizes = [it.columns as u64, it.rows as u64];
        let strides = [(it.stride * size_of::<u16>()) as u64];
        let (box_size, steps) = ([it.length, it.lines], [1u32; 2]);
        buffer::bind(&self.stream)?;
        // SAFETY: the map is 128 bytes at a multiple of 64, as the driver asks; the lists have a number
        // for each of two dimensions, one less of strides; the address is not looked at here.
        let made = unsafe {
            sys::cuTensorMapEncodeTiled(
                (&raw mut map).cast(),
                BF16,
                2,
                it.at as *mut std::ffi::c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                box_size.as_ptr(),
                steps.as_ptr(),
                PLAIN,
                SWIZZLE,
                CACHE,
                ZERO,
            )
        };
        made.result().map_err(refused("describe a matrix"))?;
        Ok(map)
    }
}
