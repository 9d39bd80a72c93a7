//! The log of a run: one line for each step and each measurement, nothing in it that differs from
//! time to time. It is kept with each checkpoint, so that a resumed run's log is that of a whole
//! one; with its digest, so that one that was damaged is not gone on with.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use kernels::train::{Evaluation, Record};
use plan::Digest;
use serde_json::{Value, json};

use crate::StepError;

/// For who watches.
const NAME: &str = "log.jsonl";
/// What is resumed from.
const KEPT: &str = "log.kept";

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

    /// Puts the log where who watches finds it. Nothing is resumed from it.
    pub(crate) fn show(&self, folder: &Path) -> Result<(), StepError> {
        replace(folder, NAME, self.text().as_bytes())
    }

    /// Puts the log beside a checkpoint that is about to be written, with its digest on a last line.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(), StepError> {
        self.show(folder)?;
        let mut text = self.text();
        text.push_str(&format!("{}\n", Digest::of(text.as_bytes())));
        replace(folder, KEPT, text.as_bytes())
    }

    /// The log up to a step of a checkpoint; none: it is damaged or gone, and nothing can go on.
    pub(crate) fn resume(folder: &Path, step: u64) -> Result<Option<Self>, StepError> {
        let path = folder.join(KEPT);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StepError::io(&path))?,
        };
        let Some(text) = unsealed(&bytes) else { return Ok(None) };
        let mut log = Self::default();
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            match value.get("step").and_then(Value::as_u64) {
                Some(it) if it <= step => log.lines.push((it, line.to_owned())),
                _ => {}
            }
        }
        Ok(Some(log))
    }

    /// What is wrong with a folder for want of a log that is whole: nothing in it can be gone on
    /// from.
    pub(crate) fn damage(folder: &Path) -> Option<(PathBuf, String)> {
        let why = match std::fs::read(folder.join(KEPT)) {
            Ok(bytes) if unsealed(&bytes).is_some() => return None,
            Ok(_) => "has another digest".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let entries = std::fs::read_dir(folder).ok()?;
                let is_checkpoint =
                    |it: std::fs::DirEntry| it.file_name().as_encoded_bytes().starts_with(b"step-");
                entries.flatten().any(is_checkpoint).then(|| "is gone".to_owned())?
            }
            Err(error) => format!("cannot be read: {error}"),
        };
        Some((folder.to_owned(), format!("`{KEPT}` {why}")))
    }
}

/// The lines before the digest, if it is theirs.
fn unsealed(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let end = text.strip_suffix('\n')?.rfind('\n').map_or(0, |it| it + 1);
    let (lines, told) = text.split_at(end);
    (told == format!("{}\n", Digest::of(lines.as_bytes()))).then_some(lines)
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StepError> {
    std::fs::create_dir_all(folder).map_err(StepError::io(folder))?;
    let (path, beside) = (folder.join(name), folder.join("log.partial"));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(StepError::io(&beside))?;
    std::fs::rename(&beside, &path).map_err(StepError::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_which_any_bit_is_wrong_is_not_resumed_from() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::default();
        for step in 1..=3_u64 {
            log.line(step, json!({"step": step, "loss": 0.5}).to_string());
        }
        log.keep(folder.path()).unwrap();
        let resumed = Log::resume(folder.path(), 2).unwrap().unwrap();
        assert_eq!(resumed.text().lines().count(), 2);
        assert_eq!(Log::damage(folder.path()), None);
        let path = folder.path().join(KEPT);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert!(Log::resume(folder.path(), 2).unwrap().is_none(), "bit {bit}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Log::resume(folder.path(), 2).unwrap().is_none(), "{length} bytes");
            assert!(Log::damage(folder.path()).is_some());
        }
    }
}
