//! A table as files for other programs.

use serde_json::{Map, Value};

use super::{Cell, Table};

/// With commas, quoted where it must be; intervals have columns of their own.
pub fn csv(table: &Table) -> String {
    let (columns, rows) = flat(table);
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.into_iter().map(|it| quoted(&it)).collect();
        cells.join(",") + "\n"
    };
    let text = |it: &Value| match it {
        Value::Null => String::new(),
        Value::String(it) => it.clone(),
        other => other.to_string(),
    };
    let body: String = rows.iter().map(|it| line(it.iter().map(text).collect())).collect();
    line(columns) + &body
}

/// A list of objects.
pub fn json(table: &Table) -> String {
    let (columns, rows) = flat(table);
    let object = |row: Vec<Value>| {
        let object: Map<String, Value> = columns.iter().cloned().zip(row).collect();
        Value::Object(object).to_string()
    };
    let lines: Vec<String> = rows.into_iter().map(object).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn flat(table: &Table) -> (Vec<String>, Vec<Vec<Value>>) {
    // Asked once: a curve has tens of thousands of rows.
    let has_intervals =
        |i: usize| table.rows.iter().any(|it| matches!(it.get(i), Some(Cell::Sure { .. })));
    let sure: Vec<bool> = (0..table.columns.len()).map(has_intervals).collect();
    let mut columns = Vec::new();
    for (name, sure) in table.columns.iter().zip(&sure) {
        columns.push(name.clone());
        if *sure {
            columns.extend([format!("{name} low"), format!("{name} high")]);
        }
    }
    let row = |row: &Vec<Cell>| {
        let mut cells = Vec::new();
        for (i, sure) in sure.iter().enumerate() {
            let mut all = match row.get(i).unwrap_or(&Cell::Empty) {
                Cell::Empty => vec![Value::Null],
                Cell::Text(it) => vec![it.as_str().into()],
                Cell::Number(it, 0) if it.fract() == 0.0 => vec![(*it as i64).into()],
                Cell::Number(it, _) | Cell::Plain(it) | Cell::Share(it) => vec![(*it).into()],
                Cell::Sure { share, low, high } => {
                    vec![(*share).into(), (*low).into(), (*high).into()]
                }
            };
            all.resize(if *sure { 3 } else { 1 }, Value::Null);
            cells.extend(all);
        }
        cells
    };
    (columns, table.rows.iter().map(row).collect())
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_get_columns_and_quotes_are_doubled() {
        let table = Table {
            title: String::new(),
            columns: vec!["a".to_owned(), "b".to_owned()],
            rows: vec![
                vec![Cell::text("x,\"y\""), Cell::Sure { share: 0.5, low: 0.25, high: 0.75 }],
                vec![Cell::count(3), Cell::Empty],
            ],
        };
        insta::assert_snapshot!(csv(&table), @r#"
        a,b,b low,b high
        "x,""y""",0.5,0.25,0.75
        3,,,
        "#);
        insta::assert_snapshot!(json(&table), @r#"
        [
        {"a":"x,\"y\"","b":0.5,"b low":0.25,"b high":0.75},
        {"a":3,"b":null,"b low":null,"b high":null}
        ]
        "#);
    }
}
