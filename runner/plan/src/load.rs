//! Reads the entry manifest with all that it extends and includes, and merges the trees.
//!
//! `extends`: the other file's tables lie below, key by key. `include`: the other files' tables
//! stand beside, and no name may be in two of them. Nothing is checked but syntax and grammar.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Files, MAX_BYTES};
use crate::kind::KindSpec;
use crate::mistake::{Mistake, Mistakes};
use crate::model::Workflow;
use crate::path::{BadPath, Reach, resolve};
use crate::text::{At, Text, Texts};
use crate::tree::{Data, Item, Node, Table, parse};

/// A manifest's syntax trees, merged, not yet checked.
#[derive(Debug)]
pub struct Manifest {
    pub(crate) root: Table,
    pub(crate) project: Project,
    /// What was found on the way, where it did not stop the reading.
    pub(crate) found: Vec<Mistake>,
}

/// The files of a manifest and where they lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Project {
    /// The folder of the entry manifest, as it was named.
    pub(crate) root: PathBuf,
    pub(crate) texts: Texts,
    /// The folder of each text, relative to the root.
    pub(crate) dirs: Vec<PathBuf>,
    /// Where each text stands in the order in which settings apply.
    pub(crate) rank: Vec<u32>,
}

/// The manifest format that this program reads.
pub(crate) const FORMAT: i64 = 1;

/// More files than this are refused.
const MAX_FILES: usize = 1_000;

/// A chain of files longer than this is refused.
const MAX_DEEP: usize = 64;

/// Reads a manifest with all that it extends and includes.
pub fn load(entry: &Path, files: &dyn Files) -> Result<Manifest, Mistakes> {
    let manifest = gather(entry, files)?;
    if manifest.found.is_empty() {
        return Ok(manifest);
    }
    Err(Mistakes::sorted(manifest.found, &manifest.project.texts))
}

/// Reads and checks a manifest, and says the mistakes of both at once.
pub fn read(entry: &Path, files: &dyn Files, kinds: &[&KindSpec]) -> Result<Workflow, Mistakes> {
    gather(entry, files)?.check(kinds)
}

/// Reads everything; mistakes that do not stop the reading stay in the manifest.
fn gather(entry: &Path, files: &dyn Files) -> Result<Manifest, Mistakes> {
    let root = entry.parent().map(Path::to_path_buf).unwrap_or_default();
    let name = entry.file_name().map(PathBuf::from).unwrap_or_default();
    let project = Project { root, ..Project::default() };
    let mut loader =
        Loader { files, project, found: Vec::new(), open: Vec::new(), done: BTreeMap::new() };
    let table = loader.file(&name, None).unwrap_or_default();
    let Loader { project, mut found, .. } = loader;
    // A newer format may mean anything: what else was found says nothing.
    if found.iter().any(|it| it.code == "manifest::format-too-new") {
        found.retain(|it| it.code == "manifest::format-too-new");
        return Err(Mistakes::sorted(found, &project.texts));
    }
    if project.texts.is_empty() {
        return Err(Mistakes::sorted(found, &project.texts));
    }
    Ok(Manifest { root: table, project, found })
}

struct Loader<'a> {
    files: &'a dyn Files,
    project: Project,
    found: Vec<Mistake>,
    /// The files that are being read, outermost first, with where each was named.
    open: Vec<(PathBuf, Option<At>)>,
    /// The files that have been read.
    done: BTreeMap<PathBuf, ()>,
}

/// What the names of a table are, when two files are put beside each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// `params`, `steps`: in as many files as one likes.
    Top,
    /// Steps, sources, variants: each in one file.
    Names,
    /// Parameters, nested: each leaf in one file.
    Params,
}

impl Loader<'_> {
    /// Reads one file, with what it extends and includes; the path is relative to the root.
    fn file(&mut self, path: &Path, named: Option<At>) -> Option<Table> {
        let file = self.text(path, named)?;
        self.open.push((path.to_path_buf(), named));
        let mut own = parse(&self.project.texts, file, &mut self.found);
        self.format(&own);
        crate::shape::check(&own, &self.project.texts, &mut self.found);
        let below = own.remove("extends").and_then(|it| self.extends(&it, file));
        let beside = own.remove("include").map(|it| self.include(&it, file)).unwrap_or_default();
        let rank = self.done.len() as u32;
        self.project.rank[file as usize] = rank;
        self.done.insert(path.to_path_buf(), ());
        self.open.pop();
        let mut merged = match below {
            Some(below) => lay_over(below, own),
            None => own,
        };
        for it in beside {
            merged = self.unite(merged, it, Level::Top);
        }
        Some(merged)
    }

    /// Reads a file's bytes as text.
    fn text(&mut self, path: &Path, named: Option<At>) -> Option<u32> {
        let shown = self.project.root.join(path);
        let bytes = match self.files.read(&shown) {
            Ok(it) => it,
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", shown.display());
                self.say(Mistake::new("manifest::unreadable", message), named);
                return None;
            }
        };
        if bytes.len() > MAX_BYTES {
            let message = format!(
                "`{}` has {} bytes, more than the {MAX_BYTES} that a manifest may have",
                shown.display(),
                bytes.len()
            );
            self.say(Mistake::new("manifest::too-large", message), named);
            return None;
        }
        if self.project.texts.len() >= MAX_FILES || self.open.len() >= MAX_DEEP {
            let message = format!("a manifest of more than {MAX_FILES} files, or {MAX_DEEP} deep");
            self.say(Mistake::new("manifest::too-large", message), named);
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(it) => it,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let message = format!("`{}` is not UTF-8 at byte {at}", shown.display());
                self.say(Mistake::new("manifest::not-utf8", message), named);
                return None;
            }
        };
        self.project.texts.push(Arc::new(Text::new(shown, text)));
        self.project.dirs.push(path.parent().map(Path::to_path_buf).unwrap_or_default());
        self.project.rank.push(0);
        Some(self.project.texts.len() as u32 - 1)
    }

    fn say(&mut self, mistake: Mistake, at: Option<At>) {
        self.found.push(match at {
            Some(at) => mistake.at(&self.project.texts, at, ""),
            None => mistake,
        });
    }

    fn format(&mut self, own: &Table) {
        let node = own.get("workflow").and_then(|it| it.node.table()?.get("format"));
        let Some((node, format)) = node.and_then(|it| Some((&it.node, it.node.int()?))) else {
            return;
        };
        if format > FORMAT {
            let message = format!("manifest format {format} is newer than {FORMAT}");
            let mistake = Mistake::new("manifest::format-too-new", message);
            let help = "this program is too old for this manifest";
            self.found.push(mistake.at(&self.project.texts, node.at, "").help(help));
        }
    }

    fn extends(&mut self, item: &Item, file: u32) -> Option<Table> {
        let path = self.other(&item.node, file)?;
        self.file(&path, Some(item.node.at))
    }

    fn include(&mut self, item: &Item, file: u32) -> Vec<Table> {
        let mut tables = Vec::new();
        for node in item.node.list().unwrap_or_default() {
            let Some(path) = self.other(node, file) else { continue };
            // A file that two others include is read once.
            if self.done.contains_key(&path) {
                continue;
            }
            if let Some(mut table) = self.file(&path, Some(node.at)) {
                self.without_workflow(&mut table);
                tables.push(table);
            }
        }
        tables
    }

    /// The path of another manifest; none where it is wrong or being read already.
    fn other(&mut self, node: &Node, file: u32) -> Option<PathBuf> {
        let text = node.text()?;
        let path = match resolve(&self.project.dirs[file as usize], text, Reach::Inside) {
            Ok(it) => it,
            Err(bad) => {
                self.found.push(bad_path(bad, text).at(&self.project.texts, node.at, ""));
                return None;
            }
        };
        match self.open.iter().position(|it| it.0 == path) {
            Some(start) => {
                self.cycle(start, node.at);
                None
            }
            None => Some(path),
        }
    }

    fn cycle(&mut self, start: usize, closing: At) {
        let names: Vec<String> =
            self.open[start..].iter().map(|it| format!("`{}`", it.0.display())).collect();
        let message =
            format!("manifests read each other in a circle: {} → {}", names.join(" → "), names[0]);
        let mut mistake = Mistake::new("manifest::include-cycle", message).at(
            &self.project.texts,
            closing,
            "this closes the circle",
        );
        for (path, at) in &self.open[start + 1..] {
            if let Some(at) = at {
                let label = format!("`{}` is read here", path.display());
                mistake = mistake.at(&self.project.texts, *at, label);
            }
        }
        self.found.push(mistake);
    }

    /// An included file says its format and nothing else of the whole.
    fn without_workflow(&mut self, table: &mut Table) {
        let Some(item) = table.remove("workflow") else { return };
        for it in item.node.table().into_iter().flat_map(Table::iter) {
            if it.name != "format" {
                let message = format!("`workflow.{}` stands in an included manifest", it.name);
                let mistake = Mistake::new("manifest::include-workflow", message)
                    .at(&self.project.texts, it.at, "")
                    .help("only the entry manifest speaks for the whole; move it there");
                self.found.push(mistake);
            }
        }
    }

    /// Puts one table beside another; a name in both is a mistake, but for tables of names.
    fn unite(&mut self, left: Table, right: Table, level: Level) -> Table {
        let open = level == Level::Params;
        let mut items: BTreeMap<String, Item> =
            left.into_items().into_iter().map(|it| (it.name.clone(), it)).collect();
        for item in right.into_items() {
            let Some(other) = items.remove(&item.name) else {
                items.insert(item.name.clone(), item);
                continue;
            };
            let Item { name, at, node } = item;
            let united = match (other.node.data, node.data) {
                (Data::Table(left), Data::Table(right)) if open || level == Level::Top => {
                    let below = if name == "params" || open { Level::Params } else { Level::Names };
                    let data = Data::Table(self.unite(left, right, below));
                    Node { at: other.node.at, data }
                }
                (data, _) => {
                    let message = format!("`{name}` is defined twice");
                    let mistake = Mistake::new("manifest::duplicate", message)
                        .at(&self.project.texts, at, "here again")
                        .at(&self.project.texts, other.at, "first here");
                    self.found.push(mistake);
                    Node { at: other.node.at, data }
                }
            };
            items.insert(name.clone(), Item { name, at: other.at, node: united });
        }
        Table::from_sorted(items.into_values().collect())
    }
}

/// What is wrong with a path.
pub(crate) fn bad_path(bad: BadPath, text: &str) -> Mistake {
    let shown = text.escape_debug();
    match bad {
        BadPath::Malformed => {
            Mistake::new("manifest::bad-path", format!("`{shown}` cannot be a path"))
        }
        BadPath::Leaves => {
            Mistake::new("manifest::path-leaves", format!("`{shown}` leads out of the project"))
                .help("declare it in `[sources]` with `outside = true`")
        }
    }
}

/// Lays a table over another, key by key.
fn lay_over(below: Table, over: Table) -> Table {
    let mut items: BTreeMap<String, Item> =
        below.into_items().into_iter().map(|it| (it.name.clone(), it)).collect();
    for mut item in over.into_items() {
        if let Some(below) = items.remove(&item.name) {
            item.node.data = match (below.node.data, item.node.data) {
                (Data::Table(below), Data::Table(over)) => Data::Table(lay_over(below, over)),
                (_, over) => over,
            };
        }
        items.insert(item.name.clone(), item);
    }
    Table::from_sorted(items.into_values().collect())
}

impl Project {
    /// The folder of the file in which something stands, relative to the root.
    pub(crate) fn dir(&self, at: At) -> &Path {
        self.dirs.get(at.file as usize).map_or(Path::new(""), PathBuf::as_path)
    }

    /// Where something stands, for people.
    pub(crate) fn place(&self, at: At) -> crate::Place {
        match self.texts.get(at.file as usize) {
            Some(text) => text.place(at.start as usize, at.end as usize),
            None => crate::Place::default(),
        }
    }
}
