//! The arithmetic of the model steps: token ids in, token ids and numbers out.
//!
//! [`machine`] has the facts about processor and devices. [`device`] is the seam: the model's code
//! is written once, against the trait [`Device`]. [`ops`] has the operations, a folder each with the
//! contract and the processor's twin, which defines the result. [`cpu`] is the processor as a device, [`cuda`] a CUDA device,
//! [`backend`] the one or the other.
//! [`decoder`] is the model: configuration, weight files, training passes; [`train`] does the steps of a run. [`random`] makes random
//! numbers by their place.
//!
//! The only crate with `unsafe` code. It knows nothing of manifests, steps or text.

pub mod backend;
pub mod cpu;
pub mod cuda;
mod decode;
pub mod decoder;
pub mod device;
mod dtype;
mod error;
pub mod generate;
pub mod machine;
pub mod ops;
pub mod random;
pub mod score;
#[cfg(test)]
mod testing;
pub mod train;

pub use backend::{AnyBuffer, AnyDevice};
pub use cpu::{Cpu, CpuBuffer};
pub use cuda::{Cuda, CudaBuffer};
pub use decode::Decode;
pub use device::{Buffer, Device, Matrix, MatrixMut, View, ViewMut};
pub use dtype::{Dtype, Element, Real};
pub use error::{Error, Result};
