//! Charts as data, and as SVG: what must be said of one is a title, its units and its numbers.

mod axis;
mod parts;
mod svg;

pub use svg::svg;
pub(crate) use svg::tick;

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
    /// A share for each of the names down against each of the names across.
    Heat {
        /// Down.
        rows: Vec<String>,
        /// Across.
        columns: Vec<String>,
        /// A row of shares for each of `rows`; nothing where there is none.
        cells: Vec<Vec<Option<f64>>>,
    },
    /// Bars of several parts each, which are a whole together.
    Stacks {
        /// What the parts are.
        parts: Vec<String>,
        /// The bars.
        bars: Vec<Stack>,
    },
    /// Parts of one whole.
    Ring(Vec<Part>),
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

/// A bar of several parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// What it belongs to; bars of one group stand together.
    pub group: String,
    /// Its name.
    pub name: String,
    /// The share of each part.
    pub shares: Vec<f64>,
}

/// A part of a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How much of the whole it is.
    pub share: f64,
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
            Marks::Heat { rows, columns, cells } => heat_numbers(rows, columns, cells),
            Marks::Stacks { parts, bars } => stack_numbers(parts, bars),
            Marks::Ring(parts) => {
                let row = |it: &Part| vec![Cell::text(&it.name), Cell::Share(it.share)];
                (vec![self.x.clone(), self.y.clone()], parts.iter().map(row).collect())
            }
        };
        Table { title: self.title.clone(), columns, rows }
    }
}

type Numbers = (Vec<String>, Vec<Vec<Cell>>);

fn heat_numbers(rows: &[String], columns: &[String], cells: &[Vec<Option<f64>>]) -> Numbers {
    let row = |(name, cells): (&String, &Vec<Option<f64>>)| {
        let cells = cells.iter().map(|it| it.map_or(Cell::Empty, Cell::Share));
        std::iter::once(Cell::text(name)).chain(cells).collect()
    };
    let columns = std::iter::once(String::new()).chain(columns.iter().cloned()).collect();
    (columns, rows.iter().zip(cells).map(row).collect())
}

fn stack_numbers(parts: &[String], bars: &[Stack]) -> Numbers {
    let grouped = bars.iter().any(|it| !it.group.is_empty());
    let row = |it: &Stack| {
        let group = grouped.then(|| Cell::text(&it.group));
        let shares = it.shares.iter().map(|it| Cell::Share(*it));
        group.into_iter().chain([Cell::text(&it.name)]).chain(shares).collect()
    };
    let names = std::iter::repeat_n(String::new(), 1 + usize::from(grouped));
    (names.chain(parts.iter().cloned()).collect(), bars.iter().map(row).collect())
}
