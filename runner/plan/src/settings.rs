//! Checks all that is not a step: `[workflow]`, parameters, variants, sources, models, pools,
//! defaults.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::amount;
use crate::graph::{Checkpoint, FailureKind, How, Retries};
use crate::load::{Project, bad_path};
use crate::mistake::Mistake;
use crate::model::{Env, Given, Leaves, Settings, Variant, has_param};
use crate::path::{Reach, resolve};
use crate::reference::{Reference, Template, is_word};
use crate::suggest;
use crate::text::At;
use crate::tree::{Data, Item, Node, Table};
use crate::value::Value;
use crate::workflow::{Budget, Slots};

/// What every check writes to.
pub(crate) struct Checker<'a> {
    pub(crate) project: &'a Project,
    pub(crate) found: Vec<Mistake>,
    /// How many names were compared for advice.
    compared: Cell<usize>,
}

/// Advice compares a name with all that there are, so there is an end to it: who has this many
/// mistakes, or names, reads the first ones first.
const MOST_COMPARED: usize = 500_000;

impl<'a> Checker<'a> {
    pub(crate) fn new(project: &'a Project, found: Vec<Mistake>) -> Self {
        Self { project, found, compared: Cell::new(0) }
    }

    /// Advice for a name that does not exist, as [`suggest::advice`] has it.
    pub(crate) fn advice<'n, I>(&self, word: &str, names: impl FnOnce() -> I) -> Option<String>
    where
        I: IntoIterator<Item = &'n str> + Clone,
    {
        let compared = self.compared.get();
        if compared >= MOST_COMPARED {
            return None;
        }
        let names = names();
        self.compared.set(compared + names.clone().into_iter().count());
        suggest::advice(word, names)
    }

    /// Notes a mistake at a place.
    pub(crate) fn say(&mut self, code: &'static str, at: At, message: String) -> &mut Mistake {
        self.found.push(Mistake::new(code, message).at(&self.project.texts, at, ""));
        self.found.last_mut().expect("one was just pushed")
    }

    /// Reads the references of a text; a mistake in one leaves the text plain and unused.
    pub(crate) fn template(&mut self, node: &Node) -> Option<Template> {
        let text = node.text()?;
        match Template::parse(text) {
            Ok(it) => Some(it),
            Err(bad) => {
                let at = self.inside(node, text, bad.start, bad.end);
                self.say("manifest::bad-reference", at, bad.message);
                None
            }
        }
    }

    /// The place of a stretch of a string, where it is written without escapes.
    fn inside(&self, node: &Node, text: &str, start: usize, end: usize) -> At {
        let raw = self.project.texts.get(node.at.file as usize);
        let raw = raw.and_then(|it| it.as_str().get(node.at.start as usize..node.at.end as usize));
        match raw.and_then(|it| it.get(1..it.len().saturating_sub(1))) {
            Some(inner) if inner == text => At {
                start: node.at.start + 1 + start as u32,
                end: node.at.start + 1 + end as u32,
                ..node.at
            },
            _ => node.at,
        }
    }

    /// Reads everything but the steps.
    pub(crate) fn settings(&mut self, root: &Table) -> Settings {
        let table = |name: &str| root.get(name).and_then(|it| it.node.table());
        let mut settings = Settings { name: self.default_name(), ..Settings::default() };
        if let Some(workflow) = table("workflow") {
            self.workflow(workflow, &mut settings);
        }
        if let Some(params) = table("params") {
            self.leaves(params, "", &mut settings.params);
        }
        if let Some(variants) = table("variants") {
            settings.variants = self.variants(variants, &settings.params);
        }
        settings.sources = self.given(table("sources"), &settings.params);
        settings.models = self.given(table("models"), &settings.params);
        self.endpoints(table("models"), &mut settings);
        self.inline_endpoints(table("steps"), &mut settings);
        for item in table("pools").into_iter().flat_map(Table::iter) {
            if let Some(slots) = self.slots(item) {
                settings.pools.insert(item.name.clone(), (slots, item.at));
            }
        }
        if let Some(budget) = table("budget") {
            settings.budget = self::budget(budget);
        }
        if let Some(defaults) = table("defaults") {
            settings.how = self.how(defaults, &Arc::default(), &settings.pools);
            if let Some(env) =
                defaults.get("env").and_then(|it| it.node.table().map(|t| (it.at, t)))
            {
                settings.env = Arc::new(self.env(env.1, env.0, &Env::default()));
            }
        }
        settings
    }

    fn default_name(&self) -> String {
        let folder = self.project.root.file_name().map(|it| it.to_string_lossy().into_owned());
        folder.unwrap_or_else(|| "workflow".to_owned())
    }

    fn workflow(&mut self, table: &Table, settings: &mut Settings) {
        if let Some(node) = table.get("name").map(|it| &it.node) {
            match node.text() {
                Some(it) if it.is_empty() || it.chars().any(char::is_control) => {
                    let message = format!("`{}` cannot be a name", it.escape_debug());
                    self.say("manifest::bad-name", node.at, message);
                }
                Some(it) => settings.name = it.to_owned(),
                None => {}
            }
        }
        let desc = table.get("desc").and_then(|it| it.node.text());
        settings.desc = desc.unwrap_or_default().to_owned();
        if let Some(seed) = table.get("seed").and_then(|it| it.node.int()) {
            settings.seed = seed.unsigned_abs();
        }
        let targets = table.get("targets").and_then(|it| it.node.list()).unwrap_or_default();
        settings.targets =
            targets.iter().filter_map(|it| Some((it.text()?.to_owned(), it.at))).collect();
    }

    /// Flattens nested tables to dotted names.
    fn leaves(&mut self, table: &Table, prefix: &str, out: &mut Leaves) {
        for item in table.iter() {
            if !is_word(&item.name) {
                let message =
                    format!("`{}` cannot be a parameter's name", item.name.escape_debug());
                let mistake = self.say("manifest::bad-name", item.at, message);
                mistake.help = Some("names are made of letters, digits, `_` and `-`".to_owned());
                continue;
            }
            let name = if prefix.is_empty() {
                item.name.clone()
            } else {
                format!("{prefix}.{}", item.name)
            };
            match &item.node.data {
                Data::Table(inner) => self.leaves(inner, &name, out),
                _ => {
                    if let Some(value) = item.node.value() {
                        out.insert(name, (value, item.node.at));
                    }
                }
            }
        }
    }

    fn variants(&mut self, table: &Table, params: &Leaves) -> Vec<Variant> {
        let items = table.as_written(&self.project.rank);
        let mut variants = Vec::with_capacity(items.len());
        let mut extends = Vec::with_capacity(items.len());
        for item in &items {
            let mut leaves = Leaves::new();
            let mut above = None;
            if let Some(table) = item.node.table() {
                // `extends` names a variant, unless there is a parameter of that name.
                let named = table.get("extends").filter(|_| !has_param(params, "extends"));
                above = named.map(|it| &it.node);
                self.leaves(table, "", &mut leaves);
                if above.is_some() {
                    leaves.remove("extends");
                }
            }
            for (name, (value, at)) in &mut leaves {
                if let Some(new) = self.fitting(params, name, value, *at) {
                    *value = new;
                }
            }
            leaves.retain(|name, _| params.contains_key(name));
            variants.push(Variant { name: item.name.clone(), at: item.at, extends: None, leaves });
            extends.push(above);
        }
        self.extensions(&mut variants, &extends);
        variants
    }

    /// The value as the parameter takes it; none where it does not.
    fn fitting(&mut self, params: &Leaves, name: &str, value: &Value, at: At) -> Option<Value> {
        let mistake = match fit(params, name, value) {
            Ok(it) => return Some(it),
            Err(it) => it.at(&self.project.texts, at, ""),
        };
        let mistake = match params.get(name) {
            Some((_, first)) => mistake.at(&self.project.texts, *first, "the parameter is here"),
            None => mistake.maybe_help(self.advice(name, || params.keys().map(String::as_str))),
        };
        self.found.push(mistake);
        None
    }

    fn extensions(&mut self, variants: &mut [Variant], extends: &[Option<&Node>]) {
        let index: BTreeMap<String, usize> =
            variants.iter().enumerate().map(|(i, it)| (it.name.clone(), i)).collect();
        for (i, node) in extends.iter().enumerate() {
            let Some(node) = node else { continue };
            let Some(name) = node.text() else {
                let message = format!("`extends` is {}, expected a string", node.type_name());
                self.say("manifest::wrong-type", node.at, message);
                continue;
            };
            variants[i].extends = index.get(name).copied();
            if variants[i].extends.is_none() {
                let help = self.advice(name, || index.keys().map(String::as_str));
                let message = format!("no variant `{}`", name.escape_debug());
                self.say("manifest::unknown-variant", node.at, message).help = help;
            }
        }
        self.circles(variants, extends);
    }

    fn circles(&mut self, variants: &mut [Variant], extends: &[Option<&Node>]) {
        let mut state = vec![0_usize; variants.len()];
        for start in 0..variants.len() {
            let mut path = Vec::new();
            let mut next = Some(start);
            while let Some(i) = next.filter(|it| state[*it] == 0) {
                state[i] = start + 1;
                path.push(i);
                next = variants[i].extends;
            }
            let Some(from) = next.and_then(|it| path.iter().position(|i| *i == it)) else {
                continue;
            };
            let circle = &path[from..];
            let names: Vec<&str> = circle.iter().map(|i| variants[*i].name.as_str()).collect();
            let message = format!(
                "variants extend each other in a circle: `{}` → `{}`",
                names.join("` → `"),
                names[0]
            );
            let mut mistake = Mistake::new("manifest::variant-cycle", message);
            for i in circle {
                let at = extends[*i].map_or(variants[*i].at, |it| it.at);
                mistake = mistake.at(&self.project.texts, at, "");
            }
            self.found.push(mistake);
            for i in circle {
                variants[*i].extends = None;
            }
        }
    }

    fn given(&mut self, table: Option<&Table>, params: &Leaves) -> BTreeMap<String, Given> {
        let mut out = BTreeMap::new();
        for item in table.into_iter().flat_map(Table::iter) {
            let Some(table) = item.node.table() else { continue };
            let Some(node) = table.get("path").map(|it| &it.node) else { continue };
            let Some(path) = self.template(node) else { continue };
            let outside = table.get("outside").and_then(|it| it.node.bool()).unwrap_or(false);
            let reach = if outside { Reach::Anywhere } else { Reach::Inside };
            self.given_path(&path, reach, node.at, params);
            let pinned = table.get("digest").and_then(|it| self.digest(&it.node));
            let given = Given { pinned, ..Given::of(table, path, (reach, node.at)) };
            out.insert(item.name.clone(), given);
        }
        out
    }

    fn given_path(&mut self, path: &Template, reach: Reach, at: At, params: &Leaves) {
        if let Template::Plain(text) = path {
            self.path(text, reach, at);
        }
        for reference in path.references() {
            match reference {
                Reference::Param(name) => self.known_param(params, name, at),
                _ => {
                    let message = "only `params.NAME` can be referred to in a path".to_owned();
                    self.say("manifest::bad-reference", at, message);
                }
            }
        }
    }

    /// Checks a path that is known already.
    pub(crate) fn path(&mut self, text: &str, reach: Reach, at: At) {
        let dir = self.project.dir(at);
        if let Err(bad) = resolve(dir, text, reach) {
            self.found.push(bad_path(bad, text).at(&self.project.texts, at, ""));
        }
    }

    /// Complains about a parameter that does not exist.
    pub(crate) fn known_param(&mut self, params: &Leaves, name: &str, at: At) {
        if !has_param(params, name) {
            let help = self.advice(name, || params.keys().map(String::as_str));
            let message = format!("no parameter `{name}`");
            self.say("manifest::unknown-param", at, message).help =
                help.or_else(|| Some("write it under `[params]`".to_owned()));
        }
    }

    fn digest(&mut self, node: &Node) -> Option<crate::Digest> {
        match node.text()?.parse() {
            Ok(it) => Some(it),
            Err(error) => {
                self.say("manifest::bad-value", node.at, format!("{error}"));
                None
            }
        }
    }

    fn slots(&mut self, item: &Item) -> Option<Slots> {
        let count = |it: &Node| it.int().map(|it| Slots::Count(it.unsigned_abs()));
        match &item.node.data {
            Data::Text(_) => Some(Slots::Auto),
            Data::Int(_) => count(&item.node),
            Data::Table(it) => it.get("slots").and_then(|it| count(&it.node)),
            Data::List(it) => {
                let mut devices: Vec<u32> =
                    it.iter().filter_map(|it| u32::try_from(it.int()?).ok()).collect();
                devices.sort_unstable();
                let length = devices.len();
                devices.dedup();
                if devices.len() < length {
                    let message = format!("a device stands twice in pool `{}`", item.name);
                    self.say("manifest::bad-value", item.node.at, message);
                }
                Some(Slots::Devices(devices))
            }
            _ => None,
        }
    }

    /// Reads `use`, `retries`, `timeout`, `shards`, `checkpoint` over what holds otherwise.
    pub(crate) fn how(
        &mut self,
        table: &Table,
        otherwise: &Arc<How>,
        pools: &BTreeMap<String, (Slots, At)>,
    ) -> Arc<How> {
        let says = ["use", "retries", "timeout", "shards", "checkpoint"];
        if says.iter().all(|it| table.get(it).is_none()) {
            return Arc::clone(otherwise);
        }
        let mut how = How::clone(otherwise);
        let inner = |name: &str| table.get(name).and_then(|it| it.node.table());
        for item in inner("use").into_iter().flat_map(Table::iter) {
            self.uses(item, pools, &mut how);
        }
        if let Some(it) = inner("retries") {
            retries(it, &mut how.retries);
        }
        if let Some(it) = table.get("timeout").and_then(|it| amount::time(it.node.text()?)) {
            how.timeout = Some(it);
        }
        if let Some(it) = table.get("shards").and_then(|it| usize::try_from(it.node.int()?).ok()) {
            how.shards = it.max(1);
        }
        if let Some(it) = inner("checkpoint") {
            how.checkpoint = checkpoint(it);
        }
        Arc::new(how)
    }

    fn uses(&mut self, item: &Item, pools: &BTreeMap<String, (Slots, At)>, how: &mut How) {
        let name = item.name.as_str();
        let amount = match (&item.node.data, name) {
            (Data::Text(text), "mem") => amount::size(text),
            (Data::Int(_), "mem") | (Data::Text(_), _) => {
                let wants = if name == "mem" { "a size such as `\"4GiB\"`" } else { "an integer" };
                let message = format!("`{name}` is {}, expected {wants}", item.node.type_name());
                self.say("manifest::wrong-type", item.node.at, message);
                return;
            }
            (Data::Int(it), _) => u64::try_from(*it).ok(),
            _ => None,
        };
        let built_in = ["cpu", "mem", "gpu"];
        if !built_in.contains(&name) && !pools.contains_key(name) {
            let names = built_in.into_iter().chain(pools.keys().map(String::as_str));
            let help = self.advice(name, || names.collect::<Vec<_>>());
            let message = format!("no pool `{}`", name.escape_debug());
            self.say("manifest::unknown-pool", item.at, message).help = help;
        } else if let Some(amount) = amount {
            how.uses.insert(name.to_owned(), amount);
        }
    }

    /// Reads a program's environment over what holds for all programs.
    pub(crate) fn env(&mut self, table: &Table, at: At, otherwise: &Env) -> Env {
        let mut env = otherwise.clone();
        env.at = Some(at);
        for node in table.get("pass").and_then(|it| it.node.list()).unwrap_or_default() {
            match node.text() {
                Some(it) if it.is_empty() || it.contains(['=', '\0', '\n']) => {
                    let message = format!("`{}` cannot be a variable", it.escape_debug());
                    self.say("manifest::bad-name", node.at, message);
                }
                Some(it) => {
                    env.set.remove(it);
                    env.pass.push(it.to_owned());
                }
                None => {}
            }
        }
        env.pass.sort();
        env.pass.dedup();
        for item in
            table.get("set").and_then(|it| it.node.table()).into_iter().flat_map(Table::iter)
        {
            if let Some(template) = self.template(&item.node) {
                env.pass.retain(|it| *it != item.name);
                env.set.insert(item.name.clone(), (template, item.node.at));
            }
        }
        env
    }
}

/// The value as the parameter of that name takes it: an integer may stand for a float. Advice on a
/// name that does not exist is the caller's.
pub(crate) fn fit(params: &Leaves, name: &str, value: &Value) -> Result<Value, Mistake> {
    let Some((first, _)) = params.get(name) else {
        return Err(Mistake::new("manifest::unknown-param", format!("no parameter `{name}`")));
    };
    match (first, value) {
        (Value::Float(_), Value::Int(it)) => Ok(Value::Float(*it as f64)),
        _ if std::mem::discriminant(first) == std::mem::discriminant(value) => Ok(value.clone()),
        _ => {
            let message = format!(
                "`{name}` is {} and cannot become {}",
                first.type_name(),
                value.type_name()
            );
            Err(Mistake::new("manifest::param-type", message))
        }
    }
}

fn budget(table: &Table) -> Budget {
    let count = |name: &str| u64::try_from(table.get(name)?.node.int()?).ok();
    let wall = table.get("wall").and_then(|it| amount::time(it.node.text()?));
    Budget { wall, tokens: count("tokens"), records: count("records") }
}

fn retries(table: &Table, out: &mut Retries) {
    let get = |name: &str| table.get(name).map(|it| &it.node);
    if let Some(it) = get("max").and_then(|it| u32::try_from(it.int()?).ok()) {
        out.max = it;
    }
    if let Some((first, longest)) = get("backoff").and_then(|it| amount::times(it.text()?)) {
        out.first_wait = first;
        out.longest_wait = longest;
    }
    if let Some(on) = get("on").and_then(Node::list) {
        let kind = |it: &Node| match it.text()? {
            "exit" => Some(FailureKind::Exit),
            "signal" => Some(FailureKind::Signal),
            "timeout" => Some(FailureKind::Timeout),
            _ => None,
        };
        out.on = on.iter().filter_map(kind).collect();
    }
}

fn checkpoint(table: &Table) -> Option<Checkpoint> {
    let every: Duration = amount::time(table.get("every")?.node.text()?)?;
    let keep = table.get("keep").and_then(|it| usize::try_from(it.node.int()?).ok()).unwrap_or(1);
    Some(Checkpoint { every, keep })
}
