//! Where a text may be cut: headings, paragraphs, ends of sentences; and the passages that fit a
//! window.

use std::ops::Range;

/// A part of a text that is put into passages whole.
#[derive(Debug, PartialEq)]
enum Block {
    Heading(Range<usize>),
    /// The sentences of a line.
    Paragraph(Vec<Range<usize>>),
}

/// A passage: a slice of the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Passage {
    pub(crate) span: Range<usize>,
    /// The heading above it.
    pub(crate) heading: Option<Range<usize>>,
    pub(crate) length: usize,
    /// Whether it goes on from something that stands before it in the text.
    pub(crate) goes_on: bool,
}

/// The longest heading without a mark that says that it is one.
const SHORT: usize = 20;
/// The longest heading with one.
const LONG: usize = 40;

/// Fills passages up to `max`, as long as `length` says; an error of it ends all.
pub(crate) fn passages<E>(
    text: &str,
    max: usize,
    length: &dyn Fn(&str) -> Result<usize, E>,
) -> Result<Vec<Passage>, E> {
    let mut filler = Filler { max, done: Vec::new(), open: None, heading: None, start: None };
    for block in blocks(text) {
        match block {
            Block::Heading(span) => filler.head(span),
            Block::Paragraph(sentences) => {
                let mut lengths = Vec::with_capacity(sentences.len());
                for it in sentences {
                    let n = length(text[it.clone()].trim())?;
                    lengths.push((it, n));
                }
                filler.paragraph(&lengths);
            }
        }
    }
    filler.close();
    if let Some(start) = filler.start {
        // Headings at the end, under which nothing stands.
        let end = filler.heading.as_ref().map_or(start, |it| it.end);
        let heading = filler.heading;
        filler.done.push(Passage { span: start..end, heading, length: 0, goes_on: false });
    }
    Ok(filler.done)
}

struct Filler {
    max: usize,
    done: Vec<Passage>,
    open: Option<Passage>,
    heading: Option<Range<usize>>,
    /// Where headings begin that no passage has yet.
    start: Option<usize>,
}

impl Filler {
    fn head(&mut self, span: Range<usize>) {
        self.close();
        self.start.get_or_insert(span.start);
        self.heading = Some(span);
    }

    fn close(&mut self) {
        self.done.extend(self.open.take());
    }

    fn paragraph(&mut self, sentences: &[(Range<usize>, usize)]) {
        let total: usize = sentences.iter().map(|it| it.1).sum();
        let (Some(first), Some(last)) = (sentences.first(), sentences.last()) else { return };
        if self.open.as_ref().is_some_and(|it| it.length + total > self.max) {
            self.close();
        }
        if total <= self.max {
            return self.add(first.0.start..last.0.end, total);
        }
        for (span, n) in sentences {
            if self.open.as_ref().is_some_and(|it| it.length + n > self.max) {
                self.close();
            }
            self.add(span.clone(), *n);
        }
    }

    fn add(&mut self, span: Range<usize>, n: usize) {
        let (before, heading) = (!self.done.is_empty(), &self.heading);
        let start = self.start.take();
        let open = self.open.get_or_insert_with(|| Passage {
            span: start.unwrap_or(span.start)..span.end,
            heading: heading.clone(),
            length: 0,
            goes_on: before && start.is_none(),
        });
        open.span.end = span.end;
        open.length += n;
    }
}

/// The lines of a text that are not empty, as headings and paragraphs.
fn blocks(text: &str) -> Vec<Block> {
    let mut lines: Vec<(Range<usize>, bool)> = Vec::new();
    let mut gap = true;
    let mut at = 0;
    for line in text.split('\n') {
        let start = at + (line.len() - line.trim_start().len());
        let end = start + line.trim().len();
        at += line.len() + 1;
        if start >= end {
            gap = true;
            continue;
        }
        lines.push((start..end, gap));
        gap = false;
    }
    let numbered = |i: usize| lines.get(i).is_some_and(|it| is_numbered(&text[it.0.clone()]));
    let block = |(i, (span, gap)): (usize, &(Range<usize>, bool))| {
        let line = &text[span.clone()];
        // Numbered lines one after another are a list.
        let alone = !numbered(i + 1) && (i == 0 || !numbered(i - 1));
        if is_marked(line) || numbered(i) && alone || *gap && i + 1 < lines.len() && is_bare(line) {
            return Block::Heading(span.clone());
        }
        Block::Paragraph(
            sentences(line).map(|it| span.start + it.start..span.start + it.end).collect(),
        )
    };
    lines.iter().enumerate().map(block).collect()
}

fn is_up_to(line: &str, n: usize) -> bool {
    line.chars().nth(n).is_none()
}

fn ends_sentence(line: &str) -> bool {
    line.ends_with(['。', '！', '？', '；', '，', '：', '.', '!', '?', ';', ',', ':', '”', '」'])
}

const NUMBERS: [char; 14] =
    ['一', '二', '三', '四', '五', '六', '七', '八', '九', '十', '百', '零', '〇', '两'];

/// `# Heading`, `第一章 …`, `【…】`.
fn is_marked(line: &str) -> bool {
    let hashes = line.len() - line.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) && line[hashes..].starts_with(' ') {
        return true;
    }
    if !is_up_to(line, LONG) || ends_sentence(line) {
        return false;
    }
    if line.starts_with('【') && line.ends_with('】') {
        return true;
    }
    let Some(rest) = line.strip_prefix('第') else { return false };
    let unit = rest.trim_start_matches(|it: char| NUMBERS.contains(&it) || it.is_ascii_digit());
    unit.len() < rest.len() && unit.starts_with(['章', '节', '篇', '部', '卷', '回', '讲', '课'])
}

/// `一、…`, `（一）…`, `1.2 …`.
fn is_numbered(line: &str) -> bool {
    if !is_up_to(line, LONG) || ends_sentence(line) {
        return false;
    }
    let inner = line.strip_prefix(['（', '(']).unwrap_or(line);
    let rest = inner.trim_start_matches(NUMBERS);
    if rest.len() < inner.len() {
        return rest.starts_with(if inner.len() < line.len() {
            ['）', ')']
        } else {
            ['、', '．']
        });
    }
    let rest = line.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
    let number = &line[..line.len() - rest.len()];
    let levels = number.split('.').filter(|it| !it.is_empty()).count();
    levels >= 2 && rest.starts_with(' ')
}

/// A short line without any punctuation; the caller saw the empty line before it.
fn is_bare(line: &str) -> bool {
    let mark = |it: char| "，。！？；：、,.!?;:…“”\"|".contains(it);
    is_up_to(line, SHORT) && !line.contains(mark)
}

/// The sentences of a paragraph, one after another, without a gap.
fn sentences(paragraph: &str) -> impl Iterator<Item = Range<usize>> {
    const OPEN: [char; 6] = ['“', '「', '『', '（', '《', '('];
    const CLOSE: [char; 6] = ['”', '」', '』', '）', '》', ')'];
    let count = |marks: [char; 6]| paragraph.chars().filter(|it| marks.contains(it)).count();
    // Where marks do not pair, they say nothing about what belongs together.
    let paired = count(OPEN) == count(CLOSE);
    let mut all: Vec<Range<usize>> = Vec::new();
    let (mut start, mut depth, mut ended) = (0, 0_usize, false);
    let mut chars = paragraph.char_indices().peekable();
    while let Some((at, it)) = chars.next() {
        let next = chars.peek().map(|it| it.1);
        if paired && OPEN.contains(&it) {
            depth += 1;
        }
        if paired && CLOSE.contains(&it) {
            depth = depth.saturating_sub(1);
        }
        let full_stop = it == '.' && next.is_none_or(char::is_whitespace);
        let end = matches!(it, '。' | '！' | '？' | '!' | '?') || full_stop;
        // What was said inside of marks ends the sentence where the marks end it.
        ended = end || ended && (CLOSE.contains(&it) || it == '"' || it == '’');
        let more = next.is_some_and(|it| {
            CLOSE.contains(&it) || matches!(it, '。' | '！' | '？' | '!' | '?' | '"' | '’')
        });
        if ended && depth == 0 && !more {
            let end = at + it.len_utf8();
            all.push(start..end);
            start = end;
            ended = false;
        }
    }
    if start < paragraph.len() {
        all.push(start..paragraph.len());
    }
    all.into_iter()
}

/// Whether a text begins by pointing at something before it.
pub(crate) fn points_back(text: &str) -> bool {
    const WORDS: [&str; 30] = [
        "它", "他们", "她们", "这", "那么", "其中", "其次", "因此", "因而", "所以", "但是", "但",
        "然而", "不过", "而且", "并且", "同时", "此外", "另外", "综上", "上述", "如上", "前者",
        "后者", "于是", "然后", "接着", "否则", "总之", "从此",
    ];
    WORDS.iter().any(|it| text.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, max: usize) -> Vec<String> {
        let length = |it: &str| Ok::<_, std::convert::Infallible>(it.chars().count());
        let Ok(all) = passages(text, max, &length);
        let show = |it: &Passage| {
            let heading = it.heading.clone().map_or("", |it| &text[it]);
            let goes_on = if it.goes_on { "+" } else { "" };
            format!("{}|{heading}|{}{goes_on}", &text[it.span.clone()], it.length)
        };
        all.iter().map(show).collect()
    }

    #[test]
    fn headings_begin_passages_and_paragraphs_fill_them() {
        let text = "开头的话。\n\n第一章 水果\n苹果是红的。\n梨是黄的。\n\n香蕉\n香蕉是弯的。";
        assert_eq!(
            cut(text, 100),
            [
                "开头的话。||5",
                "第一章 水果\n苹果是红的。\n梨是黄的。|第一章 水果|11",
                "香蕉\n香蕉是弯的。|香蕉|6"
            ]
        );
        assert_eq!(
            cut("# 一\n\n## 二\n正文。\n# 尾", 9),
            ["# 一\n\n## 二\n正文。|## 二|3", "# 尾|# 尾|0"]
        );
    }

    #[test]
    fn a_long_paragraph_is_cut_between_sentences_only() {
        let text = "今天下雨。“你去吗？”他问。我不去！价格是3.5元，真的。";
        assert_eq!(
            cut(text, 10),
            ["今天下雨。||5", "“你去吗？”他问。||9+", "我不去！||4+", "价格是3.5元，真的。||11+"]
        );
        assert_eq!(cut("没有句号的一行", 3), ["没有句号的一行||7"]);
        assert_eq!(cut("I am. You are? Yes.", 6), ["I am.||5", " You are?||8+", " Yes.||4+"]);
    }

    #[test]
    fn lists_are_no_headings() {
        let text = "一、洗菜\n二、切菜\n三、下锅";
        assert_eq!(cut(text, 100).len(), 1);
        assert_eq!(cut("一、引言\n我们说菜。", 100), ["一、引言\n我们说菜。|一、引言|5"]);
        assert_eq!(cut("1.2 方法\n先洗。", 100), ["1.2 方法\n先洗。|1.2 方法|3"]);
        assert_eq!(cut("", 5), [""; 0]);
        assert_eq!(cut("\n \n", 5), [""; 0]);
    }

    #[test]
    fn passages_cover_the_text_in_order() {
        let pieces =
            ["一、", "好", "。", "\n", "“", "”", "# ", " ", "?", "第一章", "\n\n", "x.", "）"];
        let mut state = 3_u64;
        for _ in 0..3000 {
            let mut text = String::new();
            for _ in 0..20 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += pieces[(state >> 33) as usize % pieces.len()];
            }
            let length = |it: &str| Ok::<_, std::convert::Infallible>(it.chars().count());
            let Ok(all) = passages(&text, 8, &length);
            let white = |it: &str| it.chars().all(char::is_whitespace);
            let mut at = 0;
            for it in &all {
                assert!(white(&text[at..it.span.start]), "{text:?}");
                at = it.span.end;
            }
            assert!(white(&text[at..]), "{text:?}");
        }
    }
}
