//! A disk that fails on purpose, for tests.
use crate::*;
use std::sync::Arc;
/// A disk whose n-th call fails.
#[derive(Debug)]
pub struct FaultyDisk {}
impl FaultyDisk {
    /// `call:number:errno`, as in `write:17:ENOSPC`.
    pub fn from_spec(spec: &str) -> Result<Arc<dyn Disk>> {
        let _ = spec;
        todo!()
    }
}
