//! How many records went on at each filter, and why the others did not.

use std::collections::BTreeMap;

use report::page::{Block, Cell, Section, Table};

use super::All;
use super::seen::Seen;
use super::words::Words;
use crate::text::funnel::{Funnel, RuleCount};

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let funnels: Vec<(&str, &Funnel)> = seen
        .iter()
        .filter_map(|(item, it)| match it {
            Seen::Ledger(funnel, _) => Some((item.name.as_str(), funnel)),
            _ => None,
        })
        .collect();
    let mut blocks = Vec::new();
    if !funnels.is_empty() {
        blocks.push(steps(&funnels, words));
        blocks.push(rules(&funnels, words));
        for (name, funnel) in &funnels {
            blocks.extend(dropped(name, funnel, words));
        }
        blocks.extend(sources(&funnels, words));
    }
    Section { title: words.funnel.to_owned(), blocks }
}

fn share(part: u64, of: u64) -> Cell {
    Cell::Share(part as f64 / of.max(1) as f64)
}

fn steps(funnels: &[(&str, &Funnel)], words: &Words) -> Block {
    let row = |(name, it): &(&str, &Funnel)| {
        vec![
            Cell::text(*name),
            Cell::count(it.records),
            Cell::count(it.kept),
            share(it.kept, it.records),
            Cell::count(it.dropped),
        ]
    };
    let columns = [words.step, words.records, words.kept, "%", words.dropped];
    Block::Table(Table {
        title: words.funnel.to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: funnels.iter().map(row).collect(),
    })
}

fn rules(funnels: &[(&str, &Funnel)], words: &Words) -> Block {
    let mut rows = Vec::new();
    for (name, funnel) in funnels {
        for it in funnel.rules.iter().filter(|it| it.counts.fails > 0) {
            let bound = |it: Option<f64>| it.map_or(Cell::Empty, |it| Cell::text(it.to_string()));
            rows.push(vec![
                Cell::text(*name),
                Cell::text(&it.rule),
                bound(it.min),
                bound(it.max),
                Cell::count(it.counts.fails),
                Cell::count(it.counts.first),
                Cell::count(it.counts.only),
            ]);
        }
    }
    let columns =
        [words.step, words.rule, "≥", "≤", words.fails, words.fails_first, words.fails_only];
    Block::Table(Table {
        title: words.rules.to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    })
}

/// Records that a rule dropped, for each rule of which some are still there.
fn dropped(name: &str, funnel: &Funnel, words: &Words) -> Vec<Block> {
    let mut all: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for it in &funnel.samples {
        let Some(text) = &it.text else { continue };
        let value = it.value.map(|it| format!(" · {it}")).unwrap_or_default();
        all.entry(&it.rule).or_default().push((format!("{}{value}", it.id), text.clone()));
    }
    let rules = funnel.rules.iter();
    let block = |it: &RuleCount| {
        let (n, texts) = (it.counts.fails, all.remove(it.rule.as_str())?);
        let title = format!("{name} · {}, {n} {}", it.rule, words.dropped);
        Some(Block::Folded { title, texts })
    };
    rules.filter_map(block).collect()
}

fn sources(funnels: &[(&str, &Funnel)], words: &Words) -> Option<Block> {
    let mut rows = Vec::new();
    for (name, funnel) in funnels {
        for it in funnel.sources.iter().filter(|it| it.source.is_some()) {
            rows.push(vec![
                Cell::text(*name),
                Cell::text(it.source.as_deref().unwrap_or_default()),
                Cell::count(it.records),
                Cell::count(it.kept),
                share(it.kept, it.records),
            ]);
        }
    }
    let columns = [words.step, words.source, words.records, words.kept, "%"];
    let title = words.sources.to_owned();
    (!rows.is_empty())
        .then(|| Block::Table(Table { title, columns: columns.map(str::to_owned).to_vec(), rows }))
}
