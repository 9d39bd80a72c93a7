//! The texts of all kernels, and the ways in which each is compiled.

use super::Numerics;
use super::watchdog::BOUNDED;
use crate::{Dtype, Error, Result, ops};

/// The headers that kernels may include.
pub(super) const HEADERS: [(&str, &str); 11] = [
    ("number.cuh", include_str!("number.cuh")),
    ("several.cuh", include_str!("several.cuh")),
    ("random.cuh", include_str!("random.cuh")),
    ("adamw_moments.cuh", include_str!("../ops/adamw/moments.cuh")),
    ("ptx.cuh", include_str!("ptx.cuh")),
    ("tiles.cuh", include_str!("tiles.cuh")),
    ("hopper.cuh", include_str!("hopper.cuh")),
    ("stages.cuh", include_str!("stages.cuh")),
    ("matmul_tile.cuh", include_str!("../ops/matmul/tile.cuh")),
    ("attention_hopper.cuh", include_str!("../ops/attention/hopper.cuh")),
    ("attention_tensor.cuh", include_str!("../ops/attention/tensor.cuh")),
];

/// A file of kernels.
#[derive(Debug)]
pub(crate) struct Source {
    /// The operation's name, and after a dot the file's where it is another than `kernel.cu`.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// Whether it has instructions that only Hopper knows.
    pub(crate) hopper: bool,
}

impl Source {
    /// A file for all devices.
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, hopper: false }
    }

    /// A file for Hopper alone.
    pub(crate) const fn hopper(name: &'static str, text: &'static str) -> Self {
        Self { name, text, hopper: true }
    }
}

/// A way in which a file of kernels is compiled.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The file: the operation's name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
    /// What is defined: names and values.
    pub defines: Vec<(&'static str, String)>,
    /// Whether it is for Hopper alone.
    pub hopper: bool,
}

impl Variant {
    pub(crate) fn new(source: &Source, defines: &[(&'static str, &str)]) -> Self {
        let defines = defines.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { name: source.name, text: source.text.to_owned(), defines, hopper: source.hopper }
    }

    /// The same with waits that end, where it has any.
    pub fn bounded(mut self) -> Self {
        let (name, limit) = BOUNDED;
        if self.hopper {
            self.defines.push((name, limit.to_owned()));
        }
        self
    }

    /// The name with what is defined, for people and tables.
    pub fn title(&self) -> String {
        let values = self.defines.iter().map(|(name, value)| format!(" {name}={value}"));
        std::iter::once(self.name.to_owned()).chain(values).collect()
    }
}

/// What a type of numbers is called in kernels.
pub(crate) fn type_name(
    dtype: Dtype,
    op: &'static str,
    buffer: &'static str,
) -> Result<&'static str> {
    match dtype {
        Dtype::F32 => Ok("float"),
        Dtype::Bf16 => Ok("bf16"),
        got => Err(Error::Dtype { op, buffer, got }),
    }
}

/// The variants that training and generation of a Yi with heads of 128 use, in each class of numbers.
pub fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    for numerics in [Numerics::Exact, Numerics::Bf16] {
        let e = if numerics == Numerics::Exact { "float" } else { "bf16" };
        all.extend(ops::elementwise::cuda::variants(e));
        all.extend(ops::embedding::cuda::variants(e));
        all.extend(ops::rms_norm::cuda::variants(e));
        all.extend(ops::rope::cuda::variants(e));
        all.extend(ops::matmul::cuda::variants(e));
        all.extend(ops::attention::cuda::variants(e));
        all.extend(ops::paged::cuda::variants(e));
        all.extend(ops::decode::cuda::variants(e));
        all.extend(ops::swiglu::cuda::variants(e));
        all.extend(ops::dropout::cuda::variants(e));
        all.extend(ops::uniform::cuda::variants(e));
        all.extend(ops::cross_entropy::cuda::variants(e));
        all.extend(ops::square_sum::cuda::variants(e));
    }
    all.extend(ops::adamw::cuda::variants());
    all.extend(ops::sample::cuda::variants());
    all.extend(super::probe::variants());
    all.sort_by_key(Variant::title);
    all.dedup_by_key(|it| it.title());
    all
}
