//! A kind's reference page is the `//!` head of its file, taken out when the crate is compiled.

/// The `//!` lines at the top of the file in which this stands, as Markdown.
macro_rules! page {
    ($file:literal) => {{
        const SOURCE: &[u8] = include_bytes!($file);
        const BYTES: [u8; $crate::page::head_len(SOURCE)] = $crate::page::head(SOURCE);
        match std::str::from_utf8(&BYTES) {
            Ok(it) => it,
            Err(_) => panic!("a Rust file is UTF-8, and lines are cut at line feeds only"),
        }
    }};
}
pub(crate) use page;

/// How many bytes [`head`] makes.
pub(crate) const fn head_len(source: &[u8]) -> usize {
    walk::<0>(source).1
}

/// The text of the leading `//!` lines, without the marks.
pub(crate) const fn head<const N: usize>(source: &[u8]) -> [u8; N] {
    walk::<N>(source).0
}

/// Copies what fits into `N` bytes, and says how many there are.
const fn walk<const N: usize>(source: &[u8]) -> ([u8; N], usize) {
    let mut text = [0; N];
    let mut n = 0;
    let mut i = 0;
    while i + 2 < source.len()
        && source[i] == b'/'
        && source[i + 1] == b'/'
        && source[i + 2] == b'!'
    {
        i += 3;
        if i < source.len() && source[i] == b' ' {
            i += 1;
        }
        while i < source.len() {
            if n < N {
                text[n] = source[i];
            }
            n += 1;
            i += 1;
            if source[i - 1] == b'\n' {
                break;
            }
        }
    }
    (text, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_head_and_nothing_below() {
        const SOURCE: &[u8] = b"//! `a`: one.\n//!\n//! two\n\n//! not this\nuse std;\n";
        assert_eq!(&head::<{ head_len(SOURCE) }>(SOURCE), b"`a`: one.\n\ntwo\n");
    }

    #[test]
    fn a_file_without_a_head_has_an_empty_page() {
        assert_eq!(head_len(b"use std;\n"), 0);
        assert_eq!(head_len(b""), 0);
    }
}
