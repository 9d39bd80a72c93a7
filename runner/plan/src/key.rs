//! What makes a step stale: the parts of its key, and how two sets of parts differ.
//!
//! | part | in the key | why |
//! |---|---|---|
//! | `op`, `op.version` | yes | another program |
//! | `run` (arguments, ports and slots in place of paths), `run.shell` | yes | another program |
//! | `with.NAME`, less the kind's `unkeyed` ones and those at their default | yes | another question; a new parameter whose default is the old meaning invalidates nothing |
//! | `in.PORT`: the digest of the **content** | yes | early cut-off: same bytes, same key; two inputs swapped are two questions |
//! | `in.PORT` that is an endpoint: its address and the model's name | yes | the only thing that we know of it |
//! | an endpoint's key, its rate, retries and time-out | no | another password asks the same question |
//! | `out.SLOT`: form and file name | yes | a program may look at the name of the file it writes |
//! | `code.PATH`: the digest of the content | yes | the program sees these files under these paths |
//! | `env.NAME`: the value; its digest where the name says key, token, secret, password … | yes | the program sees it, and a record is no place for a secret |
//! | `seed` | yes, where the step draws | |
//! | `numerics` of kinds whose bits depend on the machine's arithmetic: the class of the processor, also where a CUDA device computes; the device's own where the step says `bf16`; `endpoint` where a server computes | yes | the bits differ |
//! | the executable that `run` names | no | declare it as `code` if it must count |
//! | jobs, shards, threads, retries, time-outs, pools, checkpoints | no | must not change the result; tests say so |
//! | names of steps, variants and sources; paths, times, host, user | no | renaming or moving costs nothing |
//!
//! A [`RecursiveKey`] has the same parts, with the recursive key of the upstream step in place of
//! a digest that is not known yet. Changing the encoding means a new context string and a page in
//! `doc/decisions/`.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use crate::endpoint::NUMERICS;
use crate::graph::{Argument, Input, Instance, Piece, Surroundings, Work};
use crate::kind::Numerics;
use crate::value::{quote, quoted};
use crate::{Digest, Key, RecursiveKey};

const STEP: &str = "kun 2026-11 step key, format 1";
const RECURSIVE: &str = "kun 2026-11 recursive step key, format 1";
const FAMILY: &str = "kun 2026-11 step family, format 1";
const ROWS: &str = "kun 2026-11 row space, format 1";

/// What a key needs to know of the world, gathered once before anything is planned.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The digest of each of [`crate::Graph::sources`]; none: it is not there.
    pub sources: Vec<Option<Digest>>,
    /// The declared environment variables that are set.
    pub environment: BTreeMap<String, String>,
    /// The class of this machine's arithmetic.
    pub numerics: String,
    /// The class of its CUDA device's, for steps with `numerics = "bf16"`.
    pub numerics_bf16: String,
    /// Which of the sources are endpoints, and what of them is in a key.
    pub endpoints: BTreeMap<usize, String>,
}

impl Facts {
    /// What stands for an input in a key, where it is an endpoint.
    fn served(&self, input: &Input) -> Option<&str> {
        let Input::Source(i) = input else { return None };
        self.endpoints.get(i).map(String::as_str)
    }
}

/// The named parts of one key, each with the text that is hashed and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(pub BTreeMap<String, String>);

/// What stands for an input in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its content.
    Content(Digest),
    /// Not its content, but the step that will make it.
    Maker(RecursiveKey),
    /// A source that is not there.
    Absent,
}

/// Gathers the parts of instance after instance without allocating for each.
#[derive(Default)]
pub struct Gatherer {
    text: String,
    // Name and value as ranges of `text`.
    spans: Vec<(usize, usize, usize)>,
    /// Whether a variable is a secret, by its name.
    secrets: BTreeMap<String, bool>,
}

impl Gatherer {
    /// Takes the parts of an instance; `known` says what stands for each input.
    pub fn gather(
        &mut self,
        instance: &Instance,
        facts: &Facts,
        known: &mut dyn FnMut(&Input) -> Known,
    ) {
        self.text.clear();
        self.spans.clear();
        self.work(instance, facts);
        self.around(&instance.around, facts);
        for (name, value) in &instance.with {
            if !unkeyed(instance, name) {
                self.part(format_args!("with.{name}"), format_args!("{value}"));
            }
        }
        for (port, inputs) in &instance.inputs {
            for (i, input) in inputs.iter().enumerate() {
                if let Some(it) = facts.served(input) {
                    self.part(format_args!("in.{port}"), format_args!("{it}"));
                    continue;
                }
                let known = Shown(known(input), input);
                if inputs.len() == 1 {
                    self.part(format_args!("in.{port}"), format_args!("{known}"));
                } else {
                    self.part(format_args!("in.{port}.{i:05}"), format_args!("{known}"));
                }
            }
        }
        for (slot, output) in &*instance.outputs {
            let form = output.form.word();
            self.part(format_args!("out.{slot}"), format_args!("{form} {}", output.file));
        }
        if let Some(seed) = instance.seed {
            self.part(format_args!("seed"), format_args!("{seed}"));
        }
        let text = &self.text;
        self.spans.sort_unstable_by(|a, b| text[a.0..a.1].cmp(&text[b.0..b.1]));
    }

    fn work(&mut self, instance: &Instance, facts: &Facts) {
        match &instance.work {
            Work::Kind { name, version, numerics, .. } => {
                self.part(format_args!("op"), format_args!("{name}"));
                self.part(format_args!("op.version"), format_args!("{version}"));
                if let Some(numerics) = numerics {
                    let served =
                        instance.inputs.values().flatten().any(|it| facts.served(it).is_some());
                    let class = match numerics {
                        _ if served => NUMERICS,
                        Numerics::Exact => &facts.numerics,
                        Numerics::Bf16 => &facts.numerics_bf16,
                    };
                    self.part(format_args!("numerics"), format_args!("{class}"));
                }
            }
            Work::Program(program) => {
                self.part(format_args!("run"), format_args!("{}", Argv(&program.argv)));
                if program.shell {
                    self.part(format_args!("run.shell"), format_args!("true"));
                }
            }
        }
    }

    fn around(&mut self, around: &Surroundings, facts: &Facts) {
        for (path, source) in &around.code {
            let known = facts.sources[*source].map_or(Known::Absent, Known::Content);
            self.part(
                format_args!("code.{path}"),
                format_args!("{}", Shown(known, &Input::Source(*source))),
            );
        }
        for (name, value) in &around.set {
            self.part(format_args!("env.{name}"), format_args!("{value}"));
        }
        for name in &around.pass {
            let Some(value) = facts.environment.get(name) else { continue };
            if self.is_secret(name) {
                let digest = Digest::of(value.as_bytes());
                self.part(format_args!("env.{name}"), format_args!("{digest}"));
            } else {
                self.part(format_args!("env.{name}"), format_args!("{value}"));
            }
        }
    }

    /// Asked for each instance again, of the same few names.
    fn is_secret(&mut self, name: &str) -> bool {
        if let Some(it) = self.secrets.get(name) {
            return *it;
        }
        let is_secret = is_secret(name);
        self.secrets.insert(name.to_owned(), is_secret);
        is_secret
    }

    fn part(&mut self, name: fmt::Arguments<'_>, value: fmt::Arguments<'_>) {
        let start = self.text.len();
        self.text.write_fmt(name).expect("writing to a String cannot fail");
        let middle = self.text.len();
        self.text.write_fmt(value).expect("writing to a String cannot fail");
        self.spans.push((start, middle, self.text.len()));
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans
            .iter()
            .map(|&(start, middle, end)| (&self.text[start..middle], &self.text[middle..end]))
    }

    /// The parts, to keep.
    pub fn parts(&self) -> Parts {
        Parts(self.each().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The key of what was gathered; every input must have been known by content.
    pub fn key(&self) -> Key {
        Key(hash(STEP, self.each()))
    }

    /// The recursive key of what was gathered.
    pub fn recursive_key(&self) -> RecursiveKey {
        RecursiveKey(hash(RECURSIVE, self.each()))
    }

    /// The digest of all parts but the inputs: steps of one family differ in what they read.
    pub fn family(&self) -> Digest {
        Digest(hash(FAMILY, self.each().filter(|(name, _)| !name.starts_with("in."))))
    }

    /// The digest of all parts but one port and the parameters that `cuts` names: the space in which
    /// results of single records of that port may be shared.
    pub fn row_space(&self, port: &str, cuts: &[&str]) -> Digest {
        let is_port = |name: &str| {
            name.strip_prefix("in.")
                .and_then(|it| it.strip_prefix(port))
                .is_some_and(|it| it.is_empty() || it.starts_with('.'))
        };
        let is_cut = |name: &str| name.strip_prefix("with.").is_some_and(|it| cuts.contains(&it));
        let counts = |name: &str| !is_port(name) && !is_cut(name);
        Digest(hash(ROWS, self.each().filter(|(name, _)| counts(name))))
    }
}

impl Parts {
    /// The key these parts make.
    pub fn key(&self) -> Key {
        Key(hash(STEP, self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }

    /// Every difference from older parts, by name; none: the key is the same.
    pub fn differences(&self, old: &Parts) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> =
            self.0.keys().chain(old.0.keys()).collect();
        names
            .into_iter()
            .filter_map(|name| {
                let (was, is) = (old.0.get(name).cloned(), self.0.get(name).cloned());
                (was != is).then(|| Difference { part: name.clone(), was, is })
            })
            .collect()
    }
}

/// One part that differs between two keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Difference {
    /// The part's name.
    pub part: String,
    /// What it was; none: it was not there.
    pub was: Option<String>,
    /// What it is; none: it is not there any more.
    pub is: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.part;
        match (&self.was, &self.is) {
            (Some(was), Some(is)) => {
                let (was, is) = around_the_change(was, is);
                write!(f, "`{part}` was {was}, is {is}")
            }
            (None, Some(is)) => write!(f, "`{part}` is new: {}", shortened(is)),
            (Some(was), None) => write!(f, "`{part}` is gone: it was {}", shortened(was)),
            (None, None) => write!(f, "`{part}` is the same"),
        }
    }
}

const SHOWN: usize = 60;

/// Both texts, cut so that the first difference is in view.
fn around_the_change(was: &str, is: &str) -> (String, String) {
    if was.chars().count() <= SHOWN && is.chars().count() <= SHOWN {
        return (shortened(was), shortened(is));
    }
    let same = was.chars().zip(is.chars()).take_while(|(a, b)| a == b).count();
    let skip = same.saturating_sub(SHOWN / 3);
    let cut = |text: &str| {
        let rest: String = text.chars().skip(skip).collect();
        format!("{}{}", if skip > 0 { "…" } else { "" }, shortened(&rest))
    };
    if was.starts_with("b3:") { (shortened(was), shortened(is)) } else { (cut(was), cut(is)) }
}

fn shortened(text: &str) -> String {
    if let Some(hex) = text.strip_prefix("b3:").filter(|it| it.len() == 64) {
        return format!("b3:{}", &hex[..10]);
    }
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a variable may hold what nobody should read in a store: parts are kept as they are
/// shown, so of these only the digest is a part.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH"].iter().any(|it| name.contains(it))
}

struct Shown<'a>(Known, &'a Input);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Known::Content(digest), _) => write!(f, "{digest}"),
            (Known::Maker(key), input) => {
                f.write_str("made:")?;
                f.write_str(&blake3::Hash::from_bytes(key.0).to_hex())?;
                let Input::Output { slot, .. } = input else { return Ok(()) };
                f.write_str("/")?;
                f.write_str(slot)
            }
            (Known::Absent, _) => f.write_str("absent"),
        }
    }
}

/// An argument vector with its holes: text is quoted, holes are not, so no text looks like a hole.
struct Argv<'a>(&'a [Argument]);

impl fmt::Display for Argv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, argument) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            for piece in &argument.0 {
                match piece {
                    Piece::Text(text) => quote(text, f)?,
                    Piece::Input(port) => write!(f, "${{in.{port}}}")?,
                    Piece::Output(slot) => write!(f, "${{out.{slot}}}")?,
                    Piece::Variable { name, value } => {
                        write!(f, "${{{name}={}}}", quoted(value))?;
                    }
                }
            }
        }
        f.write_str("]")
    }
}

fn unkeyed(instance: &Instance, name: &str) -> bool {
    match &instance.work {
        Work::Kind { unkeyed, .. } => unkeyed.iter().any(|it| it == name),
        Work::Program(_) => false,
    }
}

fn hash<'a>(context: &str, parts: impl Iterator<Item = (&'a str, &'a str)>) -> [u8; 32] {
    // One long text is hashed faster than many short ones.
    let mut bytes = Vec::with_capacity(1024);
    for (name, value) in parts {
        // Length first: "a" + "bc" is not "ab" + "c".
        for it in [name, value] {
            bytes.extend_from_slice(&(it.len() as u64).to_le_bytes());
            bytes.extend_from_slice(it.as_bytes());
        }
    }
    blake3::derive_key(context, &bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::{Address, Output, Program};
    use crate::kind::Form;
    use crate::{InstanceId, Place, Ports, Value};

    fn instance() -> Instance {
        Instance {
            address: Address { step: "join".into(), each: vec![], variant: None },
            aliases: vec![],
            work: Work::Kind {
                name: "concat".into(),
                version: 1,
                numerics: None,
                unkeyed: vec!["window".into()],
            },
            around: Default::default(),
            with: BTreeMap::from([("k".into(), Value::Int(9)), ("window".into(), Value::Int(3))]),
            inputs: Ports::from_iter([
                ("a".into(), vec![Input::Source(0)]),
                ("b".into(), vec![Input::Output { instance: InstanceId(0), slot: "o".into() }]),
            ]),
            outputs: Arc::new(BTreeMap::from([(
                "data".into(),
                Output { form: Form::File, file: "data".into() },
            )])),
            seed: Some(7),
            how: Arc::default(),
            place: Place::default(),
            origins: Default::default(),
        }
    }

    fn gather(instance: &Instance, b: u8) -> Gatherer {
        let facts = Facts {
            sources: vec![Some(Digest([1; 32]))],
            environment: BTreeMap::from([("PATH".into(), "/bin".into())]),
            ..Facts::default()
        };
        let mut gatherer = Gatherer::default();
        gatherer.gather(instance, &facts, &mut |it| match it {
            Input::Source(_) => Known::Content(Digest([1; 32])),
            Input::Output { .. } => Known::Content(Digest([b; 32])),
        });
        gatherer
    }

    #[test]
    fn the_encoding_is_frozen() {
        // A change here makes every result of every user stale: it needs a new context string.
        let key = gather(&instance(), 2).key();
        assert_eq!(key.hex(), "0a013b8e31074369b002ee36c7ad1fbad4beb18d0f691f9fc012162b519beef7");
    }

    #[test]
    fn the_encoding_of_programs_is_frozen() {
        let mut step = instance();
        let argv = vec![
            Argument(vec![Piece::Text("cat".into())]),
            Argument(vec![Piece::Text("--to=".into()), Piece::Output("data".into())]),
        ];
        step.work = Work::Program(Program { argv, shell: false });
        step.around = Arc::new(Surroundings {
            code: BTreeMap::from([("b.sh".into(), 0)]),
            pass: vec!["PATH".into(), "HOME".into()],
            set: BTreeMap::from([("LANG".into(), "C".into())]),
        });
        let key = gather(&step, 2).key();
        assert_eq!(key.hex(), "500bb82e3cd3ee2375951f6c315cf3d272eef049213c1087d01782ded093a559");
    }

    #[test]
    fn stored_parts_make_the_same_key() {
        let gatherer = gather(&instance(), 2);
        assert_eq!(gatherer.parts().key(), gatherer.key());
    }

    #[test]
    fn what_changes_only_speed_or_names_changes_no_key() {
        let key = gather(&instance(), 2).key();
        let mut other = instance();
        other.address.step = "renamed".into();
        other.address.variant = Some("v".into());
        Arc::make_mut(&mut other.how).shards = 64;
        Arc::make_mut(&mut other.how).uses.insert("cpu".into(), 8);
        other.with.insert("window".into(), Value::Int(99));
        assert_eq!(gather(&other, 2).key(), key);
    }

    #[test]
    fn the_class_of_numbers_is_a_part_where_the_bits_depend_on_it() {
        let of = |numerics| {
            let mut it = instance();
            it.work = Work::Kind { name: "concat".into(), version: 1, numerics, unkeyed: vec![] };
            let facts = Facts {
                sources: vec![Some(Digest([1; 32]))],
                numerics: "cpu".into(),
                numerics_bf16: "device".into(),
                ..Facts::default()
            };
            let mut gatherer = Gatherer::default();
            gatherer.gather(&it, &facts, &mut |_| Known::Content(Digest([2; 32])));
            gatherer.parts().0.remove("numerics")
        };
        let classes = [None, Some(Numerics::Exact), Some(Numerics::Bf16)].map(of);
        assert_eq!(classes, [None, Some("cpu".into()), Some("device".into())]);
    }

    #[test]
    fn swapped_inputs_are_two_questions() {
        let mut swapped = instance();
        let a = swapped.inputs["a"].clone();
        let b = swapped.inputs.insert("a".into(), swapped.inputs["b"].clone());
        swapped.inputs.insert("b".into(), a);
        assert!(b.is_some());
        assert_ne!(gather(&swapped, 2).key(), gather(&instance(), 2).key());
    }

    #[test]
    fn every_part_that_is_a_question_changes_the_key() {
        let base = instance();
        let mut seen = std::collections::BTreeSet::from([gather(&base, 2).key()]);
        let changes: &[fn(&mut Instance)] = &[
            |it| {
                it.work = Work::Kind {
                    name: "concat".into(),
                    version: 2,
                    numerics: None,
                    unkeyed: vec![],
                }
            },
            |it| drop(it.with.insert("k".into(), Value::Float(9.0))),
            |it| drop(it.with.insert("k".into(), Value::Text("9".into()))),
            |it| drop(it.with.remove("k")),
            |it| it.seed = Some(8),
            |it| it.seed = None,
            |it| {
                drop(
                    Arc::make_mut(&mut it.outputs)
                        .insert("data".into(), Output { form: Form::Records, file: "data".into() }),
                )
            },
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = base.clone();
            change(&mut other);
            assert!(seen.insert(gather(&other, 2).key()), "change {i} did not change the key");
        }
        assert!(seen.insert(gather(&base, 3).key()), "an input's content did not change the key");
    }

    #[test]
    fn a_family_leaves_out_inputs_and_a_row_space_one_port() {
        let (two, three) = (gather(&instance(), 2), gather(&instance(), 3));
        assert_eq!(two.family(), three.family());
        assert_eq!(two.row_space("b", &[]), three.row_space("b", &[]));
        assert_ne!(two.row_space("a", &[]), three.row_space("a", &[]));
        let mut other = instance();
        other.with.insert("k".into(), Value::Int(77));
        let other = gather(&other, 2);
        assert_eq!(two.row_space("b", &["k"]), other.row_space("b", &["k"]));
        assert_ne!(two.row_space("b", &[]), other.row_space("b", &[]));
    }

    #[test]
    fn a_secret_is_in_the_key_and_not_in_the_parts() {
        let parts = |value: &str| {
            let mut instance = instance();
            let pass = vec!["API_KEY".into(), "LANG".into()];
            instance.around = Arc::new(Surroundings { pass, ..Surroundings::default() });
            let environment = [("API_KEY", value), ("LANG", "C")];
            let facts = Facts {
                environment: environment.map(|(a, b)| (a.into(), b.into())).into(),
                ..Facts::default()
            };
            let mut gatherer = Gatherer::default();
            gatherer.gather(&instance, &facts, &mut |_| Known::Content(Digest([1; 32])));
            gatherer.parts()
        };
        assert_ne!(parts("hunter2").key(), parts("hunter3").key());
        assert_eq!(parts("hunter2").0["env.LANG"], "C");
        assert!(parts("hunter2").0.values().all(|it| !it.contains("hunter2")));
    }

    #[test]
    fn says_which_part_changed() {
        let (old, mut new) = (gather(&instance(), 2).parts(), gather(&instance(), 2).parts());
        new.0.insert("with.k".into(), "10".into());
        new.0.insert("with.z".into(), "true".into());
        new.0.remove("seed");
        let said: Vec<String> = new.differences(&old).iter().map(|it| it.to_string()).collect();
        assert_eq!(
            said,
            ["`seed` is gone: it was 7", "`with.k` was 9, is 10", "`with.z` is new: true"]
        );
    }
}
