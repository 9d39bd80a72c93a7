//! The innermost product: a few rows times a panel of [`WIDTH`] columns.
//!
//! A panel holds, for each step of the summed index, the [`WIDTH`] numbers of that many columns side
//! by side. Every element of the result is its own chain of fused multiply-adds over the steps, so
//! how a product is cut into tiles cannot be seen in its bits.

use half::bf16;

use super::Start;
use crate::dtype::Real;
use crate::machine::Isa;

/// Columns of a panel.
pub(crate) const WIDTH: usize = 32;
/// The most rows of a tile.
pub(crate) const ROWS: usize = 14;

/// A tile's operands. Pointers, since tiles of one result are made by several threads at once.
#[derive(Clone, Copy)]
pub(crate) struct Tile<P> {
    /// How many rows, 1 to [`ROWS`].
    pub(crate) rows: usize,
    /// The length of the sums.
    pub(crate) steps: usize,
    /// The left operand: row `i`, step `s` lies at `a + i · a_row + s · a_step`.
    pub(crate) a: *const f32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    /// The panel: `[steps][WIDTH]`.
    pub(crate) panel: *const P,
    /// The result: row `i`, column `j` lies at `c + i · c_row + j`.
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    /// How many columns of the panel count, 1 to [`WIDTH`].
    pub(crate) columns: usize,
    pub(crate) start: Start,
}

/// What panels are made of.
pub(crate) trait PanelElement: Real {
    /// Sixteen numbers as `f32`.
    ///
    /// # Safety
    ///
    /// Sixteen numbers can be read at `from`, and the processor has AVX-512.
    #[cfg(target_arch = "x86_64")]
    unsafe fn sixteen(from: *const Self) -> std::arch::x86_64::__m512;
    /// Eight numbers as `f32`.
    ///
    /// # Safety
    ///
    /// Eight numbers can be read at `from`, and the processor has AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn eight(from: *const Self) -> std::arch::x86_64::__m256;
}

impl PanelElement for f32 {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(from: *const Self) -> std::arch::x86_64::__m512 {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm512_loadu_ps(from) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn eight(from: *const Self) -> std::arch::x86_64::__m256 {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(from) }
    }
}

impl PanelElement for bf16 {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn sixteen(from: *const Self) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::*;
        // SAFETY: the caller's promise; the load asks for no alignment.
        let upper = unsafe { _mm256_loadu_si256(from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(upper)))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn eight(from: *const Self) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::*;
        // SAFETY: the caller's promise; the load asks for no alignment.
        let upper = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(upper)))
    }
}

/// Makes a tile.
///
/// # Safety
///
/// All that [`Tile`]'s fields name can be read, the panel in full width; the `columns` of each row
/// of `c` can be read and written and no other thread touches them; `rows` and `columns` are in
/// their ranges; the processor has `isa`.
#[inline]
pub(crate) unsafe fn tile<P: PanelElement>(isa: Isa, it: Tile<P>) {
    debug_assert!((1..=ROWS).contains(&it.rows) && (1..=WIDTH).contains(&it.columns));
    match isa {
        // SAFETY: passed on from the caller.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { super::cpu::avx512::tile(it) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { super::cpu::avx2::tile(it) },
        // SAFETY: as above.
        _ => unsafe { portable(it) },
    }
}

/// The tile in plain Rust; the definition of the others.
///
/// # Safety
///
/// As [`tile`].
unsafe fn portable<P: PanelElement>(it: Tile<P>) {
    for i in 0..it.rows {
        // SAFETY: row `i` of `c` has `columns` elements that are this thread's alone.
        let c = unsafe { std::slice::from_raw_parts_mut(it.c.add(i * it.c_row), it.columns) };
        let mut sums = [0.0f32; WIDTH];
        if it.start == Start::Add {
            sums[..it.columns].copy_from_slice(c);
        }
        for step in 0..it.steps {
            // SAFETY: row `i`, step `step` of `a` can be read.
            let a = unsafe { *it.a.add(i * it.a_row + step * it.a_step) };
            // SAFETY: each step of the panel has `WIDTH` elements.
            let b = unsafe { std::slice::from_raw_parts(it.panel.add(step * WIDTH), WIDTH) };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = a.mul_add(b.to_f32(), *sum);
            }
        }
        c.copy_from_slice(&sums[..it.columns]);
    }
}
