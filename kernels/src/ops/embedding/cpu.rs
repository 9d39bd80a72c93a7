//! The processor's twin: rows are copied, and added one after another.

use rayon::prelude::*;

use crate::dtype::Real;
use crate::machine::Isa;
use crate::ops::elementwise::{add, copy};
use crate::ops::matmul::cpu::{Rows, RowsMut};

/// `ids` are within the table, `out` has a row for each.
pub(crate) fn forward<A: Real, B: Real>(
    isa: Isa,
    table: Rows<'_, A>,
    ids: &[u32],
    out: RowsMut<'_, B>,
) {
    let width = out.stride;
    out.data.par_chunks_exact_mut(width).zip(ids).for_each(|(to, &id)| {
        let start = id as usize * table.stride;
        copy(isa, &table.data[start..start + width], to);
    });
}

/// `ids` are within the table, `d_out` has a row for each.
pub(crate) fn backward<A: Real>(
    isa: Isa,
    d_out: Rows<'_, A>,
    ids: &[u32],
    d_table: RowsMut<'_, f32>,
) {
    let width = d_out.stride;
    for (from, &id) in d_out.data.chunks_exact(width).zip(ids) {
        let start = id as usize * d_table.stride;
        add(isa, from, &mut d_table.data[start..start + width]);
    }
}
