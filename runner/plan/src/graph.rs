//! The expanded graph: every step instance that a run could make, references resolved, paths not
//! yet read. Made by `expand`, read by keys, engine and screens.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::kind::{Form, Numerics};
use crate::origin::Origins;
use crate::ports::Ports;
use crate::{Place, Value};

/// The number of an instance in its [`Graph`]; upstream instances have smaller numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub usize);

/// All instances, in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// In topological order; [`InstanceId`] is the position.
    pub instances: Vec<Instance>,
    /// What was asked for.
    pub targets: Vec<Target>,
    /// The sources and project files that instances read, each once.
    pub sources: Vec<Source>,
}

/// Something that was asked for, under the name by which it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name; more than one name may lead to one instance.
    pub address: Address,
    /// The instance; none for a step that `when` skipped.
    pub instance: Option<InstanceId>,
    /// What its outputs are: its own, or for a skipped step the ones that they pass through.
    pub slots: BTreeMap<String, Vec<Input>>,
}

/// One execution of one step.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its first name.
    pub address: Address,
    /// Other names for the same work: other variants, or equal steps.
    pub aliases: Vec<Address>,
    /// What it does.
    pub work: Work,
    /// What a program of it finds around itself; nothing for a kind that runs none.
    pub around: Arc<Surroundings>,
    /// Its parameters, resolved, without those at their default.
    pub with: BTreeMap<String, Value>,
    /// Its inputs: port to things, in order.
    pub inputs: Ports,
    /// Its outputs: slot to form.
    pub outputs: Arc<BTreeMap<String, Output>>,
    /// The seed, where the step draws: that of the workflow and the stream's name.
    pub seed: Option<u64>,
    /// How it is run; never in a key.
    pub how: Arc<How>,
    /// Where it was written.
    pub place: Place,
    /// Where each part of its definition was written: `with.k`, `in.data`, `run`.
    pub origins: Origins,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A kind of ours.
    Kind {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
        /// Which numbers it computes with, where their class is in the key.
        numerics: Option<Numerics>,
        /// Names of parameters that stay out of the key.
        unkeyed: Vec<String>,
    },
    /// Any program.
    Program(Program),
}

/// A program step.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The arguments; for a shell line, one element.
    pub argv: Vec<Argument>,
    /// Whether `argv` is a line for `sh -eu`.
    pub shell: bool,
}

/// What a program finds around itself: that of a program step, or the one that a kind runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Files that are put into its folder, by their path in the project; the indices are into
    /// [`Graph::sources`].
    pub code: BTreeMap<String, usize>,
    /// Environment variables taken from the caller.
    pub pass: Vec<String>,
    /// Environment variables set here.
    pub set: BTreeMap<String, String>,
}

/// One element of an argument vector: text with holes.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument(pub Vec<Piece>);

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The path of an input; a port with several becomes several arguments.
    Input(String),
    /// The path of an output.
    Output(String),
    /// A value in a shell line: handed over as the environment variable `name`, never pasted in.
    Variable {
        /// The variable: `with_k`, `param_select_top_k`, `each_bench`, `seed`.
        name: String,
        /// Its value.
        value: String,
    },
}

/// Something that a step reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// An output of another instance.
    Output {
        /// The instance.
        instance: InstanceId,
        /// Its slot.
        slot: String,
    },
    /// A file or folder of the project: index into [`Graph::sources`].
    Source(usize),
}

/// A file or folder that is read and not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name in `[sources]` or `[models]`; none for a path written in a step.
    pub name: Option<String>,
    /// Where it is, relative to the project's root unless absolute.
    pub path: PathBuf,
    /// The digest that it must have.
    pub pinned: Option<crate::Digest>,
    /// Where it was written.
    pub place: Place,
    /// What is read where it is no file: a server, with `path` for its address.
    pub endpoint: Option<Endpoint>,
}

/// An output of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it is.
    pub form: Form,
    /// The file name that a program sees below `out/`.
    pub file: String,
}

/// How an instance is run: nothing here changes its result.
#[derive(Clone, Debug, PartialEq)]
pub struct How {
    /// Pool name to slots; `cpu` is one where nothing is said, `mem` is in bytes.
    pub uses: BTreeMap<String, u64>,
    /// Into how many shards the work is split.
    pub shards: usize,
    /// What happens when it fails.
    pub retries: Retries,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// How often a resumable step writes its state, and how many it keeps.
    pub checkpoint: Option<Checkpoint>,
}

impl Default for How {
    fn default() -> Self {
        Self {
            uses: BTreeMap::from([("cpu".to_owned(), 1)]),
            shards: 1,
            retries: Retries::default(),
            timeout: None,
            checkpoint: None,
        }
    }
}

/// When and how a failed step is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// How many times after the first.
    pub max: u32,
    /// The first wait; it doubles.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// After which failures.
    pub on: Vec<FailureKind>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 0,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            on: vec![FailureKind::Exit, FailureKind::Signal, FailureKind::Timeout],
        }
    }
}

/// How a step can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It ended with another status than zero.
    Exit,
    /// A signal ended it.
    Signal,
    /// It took too long.
    Timeout,
}

/// How often a resumable step writes its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The time between two.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

/// The name of an instance: `step`, `step[each]`, `step@variant`, `step[each]@variant`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The step.
    pub step: String,
    /// The `each` values, in the order in which the manifest names them, as they are shown.
    pub each: Vec<String>,
    /// The variant; none: the parameters as they stand in `[params]`.
    pub variant: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        if !self.each.is_empty() {
            write!(f, "[{}]", self.each.join(","))?;
        }
        match &self.variant {
            Some(it) => write!(f, "@{it}"),
            None => Ok(()),
        }
    }
}
