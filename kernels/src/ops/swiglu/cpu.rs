//! The processor's twin.

use rayon::prelude::*;

use crate::cpu::isa::versions;
use crate::cpu::math::exp;
use crate::dtype::Real;
use crate::machine::Isa;

/// Rows of `gate | up` to rows of `width`.
pub(crate) fn forward<E: Real>(isa: Isa, gate_up: &[E], width: usize, out: &mut [E]) {
    out.par_chunks_exact_mut(width)
        .zip(gate_up.par_chunks_exact(2 * width))
        .for_each(|(out, row)| forward_row(isa, row, out));
}

versions! {
    fn forward_row<E: Real>(row: &[E], out: &mut [E]) {
        let (gate, up) = row.split_at(out.len());
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            let gate = gate.to_f32();
            let silu = E::round_from(gate / (1.0 + exp(-gate)));
            *out = E::round_from(silu.to_f32() * up.to_f32());
        }
    }
}

/// Gradients of rows of `width` to those of `gate | up`.
pub(crate) fn backward<E: Real>(
    isa: Isa,
    d_out: &[E],
    gate_up: &[E],
    width: usize,
    d_gate_up: &mut [E],
) {
    d_gate_up
        .par_chunks_exact_mut(2 * width)
        .zip(gate_up.par_chunks_exact(2 * width))
        .zip(d_out.par_chunks_exact(width))
        .for_each(|((d_row, row), d_out)| backward_row(isa, d_out, row, d_row));
}

versions! {
    fn backward_row<E: Real>(d_out: &[E], row: &[E], d_row: &mut [E]) {
        let (gate, up) = row.split_at(d_out.len());
        let (d_gate, d_up) = d_row.split_at_mut(d_out.len());
        let given = d_out.iter().zip(gate).zip(up);
        for ((d_gate, d_up), ((d_out, gate), up)) in d_gate.iter_mut().zip(d_up).zip(given) {
            let (d_out, gate) = (d_out.to_f32(), gate.to_f32());
            let sigmoid = 1.0 / (1.0 + exp(-gate));
            *d_up = E::round_from(d_out * gate * sigmoid);
            let slope = sigmoid * gate.mul_add(1.0 - sigmoid, 1.0);
            *d_gate = E::round_from(d_out * up.to_f32() * slope);
        }
    }
}
