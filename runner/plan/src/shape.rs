//! Walks a manifest's tree along its grammar: unknown keys, wrong types, missing keys, bad names.
//!
//! What passes here can be read without looking at types again; what does not is skipped by all
//! that follow, so that one slip makes one mistake.

use crate::amount;
use crate::grammar::{Grammar, MANIFEST, Names, Shape};
use crate::mistake::Mistake;
use crate::reference::{is_name, is_word};
use crate::suggest;
use crate::text::Texts;
use crate::tree::{Data, Item, Node, Table};

/// Unknown keys beyond so many mistakes get no advice.
const ADVISED: usize = 1000;

/// Checks one file's tree.
pub(crate) fn check(root: &Table, texts: &Texts, found: &mut Vec<Mistake>) {
    Walk { texts, found }.fixed(root, &MANIFEST);
}

struct Walk<'a> {
    texts: &'a Texts,
    found: &'a mut Vec<Mistake>,
}

impl Walk<'_> {
    fn fixed(&mut self, table: &Table, grammar: &Grammar) {
        for item in table.iter() {
            match grammar.keys.iter().find(|it| it.name == item.name) {
                Some(key) => self.shape(&item.node, &key.shape, key.name),
                None => self.unknown(item, grammar),
            }
        }
    }

    fn unknown(&mut self, item: &Item, grammar: &Grammar) {
        let keys = grammar.keys.iter().map(|it| it.name);
        let synonym = grammar.synonyms.iter().find(|it| it.0 == item.name);
        let help = match synonym {
            Some((_, ours)) => Some(format!("it is called `{ours}` here")),
            // Nobody reads so many, and comparing names is what takes time.
            None if self.found.len() >= ADVISED => None,
            None => suggest::advice(&item.name, keys),
        };
        let message = format!("{} has no key `{}`", grammar.name, item.name);
        let mistake = Mistake::new("manifest::unknown-key", message);
        self.found.push(mistake.at(self.texts, item.at, "").maybe_help(help));
    }

    fn shape(&mut self, node: &Node, shape: &Shape, name: &str) {
        match (&node.data, shape) {
            (Data::Broken, _) | (_, Shape::Any) => {}
            (Data::Bool(_), Shape::Bool) | (Data::Text(_), Shape::Text) => {}
            (Data::Float(_), Shape::Float) => {}
            (Data::Int(it), Shape::Int(min, max)) => {
                if !(min..=max).contains(&it) {
                    let bounds =
                        if it < min { format!("at least {min}") } else { format!("at most {max}") };
                    self.bad_value(node, format!("`{name}` must be {bounds}"), None);
                }
            }
            (Data::Text(it), Shape::Time | Shape::Times | Shape::Size | Shape::Word(_)) => {
                self.text(node, it, shape, name);
            }
            (Data::List(items), Shape::List(of)) => {
                for it in items {
                    self.shape(it, of, name);
                }
            }
            (Data::Table(table), Shape::Table(grammar)) => self.fixed_at(node, table, grammar),
            (Data::Table(table), Shape::Map(names, of)) => {
                for item in table.iter() {
                    self.name(item, *names, name);
                    self.shape(&item.node, of, &item.name);
                }
            }
            (_, Shape::Either(shapes)) => match shapes.iter().find(|it| fits(node, it)) {
                Some(it) => self.shape(node, it, name),
                None => self.wrong_type(node, shape, name),
            },
            _ => self.wrong_type(node, shape, name),
        }
    }

    fn fixed_at(&mut self, node: &Node, table: &Table, grammar: &Grammar) {
        self.fixed(table, grammar);
        for key in grammar.keys.iter().filter(|it| it.required) {
            if table.get(key.name).is_none() {
                let message = format!("{} needs `{}`", grammar.name, key.name);
                let mistake = Mistake::new("manifest::missing-key", message);
                self.found.push(mistake.at(self.texts, node.at, "").help(key.about));
            }
        }
    }

    fn text(&mut self, node: &Node, text: &str, shape: &Shape, name: &str) {
        let (good, like) = match shape {
            Shape::Time => (amount::time(text).is_some(), "a time such as `90s` or `1h30m`"),
            Shape::Times => (amount::times(text).is_some(), "a time or two, such as `10s..5m`"),
            Shape::Size => (amount::size(text).is_some(), "a size such as `4GiB`"),
            Shape::Word(words) => {
                if !words.contains(&text) {
                    let help = suggest::advice(text, words.iter().copied());
                    self.bad_value(node, format!("`{name}` cannot be `{text}`"), help);
                }
                return;
            }
            _ => return,
        };
        if !good {
            let message = format!("`{name}` is `{}`, which is not {like}", text.escape_debug());
            self.bad_value(node, message, None);
        }
    }

    fn name(&mut self, item: &Item, names: Names, what: &str) {
        let text = item.name.as_str();
        let (good, rule) = match names {
            Names::Free => return,
            Names::Word => (is_word(text), "letters, digits, `_` and `-`, at most 128"),
            Names::Name => (is_name(text), "letters, digits, `_`, `-` and `.`, at most 128"),
            Names::Variable => {
                let good = !text.is_empty() && !text.contains(['=', '\0', '\n']);
                (good, "letters, digits and `_`")
            }
        };
        if !good {
            let message = format!("`{}` cannot be a name in `{what}`", text.escape_debug());
            let mistake = Mistake::new("manifest::bad-name", message);
            let help = format!("names are made of {rule}");
            self.found.push(mistake.at(self.texts, item.at, "").help(help));
        }
    }

    fn bad_value(&mut self, node: &Node, message: String, help: Option<String>) {
        let mistake = Mistake::new("manifest::bad-value", message);
        self.found.push(mistake.at(self.texts, node.at, "").maybe_help(help));
    }

    fn wrong_type(&mut self, node: &Node, shape: &Shape, name: &str) {
        let message = format!("`{name}` is {}, expected {}", node.type_name(), expected(shape));
        let mistake = Mistake::new("manifest::wrong-type", message);
        let help = example(node, shape).map(|it| format!("write `{name} = {it}`"));
        self.found.push(mistake.at(self.texts, node.at, "").maybe_help(help));
    }
}

/// The table that a lone value could have been meant as: it must be clear which key it is for.
fn example(node: &Node, shape: &Shape) -> Option<String> {
    let Shape::Table(grammar) = shape else { return None };
    let mut keys = grammar.keys.iter().filter(|it| fits(node, &it.shape));
    let (key, None) = (keys.next()?, keys.next()) else { return None };
    let is_enough = grammar.keys.iter().all(|it| !it.required || it.name == key.name);
    let value = match &node.data {
        Data::Int(it) => it.to_string(),
        Data::Text(it) => format!("\"{}\"", it.escape_debug()),
        _ => return None,
    };
    is_enough.then(|| format!("{{ {} = {value} }}", key.name))
}

/// Whether the outermost type is right.
fn fits(node: &Node, shape: &Shape) -> bool {
    match (&node.data, shape) {
        (_, Shape::Either(shapes)) => shapes.iter().any(|it| fits(node, it)),
        (Data::Broken, _) | (_, Shape::Any) => true,
        (Data::Bool(_), Shape::Bool) | (Data::Int(_), Shape::Int(..)) => true,
        (Data::Float(_), Shape::Float) => true,
        (Data::List(_), Shape::List(_)) => true,
        (Data::Table(_), Shape::Table(_) | Shape::Map(..)) => true,
        (
            Data::Text(_),
            Shape::Text | Shape::Time | Shape::Times | Shape::Size | Shape::Word(_),
        ) => true,
        _ => false,
    }
}

fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Any => "anything".to_owned(),
        Shape::Bool => "`true` or `false`".to_owned(),
        Shape::Text => "a string".to_owned(),
        Shape::Float => "a float".to_owned(),
        Shape::Int(..) => "an integer".to_owned(),
        Shape::Time => "a time such as `\"90s\"`".to_owned(),
        Shape::Times => "times such as `\"10s..5m\"`".to_owned(),
        Shape::Size => "a size such as `\"4GiB\"`".to_owned(),
        Shape::Word(words) => format!("`\"{}\"`", words.join("\"`, `\"")),
        Shape::List(of) => format!("a list of {}", plural(of)),
        Shape::Table(_) | Shape::Map(..) => "a table".to_owned(),
        Shape::Either(shapes) => shapes.iter().map(expected).collect::<Vec<_>>().join(" or "),
    }
}

fn plural(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text => "strings",
        Shape::Int(..) => "integers",
        Shape::Word(_) => "words",
        Shape::Either(_) => "strings, numbers or booleans",
        _ => "values",
    }
}
