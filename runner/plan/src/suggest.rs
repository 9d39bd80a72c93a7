//! "Did you mean": the nearest of the names that exist.

use crate::KindSpec;

/// The candidate that is nearest to a word, where one is near enough to have been meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word_chars: Vec<char> = word.chars().take(MAX_CHARS).collect();
    // A word of one letter is near to nothing.
    let limit = (word_chars.len() / 3).clamp(1, 3).min(word_chars.len().saturating_sub(1));
    candidates
        .into_iter()
        .filter(|it| it.len().abs_diff(word.len()) <= 4 * limit)
        .filter_map(|it| Some((distance(&word_chars, it, limit)?, it)))
        .min()
        .map(|(_, it)| it)
}

/// Advice for a name that does not exist: the nearest, else what there is.
pub(crate) fn advice<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(it) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{it}`?"));
    }
    let mut names: Vec<&str> = candidates.into_iter().take(MAX_LISTED + 1).collect();
    if names.len() > MAX_LISTED {
        names.truncate(MAX_LISTED);
        return Some(format!("there are `{}`, …", names.join("`, `")));
    }
    let last = names.pop()?;
    if names.is_empty() {
        return Some(format!("there is `{last}`"));
    }
    Some(format!("there are `{}` and `{last}`", names.join("`, `")))
}

/// Names that other tools have for parameters of ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("adam_eps", "adam_epsilon"),
    ("cutoff_len", "max_seq_len"),
    ("embed_dim", "hidden_size"),
    ("eval_every", "eval_steps"),
    ("gradient_accumulation_steps", "batch_size"),
    ("intermediate_dim", "intermediate_size"),
    ("lora_alpha", "lora"),
    ("lora_r", "lora"),
    ("lora_rank", "lora"),
    ("lora_target", "lora"),
    ("lr", "learning_rate"),
    ("lr_scheduler_type", "lr_scheduler"),
    ("max_length", "max_seq_len"),
    ("max_tokens", "max_new_tokens"),
    ("micro_batch_size", "batch_size"),
    ("neat_packing", "packing"),
    ("num_epochs", "epochs"),
    ("num_samples", "samples"),
    ("num_train_epochs", "epochs"),
    ("per_device_train_batch_size", "batch_size"),
    ("rep_penalty", "repetition_penalty"),
    ("sample_packing", "packing"),
    ("sequence_len", "max_seq_len"),
    ("stop_strings", "stop"),
    ("train_on_input", "loss_on"),
    ("train_on_inputs", "loss_on"),
    ("train_on_prompt", "loss_on"),
    ("val_set_size", "val_size"),
    ("warmup_proportion", "warmup_ratio"),
];

/// Advice for a parameter that a kind does not have: what other tools call one that it has, else as
/// for any name.
pub(crate) fn parameter<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    let ours = SYNONYMS.iter().find(|it| it.0 == word).map(|it| it.1);
    match ours.filter(|ours| candidates.clone().into_iter().any(|it| it == *ours)) {
        Some(ours) => Some(format!("`{word}` is called `{ours}` here")),
        None => advice(word, candidates),
    }
}

/// Advice where one input is wanted and several are given: the kind that makes one of them.
pub(crate) fn joining(kinds: &[KindSpec]) -> Option<String> {
    let is_there = kinds.iter().any(|it| it.name == "concat");
    is_there.then(|| "files are made one by a step with `op = \"concat\"`".to_owned())
}

const MAX_LISTED: usize = 12;
const MAX_CHARS: usize = 64;

/// The number of letters to change, add, drop or swap; none where it is beyond the limit.
fn distance(word: &[char], other: &str, limit: usize) -> Option<usize> {
    let other: Vec<char> = other.chars().take(MAX_CHARS).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=word.len() {
        let mut next = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let cost = usize::from(!word[i - 1].eq_ignore_ascii_case(&other[j - 1]));
            next[j] = (row[j] + 1).min(next[j - 1] + 1).min(row[j - 1] + cost);
            let swapped =
                i > 1 && j > 1 && word[i - 1] == other[j - 2] && word[i - 2] == other[j - 1];
            if swapped {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().filter(|it| *it <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood_and_other_words_are_not() {
        let names = ["length_filter", "sample", "top_k"];
        assert_eq!(nearest("length_filtre", names), Some("length_filter"));
        assert_eq!(nearest("Sample", names), Some("sample"));
        assert_eq!(nearest("topk", names), Some("top_k"));
        assert_eq!(nearest("tokenize", names), None);
    }

    #[test]
    fn names_of_other_tools_are_understood_where_the_kind_has_such_a_parameter() {
        let said = |names: &[&'static str]| parameter("cutoff_len", names.iter().copied());
        let want = "`cutoff_len` is called `max_seq_len` here";
        assert_eq!(said(&["max_seq_len"]).unwrap(), want);
        assert_eq!(said(&["field"]).unwrap(), "there is `field`");
    }

    #[test]
    fn names_are_listed_as_one_says_them() {
        let listed = |names: &[&'static str]| advice("zzz", names.iter().copied());
        assert_eq!(listed(&[]), None);
        assert_eq!(listed(&["a"]).unwrap(), "there is `a`");
        assert_eq!(listed(&["a", "b"]).unwrap(), "there are `a` and `b`");
        assert_eq!(listed(&["a", "b", "c"]).unwrap(), "there are `a`, `b` and `c`");
        let many = listed(&["a"; MAX_LISTED + 1]).unwrap();
        assert!(many.ends_with("`a`, `a`, …"), "{many}");
    }
}
