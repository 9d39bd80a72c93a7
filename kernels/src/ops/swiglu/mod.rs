//! `out = silu(gate) · up`, of rows that hold `gate | up`.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `gate_up`, `d_gate_up` | `[rows, 2 · width]`, f32 or bf16 |
//! | `out`, `d_out` | `[rows, width]`, of the same type |
//! | arithmetic | f32; `silu(g) = g / (1 + e⁻ᵍ)` |
//! | rounding | bf16: `silu(gate)` before the product with `up`, and the product |
//! | backward | writes `d_gate_up`, f32 inside, rounded once |

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{backward, forward};
