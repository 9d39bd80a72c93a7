//! Patterns with `*` and `?`, for names, and with `**` for paths.

/// Whether a name is like a pattern: `*` is any text, `?` any one letter.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == name;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and what of the name it has eaten so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|it| *it == '?' || *it == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, eaten)) = star {
            star = Some((at, eaten + 1));
            p = at + 1;
            n = eaten + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|it| *it == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks_match_what_they_should() {
        for (pattern, name) in
            [("a*", "abc"), ("*", ""), ("a?c", "abc"), ("*b*b", "abab"), ("é?", "éx")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a*d", "abc"), ("a?c", "ac"), ("", "a"), ("ab", "abc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
