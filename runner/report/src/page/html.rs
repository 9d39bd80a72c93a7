//! A page as one HTML file: it opens from a disk, asks no network, runs no script.

use std::collections::BTreeSet;

use super::{Block, Cell, Change, Language, Page, Section, Table, file_name};
use crate::changes::{Piece, changes};
use crate::chart::{self, Chart};
use crate::svg::escaped;

const STYLE: &str = include_str!("style.css");

/// The whole file.
pub fn html(page: &Page) -> String {
    let policy = "<meta http-equiv=\"Content-Security-Policy\" \
                  content=\"default-src 'none'; style-src 'unsafe-inline'\">\n";
    document(page, policy, &results(page))
}

/// A file around what stands below the title.
pub(super) fn document(page: &Page, head: &str, body: &str) -> String {
    let code = if page.language == Language::Chinese { "zh-Hans" } else { "en" };
    let title = escaped(&page.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n{head}\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    if !page.about.is_empty() {
        out += &format!("<p class=\"about\">{}</p>\n", escaped(&page.about));
    }
    out + body + "</main>\n</body>\n</html>\n"
}

/// All below the title: warnings, contents, sections.
pub(super) fn results(page: &Page) -> String {
    let words = words(page.language);
    let mut out = String::new();
    for it in &page.warnings {
        out += &format!("<p class=\"warning\">{}</p>\n", escaped(it));
    }
    if page.sections.len() > 1 {
        out += &format!("<nav aria-label=\"{}\"><ul>\n", words.contents);
        for (i, it) in page.sections.iter().enumerate() {
            out += &format!("<li><a href=\"#s{i}\">{}</a></li>\n", escaped(&it.title));
        }
        out += "</ul></nav>\n";
    }
    for (i, it) in page.sections.iter().enumerate() {
        out += &section(&format!("s{i}"), it, &words);
    }
    out
}

/// The words that a page has besides its data.
pub(super) struct Words {
    numbers: &'static str,
    contents: &'static str,
}

pub(super) fn words(language: Language) -> Words {
    match language {
        Language::English => Words { numbers: "the numbers", contents: "Contents" },
        Language::Chinese => Words { numbers: "数据表", contents: "目录" },
    }
}

pub(super) fn section(id: &str, section: &Section, words: &Words) -> String {
    let mut out = format!("<section id=\"{id}\">\n<h2>{}</h2>\n", escaped(&section.title));
    let mut taken = BTreeSet::new();
    for block in &section.blocks {
        // What has a title can be linked to.
        let at = block.title().map(|it| place(id, it, &mut taken)).unwrap_or_default();
        out += &match block {
            Block::Text(it) => format!("<p>{}</p>\n", escaped(it)),
            Block::Table(it) => table(it, &at),
            Block::Chart(it) => figure(it, &at, words),
            Block::Picture { title, svg } => {
                format!(
                    "<figure{at} class=\"scroll\" aria-label=\"{}\">\n{svg}</figure>\n",
                    escaped(title)
                )
            }
            Block::Changes(all) => all.iter().map(change).collect(),
            Block::Folded { title, texts } => folded(title, &at, texts),
        };
    }
    out + "</section>\n"
}

/// The attribute by which a part of a section is found: its title, and a number where another has it.
fn place(section: &str, title: &str, taken: &mut BTreeSet<String>) -> String {
    let stem = format!("{section}-{}", file_name(title));
    let mut name = stem.clone();
    let mut n = 1;
    while !taken.insert(name.clone()) {
        n += 1;
        name = format!("{stem}-{n}");
    }
    format!(" id=\"{}\"", escaped(&name))
}

fn figure(it: &Chart, at: &str, words: &Words) -> String {
    let numbers = it.numbers();
    // Long ones are in the files beside the page.
    let behind = match numbers.rows.len() {
        0..=200 => format!(
            "<details><summary>{}</summary>\n{}</details>\n",
            words.numbers,
            table(&numbers, "")
        ),
        _ => String::new(),
    };
    format!("<figure{at}>\n{}</figure>\n{behind}", chart::svg(it))
}

fn table(it: &Table, at: &str) -> String {
    let numbers = |i: usize| it.rows.iter().any(|row| row.get(i).is_some_and(Cell::is_number));
    let class = |i: usize| if numbers(i) { " class=\"n\"" } else { "" };
    let title = escaped(&it.title);
    let mut out = format!("<div{at} class=\"scroll\"><table>\n<caption>{title}</caption>\n<tr>");
    for (i, name) in it.columns.iter().enumerate() {
        out += &format!("<th scope=\"col\"{}>{}</th>", class(i), escaped(name));
    }
    out += "</tr>\n";
    for row in &it.rows {
        out += "<tr>";
        for i in 0..it.columns.len() {
            let shown = row.get(i).map(Cell::shown).unwrap_or_default();
            out += &format!("<td{}>{}</td>", class(i), escaped(&shown));
        }
        out += "</tr>\n";
    }
    out + "</table></div>\n"
}

fn folded(title: &str, at: &str, texts: &[(String, String)]) -> String {
    let text = |(head, text): &(String, String)| {
        format!("<div class=\"change\"><b>{}</b>{}</div>\n", escaped(head), escaped(text))
    };
    let all: String = texts.iter().map(text).collect();
    format!("<details{at}><summary>{}</summary>\n{all}</details>\n", escaped(title))
}

fn change(it: &Change) -> String {
    let pieces: String = changes(&it.was, &it.is)
        .into_iter()
        .map(|it| match it {
            Piece::Same(it) => escaped(it),
            Piece::Gone(it) => format!("<del>{}</del>", escaped(it)),
            Piece::New(it) => format!("<ins>{}</ins>", escaped(it)),
        })
        .collect();
    format!("<div class=\"change\"><b>{}</b>{pieces}</div>\n", escaped(&it.head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Bar, Marks};

    /// A page with something of everything, and hostile text everywhere.
    fn page() -> Page {
        let bar = Bar { name: "a<b".to_owned(), value: 0.5, interval: Some((0.4, 0.6)) };
        let chart = Chart {
            title: "bars".to_owned(),
            x: "name".to_owned(),
            y: "share".to_owned(),
            marks: Marks::Bars(vec![bar]),
        };
        let table = Table {
            title: "t & u".to_owned(),
            columns: vec!["name".to_owned(), "n".to_owned()],
            rows: vec![vec![Cell::text("<script>alert(1)</script>"), Cell::count(1200)]],
        };
        let change =
            Change {
                head: "x\"".to_owned(), was: "一二三".to_owned(), is: "一四三".to_owned()
            };
        let blocks = vec![
            Block::Text("a paragraph".to_owned()),
            Block::Table(table),
            Block::Chart(chart),
            Block::Changes(vec![change]),
            Block::Folded {
                title: "dropped <b>".to_owned(),
                texts: vec![("id <1>".to_owned(), "<script>alert(2)</script>".to_owned())],
            },
        ];
        Page {
            title: "标题 <1>".to_owned(),
            about: "what".to_owned(),
            language: Language::Chinese,
            warnings: vec!["look & see".to_owned()],
            sections: vec![Section { title: "one".to_owned(), blocks }],
        }
    }

    #[test]
    fn nothing_that_stands_in_the_data_becomes_markup() {
        let html = html(&page());
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(html.contains("<b>x&quot;</b>一<del>二</del><ins>四</ins>三"));
        assert!(html.contains("<td class=\"n\">1\u{202f}200</td>"));
        assert!(html.contains("<summary>dropped &lt;b&gt;</summary>"), "{html}");
        assert!(html.contains("lang=\"zh-Hans\"") && html.contains("look &amp; see"));
        // It opens from a disk: nothing is fetched.
        for it in ["src=", "href=\"http", "url(", "@import"] {
            assert!(!html.contains(it), "{it}");
        }
    }

    #[test]
    fn markdown_says_the_same() {
        insta::assert_snapshot!(crate::page::markdown(&page()));
    }
}
