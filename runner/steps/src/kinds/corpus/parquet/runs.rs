//! Small numbers as Parquet packs them: runs of one number, and groups of eight in a few bits each.

use super::Wrong;

/// Reads such numbers, one after another.
pub(super) struct Runs {
    at: usize,
    end: usize,
    bits: u32,
    /// How many of the run or the groups at hand are left.
    left: u64,
    /// The number of a run; none: groups are at hand, from bit `bit` of the byte at `at`.
    run: Option<u32>,
    bit: u64,
}

impl Runs {
    /// The numbers of `bits` bits in `page[at..end]`.
    pub(super) fn new((at, end): (usize, usize), bits: u32) -> Result<Self, Wrong> {
        match bits <= 32 {
            true => Ok(Self { at, end, bits, left: 0, run: None, bit: 0 }),
            false => Err(Wrong::form("a page has numbers of more than 32 bits")),
        }
    }

    pub(super) fn next(&mut self, page: &[u8]) -> Result<u32, Wrong> {
        let page = &page[..self.end.min(page.len())];
        while self.left == 0 {
            self.open(page)?;
        }
        self.left -= 1;
        if let Some(it) = self.run {
            return Ok(it);
        }
        let mut value = 0_u32;
        for i in 0..self.bits {
            let bit = self.bit + u64::from(i);
            let byte = page.get(self.at + (bit / 8) as usize).ok_or_else(early)?;
            value |= u32::from(byte >> (bit % 8) & 1) << i;
        }
        self.bit += u64::from(self.bits);
        if self.left == 0 {
            self.at += (self.bit / 8) as usize;
        }
        Ok(value)
    }

    fn open(&mut self, page: &[u8]) -> Result<(), Wrong> {
        let mut head = 0_u64;
        for shift in (0..).step_by(7) {
            let byte = *page.get(self.at).filter(|_| shift < 35).ok_or_else(early)?;
            self.at += 1;
            head |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        self.bit = 0;
        if head & 1 == 1 {
            self.left = (head >> 1) * 8;
            self.run = None;
            return Ok(());
        }
        let n = self.bits.div_ceil(8) as usize;
        let bytes = page.get(self.at..self.at + n).ok_or_else(early)?;
        self.at += n;
        self.left = head >> 1;
        self.run = Some(bytes.iter().rev().fold(0, |sum, it| sum << 8 | u32::from(*it)));
        Ok(())
    }
}

fn early() -> Wrong {
    Wrong::form("a page ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups_follow_one_another() {
        // Five times 4, then 0 to 7 in three bits each: the example of Parquet's own description.
        let page = b"\x0a\x04\x03\x88\xc6\xfa\x02\x01";
        let mut runs = Runs::new((0, page.len()), 3).unwrap();
        let all: Vec<u32> = (0..14).map(|_| runs.next(page).unwrap()).collect();
        assert_eq!(all, [4, 4, 4, 4, 4, 0, 1, 2, 3, 4, 5, 6, 7, 1]);
        assert!(runs.next(page).is_err());
        assert!(Runs::new((0, 0), 33).is_err());
        let mut nothing = Runs::new((0, 9), 0).unwrap();
        assert!((0..3).all(|_| nothing.next(b"\x06").unwrap() == 0));
        assert!(nothing.next(b"\x06").is_err());
    }
}
