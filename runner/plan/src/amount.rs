//! Times and sizes as people write them: `1h30m`, `10s..5m`, `4GiB`.

use std::time::Duration;

const TIMES: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `90s`, `1h30m`, `250ms`.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum_ms = 0_u64;
    while !rest.is_empty() {
        let (count, after) = number(rest)?;
        let unit =
            after.len() - after.trim_start_matches(|it: char| it.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(unit);
        let ms = TIMES.iter().find(|it| it.0 == unit)?.1;
        sum_ms = sum_ms.checked_add(count.checked_mul(ms)?)?;
        rest = after;
    }
    // A century is as good as for ever, and no clock overflows.
    (!text.is_empty() && sum_ms <= 100 * 366 * 86_400_000).then(|| Duration::from_millis(sum_ms))
}

/// Reads `10s..5m`; one time alone is both.
pub(crate) fn times(text: &str) -> Option<(Duration, Duration)> {
    let (first, longest) = match text.split_once("..") {
        Some((first, longest)) => (time(first)?, time(longest)?),
        None => (time(text)?, time(text)?),
    };
    (first <= longest).then_some((first, longest))
}

/// Reads `4GiB`, `512MB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (count, unit) = number(text)?;
    count.checked_mul(SIZES.iter().find(|it| it.0 == unit.trim_start())?.1)
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_and_nonsense_is_not() {
        assert_eq!(time("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(times("10s..5m"), Some((Duration::from_secs(10), Duration::from_secs(300))));
        assert_eq!(size("4GiB"), Some(4 << 30));
        for text in ["", "h", "1", "1x", "-1s", "99999999999999999999s", "1s ", "9999999d"] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(times("5m..10s"), None);
        assert_eq!(size("99999999TiB"), None);
    }
}
