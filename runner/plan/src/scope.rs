//! What references mean in one instance: its variant's parameters and its `each` values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::mistake::Mistake;
use crate::model::{Axis, Leaves, Settings, Step, Term, TermData, has_param, under};
use crate::reference::{Part, Reference, Template};
use crate::text::{At, Texts};
use crate::value::Value;

/// The parameters of one variant, with those that were set by hand.
#[derive(Clone, Copy)]
pub(crate) struct Params<'a> {
    pub(crate) settings: &'a Settings,
    /// None: as they stand in `[params]`.
    pub(crate) variant: Option<usize>,
    pub(crate) sets: &'a Leaves,
}

impl<'a> Params<'a> {
    /// The value of a parameter, or of a table of some.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'a, Value>> {
        if let Some(it) = self.leaf(name) {
            return Some(Cow::Borrowed(&it.0));
        }
        if !has_param(&self.settings.params, name) {
            return None;
        }
        let leaves: Leaves = under(&self.settings.params, name)
            .filter_map(|(full, _)| Some((full.clone(), self.leaf(full)?.clone())))
            .collect();
        crate::model::param_value(&leaves, name).map(Cow::Owned)
    }

    /// Where a parameter has its value from.
    pub(crate) fn at(&self, name: &str) -> Option<At> {
        self.leaf(name).map(|it| it.1)
    }

    fn leaf(&self, name: &str) -> Option<&'a (Value, At)> {
        if let Some(it) = self.sets.get(name) {
            return Some(it);
        }
        let changed = self.settings.chain(self.variant).find_map(|it| it.leaves.get(name));
        changed.or_else(|| self.settings.params.get(name))
    }
}

/// What can be referred to where one instance stands.
pub(crate) struct Scope<'a> {
    pub(crate) params: Params<'a>,
    pub(crate) step: &'a Step,
    /// One value for each axis.
    pub(crate) values: &'a [Value],
    /// Their labels.
    pub(crate) labels: &'a [String],
    pub(crate) seed: Option<u64>,
    /// The step's own parameters, once they are known.
    pub(crate) with: BTreeMap<String, Value>,
}

impl Scope<'_> {
    /// The position of an axis.
    pub(crate) fn axis(&self, name: &str) -> Option<usize> {
        self.step.axes.iter().position(|it: &Axis| it.name == name)
    }

    /// The value of a reference that is not a file.
    pub(crate) fn value(&self, reference: &Reference) -> Option<Value> {
        match reference {
            Reference::Param(name) => self.params.get(name).map(Cow::into_owned),
            Reference::Each(name) => self.values.get(self.axis(name)?).cloned(),
            Reference::Seed => self.seed.map(|it| Value::Text(it.to_string())),
            Reference::With(name) => {
                let mut parts = name.split('.');
                let mut value = self.with.get(parts.next()?)?;
                for part in parts {
                    let Value::Table(table) = value else { return None };
                    value = table.get(part)?;
                }
                Some(value.clone())
            }
            _ => None,
        }
    }

    /// A value with its references replaced.
    pub(crate) fn term(&self, term: &Term) -> Result<Value, Mistake> {
        Ok(match &term.data {
            TermData::Constant(it) => it.clone(),
            TermData::Template(Template::Whole(it)) => self.known(it)?,
            TermData::Template(it) => Value::Text(self.text(it)?),
            TermData::List(items) => {
                Value::List(items.iter().map(|it| self.term(it)).collect::<Result<_, _>>()?)
            }
            TermData::Table(items) => {
                let item = |(name, it): &(String, Term)| Ok((name.clone(), self.term(it)?));
                Value::Table(items.iter().map(item).collect::<Result<_, Mistake>>()?)
            }
        })
    }

    /// A text with its references replaced.
    pub(crate) fn text(&self, template: &Template) -> Result<String, Mistake> {
        match template {
            Template::Plain(it) => Ok(it.clone()),
            Template::Whole(it) => scalar(&self.known(it)?),
            Template::Mixed(parts) => {
                let mut out = String::new();
                for part in parts {
                    match part {
                        Part::Text(it) => out += it,
                        Part::Reference(it) => out += &scalar(&self.known(it)?)?,
                    }
                }
                Ok(out)
            }
        }
    }

    /// The value of a reference, which is there.
    pub(crate) fn known(&self, reference: &Reference) -> Result<Value, Mistake> {
        self.value(reference).ok_or_else(|| {
            let what = match reference {
                Reference::With(it) => format!("`with.{it}`"),
                Reference::Param(it) => format!("`params.{it}`"),
                _ => "this reference".to_owned(),
            };
            Mistake::new("manifest::bad-reference", format!("{what} has no value here"))
        })
    }

    /// Adds where a parameter's value comes from, to a mistake that it made.
    pub(crate) fn blame(&self, mistake: Mistake, template: &Template, texts: &Texts) -> Mistake {
        let mut mistake = mistake;
        for reference in template.references() {
            if let Reference::Param(name) = reference
                && let Some(at) = self.params.at(name)
                && mistake.labels.iter().all(|it| it.0.start != at.start as usize)
            {
                mistake = mistake.at(texts, at, format!("the value of `{name}`"));
            }
        }
        mistake
    }
}

/// A number, text or boolean as it stands inside a text.
pub(crate) fn scalar(value: &Value) -> Result<String, Mistake> {
    match value {
        Value::Text(it) => Ok(it.clone()),
        Value::List(_) | Value::Table(_) => {
            let message = format!(
                "{} cannot stand inside a text: only one number, text or boolean",
                value.type_name()
            );
            Err(Mistake::new("manifest::bad-reference", message))
        }
        it => Ok(it.to_string()),
    }
}
