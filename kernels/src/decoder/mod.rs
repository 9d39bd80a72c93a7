//! Models of Yi's shape: grouped-query attention, rotary positions, RMS norms, SwiGLU.
//!
//! [`Config`] is what `config.json` says, [`WeightFiles`] the weights of a folder, [`Layout`] the
//! place of each weight in memory.

pub mod config;
mod error;
pub mod files;
mod header;
pub mod init;
pub mod layout;
pub mod lora;
pub mod save;
pub mod train;

pub use config::{Config, WeightDtype};
pub use error::{Error, HeaderFault, Result, TensorFault};
pub use files::{TensorRef, WeightFiles};
pub use init::{Fresh, UniformWeights};
pub use layout::{Layout, Part, Slot, Tensor};
pub use save::{Extra, Save, Weights};
