//! When a question may be asked: not too many in a minute, and not before the server wants to be
//! asked again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first wait before a question is asked again; each is twice the one before, up to the longest.
pub(crate) struct Waits {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

#[cfg(not(test))]
pub(crate) const WAITS: Waits =
    Waits { first: Duration::from_millis(500), longest: Duration::from_secs(60) };
#[cfg(test)]
pub(crate) const WAITS: Waits =
    Waits { first: Duration::from_millis(2), longest: Duration::from_millis(20) };

/// A server that wants to be left alone for longer is not waited for.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(900);

impl Waits {
    /// The wait before the `n`-th further try, from 0: a half of it at least, so that questions that
    /// were refused together do not come back together.
    pub(crate) fn before(&self, n: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << n.min(20)).min(self.longest);
        let share = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        whole.mul_f64(0.5 + share / 2.0)
    }
}

/// What all questions to one server keep to.
pub(crate) struct Pace {
    state: Mutex<State>,
    closed: Condvar,
    interval: Duration,
}

struct State {
    /// When the next question may begin.
    next: Instant,
    closed: bool,
}

impl Pace {
    pub(crate) fn new(per_minute: Option<u32>) -> Self {
        let interval = per_minute.map_or(Duration::ZERO, |it| Duration::from_secs(60) / it.max(1));
        let state = Mutex::new(State { next: Instant::now(), closed: false });
        Self { state, closed: Condvar::new(), interval }
    }

    /// Waits for this question's turn; false: nothing is asked any more.
    pub(crate) fn turn(&self) -> bool {
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let at = state.next.max(Instant::now());
            state.next = at + self.interval;
            at
        };
        self.wait_until(at)
    }

    /// The server wants to be left alone: no question begins before.
    pub(crate) fn hold(&self, wait: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.next = state.next.max(Instant::now() + wait);
    }

    /// Waits; false: nothing is asked any more.
    pub(crate) fn wait(&self, wait: Duration) -> bool {
        self.wait_until(Instant::now() + wait)
    }

    fn wait_until(&self, at: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if state.closed {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            let waited = self.closed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends all waits; nothing is asked any more.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.closed.notify_all();
    }
}

/// What `Retry-After` says: seconds, or a date, which is measured by the server's own clock.
pub(crate) fn retry_after(value: &str, server_date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    }
    let (then, now) = (date(value)?, date(server_date?)?);
    Some(Duration::from_secs(then.saturating_sub(now)))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that servers
/// may write: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>.
fn date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|it| *it == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = time.split(':').filter_map(|it| it.parse().ok()).collect();
    let [hours, minutes, seconds] = clock[..] else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from the civil date, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hours.min(23) * 3600 + minutes.min(59) * 60 + seconds.min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_seconds_or_as_a_date_by_the_servers_clock() {
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0.25", None), Some(Duration::from_millis(250)));
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        let wait = |it| retry_after(it, Some(now));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Wed, 01 Mar 1995 08:49:37 GMT"), Some(Duration::from_secs(115 * 86_400)));
        assert_eq!(date(now), Some(784_111_777));
        for bad in ["soon", "-", "Sun, 06 Nov 1994", "inf"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits = Waits { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        for (n, whole) in [(0, 1.0), (1, 2.0), (3, 8.0), (4, 10.0), (40, 10.0)] {
            let wait = waits.before(n).as_secs_f64();
            assert!((0.5 * whole..=whole).contains(&wait), "{n} {wait}");
        }
    }

    #[test]
    fn questions_keep_their_distance_and_none_begins_once_closed() {
        let pace = Pace::new(Some(6000));
        let began = Instant::now();
        for _ in 0..6 {
            assert!(pace.turn());
        }
        assert!(began.elapsed() >= Duration::from_millis(50));
        pace.hold(Duration::from_millis(30));
        assert!(pace.turn());
        assert!(began.elapsed() >= Duration::from_millis(80));
        pace.hold(Duration::from_secs(3600));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.turn());
            pace.close();
            assert!(!waiting.join().unwrap());
        });
        assert!(!pace.wait(Duration::ZERO));
    }
}
