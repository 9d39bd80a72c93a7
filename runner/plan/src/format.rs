//! `kun fmt`: one style for manifests. Comments, order and meaning stay; only blanks change.
//!
//! One blank line before a table, none at the start; one space around `=` and after commas; lists
//! and inline tables that hold comments or break lines are left as their author laid them out.

use std::path::Path;
use std::sync::Arc;

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, Table, Value};

use crate::mistake::{Mistake, Mistakes};
use crate::text::{Text, Texts};
use crate::tree;

/// A manifest's text in the one style; formatting twice changes nothing more. The path is only for
/// the places of mistakes.
pub fn format(path: &Path, text: &str) -> Result<String, Mistakes> {
    let texts: Texts = vec![Arc::new(Text::new(path.to_owned(), text.to_owned()))];
    let mut found = Vec::new();
    tree::parse(&texts, 0, &mut found);
    found.retain(|it| matches!(it.code, "manifest::syntax" | "manifest::too-deep"));
    if !found.is_empty() {
        return Err(Mistakes::sorted(found, &texts));
    }
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let mistake = Mistake::new("manifest::syntax", error.message().to_owned());
        Mistakes::sorted(vec![mistake], &texts)
    })?;
    let trailing = comments(document.trailing().as_str().unwrap_or_default());
    document.set_trailing(trailing);
    format_table(document.as_table_mut());
    Ok(tidy(&document.to_string()))
}

fn format_table(table: &mut Table) {
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::Table(it) if it.is_dotted() => {
                key_blanks(&mut key);
                format_table(it);
            }
            Item::Table(it) => {
                header(it.decor_mut());
                format_table(it);
            }
            Item::ArrayOfTables(it) => {
                for it in it.iter_mut() {
                    header(it.decor_mut());
                    format_table(it);
                }
            }
            Item::Value(it) => {
                key_blanks(&mut key);
                let suffix = comments(raw(it.decor().suffix()));
                let suffix = suffix.trim();
                let blank = if suffix.is_empty() { "" } else { " " };
                format_value(it);
                it.decor_mut().set_prefix(" ");
                it.decor_mut().set_suffix(format!("{blank}{suffix}"));
            }
            Item::None => {}
        }
    }
}

fn raw(it: Option<&toml_edit::RawString>) -> &str {
    it.and_then(|it| it.as_str()).unwrap_or_default()
}

/// Blanks around a key: comments and one blank line before it stay.
fn key_blanks(key: &mut toml_edit::KeyMut<'_>) {
    let prefix = comments(raw(key.leaf_decor().prefix()));
    key.leaf_decor_mut().set_prefix(prefix);
    key.leaf_decor_mut().set_suffix(" ");
    let prefix = comments(raw(key.dotted_decor().prefix()));
    key.dotted_decor_mut().set_prefix(prefix);
    key.dotted_decor_mut().set_suffix("");
}

fn header(decor: &mut Decor) {
    let before = comments(raw(decor.prefix()));
    let suffix = comments(raw(decor.suffix()));
    let suffix = suffix.trim();
    let blank = if suffix.is_empty() { "" } else { " " };
    decor.set_prefix(format!("\n{}", before.trim_start_matches('\n')));
    decor.set_suffix(format!("{blank}{suffix}"));
}

fn format_value(value: &mut Value) {
    let text = value.to_string();
    let laid_out = text.trim().contains('\n') || text.contains('#');
    match value {
        Value::Array(it) if !laid_out => format_array(it),
        Value::InlineTable(it) if !laid_out => format_inline(it),
        _ => {}
    }
}

fn format_array(array: &mut Array) {
    for (i, it) in array.iter_mut().enumerate() {
        format_value(it);
        it.decor_mut().set_prefix(if i == 0 { "" } else { " " });
        it.decor_mut().set_suffix("");
    }
    array.set_trailing("");
    array.set_trailing_comma(false);
}

fn format_inline(table: &mut InlineTable) {
    inline_items(table);
    table.set_trailing("");
    table.set_trailing_comma(false);
}

fn inline_items(table: &mut InlineTable) {
    // `toml_edit` writes `{ a = 1 }` for tables whose decor is its default.
    table.fmt();
    for (_, it) in table.iter_mut() {
        match it {
            Value::InlineTable(inner) if inner.is_dotted() => inline_items(inner),
            it => format_value(it),
        }
    }
}

/// Lines of comments without blanks around them, and no more than one empty line in a row.
fn comments(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.split('\n').map(str::trim).peekable();
    let mut empty = false;
    while let Some(line) = lines.next() {
        if lines.peek().is_none() {
            out += line;
        } else if !line.is_empty() || !empty {
            out += line;
            out.push('\n');
        }
        empty = line.is_empty();
    }
    out
}

/// No blank lines at either end, one line break at the last.
fn tidy(text: &str) -> String {
    let text = text.trim_start_matches(['\n', ' ', '\t']).trim_end();
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}
