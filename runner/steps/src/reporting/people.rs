//! What was said in studies: ratings, agreement, wins, places, and who said it. Tables 1 and 2 and
//! figures 5, 6 and 9 of the paper. Whose numbers they are stands in every title.

use report::chart::{Chart, Marks, Stack};
use report::page::{Block, Cell, Section, Table};
use serde_json::{Map, Value};

use super::All;
use super::results::{self, Row, number, sure, text};
use super::seen::{Said, Seen};
use super::words::Words;

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let mut blocks = Vec::new();
    for (item, seen) in seen {
        match seen {
            Seen::Said(what, rows) => {
                for (who, rows) in panels(rows, words) {
                    let title = |what: &str| match who.as_str() {
                        "" => format!("{} · {what}", item.name),
                        who => format!("{} · {what} · {who}", item.name),
                    };
                    blocks.extend(said(*what, &rows, (&title, words)));
                }
            }
            Seen::Metrics(map) if is_leaning(map) => {
                let table = results::metrics(&[(&item.name, map)], words);
                let title = format!("{} · {}", item.name, words.leaning);
                blocks.push(Block::Table(Table { title, ..table }));
            }
            _ => {}
        }
    }
    Section { title: words.judgements.to_owned(), blocks }
}

/// Whether numbers are about how far the place decided what a model said.
pub(super) fn is_leaning(map: &Map<String, Value>) -> bool {
    ["pairs", "consistent", "first_both", "second_both"].iter().all(|it| map.contains_key(*it))
}

/// The rows of each panel, in the order in which they come, with what it is called.
fn panels<'a>(rows: &'a [Row], words: &Words) -> Vec<(String, Vec<&'a Row>)> {
    let mut all: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let who = match (text(row, "by").as_str(), row.get("judge").and_then(Value::as_str)) {
            ("model", Some(judge)) => format!("{} {judge}", words.by_model),
            // A list of annotators says it of each.
            _ if !row.contains_key("judge") => String::new(),
            ("simulated", _) => words.by_simulation.to_owned(),
            _ => words.by_people.to_owned(),
        };
        match all.iter_mut().find(|it| it.0 == who) {
            Some(it) => it.1.push(row),
            None => all.push((who, vec![row])),
        }
    }
    all
}

/// How titles are made, and the words.
type Manner<'a> = (&'a dyn Fn(&str) -> String, &'a Words);

fn said(what: Said, rows: &[&Row], manner: Manner<'_>) -> Vec<Block> {
    match what {
        Said::Ratings => vec![ratings(rows, manner)],
        Said::Agreement => vec![agreement(rows, manner), agreement_bars(rows, manner)],
        Said::Wins => vec![heat(rows, manner), wins(rows, manner), win_bars(rows, manner)],
        Said::Ranking => vec![ranking(rows, manner)],
        Said::Annotators => vec![annotators(rows, manner)],
        Said::Judges => vec![judges(rows, manner)],
    }
}

fn table(title: String, columns: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    let columns = columns.iter().map(|it| (*it).to_owned()).collect();
    Block::Table(Table { title, columns, rows })
}

fn of_all(row: &Row) -> bool {
    row.get("group").is_none_or(Value::is_null)
}

/// Groups in the order in which they come, all of it last.
fn groups(rows: &[&Row]) -> Vec<Option<String>> {
    let mut all = Vec::new();
    for row in rows.iter().filter(|it| !of_all(it)) {
        let group = Some(text(row, "group"));
        if !all.contains(&group) {
            all.push(group);
        }
    }
    all.push(None);
    all
}

fn belongs(row: &Row, group: Option<&String>) -> bool {
    match group {
        Some(it) => row.get("group").and_then(Value::as_str) == Some(it),
        None => of_all(row),
    }
}

/// Sources down, answers across. Of a question with two answers the second says nothing new.
fn ratings(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let mut answers: Vec<(String, String)> = Vec::new();
    for row in rows.iter().filter(|it| of_all(it)) {
        answers.push((text(row, "question"), text(row, "choice")));
    }
    let n_choices = |question: &str| answers.iter().filter(|it| it.0 == question).count();
    let first = |it: &&(String, String)| answers.iter().find(|other| other.0 == it.0) == Some(it);
    let shown: Vec<_> = answers.iter().filter(|it| n_choices(&it.0) != 2 || first(it)).collect();
    let line = |group: Option<String>| {
        let of = |answer: &&(String, String)| {
            let mine = |it: &&&Row| {
                belongs(it, group.as_ref())
                    && text(it, "question") == answer.0
                    && text(it, "choice") == answer.1
            };
            rows.iter().find(mine).map_or(Cell::Empty, |it| sure(it, "share"))
        };
        let n = rows.iter().find(|it| belongs(it, group.as_ref())).map(|it| number(it, "n"));
        let name = group.clone().unwrap_or_else(|| words.all.to_owned());
        let mut cells = vec![Cell::Text(name), Cell::count(n.unwrap_or(0.0) as u64)];
        cells.extend(shown.iter().map(of));
        cells
    };
    let names: Vec<String> = shown.iter().map(|it| format!("{}: {}", it.0, it.1)).collect();
    let mut columns = vec![words.source, words.ratings];
    columns.extend(names.iter().map(String::as_str));
    table(title(words.answers), &columns, groups(rows).into_iter().map(line).collect())
}

fn agreement(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let mut lines = Vec::new();
    for group in groups(rows) {
        for row in rows.iter().filter(|it| belongs(it, group.as_ref())) {
            let or_nothing = |name: &str| match row.get(name).and_then(Value::as_f64) {
                Some(it) => Cell::Number(it, 3),
                None => Cell::Empty,
            };
            lines.push(vec![
                Cell::text(group.as_deref().unwrap_or(words.all)),
                Cell::Text(text(row, "name")),
                Cell::count(number(row, "n") as u64),
                sure(row, "all_same"),
                Cell::Share(number(row, "some_same")),
                Cell::Share(number(row, "all_different")),
                or_nothing("kappa"),
                or_nothing("alpha"),
                or_nothing("alpha_low"),
                or_nothing("alpha_high"),
            ]);
        }
    }
    let columns = [
        words.group,
        words.question,
        words.number,
        words.all_same,
        words.some_same,
        words.all_different,
        "κ",
        "α",
        "α 2.5 %",
        "α 97.5 %",
    ];
    table(title(words.agreement), &columns, lines)
}

/// By question a bar for each group.
fn agreement_bars(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let mut bars: Vec<Stack> = Vec::new();
    let mut questions: Vec<String> = Vec::new();
    for row in rows.iter().filter(|it| of_all(it)) {
        questions.push(text(row, "name"));
    }
    for question in &questions {
        for group in groups(rows) {
            let mine = |it: &&&Row| belongs(it, group.as_ref()) && text(it, "name") == *question;
            bars.extend(rows.iter().filter(mine).map(|row| Stack {
                group: question.clone(),
                name: group.clone().unwrap_or_else(|| words.all.to_owned()),
                shares:
                    ["all_same", "some_same", "all_different"].map(|it| number(row, it)).to_vec(),
            }));
        }
    }
    let parts = [words.all_same, words.some_same, words.all_different].map(str::to_owned).to_vec();
    Block::Chart(Chart {
        title: title(words.how_far_agreed),
        x: words.share_of_items.to_owned(),
        y: words.group.to_owned(),
        marks: Marks::Stacks { parts, bars },
    })
}

/// The models, the best first.
fn models(rows: &[&Row]) -> Vec<String> {
    rows.iter().filter(|it| of_all(it)).map(|it| text(it, "name")).collect()
}

fn between<'a>(rows: &[&'a Row], one: &str, other: &str) -> Option<&'a Row> {
    let mine = |it: &&&Row| text(it, "group") == one && text(it, "name") == other;
    rows.iter().filter(|it| !of_all(it)).find(mine).copied()
}

fn heat(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let models = models(rows);
    let cell = |one: &str, other: &str| {
        let row = between(rows, one, other)?;
        // What nobody decided is no half.
        (number(row, "wins") + number(row, "losses") > 0.0).then(|| number(row, "share"))
    };
    let row = |one: &String| models.iter().map(|other| cell(one, other)).collect();
    Block::Chart(Chart {
        title: title(words.win_rates),
        x: words.row_wins.to_owned(),
        y: words.against.to_owned(),
        marks: Marks::Heat {
            cells: models.iter().map(row).collect(),
            rows: models.clone(),
            columns: models,
        },
    })
}

fn wins(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let line = |it: &&&Row| {
        let count = |name: &str| Cell::count(number(it, name) as u64);
        vec![
            Cell::Text(text(it, "name")),
            count("n"),
            count("wins"),
            count("ties"),
            count("losses"),
            sure(it, "share"),
            Cell::Share(number(it, "adjusted")),
        ]
    };
    let lines = rows.iter().filter(|it| of_all(it)).map(|it| line(&it)).collect();
    let columns = [
        words.model,
        words.votes,
        words.wins,
        words.ties,
        words.losses,
        words.wins_of_decided,
        words.ties_as_half,
    ];
    table(title(words.against_all), &columns, lines)
}

/// By model a bar for each other.
fn win_bars(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let models = models(rows);
    let mut bars = Vec::new();
    for one in &models {
        for other in models.iter().filter(|it| *it != one) {
            let Some(row) = between(rows, one, other) else { continue };
            let n = number(row, "n").max(1.0);
            let shares = ["wins", "ties", "losses"].map(|it| number(row, it) / n).to_vec();
            bars.push(Stack { group: one.clone(), name: other.clone(), shares });
        }
    }
    let parts = [words.wins, words.ties, words.losses].map(str::to_owned).to_vec();
    Block::Chart(Chart {
        title: title(words.each_against_each),
        x: words.share_of_votes.to_owned(),
        y: words.against.to_owned(),
        marks: Marks::Stacks { parts, bars },
    })
}

fn ranking(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let line = |it: &&Row| {
        vec![
            Cell::count(number(it, "place") as u64),
            Cell::Text(text(it, "model")),
            Cell::count(number(it, "votes") as u64),
            Cell::Number(number(it, "strength"), 3),
            Cell::Number(number(it, "low"), 3),
            Cell::Number(number(it, "high"), 3),
        ]
    };
    let columns = [words.place, words.model, words.votes, words.strength, "2.5 %", "97.5 %"];
    table(title(words.ranking), &columns, rows.iter().map(line).collect())
}

/// A share with its interval, where there is any.
fn leans(row: &Row, name: &str) -> Cell {
    match row.get(name).and_then(Value::as_f64) {
        None => Cell::Empty,
        Some(share) => Cell::Sure {
            share,
            low: number(row, &format!("{name}_low")),
            high: number(row, &format!("{name}_high")),
        },
    }
}

fn annotators(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let line = |it: &&Row| {
        let share =
            |name: &str| it.get(name).and_then(Value::as_f64).map_or(Cell::Empty, Cell::Share);
        let by = match text(it, "by").as_str() {
            "model" => words.by_model,
            "simulated" => words.by_simulation,
            _ => words.by_people,
        };
        let seconds = it.get("median_ms").and_then(Value::as_f64);
        vec![
            Cell::Text(text(it, "annotator")),
            Cell::text(by),
            Cell::count(number(it, "votes") as u64),
            Cell::count(number(it, "skips") as u64),
            seconds.map_or(Cell::Empty, |it| Cell::Number(it / 1000.0, 1)),
            share("as_most_others"),
            share("as_before"),
            leans(it, "left"),
            leans(it, "longer"),
            share("ties"),
        ]
    };
    let columns = [
        words.annotator,
        "",
        words.votes,
        words.skips,
        words.seconds,
        words.as_most,
        words.as_before,
        words.chose_left,
        words.chose_longer,
        words.ties,
    ];
    table(title(words.annotators), &columns, rows.iter().map(line).collect())
}

fn judges(rows: &[&Row], (title, words): Manner<'_>) -> Block {
    let line = |it: &&Row| {
        let kappa = it.get("kappa").and_then(Value::as_f64);
        let share = Cell::Sure {
            share: number(it, "as_most"),
            low: number(it, "low"),
            high: number(it, "high"),
        };
        vec![
            Cell::Text(text(it, "question")),
            Cell::count(number(it, "votes") as u64),
            Cell::count(number(it, "n") as u64),
            if it.get("as_most").is_some_and(Value::is_number) { share } else { Cell::Empty },
            kappa.map_or(Cell::Empty, |it| Cell::Number(it, 3)),
        ]
    };
    let columns = [words.question, words.votes, words.number, words.as_most, "κ"];
    table(title(words.beside_people), &columns, rows.iter().map(line).collect())
}
