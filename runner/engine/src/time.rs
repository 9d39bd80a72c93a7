//! Clock readings as text: run names sort by time, people read UTC. Nothing here enters a key.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as u64)
}

/// `2026-11-20 14:03:55` (UTC) for milliseconds since 1970.
pub fn readable(ms: u64) -> String {
    let (year, month, day) = civil(ms / 86_400_000);
    let s = ms / 1000 % 86_400;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `20261120-140355`, for names that sort by time.
pub fn compact(ms: u64) -> String {
    readable(ms).replace(['-', ':'], "").replace(' ', "-")
}

/// `400 ms`, `1.5 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..10 => format!("{:.1} s", ms as f64 / 1000.0),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

/// The calendar date of a day since 1970, by counting in 400-year eras from 1 March of year 0.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(readable(0), "1970-01-01 00:00:00");
        assert_eq!(readable(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(readable(1_795_183_435_000), "2026-11-20 14:03:55");
        assert_eq!(compact(1_795_183_435_000), "20261120-140355");
    }

    #[test]
    fn durations_are_short() {
        let said = [400, 1500, 12_000, 200_000, 7_500_000].map(duration);
        assert_eq!(said, ["400 ms", "1.5 s", "12 s", "3 min 20 s", "2 h 5 min"]);
    }
}
