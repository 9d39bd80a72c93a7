//! The losses of all training runs, one over another.

use report::chart::{Chart, Marks, Scale, Series};
use report::page::{Block, Section};

use super::All;
use super::seen::Seen;
use super::words::Words;

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
    let blocks = if any { vec![Block::Chart(chart)] } else { Vec::new() };
    Section { title: words.training.to_owned(), blocks }
}
