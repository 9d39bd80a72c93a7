//! A page as Markdown: for pull requests, and for reading in a terminal.

use super::{Block, Change, Page, Table};
use crate::changes::{Piece, changes};
use crate::chart::Chart;

/// The whole page; charts are the tables behind them.
pub fn markdown(page: &Page) -> String {
    let mut out = format!("# {}\n", line(&page.title));
    if !page.about.is_empty() {
        out += &format!("\n{}\n", text(&page.about));
    }
    for it in &page.warnings {
        out += &format!("\n> **!** {}\n", text(it));
    }
    for section in &page.sections {
        out += &format!("\n## {}\n", line(&section.title));
        for block in &section.blocks {
            out += "\n";
            out += &match block {
                Block::Text(it) => format!("{}\n", text(it)),
                Block::Table(it) => table(it),
                Block::Chart(it) => chart(it),
                Block::Picture { title, .. } => format!("*{}*\n", text(title)),
                Block::Changes(all) => all.iter().map(change).collect(),
                Block::Folded { title, texts } => folded(title, texts),
            };
        }
    }
    out
}

/// More numbers than these stand only in the files beside the page.
const MOST_NUMBERS: usize = 60;

fn chart(it: &Chart) -> String {
    let numbers = it.numbers();
    match numbers.rows.len() {
        0..=MOST_NUMBERS => table(&numbers),
        n => format!("**{}**: {n} numbers, {} and {}\n", text(&it.title), text(&it.x), text(&it.y)),
    }
}

fn table(table: &Table) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let numbers = |i: usize| table.rows.iter().any(|it| it.get(i).is_some_and(|it| it.is_number()));
    let side = |i| if numbers(i) { "---:" } else { "---" }.to_owned();
    let head = row(table.columns.iter().map(|it| cell(it)).collect());
    let sides = row((0..table.columns.len()).map(side).collect());
    let rows: String =
        table.rows.iter().map(|it| row(it.iter().map(|it| cell(&it.shown())).collect())).collect();
    format!("**{}**\n\n{head}{sides}{rows}", text(&table.title))
}

fn folded(title: &str, texts: &[(String, String)]) -> String {
    let item = |(head, it): &(String, String)| {
        format!("- **{}** {}\n", line(head), text(it).replace('\n', "<br>"))
    };
    let all: String = texts.iter().map(item).collect();
    format!("**{}**\n\n{all}", line(title))
}

fn change(it: &Change) -> String {
    let pieces: String = changes(&it.was, &it.is)
        .into_iter()
        .map(|it| match it {
            Piece::Same(it) => text(it),
            Piece::Gone(it) => format!("<del>{}</del>", text(it)),
            Piece::New(it) => format!("<ins>{}</ins>", text(it)),
        })
        .collect();
    format!("- **{}** {}\n", line(&it.head), pieces.replace('\n', "<br>"))
}

fn line(it: &str) -> String {
    text(it).replace('\n', " ")
}

fn cell(it: &str) -> String {
    text(it).replace('|', "\\|").replace('\n', "<br>")
}

/// What Markdown or HTML would read as its own is written so that it shows.
fn text(it: &str) -> String {
    let mut out = String::new();
    for c in it.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '*' | '_' | '`' | '\\' | '[' | ']' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
