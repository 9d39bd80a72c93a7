//! What differs between two texts, character by character: Chinese has no words to compare by.

/// A stretch of two compared texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// It stands in both.
    Same(&'a str),
    /// It stands in the first only.
    Gone(&'a str),
    /// It stands in the second only.
    New(&'a str),
}

/// Texts that differ in more characters than this are compared no further than where they begin and
/// end alike: the time grows with the square.
const MOST_EDITS: usize = 500;

/// The stretches of two texts, in order.
pub fn changes<'a>(was: &'a str, is: &'a str) -> Vec<Piece<'a>> {
    let pairs = was.chars().zip(is.chars()).take_while(|(a, b)| a == b);
    let head: usize = pairs.map(|it| it.0.len_utf8()).sum();
    let (was_rest, is_rest) = (&was[head..], &is[head..]);
    let tail: usize = was_rest
        .chars()
        .rev()
        .zip(is_rest.chars().rev())
        .take_while(|(a, b)| a == b)
        .map(|it| it.0.len_utf8())
        .sum();
    let mut all = Vec::new();
    push(&mut all, Piece::Same(&was[..head]));
    middle(&was_rest[..was_rest.len() - tail], &is_rest[..is_rest.len() - tail], &mut all);
    push(&mut all, Piece::Same(&was_rest[was_rest.len() - tail..]));
    all
}

fn push<'a>(all: &mut Vec<Piece<'a>>, piece: Piece<'a>) {
    let (Piece::Same(text) | Piece::Gone(text) | Piece::New(text)) = piece;
    if !text.is_empty() {
        all.push(piece);
    }
}

/// One step of the shortest script of edits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Same,
    Gone,
    New,
}

/// Two texts that neither begin nor end alike.
fn middle<'a>(was: &'a str, is: &'a str, all: &mut Vec<Piece<'a>>) {
    let Some(steps) = script(&chars(was), &chars(is)) else {
        push(all, Piece::Gone(was));
        push(all, Piece::New(is));
        return;
    };
    let (mut was, mut is) = (was, is);
    let mut at = 0;
    while at < steps.len() {
        // What goes and what comes in one place are shown as one of each.
        let same = steps[at..].iter().take_while(|it| **it == Step::Same).count();
        push(all, Piece::Same(take(&mut was, same)));
        take(&mut is, same);
        let edits = &steps[at + same..];
        let n = edits.iter().take_while(|it| **it != Step::Same).count();
        let gone = edits[..n].iter().filter(|it| **it == Step::Gone).count();
        push(all, Piece::Gone(take(&mut was, gone)));
        push(all, Piece::New(take(&mut is, n - gone)));
        at += same + n;
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Takes `n` characters from the front.
fn take<'a>(text: &mut &'a str, n: usize) -> &'a str {
    let at = text.char_indices().nth(n).map_or(text.len(), |it| it.0);
    let (head, rest) = text.split_at(at);
    *text = rest;
    head
}

/// The shortest script of edits, after Myers; none where it is longer than [`MOST_EDITS`].
fn script(was: &[char], is: &[char]) -> Option<Vec<Step>> {
    let most = (was.len() + is.len()).min(MOST_EDITS);
    // `reach[d]` has for each diagonal from -d to d how far in `was` one comes with d edits.
    let mut reach: Vec<Vec<usize>> = Vec::new();
    for d in 0..=most {
        let mut row = vec![0; 2 * d + 1];
        for k in (0..=2 * d).step_by(2) {
            let mut x = match (d, reach.last()) {
                (0, _) | (_, None) => 0,
                (_, Some(before)) => from(before, k, d).0,
            };
            let mut y = (x + d).checked_sub(k)?;
            while x < was.len() && y < is.len() && was[x] == is[y] {
                (x, y) = (x + 1, y + 1);
            }
            row[k] = x;
            if x >= was.len() && y >= is.len() {
                reach.push(row);
                return Some(back(&reach, (was.len(), is.len())));
            }
        }
        reach.push(row);
    }
    None
}

/// From where diagonal `k` (of `-d` to `d`, counted from 0) is reached: how far in the first text, and
/// whether by an insertion.
fn from(before: &[usize], k: usize, d: usize) -> (usize, bool) {
    // The row before has the diagonals -d+1 to d-1: there ours is one less.
    let down = before.get(k).copied().filter(|_| k < 2 * d - 1);
    let right = k.checked_sub(2).and_then(|it| before.get(it)).map(|it| it + 1);
    match (down, right) {
        (Some(x), Some(other)) if x >= other => (x, true),
        (_, Some(x)) => (x, false),
        (Some(x), None) => (x, true),
        (None, None) => (0, true),
    }
}

/// The script that leads to the end of both texts.
fn back(reach: &[Vec<usize>], (mut x, mut y): (usize, usize)) -> Vec<Step> {
    let mut steps = Vec::new();
    for d in (1..reach.len()).rev() {
        let k = x + d - y;
        let (start, inserted) = from(&reach[d - 1], k, d);
        while x > start {
            steps.push(Step::Same);
            (x, y) = (x - 1, y - 1);
        }
        if inserted {
            steps.push(Step::New);
            y -= 1;
        } else {
            steps.push(Step::Gone);
            x -= 1;
        }
    }
    steps.extend(std::iter::repeat_n(Step::Same, x));
    steps.reverse();
    steps
}

/// The changes on few characters: `…前面[-没有-]{+有+}后面…`, at most `most` of them, with `context`
/// characters around each, and how many more there are.
pub fn short(was: &str, is: &str, context: usize, most: usize) -> String {
    let all = changes(was, is);
    let is_same = |i: usize| matches!(all[i], Piece::Same(_));
    let (mut out, mut edits) = (String::new(), 0);
    for (i, piece) in all.iter().enumerate() {
        edits += usize::from(!is_same(i) && (i == 0 || is_same(i - 1)));
        if edits > most {
            continue;
        }
        match piece {
            Piece::Same(text) => {
                let next_is_shown = i + 1 < all.len() && edits < most;
                out.push_str(&around(text, context, (i > 0, next_is_shown)));
            }
            Piece::Gone(text) => {
                out.push_str(&format!("[-{}-]", around(text, 2 * context, (true, true))));
            }
            Piece::New(text) => {
                out.push_str(&format!("{{+{}+}}", around(text, 2 * context, (true, true))));
            }
        }
    }
    if edits > most {
        out.push_str(&format!(" and {} more", edits - most));
    }
    out
}

/// The ends of a text that stand next to something.
fn around(text: &str, context: usize, (before, after): (bool, bool)) -> String {
    let n = text.chars().count();
    let wanted = context * (usize::from(before) + usize::from(after));
    if n <= wanted + 1 {
        return text.to_owned();
    }
    let head: String = text.chars().take(if before { context } else { 0 }).collect();
    let tail: String = text.chars().skip(n - if after { context } else { 0 }).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was and what is, put together again.
    fn both(all: &[Piece<'_>]) -> (String, String) {
        let (mut was, mut is) = (String::new(), String::new());
        for it in all {
            match it {
                Piece::Same(it) => {
                    was += it;
                    is += it;
                }
                Piece::Gone(it) => was += it,
                Piece::New(it) => is += it,
            }
        }
        (was, is)
    }

    #[test]
    fn the_pieces_are_both_texts_and_few() {
        let all = changes("今天天气很好，我们去公园。", "今天天气不好，我们不去公园了。");
        assert_eq!(
            all,
            [
                Piece::Same("今天天气"),
                Piece::Gone("很"),
                Piece::New("不"),
                Piece::Same("好，我们"),
                Piece::New("不"),
                Piece::Same("去公园"),
                Piece::New("了"),
                Piece::Same("。")
            ]
        );
        assert_eq!(changes("a", "a"), [Piece::Same("a")]);
        assert_eq!(changes("", ""), []);
        assert_eq!(changes("", "x"), [Piece::New("x")]);
    }

    #[test]
    fn any_two_texts_come_out_whole() {
        let mut state = 7u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let mut text = || (0..next(40)).map(|_| ['甲', 'b', 'c'][next(3) as usize]).collect();
            let (was, is): (String, String) = (text(), text());
            let all = changes(&was, &is);
            let whole = both(&all);
            assert_eq!(whole, (was.clone(), is.clone()), "{all:?}");
        }
        let (was, is) = ("x".repeat(900), "y".repeat(900));
        assert_eq!(changes(&was, &is).len(), 2);
    }

    #[test]
    fn few_changes_are_shown_with_what_stands_around() {
        let was = "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸";
        let is = "一二三四五六柒八九十甲乙丙丁戊己庚新壬癸!";
        assert_eq!(short(was, is, 2, 9), "…五六[-七-]{+柒+}八九…己庚[-辛-]{+新+}壬癸{+!+}");
        assert_eq!(short(was, is, 2, 1), "…五六[-七-]{+柒+}八九… and 2 more");
        assert_eq!(short("同", "同", 2, 1), "同");
        assert_eq!(short("", "全新", 2, 1), "{+全新+}");
    }
}
