//! Shares with their intervals, differences, exams by subject, and plain numbers.

use std::collections::BTreeMap;

use report::chart::{Bar, Chart, Marks, Scale, Series};
use report::page::{Block, Cell, Section, Table};
use serde_json::{Map, Value};

use super::seen::Seen;
use super::words::Words;
use super::{All, people, training};

pub(super) type Row = Map<String, Value>;
/// Numbers with what they are called.
type Named<'a> = Vec<(&'a str, &'a Row)>;

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let mut blocks = Vec::new();
    for (item, it) in seen {
        let Seen::Shares(rows) = it else { continue };
        blocks.extend(shares(&item.name, rows, words));
        // Differences stand behind the shares that they are of.
        for (_, it) in seen.iter().filter(|it| it.0.name == item.name) {
            if let Seen::Pairs(rows) = it {
                blocks.push(pairs(&item.name, rows, words));
            }
        }
    }
    blocks.extend(models(seen, words));
    // What a kind says in its records is not said again from its metrics.
    let told = |name: &str| {
        let records = |it: &Seen| matches!(it, Seen::Shares(_) | Seen::Said(..));
        seen.iter().any(|(it, seen)| it.name == name && records(seen))
    };
    let mut alike: Vec<(Vec<&String>, Named<'_>)> = Vec::new();
    for (item, seen) in seen {
        let Seen::Metrics(map) = seen else { continue };
        let names: Vec<&String> = map.keys().collect();
        if told(&item.name) || training::is_result(map) || people::is_leaning(map) {
            continue;
        }
        match alike.iter_mut().find(|it| it.0 == names) {
            Some(it) => it.1.push((&item.name, map)),
            None => alike.push((names, vec![(&item.name, map)])),
        }
    }
    // Exams as a whole come before their many subjects, and both before other numbers.
    let is_exam = |it: &&(Vec<&String>, Named<'_>)| it.0.iter().any(|it| *it == "accuracy");
    let table = |it: &(Vec<&String>, Named<'_>)| Block::Table(metrics(&it.1, words));
    blocks.extend(alike.iter().filter(is_exam).map(table));
    blocks.extend(subjects(seen, words));
    blocks.extend(alike.iter().filter(|it| !is_exam(it)).map(table));
    Section { title: words.results.to_owned(), blocks }
}

pub(super) fn number(row: &Row, name: &str) -> f64 {
    row.get(name).and_then(Value::as_f64).unwrap_or(0.0)
}

pub(super) fn text(row: &Row, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn sure(row: &Row, name: &str) -> Cell {
    Cell::Sure { share: number(row, name), low: number(row, "low"), high: number(row, "high") }
}

fn shares(name: &str, rows: &[Row], words: &Words) -> Vec<Block> {
    let whole = rows.iter().filter(|it| it.get("group").is_none_or(Value::is_null));
    let bar = |it: &Row| Bar {
        name: text(it, "name"),
        value: number(it, "share"),
        interval: Some((number(it, "low"), number(it, "high"))),
    };
    let mut blocks = vec![Block::Chart(Chart {
        title: name.to_owned(),
        x: words.model.to_owned(),
        y: words.share.to_owned(),
        marks: Marks::Bars(whole.map(bar).collect()),
    })];
    blocks.extend(by_size(name, rows, words).map(Block::Chart));
    let mut groups: BTreeMap<String, BTreeMap<String, Cell>> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for it in rows.iter().filter(|it| it.get("group").is_some_and(Value::is_string)) {
        let name = text(it, "name");
        if !names.contains(&name) {
            names.push(name.clone());
        }
        groups.entry(text(it, "group")).or_default().insert(name, sure(it, "share"));
    }
    if !groups.is_empty() {
        blocks.push(matrix(format!("{name} · {}", words.group), words.group, (names, groups)));
    }
    blocks
}

/// Shares over how much each model was given, where that is known of two at least.
fn by_size(name: &str, rows: &[Row], words: &Words) -> Option<Chart> {
    let whole = rows.iter().filter(|it| it.get("group").is_none_or(Value::is_null));
    // What was given nothing has no place on such an axis; it stands among the bars.
    let mut sized: Vec<&Row> = whole.filter(|it| number(it, "size") > 0.0).collect();
    sized.sort_by(|a, b| number(a, "size").total_cmp(&number(b, "size")));
    let unit = text(sized.first()?, "size_of");
    let line = |(name, field): (&str, &str)| Series {
        name: name.to_owned(),
        points: sized.iter().map(|it| (number(it, "size"), number(it, field))).collect(),
    };
    let lines = [(words.share_alone, "share"), ("2.5 %", "low"), ("97.5 %", "high")];
    let marks =
        Marks::Lines { series: lines.into_iter().map(line).collect(), scale: Scale::Logarithmic };
    let title = format!("{name} · {} {unit}", words.over);
    let chart = Chart { title, x: unit, y: words.share.to_owned(), marks };
    (sized.len() > 1).then_some(chart)
}

/// Where several outputs have shares of the same models: models down, outputs across. The paper's table 3.
fn models(seen: &All<'_>, words: &Words) -> Option<Block> {
    let mut all: Vec<(&str, Vec<&Row>)> = Vec::new();
    for (item, seen) in seen {
        let Seen::Shares(rows) = seen else { continue };
        let whole = rows.iter().filter(|it| it.get("group").is_none_or(Value::is_null));
        all.push((&item.name, whole.collect()));
    }
    let names = |rows: &[&Row]| rows.iter().map(|it| text(it, "name")).collect::<Vec<_>>();
    // The models over which most was asked, of equally many those that come first.
    let alike = |wanted: &[String]| all.iter().filter(|it| names(&it.1) == wanted).count();
    let models = all.iter().rev().map(|it| names(&it.1)).max_by_key(|it| alike(it))?;
    let columns: Vec<_> = all.iter().filter(|it| names(&it.1) == models).collect();
    if columns.len() < 2 || models.len() < 2 {
        return None;
    }
    let row = |(i, model): (usize, &String)| {
        let cells = columns.iter().map(|it| sure(it.1[i], "share"));
        std::iter::once(Cell::text(model)).chain(cells).collect()
    };
    let titles = columns.iter().map(|it| it.0.to_owned());
    Some(Block::Table(Table {
        title: words.models_over_exams.to_owned(),
        columns: std::iter::once(words.model.to_owned()).chain(titles).collect(),
        rows: models.iter().enumerate().map(row).collect(),
    }))
}

/// Groups down, names across.
fn matrix(
    title: String,
    corner: &str,
    (names, groups): (Vec<String>, BTreeMap<String, BTreeMap<String, Cell>>),
) -> Block {
    let row = |(group, cells): (String, BTreeMap<String, Cell>)| {
        let of = |name: &String| cells.get(name).cloned().unwrap_or(Cell::Empty);
        std::iter::once(Cell::Text(group)).chain(names.iter().map(of)).collect()
    };
    let rows = groups.into_iter().map(row).collect();
    let columns = std::iter::once(corner.to_owned()).chain(names.iter().cloned()).collect();
    Block::Table(Table { title, columns, rows })
}

fn pairs(name: &str, rows: &[Row], words: &Words) -> Block {
    let whole = rows.iter().filter(|it| it.get("group").is_none_or(Value::is_null));
    let row = |it: &Row| {
        let points = |name: &str| Cell::Number(number(it, name) * 100.0, 1);
        vec![
            Cell::Text(text(it, "first")),
            Cell::Text(text(it, "second")),
            points("difference"),
            points("low"),
            points("high"),
            match number(it, "p") {
                p if p < 0.0001 => Cell::text("< 0.0001"),
                p => Cell::Number(p, 4),
            },
            Cell::Number(number(it, "n"), 0),
        ]
    };
    let columns =
        [words.first, words.second, words.difference, "2.5 %", "97.5 %", words.p, words.number];
    Block::Table(Table {
        title: format!("{name} · {}", words.differences),
        columns: columns.map(str::to_owned).to_vec(),
        rows: whole.map(row).collect(),
    })
}

/// All exams with the same subjects side by side.
fn subjects(seen: &All<'_>, words: &Words) -> Option<Block> {
    let mut groups: BTreeMap<String, BTreeMap<String, Cell>> = BTreeMap::new();
    let mut names = Vec::new();
    for (item, seen) in seen {
        let Seen::Subjects(rows) = seen else { continue };
        names.push(item.name.clone());
        for it in rows {
            let cells = groups.entry(text(it, "subject")).or_default();
            cells.insert(item.name.clone(), sure(it, "accuracy"));
        }
    }
    let title = words.accuracy_by_subject.to_owned();
    (!names.is_empty()).then(|| matrix(title, words.subject, (names, groups)))
}

/// Numbers with the same names side by side; one with `_low` and `_high` beside it is shown with its
/// interval.
pub(super) fn metrics(all: &[(&str, &Row)], words: &Words) -> Table {
    let (title, first) = all.first().map_or(("", None), |it| (it.0, Some(it.1)));
    let keys = || first.into_iter().flat_map(|it| it.keys());
    let has = |key: &str| first.is_some_and(|it| it.contains_key(key));
    let has_ends = |key: &str| has(&format!("{key}_low")) && has(&format!("{key}_high"));
    let is_end = |key: &&String| {
        ["_low", "_high"].iter().filter_map(|it| key.strip_suffix(it)).any(has_ends)
    };
    let cell = |key: &str, map: &Row| {
        let ends =
            has_ends(key).then(|| ["_low", "_high"].map(|it| number(map, &format!("{key}{it}"))));
        match (map.get(key).unwrap_or(&Value::Null), ends) {
            (Value::Null, _) => Cell::Empty,
            (_, Some([low, high])) => Cell::Sure { share: number(map, key), low, high },
            (it, None) if it.is_f64() => Cell::Number(number(map, key), 4),
            _ => Cell::Number(number(map, key), 0),
        }
    };
    let row = |key: &String| {
        let cells = all.iter().map(|it| cell(key, it.1));
        std::iter::once(Cell::text(key)).chain(cells).collect()
    };
    let names = match all {
        [_] => vec![words.value.to_owned()],
        many => many.iter().map(|it| it.0.to_owned()).collect(),
    };
    Table {
        title: title.to_owned(),
        columns: std::iter::once(String::new()).chain(names).collect(),
        rows: keys().filter(|it| !is_end(it)).map(row).collect(),
    }
}
