//! Charts as data, and as SVG: what must be said of one is a title, its units and its numbers.

mod axis;
mod svg;

pub(crate) use axis::shown;
pub use svg::svg;

use crate::page::{Cell, Table};

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows; names its file too.
    pub title: String,
    /// What goes to the right, with its unit.
    pub x: String,
    /// What goes up, with its unit.
    pub y: String,
    /// How it looks.
    pub marks: Marks,
}

/// What a chart is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Marks {
    /// One line for each series.
    Lines {
        /// The series.
        series: Vec<Series>,
        /// How places go to the right.
        scale: Scale,
    },
    /// One bar for each name, from nothing.
    Bars(Vec<Bar>),
    /// How many values fall between borders.
    Histogram {
        /// One more than counts.
        borders: Vec<f64>,
        /// How many.
        counts: Vec<u64>,
        /// Where thresholds stand.
        thresholds: Vec<f64>,
    },
    /// When something began and ended.
    Spans(Vec<Span>),
}

/// How numbers go along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Even,
    /// By their logarithm.
    Logarithmic,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// How sure that is.
    pub interval: Option<(f64, f64)>,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// When it began.
    pub start: f64,
    /// When it ended.
    pub end: f64,
    /// What is said of it.
    pub note: String,
}

impl Chart {
    /// The numbers behind it.
    pub fn numbers(&self) -> Table {
        let (columns, rows) = match &self.marks {
            Marks::Lines { series, .. } => {
                let row = |name: &String, it: &(f64, f64)| {
                    vec![Cell::text(name), Cell::Plain(it.0), Cell::Plain(it.1)]
                };
                let rows =
                    series.iter().flat_map(|s| s.points.iter().map(move |it| row(&s.name, it)));
                (vec![String::new(), self.x.clone(), self.y.clone()], rows.collect())
            }
            Marks::Bars(bars) => {
                let row = |it: &Bar| {
                    let value = match it.interval {
                        Some((low, high)) => Cell::Sure { share: it.value, low, high },
                        None => Cell::Plain(it.value),
                    };
                    vec![Cell::text(&it.name), value]
                };
                (vec![self.x.clone(), self.y.clone()], bars.iter().map(row).collect())
            }
            Marks::Histogram { borders, counts, .. } => {
                let row = |(i, n): (usize, &u64)| {
                    vec![Cell::Plain(borders[i]), Cell::Plain(borders[i + 1]), Cell::count(*n)]
                };
                let columns = vec![format!("{} ≥", self.x), "<".to_owned(), self.y.clone()];
                (columns, counts.iter().enumerate().map(row).collect())
            }
            Marks::Spans(spans) => {
                let row = |it: &Span| {
                    let numbers = [it.start, it.end].map(Cell::Plain);
                    let [start, end] = numbers;
                    vec![Cell::text(&it.name), start, end, Cell::text(&it.note)]
                };
                let columns = ["", "start", "end", ""].map(str::to_owned).to_vec();
                (columns, spans.iter().map(row).collect())
            }
        };
        Table { title: self.title.clone(), columns, rows }
    }
}
