//! The two traits of a step kind: the one that its author writes and the one that others hold.

use plan::KindSpec;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::preview::{At, Preview};
use crate::text::ledger::Limit;
use crate::{Cx, StepError};

/// A step kind. Implement this; [`AnyKind`] follows.
pub trait Kind: Sync {
    /// Name, version, ports, slots; `params` is `params_of::<Self::Params>`.
    const SPEC: KindSpec;
    /// The `with` table. A field's documentation is what people read about it.
    type Params: DeserializeOwned + JsonSchema;
    /// Where the thresholds of its rules stand, for a kind that writes a ledger.
    fn limits(&self, _params: &Self::Params) -> Result<Vec<Limit>, StepError> {
        Ok(Vec::new())
    }
    /// What it asks a model about a record, or trains of it; nothing where there is no such record.
    fn preview(&self, _params: &Self::Params, _at: At<'_>) -> Result<Option<Preview>, StepError> {
        let reason = "it asks no model, and trains none on conversations".to_owned();
        Err(StepError::Params { kind: Self::SPEC.name, reason })
    }
    /// Does the work: blocking, in a stream, asking `cx.check_stop()` at every record.
    fn run(&self, params: &Self::Params, cx: &mut Cx<'_>) -> Result<(), StepError>;
}

/// A [`Kind`] whose parameter type is hidden.
pub trait AnyKind: Sync {
    /// What the planner knows of it.
    fn spec(&self) -> &'static KindSpec;
    /// Reads the parameters and says where the thresholds stand.
    fn limits_table(&self, with: toml::Table) -> Result<Vec<Limit>, StepError>;
    /// Reads the parameters and says what a record makes the kind ask or train.
    fn preview_table(&self, with: toml::Table, at: At<'_>) -> Result<Option<Preview>, StepError>;
    /// Reads the parameters and does the work.
    fn run_table(&self, with: toml::Table, cx: &mut Cx<'_>) -> Result<(), StepError>;
}

impl<K: Kind> AnyKind for K {
    fn spec(&self) -> &'static KindSpec {
        &K::SPEC
    }

    fn limits_table(&self, with: toml::Table) -> Result<Vec<Limit>, StepError> {
        self.limits(&params::<K>(with)?)
    }

    fn preview_table(&self, with: toml::Table, at: At<'_>) -> Result<Option<Preview>, StepError> {
        self.preview(&params::<K>(with)?, at)
    }

    fn run_table(&self, with: toml::Table, cx: &mut Cx<'_>) -> Result<(), StepError> {
        self.run(&params::<K>(with)?, cx)
    }
}

fn params<K: Kind>(with: toml::Table) -> Result<K::Params, StepError> {
    with.try_into().map_err(|it: toml::de::Error| StepError::Params {
        kind: K::SPEC.name,
        reason: it.message().to_owned(),
    })
}
