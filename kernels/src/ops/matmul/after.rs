//! What kernels of products do to a product before they write it.

use crate::cuda::{Arg, Cuda, Fault, Pointer};

/// Rows from which on it can be done: fewer take smaller tiles.
pub(super) const FEWEST_ROWS: usize = 65;

/// What is done to a product before it is written; for `x wᵀ` of bf16 with many rows.
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// RoPE: positions, cosines and sines, how many positions there are, and how many heads.
    Rope { tables: [Pointer; 3], table: usize, heads: usize },
    /// Products of gates are made; the columns of the shape are those of gates alone.
    Gates { products: Pointer },
}

impl After {
    /// As the kernel knows it.
    pub(super) fn number(&self) -> usize {
        match self {
            After::Nothing => 0,
            After::Rope { .. } => 1,
            After::Gates { .. } => 2,
        }
    }

    /// In how many parts a tile's columns lie: with gates half of them are beside these.
    pub(super) fn parts(&self) -> usize {
        if let After::Gates { .. } = self { 2 } else { 1 }
    }

    /// The parameters that the kernel has for it.
    pub(super) fn args(self, cuda: &Cuda) -> Vec<Arg> {
        match self {
            After::Nothing => Vec::new(),
            After::Rope { tables, table, heads } => {
                let sizes = [Arg::Size(table), Arg::Size(heads), cuda.fault(Fault::Rope)];
                tables.map(Arg::Pointer).into_iter().chain(sizes).collect()
            }
            After::Gates { products } => vec![Arg::Pointer(products)],
        }
    }
}
