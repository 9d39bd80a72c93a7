//! The grammar of a manifest: which keys each table has, what may stand there, and what it means.
//!
//! One table, two uses: the check for unknown keys and wrong types, and the JSON Schema. What a
//! reference means and which names exist is not said here.

use crate::kind::Numerics;

/// A table with fixed keys.
pub(crate) struct Grammar {
    /// What it is called on a screen: `[workflow]`, `a step`.
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [Key],
    /// Words that people bring along from elsewhere, and ours.
    pub(crate) synonyms: &'static [(&'static str, &'static str)],
}

/// A key of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) about: &'static str,
    pub(crate) required: bool,
}

/// What may stand somewhere.
pub(crate) enum Shape {
    Any,
    Bool,
    Text,
    /// A number with a fraction.
    Float,
    /// A whole number within bounds.
    Int(i64, i64),
    /// A time such as `90s`, `1h30m`.
    Time,
    /// A time or a range of two, `10s..5m`.
    Times,
    /// An amount of memory such as `4GiB`.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    List(&'static Shape),
    Table(&'static Grammar),
    /// A table with names that people choose.
    Map(Names, &'static Shape),
    /// One of these; which is told by the type.
    Either(&'static [Shape]),
}

/// The rule for names that people choose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Letters, digits, `_` and `-`.
    Word,
    /// The same and `.`.
    Name,
    /// An environment variable.
    Variable,
    /// Anything; checked elsewhere.
    Free,
}

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, about, required: false }
}

const fn must(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, about, required: true }
}

const TEXTS: Shape = Shape::List(&Shape::Text);
const TEXT_OR_TEXTS: Shape = Shape::Either(&[Shape::Text, TEXTS]);
const READ: Shape = Shape::Either(&[Shape::Text, TEXTS, Shape::Table(&ENDPOINT)]);
const COUNT: Shape = Shape::Int(0, 1 << 40);

/// A whole manifest.
pub(crate) static MANIFEST: Grammar = Grammar {
    name: "a manifest",
    keys: &[
        key(
            "extends",
            Shape::Text,
            "A manifest that this one changes, key by key. Stands before all tables.",
        ),
        key(
            "include",
            TEXTS,
            "Manifests whose steps, sources and parameters are added. Stands before all tables.",
        ),
        key("workflow", Shape::Table(&WORKFLOW), "What the whole is called and what it makes."),
        key(
            "params",
            Shape::Map(Names::Free, &Shape::Any),
            "What may vary; nested tables make dotted names. Only a parameter that a step refers to can affect it.",
        ),
        key(
            "variants",
            Shape::Map(Names::Name, &VARIANT),
            "Named changes of parameters; variants share every step that they do not change.",
        ),
        key(
            "sources",
            Shape::Map(Names::Name, &Shape::Table(&SOURCE)),
            "Files and folders that are read; known by content, never by name or path.",
        ),
        key(
            "models",
            Shape::Map(Names::Name, &Shape::Table(&MODEL)),
            "Folders that hold models, known by content; or servers that have one.",
        ),
        key(
            "pools",
            Shape::Map(Names::Name, &POOL),
            "What there is a limited number of: scheduling, never part of a result's key.",
        ),
        key(
            "budget",
            Shape::Table(&BUDGET),
            "What one run may spend; a run that reaches it stops as if it were asked to, and the next goes on.",
        ),
        key(
            "defaults",
            Shape::Table(&DEFAULTS),
            "What holds for every step that does not say otherwise.",
        ),
        key(
            "steps",
            Shape::Map(Names::Word, &Shape::Table(&STEP)),
            "The work, by name; the name is not part of a result's key.",
        ),
    ],
    synonyms: &[
        ("parameters", "params"),
        ("vars", "params"),
        ("config", "params"),
        ("stages", "steps"),
        ("tasks", "steps"),
        ("jobs", "steps"),
        ("rules", "steps"),
        ("step", "steps"),
        ("inputs", "sources"),
        ("data", "sources"),
        ("resources", "pools"),
        ("limits", "budget"),
        ("includes", "include"),
        ("import", "include"),
        ("base", "extends"),
    ],
};

static BUDGET: Grammar = Grammar {
    name: "`[budget]`",
    keys: &[
        key("wall", Shape::Time, "How long a run may take."),
        key(
            "tokens",
            COUNT,
            "How many tokens steps that ask a model may read and write in it; answers that were kept cost none.",
        ),
        key(
            "records",
            COUNT,
            "About how many records models may be asked in it; answers that were kept cost none.",
        ),
    ],
    synonyms: &[("time", "wall"), ("rows", "records"), ("max_tokens", "tokens")],
};

static WORKFLOW: Grammar = Grammar {
    name: "`[workflow]`",
    keys: &[
        key("name", Shape::Text, "What the whole is called."),
        key("desc", Shape::Text, "The question that it is to answer: a report begins with it."),
        key("format", Shape::Int(1, i64::MAX), "The version of the manifest format: 1."),
        key("seed", Shape::Int(0, i64::MAX), "Every random stream is derived from it."),
        key(
            "targets",
            TEXTS,
            "What is made where nothing is asked for: steps, `step[each]`, `step@variant`, `eval*`.",
        ),
    ],
    synonyms: &[
        ("version", "format"),
        ("default", "targets"),
        ("target", "targets"),
        ("description", "desc"),
        ("about", "desc"),
    ],
};

static VARIANT: Shape = Shape::Map(Names::Free, &Shape::Any);

static SOURCE: Grammar = Grammar {
    name: "a source",
    keys: &[
        must(
            "path",
            Shape::Text,
            "Where it is, relative to the file that says it; may be `${params.NAME}`.",
        ),
        key("digest", Shape::Text, "The digest that it must have, `b3:…`; another stops the run."),
        key("outside", Shape::Bool, "Whether it may lie outside the project."),
        key("license", Shape::Text, LICENSE_ABOUT),
        key("from", Shape::Text, FROM_ABOUT),
    ],
    synonyms: &[
        ("licence", "license"),
        ("origin", "from"),
        ("file", "path"),
        ("dir", "path"),
        ("url", "path"),
        ("hash", "digest"),
        ("md5", "digest"),
    ],
};

const LICENSE_ABOUT: &str =
    "Under which terms it may be used, for the report; in no key: `CC-BY-4.0`.";
const FROM_ABOUT: &str = "Where it came from, for the report; in no key.";

/// A folder, or what a server has.
static MODEL: Grammar = Grammar {
    name: "a model",
    keys: &[
        key("path", Shape::Text, "Where its folder is, relative to the file that says it."),
        key("outside", Shape::Bool, "Whether it may lie outside the project."),
        key("license", Shape::Text, LICENSE_ABOUT),
        key("from", Shape::Text, FROM_ABOUT),
        key("endpoint", Shape::Text, URL_ABOUT),
        key("model", Shape::Text, MODEL_ABOUT),
        key("key_env", Shape::Text, KEY_ABOUT),
        key("concurrency", Shape::Int(1, 1024), CONCURRENCY_ABOUT),
        key("requests_per_minute", Shape::Int(1, 1_000_000), RATE_ABOUT),
        key("retries", Shape::Int(0, 100), AGAIN_ABOUT),
        key("timeout", Shape::Time, TIMEOUT_ABOUT),
    ],
    synonyms: ENDPOINT_SYNONYMS,
};

/// What a server has, written where a model is read.
static ENDPOINT: Grammar = Grammar {
    name: "an endpoint",
    keys: &[
        must("endpoint", Shape::Text, URL_ABOUT),
        must("model", Shape::Text, MODEL_ABOUT),
        key("key_env", Shape::Text, KEY_ABOUT),
        key("concurrency", Shape::Int(1, 1024), CONCURRENCY_ABOUT),
        key("requests_per_minute", Shape::Int(1, 1_000_000), RATE_ABOUT),
        key("retries", Shape::Int(0, 100), AGAIN_ABOUT),
        key("timeout", Shape::Time, TIMEOUT_ABOUT),
    ],
    synonyms: ENDPOINT_SYNONYMS,
};

const URL_ABOUT: &str = "Instead of a folder: the address of a server that answers as OpenAI's do, such as `http://127.0.0.1:8000/v1`.";
const MODEL_ABOUT: &str = "What that server calls the model.";
const KEY_ABOUT: &str =
    "The environment variable that holds the server's key; its value is in no key, log or report.";
const CONCURRENCY_ABOUT: &str = "How many questions are on their way at once: 8.";
const RATE_ABOUT: &str = "How many questions begin in a minute at most.";
const AGAIN_ABOUT: &str = "How often a question is asked again that was refused for the moment: 6.";
const TIMEOUT_ABOUT: &str = "How long one answer may take: `10m`.";
const ENDPOINT_SYNONYMS: &[(&str, &str)] = &[
    ("licence", "license"),
    ("origin", "from"),
    ("dir", "path"),
    ("name", "path"),
    ("url", "endpoint"),
    ("base_url", "endpoint"),
    ("api_base", "endpoint"),
    ("api_key_env", "key_env"),
    ("api_key", "key_env"),
    ("max_retries", "retries"),
];

static POOL: Shape = Shape::Either(&[
    Shape::Word(&["auto"]),
    COUNT,
    Shape::List(&Shape::Int(0, u32::MAX as i64)),
    Shape::Table(&SLOTS),
]);

static SLOTS: Grammar = Grammar {
    name: "a pool",
    keys: &[must("slots", COUNT, "How many steps may hold one at a time.")],
    synonyms: &[("count", "slots"), ("size", "slots"), ("max", "slots")],
};

static DEFAULTS: Grammar = Grammar {
    name: "`[defaults]`",
    keys: &[
        key("retries", Shape::Table(&RETRIES), "When and how a failed step is tried again."),
        key("timeout", Shape::Time, "How long a step may take."),
        key("use", USES, "What a step holds while it runs."),
        key("env", Shape::Table(&ENV), "The environment of program steps."),
    ],
    synonyms: &[("retry", "retries"), ("environment", "env")],
};

/// One step.
pub(crate) static STEP: Grammar = Grammar {
    name: "a step",
    keys: &[
        key("op", Shape::Text, "The step kind; `kun kinds` lists them."),
        key(
            "run",
            TEXT_OR_TEXTS,
            "A program and its arguments; `${in.PORT}`, `${out.SLOT}`, `${with.NAME}` stand for what they name.",
        ),
        key("shell", Shape::Bool, "Whether `run` is one line for a shell."),
        key("desc", Shape::Text, "What it is for; never part of a result's key."),
        key(
            "each",
            Shape::Map(Names::Word, &EACH),
            "One instance for each value; several lists make a matrix.",
        ),
        key(
            "when",
            Shape::Either(&[Shape::Bool, Shape::Text]),
            "Whether it takes place: a boolean or `${params.NAME}`.",
        ),
        key(
            "else",
            Shape::Map(Names::Word, &TEXT_OR_TEXTS),
            "What its outputs stand for when it does not take place.",
        ),
        key(
            "in",
            Shape::Map(Names::Word, &READ),
            "What it reads: port to outputs of steps, sources, models or paths.",
        ),
        key("with", Shape::Map(Names::Word, &Shape::Any), "Its parameters."),
        key(
            "out",
            Shape::Map(Names::Word, &OUT),
            "What it writes: slot to form. Kinds declare theirs.",
        ),
        key(
            "code",
            TEXTS,
            "Files that the program is made of, as patterns: their content is part of the key.",
        ),
        key("env", Shape::Table(&ENV), "The program's environment; nothing else is inherited."),
        key(
            "seed",
            Shape::Text,
            "The name of its random stream, where that is not its kind's name.",
        ),
        key("use", USES, "What it holds while it runs."),
        key(
            "numerics",
            Shape::Word(Numerics::WORDS),
            "Which numbers a model computes with: those of the processor, on whatever device, or `bf16` of a CUDA \
             device: faster, and of a class of their own in the key.",
        ),
        key(
            "shards",
            Shape::Int(1, 1 << 20),
            "Into how many parts the work is split; each is retried and resumed alone.",
        ),
        key("retries", Shape::Table(&RETRIES), "When and how it is tried again."),
        key("timeout", Shape::Time, "How long it may take."),
        key(
            "checkpoint",
            Shape::Table(&CHECKPOINT),
            "How often a resumable step writes its state.",
        ),
    ],
    synonyms: &[
        ("inputs", "in"),
        ("input", "in"),
        ("deps", "in"),
        ("depends", "in"),
        ("needs", "in"),
        ("reads", "in"),
        ("params", "with"),
        ("args", "with"),
        ("config", "with"),
        ("options", "with"),
        ("outputs", "out"),
        ("output", "out"),
        ("outs", "out"),
        ("writes", "out"),
        ("cmd", "run"),
        ("command", "run"),
        ("script", "run"),
        ("exec", "run"),
        ("kind", "op"),
        ("type", "op"),
        ("uses", "op"),
        ("foreach", "each"),
        ("matrix", "each"),
        ("if", "when"),
        ("description", "desc"),
        ("about", "desc"),
        ("resources", "use"),
        ("retry", "retries"),
        ("environment", "env"),
        ("stream", "seed"),
    ],
};

static EACH: Shape = Shape::Either(&[
    Shape::Text,
    Shape::List(&Shape::Either(&[
        Shape::Text,
        Shape::Int(i64::MIN, i64::MAX),
        Shape::Float,
        Shape::Bool,
    ])),
]);

static OUT: Shape = Shape::Either(&[Shape::Word(FORMS), Shape::Table(&OUTPUT)]);

/// The words for forms, as `Form::ALL` has them.
const FORMS: &[&str] = &["file", "dir", "records", "metrics", "model"];

static OUTPUT: Grammar = Grammar {
    name: "an output",
    keys: &[
        must("form", Shape::Word(FORMS), "What it is."),
        key("name", Shape::Text, "The file name that the program sees."),
    ],
    synonyms: &[("type", "form"), ("kind", "form"), ("file", "name"), ("path", "name")],
};

const USES: Shape = Shape::Map(Names::Name, &Shape::Either(&[COUNT, Shape::Size]));

static RETRIES: Grammar = Grammar {
    name: "`retries`",
    keys: &[
        key("max", Shape::Int(0, 1_000_000), "How many times after the first."),
        key("backoff", Shape::Times, "The first wait and the longest, `10s..5m`; it doubles."),
        key(
            "on",
            Shape::List(&Shape::Word(&["exit", "signal", "timeout"])),
            "After which failures.",
        ),
    ],
    synonyms: &[("count", "max"), ("times", "max"), ("delay", "backoff"), ("wait", "backoff")],
};

static CHECKPOINT: Grammar = Grammar {
    name: "`checkpoint`",
    keys: &[
        must("every", Shape::Time, "The time between two."),
        key("keep", Shape::Int(1, 1_000_000), "How many are kept."),
    ],
    synonyms: &[("interval", "every")],
};

static ENV: Grammar = Grammar {
    name: "`env`",
    keys: &[
        key("pass", TEXTS, "Variables taken from the caller; their values are part of the key."),
        key("set", Shape::Map(Names::Variable, &Shape::Text), "Variables set here."),
    ],
    synonyms: &[("inherit", "pass"), ("vars", "set")],
};
