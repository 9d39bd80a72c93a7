//! All files of a report: the page in two formats, and each table and figure by itself.

use std::collections::BTreeMap;

use super::{Block, Page, Table, csv, file_name, html, json, markdown};
use crate::chart;

/// Path below the report's folder to content.
pub fn files(page: &Page) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    files.insert("index.html".to_owned(), html(page));
    files.insert("report.md".to_owned(), markdown(page));
    for block in page.sections.iter().flat_map(|it| &it.blocks) {
        match block {
            Block::Table(it) => table(it, &mut files),
            Block::Chart(it) => {
                let name = free(&it.title, "figures", "svg", &files);
                files.insert(name, chart::svg(it));
                table(&it.numbers(), &mut files);
            }
            Block::Picture { title, svg } => {
                let name = free(title, "figures", "svg", &files);
                files.insert(name, svg.clone());
            }
            Block::Text(_) | Block::Changes(_) | Block::Folded { .. } => {}
        }
    }
    files
}

fn table(it: &Table, files: &mut BTreeMap<String, String>) {
    let name = free(&it.title, "tables", "csv", files);
    files.insert(name.replace(".csv", ".json"), json(it));
    files.insert(name, csv(it));
}

/// A path that is not taken: titles may be equal.
fn free(title: &str, folder: &str, ending: &str, files: &BTreeMap<String, String>) -> String {
    let stem = match file_name(title) {
        it if it.is_empty() => "untitled".to_owned(),
        it => it,
    };
    let path = |n: usize| match n {
        1 => format!("{folder}/{stem}.{ending}"),
        n => format!("{folder}/{stem}-{n}.{ending}"),
    };
    (1..).map(path).find(|it| !files.contains_key(it)).unwrap_or_else(|| path(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{Cell, Section};

    #[test]
    fn tables_with_one_title_get_files_of_their_own() {
        let table = Table {
            title: "A/B".to_owned(),
            columns: vec!["n".to_owned()],
            rows: vec![vec![Cell::count(1)]],
        };
        let blocks = vec![Block::Table(table.clone()), Block::Table(table)];
        let sections = vec![Section { title: "s".to_owned(), blocks }];
        let page = Page { sections, ..Page::default() };
        let names: Vec<String> = files(&page).into_keys().collect();
        let want = ["tables/a-b-2.csv", "tables/a-b-2.json", "tables/a-b.csv", "tables/a-b.json"];
        assert_eq!(names[..2], ["index.html", "report.md"]);
        assert_eq!(names[2..], want);
    }
}
