//! The operations of the model: a folder each, whose head is the contract.
//!
//! `cpu.rs` is the processor's twin, the definition of the result; other backends are held to it.

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod decode;
pub mod dropout;
pub(crate) mod elementwise;
pub mod embedding;
pub mod matmul;
pub mod paged;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod square_sum;
pub mod swiglu;
pub mod uniform;
