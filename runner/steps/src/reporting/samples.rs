//! Answers beside the texts they were made of.

use report::page::{Block, Section};

use super::All;
use super::seen::Seen;
use super::words::Words;

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let mut blocks = Vec::new();
    for (item, seen) in seen {
        let Seen::Changes(all) = seen else { continue };
        if all.is_empty() {
            continue;
        }
        if blocks.is_empty() {
            blocks.push(Block::Text(words.samples_about.to_owned()));
        }
        blocks.push(Block::Text(item.name.clone()));
        blocks.push(Block::Changes(all.clone()));
    }
    Section { title: words.samples.to_owned(), blocks }
}
