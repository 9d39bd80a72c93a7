//! Aligned plain-text tables that know how wide East Asian characters are.

/// How many columns of a terminal a text takes: two for wide characters, none for combining marks
/// and control characters.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// First and last of the ranges that are two columns wide: Unicode's East Asian Width `W` and `F`,
/// with unassigned characters between them.
const WIDE: &[(u32, u32)] = &[
    (0x1100, 0x115f),
    (0x231a, 0x231b),
    (0x2329, 0x232a),
    (0x23e9, 0x23ec),
    (0x2614, 0x2615),
    (0x2648, 0x2653),
    (0x26a1, 0x26a1),
    (0x2705, 0x2705),
    (0x274c, 0x274c),
    (0x2e80, 0x303e),
    (0x3041, 0x33ff),
    (0x3400, 0x4dbf),
    (0x4e00, 0x9fff),
    (0xa000, 0xa4cf),
    (0xa960, 0xa97f),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xfe30, 0xfe6f),
    (0xff00, 0xff60),
    (0xffe0, 0xffe6),
    (0x1f300, 0x1f64f),
    (0x1f680, 0x1f6ff),
    (0x1f900, 0x1f9ff),
    (0x20000, 0x3fffd),
];

/// Ranges that take no column: combining marks, zero-width characters, variation selectors.
const NONE: &[(u32, u32)] = &[
    (0x0300, 0x036f),
    (0x0483, 0x0489),
    (0x0591, 0x05bd),
    (0x064b, 0x065f),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x2064),
    (0x20d0, 0x20ff),
    (0x302a, 0x302d),
    (0x3099, 0x309a),
    (0xfe00, 0xfe0f),
    (0xfe20, 0xfe2f),
    (0xfeff, 0xfeff),
    (0xe0100, 0xe01ef),
];

fn char_width(it: char) -> usize {
    let code = it as u32;
    let within = |ranges: &[(u32, u32)]| {
        let next = ranges.partition_point(|(first, _)| *first <= code);
        next > 0 && code <= ranges[next - 1].1
    };
    if it.is_control() || within(NONE) {
        return 0;
    }
    if within(WIDE) { 2 } else { 1 }
}

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table: columns with a side and a title, rows of as many cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<(Side, String)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(Side, &str)]) -> Self {
        let columns = columns.iter().map(|(side, title)| (*side, (*title).to_owned())).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, others than the columns' are left out.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        // Control characters would break the line or the terminal.
        let clean = |it: T| {
            let it: String = it.into();
            it.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
        };
        self.rows.push(cells.into_iter().map(clean).collect());
        self
    }

    /// The lines, each ended; two spaces between columns, none at the end of a line.
    pub fn text(&self) -> String {
        let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
        let widest = |i: usize| {
            let title = width(&self.columns[i].1);
            self.rows.iter().map(|it| width(&cell(it, i))).max().unwrap_or(0).max(title)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let line = |row: &[String]| {
            let mut line = String::new();
            for (i, (side, _)) in self.columns.iter().enumerate() {
                let text = cell(row, i);
                let space = " ".repeat(widths[i] - width(&text));
                let gap = if i == 0 { "" } else { "  " };
                line += &match side {
                    Side::Left => format!("{gap}{text}{space}"),
                    Side::Right => format!("{gap}{space}{text}"),
                };
            }
            line.trim_end().to_owned() + "\n"
        };
        let titles: Vec<String> = self.columns.iter().map(|(_, it)| it.clone()).collect();
        let head = if titles.iter().all(String::is_empty) { String::new() } else { line(&titles) };
        head + &self.rows.iter().map(|it| line(it)).collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_combining_characters_are_counted_as_they_are_drawn() {
        let widths =
            ["abc", "中文", "ｶﾅ", "カナ", "한글", "e\u{301}", "（", "\u{1b}[", ""].map(width);
        assert_eq!(widths, [3, 4, 2, 4, 4, 1, 2, 1, 0]);
    }

    #[test]
    fn ranges_are_sorted_for_the_search() {
        for ranges in [WIDE, NONE] {
            assert!(ranges.windows(2).all(|it| it[0].1 < it[1].0));
        }
    }

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new(&[(Side::Left, "step"), (Side::Right, "records"), (Side::Left, "why")]);
        table.row(["清洗", "9", "new\nline"]).row(["label", "12000"]);
        insta::assert_snapshot!(table.text(), @"
        step   records  why
        清洗         9  new�line
        label    12000
        ");
    }
}
