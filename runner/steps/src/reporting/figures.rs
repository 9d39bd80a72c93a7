//! What the data is like: lengths, years, sources, categories. Figures 2, 3, 7 and 8 of the paper.

use report::chart::{Bar, Chart, Marks, Part};
use report::page::{Block, Section};

use super::All;
use super::results::{Row, number, text};
use super::seen::Seen;
use super::words::Words;

/// A chart has no more bars than this; its numbers have all.
const MOST_BARS: usize = 40;

/// A ring of more parts than these says less than bars.
const MOST_PARTS: usize = 8;

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let mut blocks = Vec::new();
    for (item, seen) in seen {
        let (Seen::Histogram(rows) | Seen::Parts(rows)) = seen else { continue };
        for (of, rows) in by_name(rows) {
            let marks = match seen {
                Seen::Parts(_) if of == "source" && rows.len() <= MOST_PARTS => ring(&rows),
                Seen::Parts(_) => bars(&rows),
                _ => histogram(&rows),
            };
            let (x, y) = match (&marks, of.as_str()) {
                (Marks::Bars(_) | Marks::Ring(_), _) => (of.clone(), words.share_of_records),
                (_, "year") => (of.clone(), words.records),
                _ => (format!("{of}, {}", words.tokens), words.records),
            };
            blocks.push(Block::Chart(Chart {
                title: format!("{} · {of}", item.name),
                x,
                y: y.to_owned(),
                marks,
            }));
        }
    }
    Section { title: words.data.to_owned(), blocks }
}

/// The rows of each `of`, in the order in which they come.
fn by_name(rows: &[Row]) -> Vec<(String, Vec<&Row>)> {
    let mut all: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let of = text(row, "of");
        match all.iter_mut().find(|it| it.0 == of) {
            Some(it) => it.1.push(row),
            None => all.push((of, vec![row])),
        }
    }
    all
}

/// The last bin may have no end: it is drawn as wide as the one before.
fn histogram(rows: &[&Row]) -> Marks {
    let from: Vec<f64> = rows.iter().map(|it| number(it, "from")).collect();
    let wide = match from[..] {
        [.., a, b] if b > a => b - a,
        _ => 1.0,
    };
    let end = rows.last().and_then(|it| it.get("below")?.as_f64());
    let end = end.or(from.last().map(|it| it + wide));
    let counts = rows.iter().map(|it| it.get("n").and_then(|it| it.as_u64()).unwrap_or(0));
    let counts = counts.collect();
    Marks::Histogram {
        borders: from.into_iter().chain(end).collect(),
        counts,
        thresholds: Vec::new(),
    }
}

fn bars(rows: &[&Row]) -> Marks {
    let bar = |it: &&Row| Bar {
        name: text(it, "value"),
        value: number(it, "share") * 100.0,
        interval: None,
    };
    Marks::Bars(rows.iter().take(MOST_BARS).map(bar).collect())
}

fn ring(rows: &[&Row]) -> Marks {
    let part = |it: &&Row| Part { name: text(it, "value"), share: number(it, "share") };
    Marks::Ring(rows.iter().map(part).collect())
}
