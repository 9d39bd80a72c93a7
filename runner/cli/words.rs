//! Small things said the same way everywhere: counts, sizes, paths.

use std::path::Path;

/// `1 step`, `3 steps`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

/// `0 B`, `999 B`, `1.5 KiB`, `12 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(scaled < 10.0);
    format!("{scaled:.digits$} {}", UNITS[unit])
}

/// The bytes of `0`, `1500`, `64 KiB`, `256MiB`: the other way round of [`size`].
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = ["B", "KiB", "MiB", "GiB", "TiB"].iter().position(|it| *it == unit.trim());
    let shift = if unit.trim().is_empty() { Some(0) } else { shift };
    number
        .parse::<u64>()
        .ok()
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << (10 * shift)))
        .ok_or_else(|| "expected a number of bytes, such as `0`, `4096` or `256MiB`".to_owned())
}

/// `81.2 %`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// `min 5, max 8`.
pub(crate) fn bounds(min: Option<f64>, max: Option<f64>) -> String {
    let named = [("min", min), ("max", max)];
    let said = named.into_iter().filter_map(|(name, it)| it.map(|it| format!("{name} {it}")));
    said.collect::<Vec<_>>().join(", ")
}

/// A text on one line that takes at most so many columns, with `…` where it is cut.
pub(crate) fn short(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for it in text.chars() {
        let it = steps::model::visible(it.encode_utf8(&mut [0; 4]));
        if report::table::width(&out) + report::table::width(&it) >= columns {
            return out + "…";
        }
        out.push_str(&it);
    }
    out
}

/// A path as it is reached from here, without a `./` in front.
pub(crate) fn near(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    path.strip_prefix("./").unwrap_or(path).display().to_string()
}

/// A word as it is typed into a shell.
pub(crate) fn argument(word: &str) -> String {
    let is_plain = |it: char| it.is_alphanumeric() || "_-./@=,+".contains(it);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_or_more_and_a_unit() {
        let said = [0, 999, 1024, 1536, 12 << 20, 3 << 60].map(size);
        assert_eq!(said, ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "12 MiB", "3072 PiB"]);
    }

    #[test]
    fn a_size_is_read_as_it_is_written() {
        let read = ["0", "999 B", "64KiB", "256 MiB", "2TiB"].map(|it| bytes(it).unwrap());
        assert_eq!(read, [0, 999, 64 << 10, 256 << 20, 2 << 40]);
        for text in ["", "MiB", "1.5 MiB", "-1", "3 MB", "99999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_would_read_them_otherwise() {
        let said = ["all@small", "words[sea]", "it's", ""].map(argument);
        assert_eq!(said, ["all@small", "'words[sea]'", r"'it'\''s'", "''"]);
    }

    #[test]
    fn a_text_is_cut_where_its_columns_end() {
        let said = [short("a\nb", 9), short("中文中文", 6), short("", 1)];
        assert_eq!(said, ["a\\nb", "中文…", ""]);
        assert_eq!([share(0, 0), share(1, 3), share(3, 3)], ["0.0 %", "33.3 %", "100.0 %"]);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([count(0, "step"), count(1, "step")], ["0 steps", "1 step"]);
    }
}
