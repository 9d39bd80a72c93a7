//! The reference of step kinds, made from their code: a table of all, a page of one, as Markdown
//! for documentation and as plain text for a terminal.

use plan::KindSpec;
use plan::kind::{Accepts, Arity, Param};

/// Name and one line for each kind.
pub fn table<'a>(kinds: impl IntoIterator<Item = &'a KindSpec>) -> Vec<[&'a str; 2]> {
    kinds.into_iter().map(|it| [it.name, it.about]).collect()
}

/// The page of a kind, in Markdown.
pub fn markdown(spec: &KindSpec) -> String {
    let mut out = format!("# {}\n\n{}\n", spec.name, spec.page.trim_end());
    for section in sections(spec) {
        let cell = |it: &String| it.replace('|', "\\|").replace('\n', " ");
        let row = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "))
        };
        let header: Vec<String> = section.header.iter().map(|it| (*it).to_owned()).collect();
        out += &format!("\n## {}\n\n{}", section.title, row(&header));
        out += &format!("|{}\n", "---|".repeat(header.len()));
        out.extend(section.rows.iter().map(|it| row(it)));
    }
    out + "\n" + &facts(spec).join("\n") + "\n"
}

/// The page of a kind for a terminal: the same without Markdown's marks.
pub fn terminal(spec: &KindSpec) -> String {
    let mut out = plain(spec.page);
    for mut section in sections(spec) {
        section.rows.iter_mut().flatten().for_each(|it| *it = it.replace('`', ""));
        out += &format!("\n{}\n", section.title);
        let width =
            |i: usize| section.rows.iter().map(|it| it[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..section.header.len()).map(width).collect();
        for row in &section.rows {
            let cell = |(it, width): (&String, &usize)| format!("{it:<width$}", width = *width);
            let line = row.iter().zip(&widths).map(cell).collect::<Vec<_>>().join("  ");
            out += &format!("  {}\n", line.trim_end());
        }
    }
    let facts: Vec<String> = facts(spec).iter().map(|it| it.replace('`', "")).collect();
    out + "\n" + &facts.join("\n") + "\n"
}

/// A table of the page.
struct Section {
    title: &'static str,
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

fn sections(spec: &KindSpec) -> Vec<Section> {
    let port = |it: &plan::kind::Port| {
        let arity = match it.arity {
            Arity::One => "one",
            Arity::Optional => "one or none",
            Arity::Many => "one or more",
            Arity::Model => "one, a folder or an endpoint",
        };
        vec![code(it.name), arity.to_owned(), it.about.to_owned()]
    };
    let slot =
        |it: &plan::kind::Slot| vec![code(it.name), it.form.word().to_owned(), it.about.to_owned()];
    let param =
        |it: &Param| vec![code(&it.name), accepts(&it.accepts), default(it), it.about.clone()];
    let all = [
        Section {
            title: "in",
            header: &["port", "how many", "what"],
            rows: spec.inputs.iter().map(port).collect(),
        },
        Section {
            title: "with",
            header: &["parameter", "takes", "default", "what"],
            rows: (spec.params)().iter().map(param).collect(),
        },
        Section {
            title: "out",
            header: &["slot", "form", "what"],
            rows: spec.outputs.iter().map(slot).collect(),
        },
    ];
    all.into_iter().filter(|it| !it.rows.is_empty()).collect()
}

/// What decides about keys and shards, one sentence each.
fn facts(spec: &KindSpec) -> Vec<String> {
    let mut all = vec![format!("Version {}.", spec.version)];
    if spec.draws {
        all.push("Draws at random: the seed is in the key.".to_owned());
    }
    if spec.numerics {
        all.push("Depends on the machine's arithmetic: its class is in the key.".to_owned());
    }
    if let Some(port) = spec.shards {
        all.push(format!("May be split into shards by the records of `{port}`."));
    }
    if !spec.unkeyed.is_empty() {
        let names: Vec<String> = spec.unkeyed.iter().map(|it| code(it)).collect();
        all.push(format!("Not in the key: {}.", names.join(", ")));
    }
    if !spec.cuts.is_empty() {
        let names: Vec<String> = spec.cuts.iter().map(|it| code(it)).collect();
        all.push(format!("With another {} nothing is computed again.", names.join(" or ")));
    }
    all
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

fn default(param: &Param) -> String {
    match &param.default {
        Some(it) => code(&it.to_string()),
        None if param.required => "required".to_owned(),
        None => "–".to_owned(),
    }
}

fn accepts(accepts: &Accepts) -> String {
    match accepts {
        Accepts::Bool => "true or false".to_owned(),
        Accepts::Int { min: Some(min), max: Some(max) } => format!("whole number, {min} to {max}"),
        Accepts::Int { min: Some(min), max: None } => format!("whole number from {min}"),
        Accepts::Int { min: None, max: Some(max) } => format!("whole number up to {max}"),
        Accepts::Int { .. } => "whole number".to_owned(),
        Accepts::Float => "number".to_owned(),
        Accepts::Text => "text".to_owned(),
        Accepts::OneOf(words) => {
            words.iter().map(|it| format!("`\"{it}\"`")).collect::<Vec<_>>().join(" or ")
        }
        Accepts::List(it) => format!("list of {}", self::accepts(it)),
        Accepts::Map(it) => format!("table of {}", self::accepts(it)),
        Accepts::Any => "anything".to_owned(),
    }
}

/// Markdown without back-ticks; fenced code is indented instead.
fn plain(page: &str) -> String {
    let mut fenced = false;
    let mut out = String::new();
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            out += &format!("    {line}\n");
        } else {
            out += &format!("{}\n", line.replace('`', ""));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KINDS, kind};

    #[test]
    fn the_page_of_sample_is_what_readers_see() {
        insta::assert_snapshot!("sample.md", markdown(kind("sample").unwrap().spec()));
        insta::assert_snapshot!("map.txt", terminal(kind("map").unwrap().spec()));
    }

    #[test]
    fn every_kind_says_what_it_is_and_documents_every_parameter() {
        for kind in KINDS {
            let spec = kind.spec();
            assert!(spec.page.starts_with(&format!("`{}`: ", spec.name)), "{}", spec.name);
            assert!(
                spec.page.contains(&format!("\"{}\"", spec.name)),
                "{} has no example",
                spec.name
            );
            let params = (spec.params)();
            assert!(params.iter().all(|it| !it.about.is_empty()), "{}", spec.name);
            let known = |name: &&str| params.iter().any(|it| it.name == **name);
            assert!(spec.unkeyed.iter().chain(spec.cuts).all(known), "{}", spec.name);
            let sharded = |port: &str| spec.inputs.iter().any(|it| it.name == port);
            assert!(spec.shards.is_none_or(sharded), "{}", spec.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> =
            table(KINDS.iter().map(|it| it.spec())).iter().map(|it| it[0]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
