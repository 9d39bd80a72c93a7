//! What the planner knows of a step kind: its name, ports, slots and parameters, not its work.
//!
//! The definitions live in the crate `steps`; the planner is handed a list of them.

use crate::Value;

/// One step kind, as its code declares it.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// The word after `op =`.
    pub name: &'static str,
    /// Raised when the same inputs give another output.
    pub version: u32,
    /// One line for `kun kinds`.
    pub about: &'static str,
    /// The reference page: the kind's own documentation, Markdown.
    pub page: &'static str,
    /// What it reads.
    pub inputs: &'static [Port],
    /// What it writes.
    pub outputs: &'static [Slot],
    /// Parameters that change speed and never the result; they stay out of the key.
    pub unkeyed: &'static [&'static str],
    /// Parameters that are asked of what is kept about single records: with other values nothing is
    /// computed again.
    pub cuts: &'static [&'static str],
    /// Whether it draws random numbers: then the seed is in the key.
    pub draws: bool,
    /// Whether its bits depend on the machine's arithmetic: then the numerics class is in the key.
    pub numerics: bool,
    /// The port whose records may be split into shards; none: the kind cannot be sharded.
    pub shards: Option<&'static str>,
    /// Whether it runs programs: then a step of it may have `code` and `env`.
    pub runs_programs: bool,
    /// The parameters. A function, so that nothing is built for kinds that no step uses.
    pub params: fn() -> Vec<Param>,
}

impl KindSpec {
    /// What holds of most kinds: nothing is drawn, no arithmetic shows, nothing can be sharded. A kind
    /// says what it is called, what it reads and writes, and what is otherwise.
    pub const PLAIN: Self = Self {
        name: "",
        version: 1,
        about: "",
        page: "",
        inputs: &[],
        outputs: &[],
        unkeyed: &[],
        cuts: &[],
        draws: false,
        numerics: false,
        shards: None,
        runs_programs: false,
        params: Vec::new,
    };
}

/// Which numbers a step computes with, where its kind's bits depend on the machine's arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numerics {
    /// Those of the processor, on whatever device.
    #[default]
    Exact,
    /// Those of a CUDA device's tensor cores, with activations in bf16: faster, and of a class of their own.
    Bf16,
}

impl Numerics {
    /// The words of a manifest.
    pub(crate) const WORDS: &'static [&'static str] = &["exact", "bf16"];

    /// What a word of a manifest means.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Numerics::Exact, Numerics::Bf16]
            .into_iter()
            .zip(Self::WORDS)
            .find(|it| *it.1 == word)
            .map(|it| it.0)
    }
}

/// Something a kind reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The word in `in.NAME`.
    pub name: &'static str,
    /// How many there may be.
    pub arity: Arity,
    /// One line for people.
    pub about: &'static str,
}

/// How many inputs a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more, in order.
    Many,
    /// Exactly one, which may be an endpoint instead of a folder.
    Model,
}

/// Something a kind writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The word after the last point in `${steps.x.NAME}`.
    pub name: &'static str,
    /// What it is.
    pub form: Form,
    /// One line for people.
    pub about: &'static str,
}

/// What an output is made of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One file, of any content.
    File,
    /// A folder of files.
    Dir,
    /// One file of JSON objects, one a line.
    Records,
    /// One JSON file of named numbers.
    Metrics,
    /// A folder that holds a model.
    Model,
}

impl Form {
    /// Every form, with the word that a manifest uses.
    pub const ALL: &'static [(&'static str, Form)] = &[
        ("file", Form::File),
        ("dir", Form::Dir),
        ("records", Form::Records),
        ("metrics", Form::Metrics),
        ("model", Form::Model),
    ];

    /// The word that a manifest uses.
    pub fn word(self) -> &'static str {
        match self {
            Form::File => "file",
            Form::Dir => "dir",
            Form::Records => "records",
            Form::Metrics => "metrics",
            Form::Model => "model",
        }
    }

    /// Whether it is a folder.
    pub fn is_dir(self) -> bool {
        matches!(self, Form::Dir | Form::Model)
    }

    /// The ending that its files have in the project's `out/` folder.
    pub fn extension(self) -> &'static str {
        match self {
            Form::Records => ".jsonl",
            Form::Metrics => ".json",
            Form::File | Form::Dir | Form::Model => "",
        }
    }
}

/// A parameter of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The word in `with.NAME`.
    pub name: String,
    /// For people: the documentation of the field.
    pub about: String,
    /// What may stand there.
    pub accepts: Accepts,
    /// What holds when nothing stands there; a parameter at its default stays out of the key.
    pub default: Option<Value>,
    /// Whether something must stand there.
    pub required: bool,
}

/// What values a parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepts {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Int {
        /// The least.
        min: Option<i64>,
        /// The greatest.
        max: Option<i64>,
    },
    /// A number; whole ones are read as floats.
    Float,
    /// Text.
    Text,
    /// One of these words.
    OneOf(Vec<String>),
    /// A list whose items are all of this sort.
    List(Box<Accepts>),
    /// Names to values of this sort.
    Map(Box<Accepts>),
    /// Anything; the kind itself checks it.
    Any,
}
