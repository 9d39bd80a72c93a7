//! One attempt at one unit of work: a private folder, inputs linked in, the task to submit.
//!
//! A program sees `in/PORT` (or `in/PORT/00000` … where a port has several), writes `out/FILE`,
//! and finds its `code` files under their paths in the project. Nothing it writes elsewhere is
//! kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use plan::Endpoint;
use plan::graph::{Argument, Instance, Piece, Program, Work};
use plan::kind::Numerics;
use store::{Attempt, Disk, Error as StoreError, Hashed, Isolation, Object, Shape, Store};

use crate::job::{self, Job, Memory};

/// Sources up to this size are copied for programs; larger ones are linked to.
const COPIED: u64 = 16 << 20;

/// An input whose content is known.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// In the store.
    Object(Object),
    /// In the project, or wherever the manifest says.
    Source(PathBuf, Hashed),
    /// A server.
    Endpoint(Endpoint),
}

/// Everything about a step that its attempts need.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The step.
    pub(crate) instance: Instance,
    /// Its inputs.
    pub(crate) inputs: BTreeMap<String, Vec<Given>>,
    /// Its code files: path in the project to where it is.
    pub(crate) code: BTreeMap<String, (PathBuf, Hashed)>,
    /// Its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Its resumable state.
    pub(crate) state: PathBuf,
    /// Where results of its records are kept.
    pub(crate) memory: Memory,
}

impl Prepared {
    /// How many bytes it reads, by port.
    pub(crate) fn sizes(&self) -> BTreeMap<String, u64> {
        let size = |given: &Given| match given {
            Given::Object(it) => it.size,
            Given::Source(_, it) => it.size,
            Given::Endpoint(_) => 0,
        };
        let port = |(port, all): (&String, &Vec<Given>)| (port.clone(), all.iter().map(size).sum());
        self.inputs.iter().map(port).collect()
    }

    fn reads_objects(&self) -> bool {
        self.inputs.values().flatten().any(|it| matches!(it, Given::Object(_)))
    }
}

/// Why an attempt could not even begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be made or linked.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such program.
    #[error("no program `{name}` on the search path")]
    NoProgram {
        /// Its name.
        name: String,
    },
}

pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> AttemptError {
    let path = path.to_owned();
    move |source| AttemptError::Io { path, source }
}

/// The folder and the command of an attempt.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The folder; removed when dropped.
    pub(crate) attempt: Attempt,
    /// The command.
    pub(crate) argv: Vec<OsString>,
    /// Its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// A folder of links to objects that is still to be mounted, so that its processes cannot write to it.
    pub(crate) read_only: Option<PathBuf>,
}

/// Makes the folder of an attempt and puts all in it that the step sees.
pub(crate) fn make(
    store: &Store,
    prepared: &Prepared,
    shard: Option<(usize, usize)>,
    isolation: Isolation,
) -> Result<Ready, AttemptError> {
    let is_program = matches!(prepared.instance.work, Work::Program(_));
    let is_mounted = is_program && isolation == Isolation::Mount && prepared.reads_objects();
    let mut attempt = if is_mounted { store.attempt_to_mount()? } else { store.attempt()? };
    let folder = &attempt.path().to_owned();
    let disk = store.disk();
    disk.mkdir(&folder.join("out")).map_err(io_at(folder))?;
    for (path, (from, _)) in &prepared.code {
        let to = folder.join(path);
        if let Some(parent) = to.parent() {
            store::make_dirs(disk, parent)?;
        }
        place_source(disk, from, &to)?;
    }
    let argv = match &prepared.instance.work {
        Work::Program(program) => {
            place_inputs(store, prepared, &mut attempt, isolation)?;
            command(program, prepared)?
        }
        Work::Kind { name, .. } => {
            let inputs = kind_inputs(store, prepared, &mut attempt, isolation)?;
            write_job(store, prepared, folder, &job(prepared, name, shard, inputs, folder))?;
            worker_command().map_err(io_at(folder))?
        }
    };
    let mut environment = prepared.environment.clone();
    if let Work::Program(program) = &prepared.instance.work {
        environment.extend(variables(program));
    }
    let read_only = (is_mounted && !attempt.is_mounted()).then(|| folder.join("in"));
    Ok(Ready { argv, environment, attempt, read_only })
}

/// Where the `i`-th of `n` inputs of a port is, from the attempt's folder.
fn input_path(port: &str, i: usize, n: usize) -> PathBuf {
    if n == 1 {
        Path::new("in").join(port)
    } else {
        Path::new("in").join(port).join(format!("{i:05}"))
    }
}

fn place_inputs(
    store: &Store,
    prepared: &Prepared,
    attempt: &mut Attempt,
    isolation: Isolation,
) -> Result<(), AttemptError> {
    let disk = store.disk();
    let folder = &attempt.path().to_owned();
    store::make_dirs(disk, &folder.join("in"))?;
    for (port, inputs) in &prepared.inputs {
        if inputs.len() != 1 {
            let below = folder.join("in").join(port);
            disk.mkdir(&below).map_err(io_at(&below))?;
        }
        for (i, given) in inputs.iter().enumerate() {
            let to = folder.join(input_path(port, i, inputs.len()));
            match given {
                Given::Object(object) => attempt.give(store, port, object, &to, isolation)?,
                Given::Source(from, _) => place_source(disk, from, &to)?,
                // The planner gives none to a program.
                Given::Endpoint(_) => {}
            }
        }
    }
    Ok(())
}

/// Copies small files, read-only; links to large ones and to folders. Whether a source was
/// written to is looked at when the step has ended.
fn place_source(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), AttemptError> {
    let facts = fs::metadata(from).map_err(io_at(from))?;
    if facts.is_file() && facts.len() <= COPIED {
        let bytes = fs::read(from).map_err(io_at(from))?;
        let mut file = disk.create(to).map_err(io_at(to))?;
        disk.write(&mut file, to, &bytes).map_err(io_at(to))?;
        return disk.set_mode(to, facts.permissions().mode() & 0o555).map_err(io_at(to));
    }
    let from = fs::canonicalize(from).map_err(io_at(from))?;
    disk.symlink(&from, to).map_err(io_at(to))
}

fn command(program: &Program, prepared: &Prepared) -> Result<Vec<OsString>, AttemptError> {
    let mut argv: Vec<String> = vec![];
    for argument in &program.argv {
        argv.extend(expand(argument, prepared));
    }
    if program.shell {
        let line = argv.join(" ");
        argv = vec!["/bin/sh".to_owned(), "-eu".to_owned(), "-c".to_owned(), line];
    }
    let mut argv: Vec<OsString> = argv.into_iter().map(OsString::from).collect();
    if let Some(first) = argv.first_mut() {
        *first = find_program(first)?;
    }
    Ok(argv)
}

/// An argument with its holes filled; a port with several inputs that stands alone becomes
/// several arguments.
fn expand(argument: &Argument, prepared: &Prepared) -> Vec<String> {
    let paths = |port: &String| -> Vec<String> {
        let n = prepared.inputs.get(port).map_or(0, Vec::len);
        (0..n).map(|i| input_path(port, i, n).display().to_string()).collect()
    };
    if let [Piece::Input(port)] = argument.0.as_slice() {
        return paths(port);
    }
    let mut text = String::new();
    for piece in &argument.0 {
        match piece {
            Piece::Text(it) => text.push_str(it),
            Piece::Input(port) => text.push_str(&paths(port).join(" ")),
            Piece::Output(slot) => text.push_str(&output_path(&prepared.instance, slot)),
            Piece::Variable { name, .. } => text.push_str(&format!("\"${name}\"")),
        }
    }
    vec![text]
}

/// Values that a shell line takes from its environment: they are never pasted into it.
fn variables(program: &Program) -> impl Iterator<Item = (String, String)> {
    program.argv.iter().flat_map(|it| &it.0).filter_map(|piece| match piece {
        Piece::Variable { name, value } => Some((name.clone(), value.clone())),
        Piece::Text(_) | Piece::Input(_) | Piece::Output(_) => None,
    })
}

/// Where an output is written, from the attempt's folder.
fn output_path(instance: &Instance, slot: &str) -> String {
    let file = instance.outputs.get(slot).map_or(slot, |it| it.file.as_str());
    format!("out/{file}")
}

/// Looks a bare name up on this process's own search path, once: the step's environment is its
/// own.
fn find_program(name: &OsString) -> Result<OsString, AttemptError> {
    static FOUND: Mutex<BTreeMap<OsString, OsString>> = Mutex::new(BTreeMap::new());
    if name.to_string_lossy().contains('/') {
        return Ok(name.clone());
    }
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(name) {
        return Ok(path.clone());
    }
    let path = search_path(name)?;
    found.insert(name.clone(), path.clone());
    Ok(path)
}

fn search_path(name: &OsString) -> Result<OsString, AttemptError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|it| {
            fs::metadata(it).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        })
        .map(PathBuf::into_os_string)
        .ok_or_else(|| AttemptError::NoProgram { name: name.to_string_lossy().into_owned() })
}

fn worker_command() -> io::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into_os_string(), "worker".into(), job::FILE.into()])
}

/// Where a kind finds its inputs. A kind only reads, so that links need no protection from it.
fn kind_inputs(
    store: &Store,
    prepared: &Prepared,
    attempt: &mut Attempt,
    isolation: Isolation,
) -> Result<BTreeMap<String, Vec<PathBuf>>, AttemptError> {
    let isolation =
        if isolation == Isolation::Reflink { Isolation::Reflink } else { Isolation::Mount };
    let folder = &attempt.path().to_owned();
    let mut inputs = BTreeMap::new();
    for (port, all) in &prepared.inputs {
        let mut paths = vec![];
        if let [Given::Endpoint(_)] = all.as_slice() {
            continue;
        }
        for (i, given) in all.iter().enumerate() {
            paths.push(match given {
                Given::Source(path, _) => path.clone(),
                // A port that takes one takes nothing beside it.
                Given::Endpoint(_) => continue,
                Given::Object(object) if matches!(object.shape, Shape::File { .. }) => {
                    attempt.give_in_place(store, port, object)?
                }
                Given::Object(object) => {
                    let to = folder.join(input_path(port, i, all.len()));
                    let parent = to.parent().unwrap_or(folder);
                    store::make_dirs(store.disk(), parent)?;
                    attempt.give(store, port, object, &to, isolation)?;
                    to
                }
            });
        }
        inputs.insert(port.clone(), paths);
    }
    Ok(inputs)
}

fn job(
    prepared: &Prepared,
    op: &str,
    shard: Option<(usize, usize)>,
    inputs: BTreeMap<String, Vec<PathBuf>>,
    folder: &Path,
) -> Job {
    let instance = &prepared.instance;
    let endpoint = |(port, given): (&String, &Vec<Given>)| match given.as_slice() {
        [Given::Endpoint(it)] => Some((port.clone(), it.clone())),
        _ => None,
    };
    Job {
        op: op.to_owned(),
        with: instance.with.clone(),
        inputs,
        endpoints: prepared.inputs.iter().filter_map(endpoint).collect(),
        outputs: instance
            .outputs
            .keys()
            .map(|slot| (slot.clone(), folder.join(output_path(instance, slot))))
            .collect(),
        state: prepared.state.clone(),
        seed: instance.seed,
        shard,
        threads: instance.how.uses.get("cpu").map_or(1, |it| *it as usize),
        gpu: instance.how.uses.get("gpu").is_some_and(|it| *it > 0),
        bf16: matches!(instance.work, Work::Kind { numerics: Some(Numerics::Bf16), .. }),
        checkpoint: instance.how.checkpoint.map(|it| (it.every.as_millis() as u64, it.keep)),
        memo: prepared.memory.clone(),
    }
}

fn write_job(
    store: &Store,
    prepared: &Prepared,
    folder: &Path,
    job: &Job,
) -> Result<(), AttemptError> {
    store::make_dirs(store.disk(), &prepared.state)?;
    let text = serde_json::to_vec(job).map_err(|it| io_at(folder)(io::Error::other(it)))?;
    let path = folder.join(job::FILE);
    let written =
        store.disk().create(&path).and_then(|mut file| store.disk().write(&mut file, &path, &text));
    written.map_err(io_at(&path))
}
