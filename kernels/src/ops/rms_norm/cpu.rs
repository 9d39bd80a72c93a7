//! The processor's twin.

use rayon::prelude::*;

use crate::cpu::isa::versions;
use crate::cpu::math::sum;
use crate::cpu::scratch::Shared;
use crate::dtype::Real;
use crate::machine::Isa;

/// The slices have the lengths of the contract.
pub(crate) fn forward<E: Real, G: Real>(
    isa: Isa,
    (x, gain, eps): (&[E], &[G], f32),
    out: &mut [E],
    scale: &mut [f32],
) {
    let width = gain.len();
    out.par_chunks_exact_mut(width)
        .zip(x.par_chunks_exact(width))
        .zip(scale)
        .for_each(|((out, x), scale)| *scale = row(isa, x, gain, eps, out));
}

versions! {
    fn row<E: Real, G: Real>(x: &[E], gain: &[G], eps: f32, out: &mut [E]) -> f32 {
        let square = sum(x.len(), |i, acc| x[i].to_f32().mul_add(x[i].to_f32(), acc));
        let scale = 1.0 / (square / x.len() as f32 + eps).sqrt();
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            let unit = E::round_from(x.to_f32() * scale);
            *out = E::round_from(unit.to_f32() * gain.to_f32());
        }
        scale
    }
}

/// What a row's backward pass reads, rows of one width.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, E, G> {
    pub(crate) d_out: &'a [E],
    pub(crate) x: &'a [E],
    pub(crate) gain: &'a [G],
    pub(crate) scale: &'a [f32],
}

/// Adds to `d_x`.
pub(crate) fn backward<E: Real, G: Real>(isa: Isa, given: Given<'_, E, G>, d_x: &mut [E]) {
    let width = given.gain.len();
    let rows = given.d_out.par_chunks_exact(width).zip(given.x.par_chunks_exact(width));
    d_x.par_chunks_exact_mut(width).zip(rows).zip(given.scale).for_each(
        |((d_x, (d_out, x)), &scale)| row_backward(isa, d_out, x, given.gain, scale, d_x),
    );
}

versions! {
    fn row_backward<E: Real, G: Real>(
        d_out: &[E],
        x: &[E],
        gain: &[G],
        scale: f32,
        d_x: &mut [E],
    ) {
        let (d_out, gain) = (&d_out[..x.len()], &gain[..x.len()]);
        let dot = sum(x.len(), |i, acc| {
            (d_out[i].to_f32() * gain[i].to_f32()).mul_add(x[i].to_f32(), acc)
        });
        let back = dot * scale * scale * scale / x.len() as f32;
        for (i, d_x) in d_x.iter_mut().enumerate().take(x.len()) {
            let straight = d_out[i].to_f32() * gain[i].to_f32() * scale;
            let d = straight - x[i].to_f32() * back;
            *d_x = E::round_from(d_x.to_f32() + d);
        }
    }
}

/// Continues the chain of the gain's gradient; parallel over columns, so the order of rows holds.
pub(crate) fn backward_gain<E: Real, G: Real>(
    isa: Isa,
    given: Given<'_, E, G>,
    d_gain: &mut [f32],
) {
    const COLUMNS: usize = 256;
    let width = given.gain.len();
    let shared = Shared::new(d_gain);
    (0..width.div_ceil(COLUMNS)).into_par_iter().for_each(|it| {
        let first = it * COLUMNS;
        let n = (width - first).min(COLUMNS);
        // SAFETY: each task takes columns of its own, within `d_gain`, which is borrowed here.
        let d_gain = unsafe { shared.part(first, n) };
        columns_backward(isa, given.d_out, given.x, given.scale, (first, width), d_gain);
    });
}

versions! {
    fn columns_backward<E: Real>(
        d_out: &[E],
        x: &[E],
        scale: &[f32],
        place: (usize, usize),
        d_gain: &mut [f32],
    ) {
        let (first, width) = place;
        for (row, &scale) in scale.iter().enumerate() {
            let start = row * width + first;
            let d_out = &d_out[start..start + d_gain.len()];
            let x = &x[start..start + d_gain.len()];
            for ((d_gain, d_out), x) in d_gain.iter_mut().zip(d_out).zip(x) {
                *d_gain = d_out.to_f32().mul_add(x.to_f32() * scale, *d_gain);
            }
        }
    }
}
