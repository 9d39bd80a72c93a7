//! Prompt files, as they stand.

use report::page::{Block, Section};

use super::All;
use super::seen::Seen;
use super::words::Words;

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let prompts = seen.iter().filter_map(|(item, it)| match it {
        Seen::Prompt(id, text) => {
            let (title, texts) = (item.name.clone(), vec![(id.clone(), text.clone())]);
            Some(Block::Folded { title, texts })
        }
        _ => None,
    });
    Section { title: words.prompts.to_owned(), blocks: prompts.collect() }
}
