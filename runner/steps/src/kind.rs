//! The two traits of a step kind: the one that its author writes and the one that others hold.

use plan::KindSpec;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Cx, StepError};

/// A step kind. Implement this; [`AnyKind`] follows.
pub trait Kind: Sync {
    /// Name, version, ports, slots; `params` is `params_of::<Self::Params>`.
    const SPEC: KindSpec;
    /// The `with` table. A field's documentation is what people read about it.
    type Params: DeserializeOwned + JsonSchema;
    /// Does the work: blocking, in a stream, asking `cx.check_stop()` at every record.
    fn run(&self, params: &Self::Params, cx: &mut Cx<'_>) -> Result<(), StepError>;
}

/// A [`Kind`] whose parameter type is hidden.
pub trait AnyKind: Sync {
    /// What the planner knows of it.
    fn spec(&self) -> &'static KindSpec;
    /// Reads the parameters and does the work.
    fn run_table(&self, with: toml::Table, cx: &mut Cx<'_>) -> Result<(), StepError>;
}

impl<K: Kind> AnyKind for K {
    fn spec(&self) -> &'static KindSpec {
        &K::SPEC
    }

    fn run_table(&self, with: toml::Table, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let params = with.try_into().map_err(|it: toml::de::Error| StepError::Params {
            kind: K::SPEC.name,
            reason: it.message().to_owned(),
        })?;
        self.run(&params, cx)
    }
}
