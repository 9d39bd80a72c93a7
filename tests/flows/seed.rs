//! Where chance comes from: a seed of the day, so that every day tries other moments, said when a
//! test fails, and fixed by `KUN_SEED`.

use std::time::{SystemTime, UNIX_EPOCH};

const VARIABLE: &str = "KUN_SEED";

/// `splitmix64`; says its seed when a test that holds it fails.
pub(crate) struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// The dice of today, or those that are asked for.
    pub(crate) fn of_today() -> Self {
        let asked = std::env::var(VARIABLE).ok().map(|it| it.parse().expect("a number"));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = asked.unwrap_or(since.as_secs() / (24 * 3600));
        Self { seed, state: seed }
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.state;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % sides
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = format!("{VARIABLE}={} rolls the same again\n", self.seed);
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        }
    }
}
