//! The losses of all training runs, one over another, and where they ended.

use report::chart::{Chart, Marks, Scale, Series};
use report::page::{Block, Section, Table};
use serde_json::{Map, Value};

use super::seen::Seen;
use super::words::Words;
use super::{All, results};

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let series: Vec<Series> = seen
        .iter()
        .filter_map(|(item, it)| match it {
            Seen::Curve(points) => Some(Series { name: item.name.clone(), points: points.clone() }),
            _ => None,
        })
        .collect();
    let chart = Chart {
        title: words.loss.to_owned(),
        x: words.step.to_owned(),
        y: words.loss_unit.to_owned(),
        marks: Marks::Lines { series, scale: Scale::Even },
    };
    let any = matches!(&chart.marks, Marks::Lines { series, .. } if !series.is_empty());
    let mut blocks = if any { vec![Block::Chart(chart)] } else { Vec::new() };
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

/// Whether numbers are what a training run ended with.
pub(super) fn is_result(map: &Map<String, Value>) -> bool {
    map.contains_key("loss") && map.contains_key("eval_loss")
}
