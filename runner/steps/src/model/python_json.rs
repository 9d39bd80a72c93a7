//! JSON as Python's `json.dumps` writes it, for the filter `tojson` of chat templates.
//!
//! Models were trained on exactly these bytes: the spaces, the form of floats and the order of keys
//! matter.

use serde_json::Value;

/// How it is written.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    /// Spaces for each level; nothing: all on one line.
    pub(crate) indent: Option<usize>,
    pub(crate) ascii: bool,
    pub(crate) sort_keys: bool,
    /// Between items, and between a key and its value; nothing: as Python chooses.
    pub(crate) separators: Option<(String, String)>,
}

/// Writes a value.
pub(crate) fn dumps(value: &Value, style: &Style) -> String {
    let items = if style.indent.is_some() { "," } else { ", " };
    let (items, keys) = match &style.separators {
        Some((items, keys)) => (items.as_str(), keys.as_str()),
        None => (items, ": "),
    };
    let mut writer = Writer { style, items, keys, out: String::new() };
    writer.value(value, 0);
    writer.out
}

struct Writer<'a> {
    style: &'a Style,
    items: &'a str,
    keys: &'a str,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, level: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(it) => self.out.push_str(if *it { "true" } else { "false" }),
            Value::Number(it) => match it.as_f64().filter(|_| it.is_f64()) {
                Some(it) => self.out.push_str(&float(it)),
                None => self.out.push_str(&it.to_string()),
            },
            Value::String(it) => self.text(it),
            Value::Array(all) => {
                self.list(all.iter(), ["[", "]"], level, |it, value| it.value(value, level + 1));
            }
            Value::Object(map) => {
                let mut all: Vec<(&String, &Value)> = map.iter().collect();
                if self.style.sort_keys {
                    all.sort_by_key(|it| it.0);
                }
                self.list(all.into_iter(), ["{", "}"], level, |it, (key, value)| {
                    it.text(key);
                    it.out.push_str(it.keys);
                    it.value(value, level + 1);
                });
            }
        }
    }

    fn list<T>(
        &mut self,
        all: impl ExactSizeIterator<Item = T>,
        [open, close]: [&str; 2],
        level: usize,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let is_empty = all.len() == 0;
        self.out.push_str(open);
        for (i, it) in all.enumerate() {
            if i > 0 {
                self.out.push_str(self.items);
            }
            self.line(level + 1);
            write(self, it);
        }
        if !is_empty {
            self.line(level);
        }
        self.out.push_str(close);
    }

    fn line(&mut self, level: usize) {
        if let Some(indent) = self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * level));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                c if self.style.ascii && (!c.is_ascii() || c == '\u{7f}') => {
                    for it in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{it:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A float as Python's `repr` writes it: both take the shortest digits that read back as the same
/// number, but Python writes an exponent below 1e-4 and from 1e16.
fn float(it: f64) -> String {
    let magnitude = it.abs();
    if it == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{it:?}");
    }
    let text = format!("{it:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, n) = match exponent.strip_prefix('-') {
                Some(it) => ('-', it),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{n:0>2}")
        }
        None => text,
    }
}
