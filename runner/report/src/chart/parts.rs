//! Charts of shares: a heat map, bars of several parts, a ring.

use super::svg::{WIDE, line, text};
use super::{Chart, Part, Stack};
use crate::page::{number, per_cent};
use crate::svg::escaped;
use crate::table::width;

const TOP: f64 = 40.0;
const ROW: f64 = 24.0;
const BAR: f64 = 16.0;
/// How wide a column of text is, about, in the charts' type.
const COLUMN: f64 = 7.0;
/// A part is labelled where there is so much room.
const LABELLED: f64 = 26.0;

/// The class of a part's colour. Of three the middle one is grey: it is neither the one nor the other.
fn colour(i: usize, n: usize) -> String {
    match (i, n) {
        (1, 3) => "fn".to_owned(),
        (2, 3) => "f1".to_owned(),
        (i, _) => format!("f{}", i % 8),
    }
}

fn room(names: impl Iterator<Item = usize>) -> f64 {
    (names.max().unwrap_or(0) as f64 * COLUMN + 12.0).clamp(40.0, WIDE / 2.0)
}

/// Names down and across, a number in each cell; the further from a half, the stronger its colour.
pub(super) fn heat(
    chart: &Chart,
    (rows, columns): (&[String], &[String]),
    cells: &[Vec<Option<f64>>],
) -> (String, f64) {
    let left = room(rows.iter().map(|it| width(it)));
    let wide = ((WIDE - left) / columns.len().max(1) as f64).min(96.0);
    let longest = columns.iter().map(|it| width(it)).max().unwrap_or(0) as f64 * COLUMN;
    // Names that find no room stand aslant.
    let slanted = longest > wide - 6.0;
    let top = TOP + 8.0 + if slanted { longest * 0.6 + 12.0 } else { 16.0 };
    let mut out = text(left - 8.0, top - 8.0, "end", &chart.y);
    for (i, name) in columns.iter().enumerate() {
        let (x, y) = (left + (i as f64 + 0.5) * wide, top - 8.0);
        out += &match slanted {
            false => text(x, y, "middle", name),
            true => format!(
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-38)\">{}</text>\n",
                escaped(name)
            ),
        };
    }
    for (i, (name, row)) in rows.iter().zip(cells).enumerate() {
        let y = top + i as f64 * (ROW + 6.0);
        out += &text(left - 8.0, y + 19.0, "end", name);
        for (j, cell) in row.iter().enumerate() {
            let x = left + j as f64 * wide;
            let Some(it) = cell else {
                out += &text(x + wide / 2.0, y + 19.0, "middle", "–");
                continue;
            };
            let (class, strength) = (if *it < 0.5 { "lo" } else { "hi" }, (it - 0.5).abs());
            out += &format!(
                "<rect class=\"{class}\" fill-opacity=\"{:.2}\" x=\"{x:.1}\" y=\"{y:.1}\" \
                 width=\"{:.1}\" height=\"{:.1}\"/>\n",
                0.06 + strength * 0.9,
                wide - 2.0,
                ROW + 4.0
            );
            out += &text(x + wide / 2.0 - 1.0, y + 19.0, "middle", &number(it * 100.0, 0));
        }
    }
    let bottom = top + rows.len() as f64 * (ROW + 6.0);
    out += &text(WIDE - 24.0, bottom + 18.0, "end", &chart.x);
    (out, bottom + 28.0)
}

/// Bars that are as long as one another, of several parts.
pub(super) fn stacks(chart: &Chart, parts: &[String], bars: &[Stack]) -> (String, f64) {
    let left = room(bars.iter().map(|it| width(&it.name)));
    let at = |it: f64| left + it.clamp(0.0, 1.0) * (WIDE - left - 16.0);
    let mut out = String::new();
    let mut y = key(&mut out, parts, TOP + 2.0) + 20.0;
    let mut group = "";
    let begin = y;
    for bar in bars {
        if bar.group != group {
            group = &bar.group;
            y += if y > begin { 10.0 } else { 0.0 };
            out += &format!(
                "<text class=\"t\" x=\"0\" y=\"{:.1}\">{}</text>\n",
                y + 12.0,
                escaped(group)
            );
            y += ROW;
        }
        out += &text(left - 8.0, y + 12.0, "end", &bar.name);
        let mut from = 0.0;
        for (i, share) in bar.shares.iter().enumerate() {
            let (x, long) = (at(from), at(from + share) - at(from));
            from += share;
            if long < 0.05 {
                continue;
            }
            out += &format!(
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\">\
                 <title>{} {}</title></rect>\n",
                colour(i, parts.len()),
                (long - 1.0).max(0.5),
                escaped(&parts[i]),
                per_cent(*share)
            );
            if long >= LABELLED {
                out += &format!(
                    "<text class=\"o\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                    x + long / 2.0,
                    y + 12.0,
                    number(share * 100.0, 0)
                );
            }
        }
        y += ROW;
    }
    for it in [0.0, 0.25, 0.5, 0.75, 1.0] {
        out += &line("g", (at(it), y), (at(it), y + 4.0));
        out += &text(at(it), y + 18.0, "middle", &number(it * 100.0, 0));
    }
    out += &text(WIDE - 16.0, y + 36.0, "end", &chart.x);
    (out, y + 46.0)
}

/// What each colour means, in a row; where the next line is.
fn key(out: &mut String, parts: &[String], y: f64) -> f64 {
    let (mut x, mut y) = (0.0, y);
    for (i, name) in parts.iter().enumerate() {
        let wide = width(name) as f64 * COLUMN + 34.0;
        if x + wide > WIDE && x > 0.0 {
            (x, y) = (0.0, y + 18.0);
        }
        *out += &swatch(&colour(i, parts.len()), (x, y));
        *out += &text(x + 18.0, y, "start", name);
        x += wide;
    }
    y
}

fn swatch(class: &str, (x, y): (f64, f64)) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" rx=\"2\"/>\n",
        y - 10.0
    )
}

/// A ring that all parts close together, and its key.
pub(super) fn ring(chart: &Chart, parts: &[Part]) -> (String, f64) {
    let (outer, inner) = (96.0, 56.0);
    let height = (parts.len() as f64 * ROW).max(2.0 * outer) + 12.0;
    let (cx, cy) = (outer + 8.0, TOP + height / 2.0);
    let whole: f64 = parts.iter().map(|it| it.share).sum();
    let mut out = String::new();
    let mut from = 0.0;
    for (i, it) in parts.iter().enumerate() {
        let to = from + if whole > 0.0 { it.share / whole } else { 0.0 };
        out += &slice(&colour(i, usize::MAX), ((cx, cy), (inner, outer)), (from, to));
        from = to;
    }
    let first = cy - parts.len() as f64 * ROW / 2.0 + 16.0;
    for (i, it) in parts.iter().enumerate() {
        let y = first + i as f64 * ROW;
        out += &swatch(&colour(i, usize::MAX), (2.0 * outer + 48.0, y));
        let said = format!("{} · {}", it.name, per_cent(it.share));
        out += &text(2.0 * outer + 68.0, y, "start", &said);
    }
    out += &text(WIDE - 24.0, TOP + height + 8.0, "end", &chart.y);
    (out, TOP + height + 20.0)
}

/// A piece of a ring, between two shares of it.
fn slice(
    class: &str,
    ((cx, cy), (inner, outer)): ((f64, f64), (f64, f64)),
    (from, to): (f64, f64),
) -> String {
    // A whole turn would begin where it ends.
    let to = to.min(from + 0.9999);
    if to <= from {
        return String::new();
    }
    let place = |share: f64, radius: f64| {
        let turn = share * std::f64::consts::TAU;
        format!("{:.1} {:.1}", cx + radius * turn.sin(), cy - radius * turn.cos())
    };
    let long = u8::from(to - from > 0.5);
    format!(
        "<path class=\"{class} e\" d=\"M{}A{outer} {outer} 0 {long} 1 {}L{}A{inner} {inner} 0 {long} 0 {}Z\"/>\n",
        place(from, outer),
        place(to, outer),
        place(to, inner),
        place(from, inner)
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Marks, svg};
    use super::*;

    fn chart(marks: Marks) -> String {
        let texts = ["Title", "across, %", "down"].map(str::to_owned);
        let [title, x, y] = texts;
        let svg = svg(&Chart { title, x, y, marks });
        svg.lines().filter(|it| !it.contains("<style>")).collect::<Vec<_>>().join("\n")
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn a_cell_is_the_stronger_the_further_it_is_from_a_half() {
        let cells = vec![vec![None, Some(0.75)], vec![Some(0.25), None]];
        let both = names(&["a", "b<c"]);
        let marks = Marks::Heat { rows: both.clone(), columns: both, cells };
        insta::assert_snapshot!(chart(marks), @r#"
        <text x="32.0" y="56.0" text-anchor="end">down</text>
        <text x="88.0" y="56.0" text-anchor="middle">a</text>
        <text x="184.0" y="56.0" text-anchor="middle">b&lt;c</text>
        <text x="32.0" y="83.0" text-anchor="end">a</text>
        <text x="88.0" y="83.0" text-anchor="middle">–</text>
        <rect class="hi" fill-opacity="0.29" x="136.0" y="64.0" width="94.0" height="28.0"/>
        <text x="183.0" y="83.0" text-anchor="middle">75</text>
        <text x="32.0" y="113.0" text-anchor="end">b&lt;c</text>
        <rect class="lo" fill-opacity="0.29" x="40.0" y="94.0" width="94.0" height="28.0"/>
        <text x="87.0" y="113.0" text-anchor="middle">25</text>
        <text x="184.0" y="113.0" text-anchor="middle">–</text>
        <text x="696.0" y="142.0" text-anchor="end">across, %</text>
        </svg>
        "#);
        let long = names(&["a name that needs much more room than there is"; 9]);
        let cells = vec![vec![Some(0.5); 9]; 9];
        let marks = Marks::Heat { rows: long.clone(), columns: long, cells };
        assert!(chart(marks).contains("rotate(-38)"));
    }

    #[test]
    fn parts_of_a_bar_fill_it_and_small_ones_have_no_label() {
        let bar = |group: &str, name: &str, shares: [f64; 3]| Stack {
            group: group.to_owned(),
            name: name.to_owned(),
            shares: shares.to_vec(),
        };
        let bars = vec![bar("g", "x", [0.5, 0.48, 0.02]), bar("h", "y", [1.0, 0.0, 0.0])];
        let marks = Marks::Stacks { parts: names(&["win", "tie", "loss"]), bars };
        insta::assert_snapshot!(chart(marks), @r#"
        <rect class="f0" x="0.0" y="32.0" width="12" height="12" rx="2"/>
        <text x="18.0" y="42.0" text-anchor="start">win</text>
        <rect class="fn" x="55.0" y="32.0" width="12" height="12" rx="2"/>
        <text x="73.0" y="42.0" text-anchor="start">tie</text>
        <rect class="f1" x="110.0" y="32.0" width="12" height="12" rx="2"/>
        <text x="128.0" y="42.0" text-anchor="start">loss</text>
        <text class="t" x="0" y="74.0">g</text>
        <text x="32.0" y="98.0" text-anchor="end">x</text>
        <rect class="f0" x="40.0" y="86.0" width="331.0" height="16"><title>win 50.0 %</title></rect>
        <text class="o" x="206.0" y="98.0" text-anchor="middle">50</text>
        <rect class="fn" x="372.0" y="86.0" width="317.7" height="16"><title>tie 48.0 %</title></rect>
        <text class="o" x="531.4" y="98.0" text-anchor="middle">48</text>
        <rect class="f1" x="690.7" y="86.0" width="12.3" height="16"><title>loss 2.0 %</title></rect>
        <text class="t" x="0" y="132.0">h</text>
        <text x="32.0" y="156.0" text-anchor="end">y</text>
        <rect class="f0" x="40.0" y="144.0" width="663.0" height="16"><title>win 100.0 %</title></rect>
        <text class="o" x="372.0" y="156.0" text-anchor="middle">100</text>
        <line class="g" x1="40.0" y1="168.0" x2="40.0" y2="172.0"/>
        <text x="40.0" y="186.0" text-anchor="middle">0</text>
        <line class="g" x1="206.0" y1="168.0" x2="206.0" y2="172.0"/>
        <text x="206.0" y="186.0" text-anchor="middle">25</text>
        <line class="g" x1="372.0" y1="168.0" x2="372.0" y2="172.0"/>
        <text x="372.0" y="186.0" text-anchor="middle">50</text>
        <line class="g" x1="538.0" y1="168.0" x2="538.0" y2="172.0"/>
        <text x="538.0" y="186.0" text-anchor="middle">75</text>
        <line class="g" x1="704.0" y1="168.0" x2="704.0" y2="172.0"/>
        <text x="704.0" y="186.0" text-anchor="middle">100</text>
        <text x="704.0" y="204.0" text-anchor="end">across, %</text>
        </svg>
        "#);
    }

    #[test]
    fn a_ring_closes_with_one_part_and_with_none() {
        let part = |name: &str, share: f64| Part { name: name.to_owned(), share };
        let marks = Marks::Ring(vec![part("wudao", 0.75), part("skypile", 0.25)]);
        insta::assert_snapshot!(chart(marks), @r#"
        <path class="f0 e" d="M104.0 46.0A96 96 0 1 1 8.0 142.0L48.0 142.0A56 56 0 1 0 104.0 86.0Z"/>
        <path class="f1 e" d="M8.0 142.0A96 96 0 0 1 104.0 46.0L104.0 86.0A56 56 0 0 0 48.0 142.0Z"/>
        <rect class="f0" x="240.0" y="124.0" width="12" height="12" rx="2"/>
        <text x="260.0" y="134.0" text-anchor="start">wudao · 75.0 %</text>
        <rect class="f1" x="240.0" y="148.0" width="12" height="12" rx="2"/>
        <text x="260.0" y="158.0" text-anchor="start">skypile · 25.0 %</text>
        <text x="696.0" y="252.0" text-anchor="end">down</text>
        </svg>
        "#);
        let one = chart(Marks::Ring(vec![part("all", 1.0), part("none", 0.0)]));
        assert_eq!(one.matches("<path").count(), 1);
        assert_eq!(chart(Marks::Ring(Vec::new())).matches("<path").count(), 0);
    }
}
