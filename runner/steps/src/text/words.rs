//! A list of words, and where they stand in a text: one pass, whatever the length of the list.

use std::collections::BTreeMap;

/// Words that are looked for.
pub(crate) struct Words {
    /// By first character; the longest first.
    by_first: BTreeMap<char, Vec<String>>,
    /// Which first characters there are, by their lowest 12 bits: most of a text ends here.
    firsts: [u64; 64],
}

impl Words {
    pub(crate) fn new<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Self {
        let (mut by_first, mut firsts) = (BTreeMap::<char, Vec<String>>::new(), [0; 64]);
        for it in words {
            let Some(first) = it.as_ref().chars().next() else { continue };
            by_first.entry(first).or_default().push(it.as_ref().to_owned());
            firsts[(first as usize >> 6) & 63] |= 1_u64 << (first as u32 & 63);
        }
        let length = |it: &String| std::cmp::Reverse(it.len());
        by_first.values_mut().for_each(|it| it.sort_by_key(length));
        Self { by_first, firsts }
    }

    /// The longest word with which this text, whose first character is given, begins.
    pub(crate) fn at(&self, rest: &str, first: char) -> Option<&str> {
        if self.firsts[(first as usize >> 6) & 63] >> (first as u32 & 63) & 1 == 0 {
            return None;
        }
        let words = self.by_first.get(&first)?;
        words.iter().find(|it| rest.starts_with(it.as_str())).map(String::as_str)
    }

    /// Each word in the text, from left to right, none over another.
    pub(crate) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut next = 0;
        text.char_indices().filter_map(move |(at, first)| {
            if at < next {
                return None;
            }
            let word = self.at(&text[at..], first)?;
            next = at + word.len();
            Some(word)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_is_found_and_none_over_another() {
        let words = Words::new(["抱歉", "抱", "歉意", "", "AI"]);
        let found: Vec<_> = words.find("抱歉意，抱着AI。Bi").collect();
        assert_eq!(found, ["抱歉", "抱", "AI"]);
        assert_eq!(Words::new(Vec::<String>::new()).find("抱歉").count(), 0);
    }
}
