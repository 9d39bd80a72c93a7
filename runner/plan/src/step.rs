//! Checks one step by itself: what it does, its ports, parameters and slots, and which words its
//! references may use. Whether other steps exist is checked once all are read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::endpoint::{inline_name, is_written};
use crate::grammar::STEP;
use crate::graph::Output;
use crate::kind::{Form, KindSpec, Numerics};
use crate::mistake::Mistake;
use crate::model::{
    Axis, AxisValues, Env, Kinds, Port, Settings, Step, Task, Term, TermData, When,
};
use crate::model::{has_param, param_value};
use crate::path::is_file_name;
use crate::reference::{Pick, Reference, Template, opening};
use crate::settings::Checker;
use crate::suggest;
use crate::text::At;
use crate::tree::{Data, Item, Node, Table};
use crate::value::Value;

/// Where a reference stands: not every word means something everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    Input,
    With,
    Run,
    Set,
}

impl Context {
    fn allows(self, reference: &Reference) -> bool {
        match reference {
            Reference::Param(_) | Reference::Each(_) => true,
            Reference::Step(_) | Reference::Source(_) | Reference::Model(_) => {
                self == Context::Input
            }
            Reference::In(_) | Reference::Out(_) | Reference::With(_) | Reference::Seed => {
                self == Context::Run
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Context::Input => "`steps`, `sources`, `models`, `variants`, `params` and `each`",
            Context::With | Context::Set => "`params` and `each`",
            Context::Run => "`in`, `out`, `with`, `params`, `each` and `seed`",
        }
    }
}

/// Reads steps against settings and kinds that are known.
pub(crate) struct StepReader<'a, 'b> {
    pub(crate) checker: &'a mut Checker<'b>,
    pub(crate) settings: &'a Settings,
    pub(crate) kinds: &'a mut Kinds,
    pub(crate) kind_index: HashMap<&'static str, usize>,
    /// The outputs of the last step.
    pub(crate) outputs: Arc<BTreeMap<String, Output>>,
}

impl StepReader<'_, '_> {
    /// Reads one step.
    pub(crate) fn read(&mut self, item: &Item) -> Option<Step> {
        let table = item.node.table()?;
        let get = |name: &str| table.get(name).map(|it| &it.node);
        let work = self.task(item, table);
        let (code, env) = self.around(&work, table);
        let axes = get("each").and_then(Node::table).map(|it| self.axes(it)).unwrap_or_default();
        let inputs = self.ports(table.get("in"), Context::Input);
        let with = self.with(table.get("with"));
        let otherwise = table.get("else").map(|it| self.ports(Some(it), Context::Input));
        let when = self.when(table, &otherwise);
        let outputs = self.outputs(table.get("out"), &work);
        let how = self.checker.how(table, &self.settings.how, &self.settings.pools);
        let mut step = Step {
            name: item.name.clone(),
            at: item.at,
            desc: get("desc").and_then(|it| it.text().map(str::to_owned)),
            work,
            code,
            env,
            inputs,
            with,
            outputs: self.shared(outputs),
            out_at: table.get("out").map(|it| it.at),
            axes,
            when,
            otherwise,
            how,
            stream: get("seed").and_then(|it| Some((it.text()?.to_owned(), it.at))),
            numerics: get("numerics").and_then(|it| Some((Numerics::of(it.text()?)?, it.at))),
            reads: Vec::new(),
            passes: Vec::new(),
        };
        self.whole(&mut step, table);
        Some(step)
    }

    /// Most steps have the outputs of the step before: then they share them.
    fn shared(&mut self, outputs: BTreeMap<String, Output>) -> Arc<BTreeMap<String, Output>> {
        if *self.outputs != outputs {
            self.outputs = Arc::new(outputs);
        }
        Arc::clone(&self.outputs)
    }

    fn task(&mut self, item: &Item, table: &Table) -> Task {
        match (table.get("op"), table.get("run")) {
            (Some(op), None) => self.kind(op, table),
            (None, Some(run)) => self.program(run, table),
            (Some(op), Some(run)) => {
                let message = format!("step `{}` has both `op` and `run`", item.name);
                let mistake = Mistake::new("manifest::op-or-run", message)
                    .at(&self.checker.project.texts, run.at, "")
                    .at(&self.checker.project.texts, op.at, "and here")
                    .help("a step does one thing: a kind or a program");
                self.checker.found.push(mistake);
                Task::Unknown
            }
            (None, None) if has_synonym(table) => Task::Unknown,
            (None, None) => {
                let message = format!("step `{}` has neither `op` nor `run`", item.name);
                let mistake = self.checker.say("manifest::op-or-run", item.at, message);
                mistake.help = Some("`op` names a step kind, `run` a program".to_owned());
                Task::Unknown
            }
        }
    }

    fn kind(&mut self, op: &Item, table: &Table) -> Task {
        if let Some(it) = table.get("shell") {
            let message = "`shell` is for steps that `run` a program".to_owned();
            self.checker.say("manifest::not-for-kinds", it.at, message);
        }
        let Some(name) = op.node.text() else { return Task::Unknown };
        let Some(index) = self.kind_index.get(name).copied() else {
            let names: Vec<&str> = self.kinds.specs.iter().map(|it| it.name).collect();
            let help = suggest::advice(name, names);
            let message = format!("no step kind `{}`", name.escape_debug());
            self.checker.say("manifest::unknown-kind", op.node.at, message).help = help;
            return Task::Unknown;
        };
        let spec = self.kinds.specs[index];
        self.kinds.params.entry(index).or_insert_with(|| (spec.params)());
        Task::Kind(index)
    }

    fn program(&mut self, run: &Item, table: &Table) -> Task {
        let shell = table.get("shell").and_then(|it| it.node.bool()).unwrap_or(false);
        let single = [&run.node];
        let nodes: Vec<&Node> = match &run.node.data {
            Data::List(it) => it.iter().collect(),
            _ => single.to_vec(),
        };
        if shell && nodes.len() != 1 {
            let message = "with `shell = true`, `run` is one string".to_owned();
            self.checker.say("manifest::bad-value", run.node.at, message);
        } else if !shell && run.node.text().is_some() {
            let message = "`run` is a string, expected a list of arguments".to_owned();
            let mistake = self.checker.say("manifest::wrong-type", run.node.at, message);
            let help = "write `[\"program\", \"argument\"]`, or `shell = true` for a shell line";
            mistake.help = Some(help.to_owned());
        }
        if nodes.is_empty() || nodes.first().and_then(|it| it.text()).is_some_and(str::is_empty) {
            let message = "`run` names no program".to_owned();
            self.checker.say("manifest::bad-value", run.node.at, message);
        }
        let mut argv: Vec<(Template, At)> = Vec::with_capacity(nodes.len());
        argv.extend(nodes.iter().filter_map(|it| Some((self.checker.template(it)?, it.at))));
        Task::Program { at: run.at, argv, shell }
    }

    /// The code files and the environment of a step that runs a program.
    fn around(&mut self, work: &Task, table: &Table) -> (Vec<(String, At)>, Arc<Env>) {
        if let Task::Kind(index) = work
            && let spec = self.kinds.specs[*index]
            && !spec.runs_programs
        {
            for (name, it) in ["code", "env"].map(|it| (it, table.get(it))) {
                let Some(it) = it else { continue };
                let message = format!("kind `{}` runs no program that `{name}` is for", spec.name);
                self.checker.say("manifest::not-for-kinds", it.at, message);
            }
            return (Vec::new(), Arc::default());
        }
        let code = table.get("code").and_then(|it| it.node.list()).unwrap_or_default();
        let code = code.iter().filter_map(|it| Some((it.text()?.to_owned(), it.at))).collect();
        let inherited = &self.settings.env;
        let env = match table.get("env").and_then(|it| Some((it.at, it.node.table()?))) {
            Some((at, it)) => Arc::new(self.checker.env(it, at, inherited)),
            None => Arc::clone(inherited),
        };
        (code, env)
    }

    fn axes(&mut self, table: &Table) -> Vec<Axis> {
        let mut axes = Vec::new();
        for item in table.as_written(&self.checker.project.rank) {
            let values = match &item.node.data {
                Data::List(items) => self.listed(item, items),
                Data::Text(_) => match self.checker.template(&item.node) {
                    Some(Template::Whole(Reference::Param(name))) => self.axis_param(item, name),
                    Some(_) => {
                        let message = format!("`{}` is a string, expected a list", item.name);
                        let mistake =
                            self.checker.say("manifest::wrong-type", item.node.at, message);
                        mistake.help = Some("a list, or `${params.NAME}` of one".to_owned());
                        AxisValues::Listed(Vec::new())
                    }
                    None => AxisValues::Listed(Vec::new()),
                },
                _ => AxisValues::Listed(Vec::new()),
            };
            axes.push(Axis { name: item.name.clone(), at: item.at, values });
        }
        axes
    }

    fn listed(&mut self, item: &Item, items: &[Node]) -> AxisValues {
        if items.is_empty() {
            let message =
                format!("`{}` has no values: the step would have no instances", item.name);
            self.checker.say("manifest::bad-value", item.node.at, message);
        }
        let mut seen = HashMap::new();
        let mut values = Vec::with_capacity(items.len());
        for node in items {
            let Some(value) = node.value() else { continue };
            if let Value::Text(text) = &value
                && text.contains("${")
            {
                let message = "a value of `each` is a plain value".to_owned();
                let mistake = self.checker.say("manifest::bad-reference", node.at, message);
                mistake.help = Some("a whole list may be `\"${params.NAME}\"`".to_owned());
            }
            if let Some(first) = seen.insert(value.to_string(), node.at) {
                let message = format!("{value} stands twice in `{}`", item.name);
                let mistake = Mistake::new("manifest::duplicate-value", message)
                    .at(&self.checker.project.texts, node.at, "")
                    .at(&self.checker.project.texts, first, "first here");
                self.checker.found.push(mistake);
            }
            values.push((value, node.at));
        }
        AxisValues::Listed(values)
    }

    fn axis_param(&mut self, item: &Item, name: String) -> AxisValues {
        let params = &self.settings.params;
        match param_value(params, &name) {
            None => self.checker.known_param(params, &name, item.node.at),
            Some(Value::List(_)) => {}
            Some(it) => {
                let message = format!("`{name}` is {}, expected a list", it.type_name());
                self.checker.say("manifest::wrong-type", item.node.at, message);
            }
        }
        AxisValues::Param(name)
    }

    fn when(&mut self, table: &Table, otherwise: &Option<Vec<Port>>) -> When {
        let Some(item) = table.get("when") else {
            if let (Some(_), Some(it)) = (otherwise, table.get("else")) {
                let message = "`else` without `when`".to_owned();
                self.checker.say("manifest::bad-value", it.at, message);
            }
            return When::Constant(true);
        };
        match &item.node.data {
            Data::Bool(it) => When::Constant(*it),
            Data::Text(_) => match self.checker.template(&item.node) {
                Some(Template::Whole(Reference::Param(name))) => {
                    match param_value(&self.settings.params, &name) {
                        None => {
                            self.checker.known_param(&self.settings.params, &name, item.node.at);
                        }
                        Some(Value::Bool(_)) => {}
                        Some(it) => {
                            let message =
                                format!("`{name}` is {}, expected a boolean", it.type_name());
                            self.checker.say("manifest::wrong-type", item.node.at, message);
                        }
                    }
                    When::Param(name, item.node.at)
                }
                Some(_) => {
                    let message = "`when` is a boolean or `${params.NAME}`".to_owned();
                    self.checker.say("manifest::bad-reference", item.node.at, message);
                    When::Constant(true)
                }
                None => When::Constant(true),
            },
            _ => When::Constant(true),
        }
    }

    fn ports(&mut self, item: Option<&Item>, context: Context) -> Vec<Port> {
        let table = item.and_then(|it| it.node.table());
        let mut ports = Vec::with_capacity(table.map_or(0, |it| it.iter().count()));
        for item in table.into_iter().flat_map(Table::iter) {
            let single = std::slice::from_ref(&item.node);
            let nodes = item.node.list().unwrap_or(single);
            let mut items = Vec::with_capacity(nodes.len());
            for node in nodes {
                if node.table().is_some() {
                    let name = inline_name(node.at);
                    // What is wrong with it has been said.
                    if self.settings.models.contains_key(&name) {
                        let model = Template::Whole(Reference::Model(Pick::Name(name)));
                        items.push((model, node.at));
                    }
                    continue;
                }
                let Some(template) = self.checker.template(node) else { continue };
                if let Template::Plain(text) = &template {
                    self.checker.path(text, crate::path::Reach::Inside, node.at);
                }
                self.allowed(&template, node.at, context);
                items.push((template, node.at));
            }
            if nodes.is_empty() {
                let message = format!("`{}` lists nothing", item.name);
                self.checker.say("manifest::bad-value", item.node.at, message);
            }
            ports.push(Port { name: item.name.clone(), at: item.at, items });
        }
        ports
    }

    fn with(&mut self, item: Option<&Item>) -> Vec<(String, Term)> {
        let table = item.and_then(|it| it.node.table());
        let items = table.into_iter().flat_map(Table::iter);
        items.filter_map(|it| Some((it.name.clone(), self.term(&it.node)?))).collect()
    }

    fn term(&mut self, node: &Node) -> Option<Term> {
        let data = match &node.data {
            Data::Text(text) if opening(text).is_some() => match self.checker.template(node)? {
                Template::Plain(it) => TermData::Constant(Value::Text(it)),
                it => {
                    self.allowed(&it, node.at, Context::With);
                    TermData::Template(it)
                }
            },
            Data::List(items) => {
                let terms: Vec<Term> =
                    items.iter().map(|it| self.term(it)).collect::<Option<_>>()?;
                match terms.iter().map(constant).collect::<Option<Vec<Value>>>() {
                    Some(it) => TermData::Constant(Value::List(it)),
                    None => TermData::List(terms),
                }
            }
            Data::Table(table) => {
                let term = |it: &Item| Some((it.name.clone(), self.term(&it.node)?));
                let terms: Vec<(String, Term)> = table.iter().map(term).collect::<Option<_>>()?;
                let constants: Option<BTreeMap<String, Value>> =
                    terms.iter().map(|(name, it)| Some((name.clone(), constant(it)?))).collect();
                match constants {
                    Some(it) => TermData::Constant(Value::Table(it)),
                    None => TermData::Table(terms),
                }
            }
            _ => TermData::Constant(node.value()?),
        };
        Some(Term { at: node.at, data })
    }

    /// Complains about references that mean nothing here, and about parameters and the like that
    /// do not exist.
    pub(crate) fn allowed(&mut self, template: &Template, at: At, context: Context) {
        for reference in template.references() {
            if !context.allows(reference) {
                let message = format!("only {} can be referred to here", context.words());
                self.checker.say("manifest::bad-reference", at, message);
                continue;
            }
            let inner = !matches!(template, Template::Whole(_));
            if inner
                && matches!(
                    reference,
                    Reference::Step(_) | Reference::Source(_) | Reference::Model(_)
                )
            {
                let message = "a file cannot be put inside a longer text".to_owned();
                let mistake = self.checker.say("manifest::bad-reference", at, message);
                mistake.help = Some("make the reference the whole value".to_owned());
            }
            match reference {
                Reference::Param(name) => self.param(name, at, inner),
                Reference::Source(Pick::Name(name)) => self.declared("source", name, at),
                Reference::Model(Pick::Name(name)) => self.declared("model", name, at),
                _ => {}
            }
        }
    }

    fn param(&mut self, name: &str, at: At, inner: bool) {
        let params = &self.settings.params;
        if !has_param(params, name) {
            return self.checker.known_param(params, name, at);
        }
        let value = param_value(params, name);
        if let Some(it @ (Value::List(_) | Value::Table(_))) = value
            && inner
        {
            let message = format!(
                "`{name}` is {}: only one number, text or boolean fits inside a text",
                it.type_name()
            );
            self.checker.say("manifest::bad-reference", at, message);
        }
    }

    pub(crate) fn declared(&mut self, what: &str, name: &str, at: At) {
        let (given, code) = match what {
            "source" => (&self.settings.sources, "manifest::unknown-source"),
            _ => (&self.settings.models, "manifest::unknown-model"),
        };
        if !given.contains_key(name) {
            let names = given.keys().map(String::as_str).filter(|it| is_written(it));
            let help = self.checker.advice(name, || names.collect::<Vec<_>>());
            let message = format!("no {what} `{name}`");
            self.checker.say(code, at, message).help =
                help.or_else(|| Some(format!("declare it in `[{what}s]`")));
        }
    }

    fn outputs(&mut self, item: Option<&Item>, work: &Task) -> BTreeMap<String, Output> {
        let mut outputs = BTreeMap::new();
        let mut files: HashMap<String, At> = HashMap::new();
        let spec = match work {
            Task::Kind(it) => Some(self.kinds.specs[*it]),
            _ => None,
        };
        for slot in spec.iter().flat_map(|it| it.outputs) {
            outputs.insert(slot.name.to_owned(), output(slot.name, slot.form));
        }
        for item in item.and_then(|it| it.node.table()).into_iter().flat_map(Table::iter) {
            let Some((form, file)) = self.output(item) else { continue };
            if let Some(spec) = &spec {
                self.repeats(spec, item, form);
                continue;
            }
            let file = file.unwrap_or_else(|| output(&item.name, form).file);
            if let Some(first) = files.insert(file.clone(), item.at) {
                let message = format!("two outputs are called `{file}`");
                let mistake = Mistake::new("manifest::duplicate-output", message)
                    .at(&self.checker.project.texts, item.at, "")
                    .at(&self.checker.project.texts, first, "and here");
                self.checker.found.push(mistake);
            }
            outputs.insert(item.name.clone(), Output { form, file });
        }
        outputs
    }

    fn output(&mut self, item: &Item) -> Option<(Form, Option<String>)> {
        let (word, name) = match &item.node.data {
            Data::Table(it) => (it.get("form")?.node.text()?, it.get("name").map(|it| &it.node)),
            _ => (item.node.text()?, None),
        };
        let form = Form::ALL.iter().find(|it| it.0 == word)?.1;
        let file = match name.and_then(|it| Some((it, it.text()?))) {
            Some((node, text)) if !is_file_name(text) => {
                let message = format!("`{}` cannot be an output's file name", text.escape_debug());
                let mistake = self.checker.say("manifest::bad-path", node.at, message);
                mistake.help = Some("one name, without folders; kun owns the folder".to_owned());
                None
            }
            Some((_, text)) => Some(text.to_owned()),
            None => None,
        };
        Some((form, file))
    }

    /// A kind's outputs may be repeated, no more.
    fn repeats(&mut self, spec: &KindSpec, item: &Item, form: Form) {
        let Some(slot) = spec.outputs.iter().find(|it| it.name == item.name) else {
            let names: Vec<&str> = spec.outputs.iter().map(|it| it.name).collect();
            let message = format!("kind `{}` has no output `{}`", spec.name, item.name);
            let help = suggest::advice(&item.name, names);
            self.checker.say("manifest::unknown-slot", item.at, message).help = help;
            return;
        };
        if slot.form != form {
            let message = format!(
                "`{}` of kind `{}` is {}, not {}",
                slot.name,
                spec.name,
                slot.form.word(),
                form.word()
            );
            self.checker.say("manifest::wrong-form", item.node.at, message);
        }
    }
}

/// Whether another tool's word stands for `op` or `run`: that has been said.
fn has_synonym(table: &Table) -> bool {
    let synonyms = STEP.synonyms.iter().filter(|it| ["op", "run"].contains(&it.1));
    synonyms.into_iter().any(|it| table.get(it.0).is_some())
}

fn constant(term: &Term) -> Option<Value> {
    match &term.data {
        TermData::Constant(it) => Some(it.clone()),
        _ => None,
    }
}

fn output(slot: &str, form: Form) -> Output {
    Output { form, file: format!("{slot}{}", form.extension()) }
}
