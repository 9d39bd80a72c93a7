//! Numbers of phones and cards: runs of digits with a border on both sides.

/// Digits from a place on, and how single spaces or hyphens part them.
pub(super) struct Number {
    pub(super) start: usize,
    /// Start and end of each run of digits.
    runs: [(usize, usize); MAX_RUNS],
    n_runs: usize,
}

/// A card in groups of four and three has five; one more shows that it goes on.
const MAX_RUNS: usize = 6;

impl Number {
    /// Reads from the first digit of a run.
    pub(super) fn read(bytes: &[u8], start: usize) -> Self {
        let mut it = Self { start, runs: [(0, 0); MAX_RUNS], n_runs: 0 };
        let mut at = start;
        while it.n_runs < MAX_RUNS {
            let n = bytes[at..].iter().take_while(|it| it.is_ascii_digit()).count();
            it.runs[it.n_runs] = (at, at + n);
            it.n_runs += 1;
            at += n;
            let parted = bytes.get(at).is_some_and(|it| b" -".contains(it));
            if !parted || !bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                break;
            }
            at += 1;
        }
        it
    }

    /// Where its first run ends.
    pub(super) fn first_end(&self) -> usize {
        self.runs[0].1
    }

    fn length(&self, run: usize) -> usize {
        self.runs[run].1 - self.runs[run].0
    }

    /// Whether it is exactly these runs, or begins with a single one.
    fn is(&self, lengths: &[usize]) -> bool {
        let all =
            lengths.iter().enumerate().all(|(i, it)| i < self.n_runs && self.length(i) == *it);
        all && (lengths.len() == 1 || self.n_runs == lengths.len())
    }

    /// No point, letter or hyphen before it: then it is a part of something longer.
    fn stands_alone(&self, bytes: &[u8]) -> bool {
        let before = self.start.checked_sub(1).map(|it| bytes[it]);
        !before.is_some_and(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
    }

    /// A mobile number of the mainland: 11 digits from 13 to 19, plain or as 3-4-4, perhaps after 86
    /// or 0086.
    pub(super) fn mobile(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let (first, end) = if self.is(&[11]) {
            (self.start, self.runs[0].1)
        } else if self.is(&[13]) && bytes[self.start..].starts_with(b"86") {
            (self.start + 2, self.runs[0].1)
        } else if self.is(&[2, 11]) && bytes[self.start..].starts_with(b"86") {
            (self.runs[1].0, self.runs[1].1)
        } else if self.is(&[15]) && bytes[self.start..].starts_with(b"0086") {
            (self.start + 4, self.runs[0].1)
        } else if self.is(&[4, 11]) && bytes[self.start..].starts_with(b"0086") {
            (self.runs[1].0, self.runs[1].1)
        } else if self.is(&[4, 3, 4, 4]) && bytes[self.start..].starts_with(b"0086") {
            (self.runs[1].0, self.runs[3].1)
        } else if self.is(&[3, 4, 4]) {
            (self.start, self.runs[2].1)
        } else if self.is(&[2, 3, 4, 4]) && bytes[self.start..].starts_with(b"86") {
            (self.runs[1].0, self.runs[3].1)
        } else {
            return None;
        };
        let mobile = bytes[first] == b'1' && (b'3'..=b'9').contains(&bytes[first + 1]);
        let goes_on =
            bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        let plus = self.start.checked_sub(1).filter(|it| bytes[*it] == b'+');
        (mobile && !goes_on && self.stands_alone(bytes))
            .then_some((plus.unwrap_or(self.start), end))
    }

    /// An identity card: place, a day that there was, and the check digit of GB 11643.
    pub(super) fn id_card(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
        let end = self.start + 18;
        let with_x = self.length(0) == 17 && matches!(bytes.get(end - 1), Some(b'X' | b'x'));
        if !with_x && self.length(0) != 18 {
            return None;
        }
        if !self.stands_alone(bytes) || bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        let digit = |i: usize| u32::from(bytes[self.start + i] - b'0');
        let number = |from: usize, n: usize| (from..from + n).fold(0, |sum, i| sum * 10 + digit(i));
        let (year, month, day) = (number(6, 4), number(10, 2), number(12, 2));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let sum: u32 = WEIGHTS.iter().enumerate().map(|(i, it)| it * digit(i)).sum();
        let check = b"10X98765432"[(sum % 11) as usize];
        let ok = (1..=8).contains(&digit(0))
            && (1900..2100).contains(&year)
            && (1..=days).contains(&day);
        (ok && bytes[end - 1].to_ascii_uppercase() == check).then_some((self.start, end))
    }

    /// A bank card: 16 to 19 digits, plain or in groups of four, whose sum after Luhn is right.
    pub(super) fn bank_card(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let grouped = self.is(&[4, 4, 4, 4]) || self.is(&[4, 4, 4, 4, 3]);
        let plain = (16..=19).contains(&self.length(0));
        if !grouped && !plain || !self.stands_alone(bytes) {
            return None;
        }
        let end = if plain { self.runs[0].1 } else { self.runs[self.n_runs - 1].1 };
        let digits = bytes[self.start..end].iter().rev().filter(|it| it.is_ascii_digit());
        let luhn = |(i, it): (usize, &u8)| {
            let it = u32::from(it - b'0') << (i % 2);
            it / 10 + it % 10
        };
        let sum: u32 = digits.enumerate().map(luhn).sum();
        let issued = matches!(bytes[self.start], b'3'..=b'6' | b'9');
        let goes_on = bytes.get(end).is_some_and(u8::is_ascii_alphabetic);
        (issued && !goes_on && sum.is_multiple_of(10)).then_some((self.start, end))
    }

    /// A landline: an area code of the mainland and a number, parted by a mark; or a 400 number.
    pub(super) fn landline(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        if !self.stands_alone(bytes) {
            return None;
        }
        if let Some(end) = self.service_end(bytes) {
            return Some((self.start, end));
        }
        let code = &bytes[self.start..self.first_end()];
        // Numbers of seven digits are left in the smaller of the large cities.
        let (is_area, short) = match code {
            [b'0', b'1', b'0'] => (true, false),
            [b'0', b'2', _] | [b'0', b'3'..=b'9', _, _] => (true, true),
            _ => (false, false),
        };
        let fits = |n: usize| is_area && (n == 8 || short && n == 7);
        if self.n_runs >= 2 && fits(self.length(1)) {
            return Some((self.start, self.runs[1].1));
        }
        [("(", ")"), ("（", "）")].into_iter().find_map(|(open, close)| {
            let before = bytes[..self.start].ends_with(open.as_bytes());
            let from = self.first_end() + close.len();
            let after = bytes.get(self.first_end()..from)? == close.as_bytes();
            let n = bytes[from..].iter().take_while(|it| it.is_ascii_digit()).count();
            let start = self.start.checked_sub(open.len())?;
            (before && after && fits(n)).then_some((start, from + n))
        })
    }

    /// The end of a 400 or 800 number: ten digits, in the groups in which people write them.
    fn service_end(&self, bytes: &[u8]) -> Option<usize> {
        const GROUPS: [&[usize]; 4] = [&[10], &[3, 7], &[3, 3, 4], &[4, 3, 3]];
        let groups = GROUPS.into_iter().find(|it| self.is(it))?;
        let end = self.runs[groups.len() - 1].1;
        let digits = &bytes[self.start..];
        let known = match groups.len() {
            // In one piece it may as well be a sum: those are round, or counted in something.
            1 => {
                let assigned = digits.starts_with(b"400") && b"016789".contains(&digits[3])
                    || digits.starts_with(b"800");
                assigned && !digits[..10].ends_with(b"000") && !is_counted(&bytes[end..])
            }
            _ => digits.starts_with(b"400") || digits.starts_with(b"800"),
        };
        known.then_some(end)
    }
}

/// Whether what follows a number makes it an amount, or a part of something longer.
fn is_counted(after: &[u8]) -> bool {
    const UNITS: [&str; 18] = [
        "元", "万", "亿", "个", "人", "次", "年", "吨", "米", "美", "块", "千", "百", "字", "条",
        "件", "股", "％",
    ];
    let point = after.first() == Some(&b'.') && after.get(1).is_some_and(u8::is_ascii_digit);
    let ascii = after.first().is_some_and(|it| it.is_ascii_alphanumeric() || b"%_,".contains(it));
    point || ascii || UNITS.iter().any(|it| after.starts_with(it.as_bytes()))
}
