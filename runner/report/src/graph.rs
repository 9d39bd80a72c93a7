//! A picture of a graph that knows nothing of steps, and its text for Graphviz and Mermaid.
//!
//! Labels are hostile: whatever stands in them, the text parses and shows them as they are.

/// Things and what leads from one to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// For people; stands above the picture.
    pub title: String,
    /// The things, in the order in which they are written.
    pub nodes: Vec<Node>,
    /// From and to, as positions in `nodes`. Edges to nowhere are left out.
    pub edges: Vec<(usize, usize)>,
}

/// A thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub label: String,
    /// How it looks.
    pub class: Class,
}

/// How a thing looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A file or folder that is read and not made.
    Source,
    /// A step with nothing more to say of it.
    Step,
    /// A step whose result is there.
    Cached,
    /// A step that would run.
    Stale,
    /// A step that failed.
    Failed,
    /// What was asked for.
    Target,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 6] =
        [Class::Source, Class::Step, Class::Cached, Class::Stale, Class::Failed, Class::Target];

    /// The word for it in a style sheet.
    pub fn word(self) -> &'static str {
        match self {
            Class::Source => "source",
            Class::Step => "step",
            Class::Cached => "cached",
            Class::Stale => "stale",
            Class::Failed => "failed",
            Class::Target => "target",
        }
    }

    /// Fill and line, on white.
    pub(crate) fn colours(self) -> (&'static str, &'static str) {
        match self {
            Class::Source => ("#f3f4f6", "#6b7280"),
            Class::Step => ("#ffffff", "#374151"),
            Class::Cached => ("#ecfdf5", "#059669"),
            Class::Stale => ("#fffbeb", "#d97706"),
            Class::Failed => ("#fef2f2", "#dc2626"),
            Class::Target => ("#eff6ff", "#2563eb"),
        }
    }
}

impl Picture {
    /// The edges whose ends exist, each once, sorted.
    pub(crate) fn good_edges(&self) -> Vec<(usize, usize)> {
        let good = |(from, to): &(usize, usize)| from.max(to) < &self.nodes.len() && from != to;
        let mut edges: Vec<_> = self.edges.iter().copied().filter(good).collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// For Graphviz.
pub fn dot(picture: &Picture) -> String {
    let mut out = format!("digraph {} {{\n", dot_text(&picture.title));
    out +=
        "  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n";
    for (i, node) in picture.nodes.iter().enumerate() {
        let (fill, line) = node.class.colours();
        let label = dot_text(&node.label);
        out += &format!("  n{i} [label={label}, fillcolor=\"{fill}\", color=\"{line}\"];\n");
    }
    for (from, to) in picture.good_edges() {
        out += &format!("  n{from} -> n{to};\n");
    }
    out + "}\n"
}

/// For programs: the nodes, and the edges between them as positions in that list.
pub fn json(picture: &Picture) -> String {
    let node = |it: &Node| serde_json::json!({"name": it.label, "class": it.class.word()});
    let nodes: Vec<_> = picture.nodes.iter().map(node).collect();
    let edges = picture.good_edges();
    serde_json::json!({"title": picture.title, "nodes": nodes, "edges": edges}).to_string()
}

/// Quoted for Graphviz, where a back-slash begins an escape of its own.
fn dot_text(text: &str) -> String {
    let mut out = String::from("\"");
    for it in text.chars() {
        match it {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            it if it.is_control() => out.push('\u{fffd}'),
            it => out.push(it),
        }
    }
    out + "\""
}

/// For Mermaid.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    for (i, node) in picture.nodes.iter().enumerate() {
        let word = node.class.word();
        out += &format!("  n{i}[\"{}\"]:::{word}\n", mermaid_text(&node.label));
    }
    for (from, to) in picture.good_edges() {
        out += &format!("  n{from} --> n{to}\n");
    }
    for class in Class::ALL {
        if picture.nodes.iter().any(|it| it.class == class) {
            let (fill, line) = class.colours();
            let word = class.word();
            out += &format!("  classDef {word} fill:{fill},stroke:{line},color:#111827\n");
        }
    }
    out
}

/// Everything that Mermaid or Markdown could read as more than a character becomes a number.
fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for it in text.chars() {
        match it {
            '\n' => out += "<br>",
            it if it.is_control() => out.push('\u{fffd}'),
            it if it.is_alphanumeric() || " _-.,@/[]()=+".contains(it) => out.push(it),
            it => out += &format!("#{};", it as u32),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small() -> Picture {
        let node = |label: &str, class| Node { label: label.to_owned(), class };
        Picture {
            title: "kun".to_owned(),
            nodes: vec![
                node("raw", Class::Source),
                node("清洗[wudao]", Class::Cached),
                node("a \"quoted\" <b> & \\ `x`\nline;", Class::Stale),
                node("report", Class::Target),
            ],
            edges: vec![(0, 1), (1, 2), (1, 3), (2, 3), (2, 3), (9, 1), (3, 3)],
        }
    }

    #[test]
    fn labels_cannot_break_out_of_dot() {
        insta::assert_snapshot!("picture.dot", dot(&small()));
    }

    #[test]
    fn labels_cannot_break_out_of_mermaid() {
        insta::assert_snapshot!("picture.mermaid", mermaid(&small()));
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert_eq!(mermaid(&Picture::default()), "flowchart LR\n");
        assert!(dot(&Picture::default()).ends_with("}\n"));
    }
}
