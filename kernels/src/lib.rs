//! The arithmetic of the model steps: contracts, processor twins, CUDA kernels.
//!
//! What is here: [`machine`], the facts about processor and devices. What is not here yet: any
//! operation. They come as folders `ops/NAME/` with a contract, a processor twin, a kernel, a
//! launcher and tests each.
//!
//! The only crate with `unsafe` code. It knows nothing of manifests, steps or files.

pub mod machine;
pub mod random;
pub mod yi;
