//! The losses of all training runs, one over another, and where they ended.

use report::chart::{Chart, Marks, Scale, Series};
use report::page::{Block, Section, Table};
use serde_json::{Map, Value};

use super::seen::{Answers, Log, Seen};
use super::words::Words;
use super::{All, results};

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let logs: Vec<(&str, &Log)> = seen
        .iter()
        .filter_map(|(item, it)| match it {
            Seen::Log(log) => Some((item.name.as_str(), log)),
            _ => None,
        })
        .collect();
    let learnt = logs.iter().map(|(name, it)| ((*name).to_owned(), &it.losses));
    let measured = logs.iter().map(|(name, it)| (format!("{name} · {}", words.held), &it.measured));
    let some = learnt.chain(measured).filter(|it| !it.1.is_empty());
    let series = some.map(|(name, points)| Series { name, points: points.clone() }).collect();
    let chart = Chart {
        title: words.loss.to_owned(),
        x: words.step.to_owned(),
        y: words.loss_unit.to_owned(),
        marks: Marks::Lines { series, scale: Scale::Even },
    };
    let any = matches!(&chart.marks, Marks::Lines { series, .. } if !series.is_empty());
    let mut blocks = if any { vec![Block::Chart(chart)] } else { Vec::new() };
    blocks.extend(logs.iter().flat_map(|(name, it)| answers(name, it, words)));
    let results: Vec<(&str, &Map<String, Value>)> = seen
        .iter()
        .filter_map(|(item, it)| match it {
            Seen::Metrics(map) if is_result(map) => Some((item.name.as_str(), map)),
            _ => None,
        })
        .collect();
    if !results.is_empty() {
        let table = results::metrics(&results, words);
        blocks.push(Block::Table(Table { title: words.at_the_end.to_owned(), ..table }));
    }
    Section { title: words.training.to_owned(), blocks }
}

/// How the answers to the same questions change.
fn answers(name: &str, log: &Log, words: &Words) -> Vec<Block> {
    let one = |it: &Answers| {
        let (prompt, want) = &it.of;
        let by_step = it.by_step.iter();
        let texts = by_step.map(|(step, text)| (format!("{} {step}", words.step_of), text.clone()));
        Block::Folded {
            title: format!("{name} · {}", prompt.trim()),
            texts: texts.chain([(words.wanted.to_owned(), want.clone())]).collect(),
        }
    };
    let all: Vec<Block> = log.answers.iter().map(one).collect();
    let about = (!all.is_empty()).then(|| Block::Text(words.answers_about.to_owned()));
    about.into_iter().chain(all).collect()
}

/// Whether numbers are what a training run ended with.
pub(super) fn is_result(map: &Map<String, Value>) -> bool {
    map.contains_key("loss") && map.contains_key("eval_loss")
}
