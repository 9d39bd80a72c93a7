//! A picture as SVG: one file, no scripts, fixed fonts, light and dark by media query.

use crate::graph::{Class, Picture};
use crate::layout::layout;
use crate::table::width;

const CHAR: usize = 8;
const HEIGHT: usize = 28;
const ROW: usize = 44;
const GAP: usize = 72;
/// Three quarters of it are half a row: the middle of the curve.
const SAG: usize = 30;
const MARGIN: usize = 16;
const TITLE: usize = 28;
/// Columns; what is longer is cut, and whole in the tool tip.
const LONGEST_LABEL: usize = 40;

/// Draws it.
pub fn svg(picture: &Picture) -> String {
    let layout = layout(picture);
    let labels: Vec<String> = picture.nodes.iter().map(|it| shortened(&it.label)).collect();
    let box_width = |node: usize| (width(&labels[node]) * CHAR + 24).max(48);
    let mut lefts = Vec::new();
    let mut x = MARGIN;
    for nodes in &layout.layers {
        lefts.push(x);
        x += nodes.iter().map(|it| box_width(*it)).max().unwrap_or(0) + GAP;
    }
    let tallest = layout.layers.iter().map(Vec::len).max().unwrap_or(0);
    let (total_width, total_height) =
        (x.max(GAP + 160) - GAP + MARGIN, 2 * MARGIN + TITLE + tallest * ROW);
    let at = |node: usize| {
        let layer = layout.layer[node];
        // Layers are centred on one another.
        let free = (tallest - layout.layers[layer].len()) * ROW / 2;
        (lefts[layer], MARGIN + TITLE + free + layout.place[node] * ROW)
    };
    let mut out = head(&picture.title, total_width, total_height);
    for (from, to) in picture.good_edges() {
        let ((x1, y1), (x2, y2)) = (at(from), at(to));
        let (x1, y1, y2) = (x1 + box_width(from), y1 + HEIGHT / 2, y2 + HEIGHT / 2);
        let bend = x1.abs_diff(x2) / 2;
        let (c1, c2) = (x1 + bend, x2.saturating_sub(bend));
        // One that passes a layer runs between its rows and not behind its boxes.
        let sag = if layout.layer[to] > layout.layer[from] + 1 { SAG } else { 0 };
        let (d1, d2) = (y1 + sag, y2 + sag);
        out += &format!("<path class=\"edge\" d=\"M{x1} {y1}C{c1} {d1} {c2} {d2} {x2} {y2}\"/>\n");
    }
    for (i, node) in picture.nodes.iter().enumerate() {
        let ((x, y), word) = (at(i), node.class.word());
        let (wide, middle, base) = (box_width(i), x + box_width(i) / 2, y + HEIGHT / 2 + 5);
        out += &format!("<g class=\"{word}\"><title>{}</title>", escaped(&node.label));
        out +=
            &format!("<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{HEIGHT}\" rx=\"6\"/>");
        out += &format!("<text x=\"{middle}\" y=\"{base}\">{}</text></g>\n", escaped(&labels[i]));
    }
    out + "</svg>\n"
}

fn head(title: &str, width: usize, height: usize) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" class=\"graph\" role=\"img\">\n<title>{}</title>\n<style>\n",
        escaped(title)
    );
    out += ".graph text{font:13px ui-monospace,Menlo,Consolas,monospace;text-anchor:middle;fill:#111827}\n";
    out +=
        ".graph .edge{fill:none;stroke:#9ca3af;stroke-width:1.2}\n.graph rect{stroke-width:1.2}\n";
    out += ".graph .ground{fill:#ffffff}.graph .head{text-anchor:start;font-weight:600}\n";
    for class in Class::ALL {
        let (fill, line) = class.colours();
        out += &format!(".graph .{} rect{{fill:{fill};stroke:{line}}}\n", class.word());
    }
    out += "@media (prefers-color-scheme:dark){.graph .ground{fill:#0b0f14}.graph text{fill:#e5e7eb}\n";
    out += ".graph .edge{stroke:#4b5563}.graph g rect{fill-opacity:.12}}\n</style>\n";
    out += &format!("<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n");
    out + &format!(
        "<text class=\"head\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n",
        MARGIN + 12,
        escaped(title)
    )
}

/// Cut at a number of columns.
fn shortened(label: &str) -> String {
    if width(label) <= LONGEST_LABEL {
        return label.to_owned();
    }
    let mut out = String::new();
    for it in label.chars() {
        if width(&out) + 3 > LONGEST_LABEL {
            break;
        }
        out.push(it);
    }
    out + "…"
}

/// For text between tags; characters that XML cannot hold are replaced.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for it in text.chars() {
        match it {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out.push(' '),
            it if it.is_control() || matches!(it, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            it => out.push(it),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;
    use crate::graph::tests::small;

    #[test]
    fn labels_cannot_break_out_of_svg() {
        insta::assert_snapshot!("picture.svg", svg(&small()));
    }

    #[test]
    fn two_thousand_nodes_are_drawn_and_nothing_too() {
        let node = |it: usize| Node { label: format!("step {it}"), class: Class::Step };
        let edges = (10..2000).flat_map(|it| [(it - 10, it), (it / 2, it)]).collect();
        let picture = Picture { nodes: (0..2000).map(node).collect(), edges, ..Picture::default() };
        assert_eq!(svg(&picture).matches("<g class").count(), 2000);
        assert_eq!(svg(&picture), svg(&picture));
        assert!(svg(&Picture::default()).ends_with("</svg>\n"));
    }

    #[test]
    fn a_long_label_is_cut_and_whole_in_the_tool_tip() {
        let label = "长".repeat(100);
        let nodes = vec![Node { label: label.clone(), class: Class::Step }];
        let text = svg(&Picture { nodes, ..Picture::default() });
        assert_eq!(text.matches(&label).count(), 1);
        assert!(text.contains("长…</text>"));
    }
}
