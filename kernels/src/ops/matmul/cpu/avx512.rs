//! The tile for AVX-512: two registers of sixteen columns for each of up to fourteen rows.

use std::arch::x86_64::*;

use crate::ops::matmul::Start;
use crate::ops::matmul::tile::{PanelElement, Tile, WIDTH};

/// Makes a tile.
///
/// # Safety
///
/// As [`crate::ops::matmul::tile::tile`], with AVX-512 F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
pub(crate) unsafe fn tile<P: PanelElement>(it: Tile<P>) {
    // SAFETY: the caller's promise, passed on with the number of rows made constant.
    unsafe {
        match it.rows {
            1 => rows::<P, 1>(it),
            2 => rows::<P, 2>(it),
            3 => rows::<P, 3>(it),
            4 => rows::<P, 4>(it),
            5 => rows::<P, 5>(it),
            6 => rows::<P, 6>(it),
            7 => rows::<P, 7>(it),
            8 => rows::<P, 8>(it),
            9 => rows::<P, 9>(it),
            10 => rows::<P, 10>(it),
            11 => rows::<P, 11>(it),
            12 => rows::<P, 12>(it),
            13 => rows::<P, 13>(it),
            _ => rows::<P, 14>(it),
        }
    }
}

/// # Safety
///
/// As [`tile`]; `R` is the number of rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
unsafe fn rows<P: PanelElement, const R: usize>(it: Tile<P>) {
    let low: __mmask16 = if it.columns >= 16 { !0 } else { (1 << it.columns) - 1 };
    let high: __mmask16 =
        if it.columns >= WIDTH { !0 } else { (1u32 << it.columns.saturating_sub(16)) as u16 - 1 };
    let zero = _mm512_setzero_ps();
    let mut sums = [[zero; 2]; R];
    if it.start == Start::Add {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the masks let only the `columns` of row `i` be read; a masked-out lane is
            // not touched, wherever its address points.
            unsafe {
                let c = it.c.wrapping_add(i * it.c_row);
                sum[0] = _mm512_maskz_loadu_ps(low, c);
                sum[1] = _mm512_maskz_loadu_ps(high, c.wrapping_add(16));
            }
        }
    }
    let (mut a, mut panel) = (it.a, it.panel);
    for _ in 0..it.steps {
        // SAFETY: `steps` steps of the panel have `WIDTH` elements each, and `a` has a number for
        // each row and step; the pointers go one step further than is read, which `wrapping_add`
        // allows.
        unsafe {
            let b0 = P::sixteen(panel);
            let b1 = P::sixteen(panel.add(16));
            for (i, sum) in sums.iter_mut().enumerate() {
                let factor = _mm512_set1_ps(*a.add(i * it.a_row));
                sum[0] = _mm512_fmadd_ps(factor, b0, sum[0]);
                sum[1] = _mm512_fmadd_ps(factor, b1, sum[1]);
            }
        }
        a = a.wrapping_add(it.a_step);
        panel = panel.wrapping_add(WIDTH);
    }
    for (i, sum) in sums.iter().enumerate() {
        // SAFETY: as for the loads above.
        unsafe {
            let c = it.c.wrapping_add(i * it.c_row);
            _mm512_mask_storeu_ps(c, low, sum[0]);
            _mm512_mask_storeu_ps(c.wrapping_add(16), high, sum[1]);
        }
    }
}
