//! From an attempt's folder to a record: outputs are checked against what was declared, taken
//! into the store, and described. What does not hold fails the step; nothing of it is published.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use plan::graph::{Instance, Work};
use plan::kind::Form;
use store::{Attempt, Error as StoreError, InputError, Object, Stats, Store};

use crate::attempt::{Given, Prepared};

/// What is wrong with what a step left behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// It did not write an output.
    #[error("it ended well but did not write output `{slot}` (`out/{file}`)")]
    Missing {
        /// The slot.
        slot: String,
        /// The file.
        file: String,
    },
    /// An output has another form than declared.
    #[error("output `{slot}` is declared as {form}, and {what}")]
    Form {
        /// The slot.
        slot: String,
        /// What it should be.
        form: &'static str,
        /// What it is.
        what: String,
    },
    /// It wrote something below `out/` that nobody declared.
    #[error("it wrote `out/{file}`, which is no declared output")]
    Undeclared {
        /// The file.
        file: String,
    },
    /// It, or a step beside it, wrote to what it should only read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A source was edited while the step read it.
    #[error("source `{path}` changed while the step ran")]
    SourceChanged {
        /// The file.
        path: PathBuf,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be read.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn io_at(path: &Path) -> impl FnOnce(std::io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io { path, source }
}

/// Checks that nothing the step read has changed under it: neither sources, nor what its attempt
/// was given of the store.
pub(crate) fn check_inputs(
    store: &Store,
    prepared: &Prepared,
    attempt: &Attempt,
) -> Result<(), OutputError> {
    for given in prepared.inputs.values().flatten() {
        if let Given::Source(path, hashed) = given
            && !Stats::unchanged(hashed, path)
        {
            return Err(OutputError::SourceChanged { path: path.clone() });
        }
    }
    for (path, hashed) in prepared.code.values() {
        if !Stats::unchanged(hashed, path) {
            return Err(OutputError::SourceChanged { path: path.clone() });
        }
    }
    Ok(attempt.check_inputs(store)?)
}

/// Checks the outputs in `out` and takes them into the store.
pub(crate) fn take_outputs(
    store: &Store,
    instance: &Instance,
    out: &Path,
) -> Result<BTreeMap<String, Object>, OutputError> {
    check_names(instance, out)?;
    let is_program = matches!(instance.work, Work::Program(_));
    let mut objects = BTreeMap::new();
    for (slot, output) in &*instance.outputs {
        let path = out.join(&output.file);
        let Ok(facts) = fs::symlink_metadata(&path) else {
            return Err(OutputError::Missing { slot: slot.clone(), file: output.file.clone() });
        };
        let wrong = |what: &str| OutputError::Form {
            slot: slot.clone(),
            form: output.form.word(),
            what: what.to_owned(),
        };
        match (output.form.is_dir(), facts.is_dir(), facts.is_file()) {
            (true, true, _) | (false, _, true) => {}
            (true, ..) => return Err(wrong("it is not a folder")),
            (false, true, _) => return Err(wrong("it is a folder")),
            (false, ..) => return Err(wrong("it is not a plain file")),
        }
        if is_program {
            check_content(output.form, &path)?.map_or(Ok(()), |what| Err(wrong(&what)))?;
        }
        let object =
            if facts.is_dir() { store.take_tree(&path)? } else { store.take_file(&path)? };
        objects.insert(slot.clone(), object);
    }
    Ok(objects)
}

fn check_names(instance: &Instance, out: &Path) -> Result<(), OutputError> {
    let declared: BTreeSet<&str> = instance.outputs.values().map(|it| it.file.as_str()).collect();
    for entry in fs::read_dir(out).map_err(io_at(out))? {
        let name = entry.map_err(io_at(out))?.file_name().to_string_lossy().into_owned();
        if !declared.contains(name.as_str()) {
            return Err(OutputError::Undeclared { file: name });
        }
    }
    Ok(())
}

/// The longest line that records may have.
const LONGEST_LINE: usize = 64 << 20;

/// What is wrong with the content of a program's output, if its form promises something.
fn check_content(form: Form, path: &Path) -> Result<Option<String>, OutputError> {
    match form {
        Form::Metrics => {
            let bytes = fs::read(path).map_err(io_at(path))?;
            let read: Result<BTreeMap<String, serde_json::Value>, _> =
                serde_json::from_slice(&bytes);
            Ok(read.err().map(|it| format!("it is not a JSON object of names and values: {it}")))
        }
        Form::Records => check_records(path),
        Form::File | Form::Dir | Form::Model => Ok(None),
    }
}

fn check_records(path: &Path) -> Result<Option<String>, OutputError> {
    let mut file = BufReader::new(fs::File::open(path).map_err(io_at(path))?);
    let (mut line, mut n) = (Vec::new(), 0);
    loop {
        line.clear();
        let mut limited = std::io::Read::take(&mut file, LONGEST_LINE as u64 + 1);
        if limited.read_until(b'\n', &mut line).map_err(io_at(path))? == 0 {
            return Ok(None);
        }
        n += 1;
        if line.len() > LONGEST_LINE {
            return Ok(Some(format!("line {n} is longer than 64 MiB")));
        }
        let text = line.trim_ascii();
        if !text.starts_with(b"{") {
            return Ok(Some(format!("line {n} is not a JSON object")));
        }
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
            return Ok(Some(format!("line {n} is not JSON: {error}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_metrics_are_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let say = |form, text: &str| {
            fs::write(&path, text).unwrap();
            check_content(form, &path).unwrap()
        };
        assert_eq!(say(Form::Records, "{\"a\":1}\n{}"), None);
        assert_eq!(say(Form::Records, ""), None);
        let said = say(Form::Records, "{}\n[1]\n");
        assert_eq!(said.as_deref(), Some("line 2 is not a JSON object"));
        assert!(say(Form::Records, "{}\n{\"a\":\n").unwrap().starts_with("line 2 is not JSON"));
        assert_eq!(say(Form::Metrics, "{\"a\": 1.5}"), None);
        assert!(say(Form::Metrics, "1.5").is_some());
        assert_eq!(say(Form::File, "anything"), None);
    }
}
