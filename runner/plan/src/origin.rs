//! Where each part of an instance's definition was written: looked up when somebody asks.

use std::sync::Arc;

use crate::Place;
use crate::load::Project;
use crate::model::{Step, Task};
use crate::text::At;

/// The places of the parts of one instance: `with.k`, `in.data`, `run`.
#[derive(Clone, Debug, Default)]
pub struct Origins(Option<(Arc<Project>, Arc<Step>)>);

impl Origins {
    pub(crate) fn of(project: &Arc<Project>, step: &Arc<Step>) -> Self {
        Self(Some((Arc::clone(project), Arc::clone(step))))
    }

    /// Where a part was written, by its name in a key; none: nowhere, or nobody knows.
    pub fn get(&self, part: &str) -> Option<Place> {
        let (project, step) = self.0.as_ref()?;
        Some(project.place(step.written_at(part)?))
    }
}

impl Step {
    fn written_at(&self, part: &str) -> Option<At> {
        if let Some(name) = part.strip_prefix("with.") {
            return self.with.iter().find(|it| it.0 == name).map(|it| it.1.at);
        }
        if let Some(name) = part.strip_prefix("in.") {
            let port = self.inputs.iter().find(|it| it.name == name)?;
            return Some(port.items.first().map_or(port.at, |it| it.1));
        }
        match (part, &self.work) {
            ("run", Task::Program { at, .. }) => Some(*at),
            ("code", _) => self.code.first().map(|it| it.1),
            ("env", _) => self.env.at,
            ("out", _) => self.out_at,
            ("numerics", _) => self.numerics.map(|it| it.1),
            ("seed", _) => self.stream.as_ref().map(|it| it.1),
            _ => None,
        }
    }
}
