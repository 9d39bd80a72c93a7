//! Checks a step as a whole: ports and parameters against its kind, and references from one part
//! of the step to another.

use crate::accept;
use crate::kind::{Arity, KindSpec, Numerics};
use crate::model::{AxisValues, Port, Step, Task, Term, TermData, param_value};
use crate::reference::{Label, Pick, Reference, Template};
use crate::step::{Context, StepReader};
use crate::suggest;
use crate::text::At;
use crate::tree::Table;
use crate::value::Value;

impl StepReader<'_, '_> {
    /// What needs the whole step.
    pub(crate) fn whole(&mut self, step: &mut Step, table: &Table) {
        match &step.work {
            Task::Kind(index) => {
                let spec = self.kinds.specs[*index];
                self.kind_ports(&spec, step);
                self.kind_params(*index, step);
                self.kind_extras(&spec, step, table);
            }
            Task::Program { argv, .. } => {
                for (template, at) in argv {
                    self.allowed(template, *at, Context::Run);
                    self.holes(step, template, *at);
                }
                if step.how.shards > 1
                    && let Some(it) = table.get("shards")
                {
                    let message = "a program cannot be split into shards".to_owned();
                    self.checker.say("manifest::no-shards", it.at, message);
                }
                if let Some((_, at)) = step.numerics {
                    let message = "a program has numbers of its own".to_owned();
                    self.checker.say("manifest::no-numerics", at, message);
                }
            }
            Task::Unknown => {}
        }
        for (template, at) in step.env.set.values() {
            self.allowed(template, *at, Context::Set);
        }
        self.each_references(step);
        self.else_slots(step);
    }

    fn kind_ports(&mut self, spec: &KindSpec, step: &Step) {
        for port in &step.inputs {
            let Some(known) = spec.inputs.iter().find(|it| it.name == port.name) else {
                let names: Vec<&str> = spec.inputs.iter().map(|it| it.name).collect();
                let message = format!("kind `{}` has no input `{}`", spec.name, port.name);
                let help = suggest::advice(&port.name, names);
                self.checker.say("manifest::unknown-port", port.at, message).help = help;
                continue;
            };
            if known.arity != Arity::Many && port.items.len() > 1 {
                let message =
                    format!("`{}` takes one input and is given {}", port.name, port.items.len());
                let help = suggest::joining(&self.kinds.specs);
                self.checker.say("manifest::too-many-inputs", port.at, message).help = help;
            }
        }
        for known in spec.inputs.iter().filter(|it| it.arity != Arity::Optional) {
            if !step.inputs.iter().any(|it| it.name == known.name) {
                let message = format!("step `{}` needs the input `{}`", step.name, known.name);
                let mistake = self.checker.say("manifest::missing-input", step.at, message);
                mistake.help = Some(known.about.to_owned()).filter(|it| !it.is_empty());
            }
        }
    }

    fn kind_params(&mut self, index: usize, step: &Step) {
        let kinds = &*self.kinds;
        let params = kinds.params.get(&index).map(Vec::as_slice).unwrap_or_default();
        let spec = &kinds.specs[index];
        for (name, term) in &step.with {
            let Some(param) = params.iter().find(|it| it.name == *name) else {
                let help = suggest::parameter(name, params.iter().map(|it| it.name.as_str()));
                let message = format!("kind `{}` has no parameter `{name}`", spec.name);
                self.checker.say("manifest::unknown-with", term.at, message).help = help;
                continue;
            };
            let value = match &term.data {
                TermData::Constant(it) => Some(it.clone()),
                TermData::Template(Template::Whole(Reference::Param(it))) => {
                    param_value(&self.settings.params, it)
                }
                _ => None,
            };
            if let Some(Err(bad)) = value.map(|it| accept::accept(&param.accepts, name, &it)) {
                self.checker.found.push(bad.at(&self.checker.project.texts, term.at, ""));
            }
        }
        for param in params.iter().filter(|it| it.required) {
            if !step.with.iter().any(|it| it.0 == param.name) {
                let message = format!("step `{}` needs the parameter `{}`", step.name, param.name);
                let mistake = self.checker.say("manifest::missing-with", step.at, message);
                mistake.help = Some(param.about.clone()).filter(|it| !it.is_empty());
            }
        }
    }

    /// What a kind cannot do.
    fn kind_extras(&mut self, spec: &KindSpec, step: &mut Step, table: &Table) {
        if step.how.shards > 1
            && spec.shards.is_none()
            && let Some(it) = table.get("shards")
        {
            let message = format!("kind `{}` cannot be split into shards", spec.name);
            self.checker.say("manifest::no-shards", it.at, message);
        }
        match step.numerics {
            Some((_, at)) if !spec.numerics => {
                let message = format!("kind `{}` has the same numbers everywhere", spec.name);
                self.checker.say("manifest::no-numerics", at, message);
            }
            Some((Numerics::Bf16, at)) if step.how.uses.get("gpu").is_none_or(|it| *it == 0) => {
                let message = format!("step `{}` has no `gpu` to compute in bf16 on", step.name);
                let mistake = self.checker.say("manifest::no-numerics", at, message);
                mistake.help = Some("write `use = { gpu = 1 }` in the step".to_owned());
            }
            _ => {}
        }
        match &step.stream {
            Some((_, at)) if !spec.draws => {
                let message = format!("kind `{}` draws no random numbers", spec.name);
                self.checker.say("manifest::no-seed", *at, message);
            }
            None if spec.draws => step.stream = Some((spec.name.to_owned(), step.at)),
            _ => {}
        }
    }

    /// What a program's arguments refer to must be in the step.
    fn holes(&mut self, step: &Step, template: &Template, at: At) {
        let inner = !matches!(template, Template::Whole(_));
        for reference in template.references() {
            match reference {
                Reference::In(name) => match step.inputs.iter().find(|it| it.name == *name) {
                    None => self.hole(("input", "manifest::unknown-port"), name, step, at),
                    Some(port) if inner && port.items.len() > 1 => {
                        let message =
                            format!("`{name}` has several inputs and stands inside a text");
                        let mistake = self.checker.say("manifest::too-many-inputs", at, message);
                        let help = "make `${in.…}` an argument of its own: it becomes several";
                        mistake.help = Some(help.to_owned());
                    }
                    Some(_) => {}
                },
                Reference::Out(name) if !step.outputs.contains_key(name) => {
                    self.hole(("output", "manifest::unknown-slot"), name, step, at);
                }
                Reference::With(name) => {
                    let head = name.split('.').next().unwrap_or(name);
                    if !step.with.iter().any(|it| it.0 == head) {
                        self.hole(("parameter", "manifest::unknown-with"), head, step, at);
                    }
                }
                Reference::Seed if step.stream.is_none() => {
                    let message = format!("step `{}` has no seed", step.name);
                    let mistake = self.checker.say("manifest::no-seed", at, message);
                    mistake.help = Some("write `seed = \"STREAM\"` in the step".to_owned());
                }
                _ => {}
            }
        }
    }

    fn hole(&mut self, (what, code): (&str, &'static str), name: &str, step: &Step, at: At) {
        let names = || -> Vec<&str> {
            match what {
                "input" => step.inputs.iter().map(|it| it.name.as_str()).collect(),
                "output" => step.outputs.keys().map(String::as_str).collect(),
                _ => step.with.iter().map(|it| it.0.as_str()).collect(),
            }
        };
        let help = self.checker.advice(name, names);
        let message = format!("step `{}` has no {what} `{name}`", step.name);
        self.checker.say(code, at, message).help = help;
    }

    /// Every `each.x` must be an axis, and pick something that exists.
    fn each_references(&mut self, step: &Step) {
        let argv: &[(Template, At)] = match &step.work {
            Task::Program { argv, .. } => argv,
            _ => &[],
        };
        let ports = step.inputs.iter().chain(step.otherwise.iter().flatten());
        let items = ports.flat_map(|it: &Port| &it.items).chain(argv).chain(step.env.set.values());
        for (template, at) in items {
            self.each_in(step, template, *at);
        }
        for (_, term) in &step.with {
            self.each_in_term(step, term);
        }
    }

    fn each_in_term(&mut self, step: &Step, term: &Term) {
        match &term.data {
            TermData::Constant(_) => {}
            TermData::Template(it) => self.each_in(step, it, term.at),
            TermData::List(terms) => terms.iter().for_each(|it| self.each_in_term(step, it)),
            TermData::Table(terms) => terms.iter().for_each(|it| self.each_in_term(step, &it.1)),
        }
    }

    fn each_in(&mut self, step: &Step, template: &Template, at: At) {
        for reference in template.references() {
            match reference {
                Reference::Each(name) => {
                    self.axis(step, name, at);
                }
                Reference::Source(Pick::Each(name)) => self.picked(step, name, "source", at),
                Reference::Model(Pick::Each(name)) => self.picked(step, name, "model", at),
                Reference::Step(it) => {
                    for label in &it.select {
                        if let Label::Each(name) = label {
                            self.axis(step, name, at);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn axis(&mut self, step: &Step, name: &str, at: At) -> bool {
        let known = step.axes.iter().any(|it| it.name == name);
        if !known {
            let names = step.axes.iter().map(|it| it.name.as_str());
            let help = suggest::advice(name, names)
                .or_else(|| Some(format!("write `each = {{ {name} = [...] }}` in the step")));
            let message = format!("step `{}` has no `each.{name}`", step.name);
            self.checker.say("manifest::unknown-each", at, message).help = help;
        }
        known
    }

    /// The values of an axis that name sources or models must be names of some.
    fn picked(&mut self, step: &Step, name: &str, what: &str, at: At) {
        if !self.axis(step, name, at) {
            return;
        }
        for axis in step.axes.iter().filter(|it| it.name == name) {
            let AxisValues::Listed(values) = &axis.values else { continue };
            for (value, at) in values {
                match value {
                    Value::Text(it) => self.declared(what, it, *at),
                    it => self.declared(what, &it.to_string(), *at),
                }
            }
        }
    }

    /// What `else` names must be slots; references reach nothing else.
    fn else_slots(&mut self, step: &Step) {
        for port in step.otherwise.iter().flatten() {
            if matches!(step.work, Task::Unknown) || step.outputs.contains_key(&port.name) {
                continue;
            }
            let names = step.outputs.keys().map(String::as_str);
            let help = suggest::advice(&port.name, names);
            let message = format!("step `{}` has no output `{}`", step.name, port.name);
            self.checker.say("manifest::unknown-slot", port.at, message).help = help;
        }
    }
}
