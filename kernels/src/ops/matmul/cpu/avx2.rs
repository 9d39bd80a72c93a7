//! The tile for AVX2 with fused multiply-add: two registers of eight columns for up to six rows at
//! a time, since there are only sixteen registers.

use std::arch::x86_64::*;

use crate::ops::matmul::Start;
use crate::ops::matmul::tile::{PanelElement, Tile, WIDTH};

/// Columns that are made at a time.
const PART: usize = 16;

/// Makes a tile.
///
/// # Safety
///
/// As [`crate::ops::matmul::tile::tile`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn tile<P: PanelElement>(it: Tile<P>) {
    let mut column = 0;
    while column < it.columns {
        let mut row = 0;
        while row < it.rows {
            let part = Tile {
                rows: (it.rows - row).min(6),
                a: it.a.wrapping_add(row * it.a_row),
                panel: it.panel.wrapping_add(column),
                c: it.c.wrapping_add(row * it.c_row + column),
                columns: (it.columns - column).min(PART),
                ..it
            };
            // SAFETY: a part of the caller's tile, of at most six rows and sixteen columns.
            unsafe { few(part) };
            row += part.rows;
        }
        column += PART;
    }
}

/// # Safety
///
/// As [`tile`], with at most six rows and sixteen columns; the panel's steps are `WIDTH` apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn few<P: PanelElement>(it: Tile<P>) {
    // SAFETY: the caller's promise, passed on with the number of rows made constant.
    unsafe {
        match it.rows {
            1 => rows::<P, 1>(it),
            2 => rows::<P, 2>(it),
            3 => rows::<P, 3>(it),
            4 => rows::<P, 4>(it),
            5 => rows::<P, 5>(it),
            _ => rows::<P, 6>(it),
        }
    }
}

/// # Safety
///
/// As [`few`]; `R` is the number of rows.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<P: PanelElement, const R: usize>(it: Tile<P>) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    let mut edge = [0.0f32; PART];
    if it.start == Start::Add {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `columns` numbers of row `i` can be read; `edge` has room for sixteen.
            unsafe {
                let c = it.c.wrapping_add(i * it.c_row);
                std::ptr::copy_nonoverlapping(c, edge.as_mut_ptr(), it.columns);
                sum[0] = _mm256_loadu_ps(edge.as_ptr());
                sum[1] = _mm256_loadu_ps(edge.as_ptr().add(8));
            }
        }
    }
    let (mut a, mut panel) = (it.a, it.panel);
    for _ in 0..it.steps {
        // SAFETY: each step of the panel has `WIDTH` elements, of which these are sixteen, and `a`
        // has a number for each row and step.
        unsafe {
            let b0 = P::eight(panel);
            let b1 = P::eight(panel.add(8));
            for (i, sum) in sums.iter_mut().enumerate() {
                let factor = _mm256_set1_ps(*a.add(i * it.a_row));
                sum[0] = _mm256_fmadd_ps(factor, b0, sum[0]);
                sum[1] = _mm256_fmadd_ps(factor, b1, sum[1]);
            }
        }
        a = a.wrapping_add(it.a_step);
        panel = panel.wrapping_add(WIDTH);
    }
    for (i, sum) in sums.iter().enumerate() {
        // SAFETY: as for the loads above.
        unsafe {
            _mm256_storeu_ps(edge.as_mut_ptr(), sum[0]);
            _mm256_storeu_ps(edge.as_mut_ptr().add(8), sum[1]);
            let c = it.c.wrapping_add(i * it.c_row);
            std::ptr::copy_nonoverlapping(edge.as_ptr(), c, it.columns);
        }
    }
}
