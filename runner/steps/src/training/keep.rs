//! The log of a run: one line for each step and each measurement, nothing in it that differs from
//! time to time. It is kept with each checkpoint, so that a resumed run's log is that of a whole
//! one.

use std::io::Write as _;
use std::path::Path;

use kernels::train::{Evaluation, Record};
use serde_json::{Value, json};

use crate::StepError;

const NAME: &str = "log.jsonl";

/// Lines so far, each with its step.
#[derive(Default)]
pub(crate) struct Log {
    lines: Vec<(u64, String)>,
}

impl Log {
    pub(crate) fn step(&mut self, it: &Record) {
        let line = serde_json::to_string(it).expect("finite numbers are always JSON");
        self.lines.push((it.step, line));
    }

    pub(crate) fn evaluation(&mut self, it: &Evaluation) {
        let line = json!({
            "step": it.step, "eval_loss": it.loss, "eval_tokens": it.tokens,
            "eval_targets": it.targets,
        });
        self.lines.push((it.step, line.to_string()));
    }

    /// A line of somebody else, about how things are after a step.
    pub(crate) fn line(&mut self, step: u64, line: String) {
        self.lines.push((step, line));
    }

    /// The whole text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|it| format!("{}\n", it.1)).collect()
    }

    /// Puts the log beside a checkpoint that is about to be written.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(), StepError> {
        std::fs::create_dir_all(folder).map_err(StepError::io(folder))?;
        let (path, beside) = (folder.join(NAME), folder.join("log.partial"));
        let written = std::fs::File::create(&beside).and_then(|mut file| {
            file.write_all(self.text().as_bytes())?;
            file.sync_all()
        });
        written.map_err(StepError::io(&beside))?;
        std::fs::rename(&beside, &path).map_err(StepError::io(&path))
    }

    /// The log up to a step of a checkpoint.
    pub(crate) fn resume(folder: &Path, step: u64) -> Result<Self, StepError> {
        let path = folder.join(NAME);
        let text = std::fs::read_to_string(&path).map_err(StepError::io(&path))?;
        let mut log = Self::default();
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            match value.get("step").and_then(Value::as_u64) {
                Some(it) if it <= step => log.lines.push((it, line.to_owned())),
                _ => {}
            }
        }
        Ok(log)
    }
}
