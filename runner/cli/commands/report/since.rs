//! What changed between runs: what was asked of each step, and what came of it.

use ::report::page::{Block, Cell, Section, Table};

use super::super::diff;
use super::words::Words;
use crate::last;
use crate::project::Opened;
use crate::trouble::Trouble;

/// A section for each pair of neighbours among the runs; with `since`, for what is now and that run.
pub(super) fn sections(
    opened: &Opened,
    (since, runs): (Option<&str>, &[String]),
    words: &Words,
) -> Result<Vec<Section>, Trouble> {
    let mut sections = Vec::new();
    if let Some(name) = since {
        let was = diff::of_run(&opened.home, name)?;
        let is = match runs.last() {
            Some(run) => diff::of_run(&opened.home, run)?,
            None => diff::of_now(opened)?,
        };
        let name = last::run(&opened.home, name)?;
        sections.push(section(&name, &diff::compare(&opened.store, &was, &is)?, words));
    }
    for pair in runs.windows(2) {
        let (was, is) =
            (diff::of_run(&opened.home, &pair[0])?, diff::of_run(&opened.home, &pair[1])?);
        let name = last::run(&opened.home, &pair[0])?;
        sections.push(section(&name, &diff::compare(&opened.store, &was, &is)?, words));
    }
    Ok(sections)
}

fn section(run: &str, found: &[diff::Difference], words: &Words) -> Section {
    let title = format!("{} {run}", words.changed);
    if found.is_empty() {
        let nothing = Block::Text(words.nothing_changed.to_owned());
        return Section { title, blocks: vec![nothing] };
    }
    let rows = found.iter().flat_map(|it| it.what.iter().map(|what| (&it.step, what)));
    let table = Table {
        title: title.clone(),
        columns: [words.step, words.difference].map(str::to_owned).to_vec(),
        rows: rows.map(|(step, what)| vec![Cell::text(step), Cell::text(what)]).collect(),
    };
    Section { title, blocks: vec![Block::Table(table)] }
}
