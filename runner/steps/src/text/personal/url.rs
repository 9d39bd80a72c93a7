//! Whether a number is a part of a web address: `item.example.com/id=4111111111111111`.

/// No address is longer before a number in it.
const LONGEST: usize = 2048;

/// Whether what stands before this place, without a gap, makes it the inside of a web address.
pub(super) fn is_inside(bytes: &[u8], at: usize) -> bool {
    let goes_on = |it: &u8| it.is_ascii_graphic() && !b"\"'<>".contains(it);
    let n = bytes[..at].iter().rev().take(LONGEST).take_while(|it| goes_on(it)).count();
    let run = &bytes[at - n..at];
    let holds = |it: &[u8]| run.windows(it.len()).any(|part| part == it);
    holds(b"://") || holds(b"www.") || begins_with_host(run)
}

/// A name with a point in it and a path behind it, such as `example.com/`.
fn begins_with_host(run: &[u8]) -> bool {
    let Some(end) = run.iter().position(|it| b"/?".contains(it)) else { return false };
    let in_host = |it: &u8| it.is_ascii_alphanumeric() || b".-".contains(it);
    let n = run[..end].iter().rev().take_while(|it| in_host(it)).count();
    let mut labels = run[end - n..end].rsplit(|it| *it == b'.');
    let top = labels.next().unwrap_or_default();
    let is_top = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
    is_top && labels.next().is_some_and(|it| !it.is_empty())
}
