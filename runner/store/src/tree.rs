//! Trees: walking a folder, and the listing that names a tree's content.
//!
//! A listing is text, one line for each file, link and empty folder, sorted by path, with bytes
//! that are not plain text escaped. Equal trees have equal listings, and what is read back is
//! refused unless it is exactly what would have been written: paths stay below the tree's top.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use plan::Digest;

use crate::error::At;
use crate::{Error, Node, Object, Result, Shape, TreeEntry};

/// The first line of a listing.
const HEAD: &str = "kun-tree 1\n";

/// What to do with symbolic links that lead out of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Refuse the tree.
    Refuse,
    /// Take what they lead to for what they are.
    Follow,
}

/// Something in a folder.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where, from the top.
    pub(crate) path: PathBuf,
    /// What.
    pub(crate) what: What,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum What {
    /// A file.
    File(Box<Metadata>),
    /// A link that stays inside.
    Link(PathBuf),
    /// A folder with nothing in it.
    EmptyDir,
}

struct Walk<'a> {
    top: &'a Path,
    canonical: PathBuf,
    links: Links,
    found: Vec<Found>,
    /// Folders still to be listed, with the links followed on the way there.
    waiting: Vec<(PathBuf, Rc<Vec<PathBuf>>)>,
}

/// Everything in a folder, sorted by path.
pub(crate) fn walk(top: &Path, links: Links) -> Result<Vec<Found>> {
    let canonical = fs::canonicalize(top).at("open", top)?;
    let waiting = vec![(PathBuf::new(), Rc::new(Vec::new()))];
    let mut walk = Walk { top, canonical, links, found: Vec::new(), waiting };
    while let Some((path, followed)) = walk.waiting.pop() {
        walk.list(&path, &followed)?;
    }
    walk.found.sort_by(|a, b| bytes_of(&a.path).cmp(bytes_of(&b.path)));
    Ok(walk.found)
}

impl Walk<'_> {
    fn list(&mut self, path: &Path, followed: &Rc<Vec<PathBuf>>) -> Result<()> {
        let full = self.top.join(path);
        let mut is_empty = true;
        for entry in fs::read_dir(&full).at("list", &full)? {
            let entry = entry.at("list", &full)?;
            is_empty = false;
            let inner = path.join(entry.file_name());
            let kind = entry.file_type().at("look at", &full)?;
            if kind.is_dir() {
                self.waiting.push((inner, Rc::clone(followed)));
            } else if kind.is_file() {
                let metadata = entry.metadata().at("look at", &full.join(entry.file_name()))?;
                self.found.push(Found { path: inner, what: What::File(Box::new(metadata)) });
            } else if kind.is_symlink() {
                self.link(inner, followed)?;
            } else {
                return Err(Error::Special { path: entry.path(), what: special(kind) });
            }
        }
        if is_empty && !path.as_os_str().is_empty() {
            self.found.push(Found { path: path.to_owned(), what: What::EmptyDir });
        }
        Ok(())
    }

    fn link(&mut self, path: PathBuf, followed: &Rc<Vec<PathBuf>>) -> Result<()> {
        let full = self.top.join(&path);
        let target = fs::read_link(&full).at("read", &full)?;
        let depth = path.components().count() - 1;
        let Ok(reached) = fs::canonicalize(&full) else {
            return Err(Error::Escapes { path: full, target });
        };
        if followed.is_empty()
            && stays_inside(&target, depth)
            && reached.starts_with(&self.canonical)
        {
            self.found.push(Found { path, what: What::Link(target) });
            return Ok(());
        }
        if self.links == Links::Refuse {
            return Err(Error::Escapes { path: full, target });
        }
        let metadata = fs::metadata(&full).at("look at", &full)?;
        if metadata.is_file() {
            self.found.push(Found { path, what: What::File(Box::new(metadata)) });
        } else if metadata.is_dir() {
            if followed.contains(&reached) || self.canonical.starts_with(&reached) {
                return Err(Error::Loops { path: full });
            }
            let mut followed = Vec::clone(followed);
            followed.push(reached);
            self.waiting.push((path, Rc::new(followed)));
        } else {
            return Err(Error::Special { path: full, what: special(metadata.file_type()) });
        }
        Ok(())
    }
}

/// What a thing is that is no file, folder or link.
pub(crate) fn special(kind: fs::FileType) -> &'static str {
    if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_block_device() || kind.is_char_device() {
        "device"
    } else {
        "special file"
    }
}

/// Whether a link, `depth` folders below the top, cannot lead above it: it climbs first, at most
/// to the top, and never climbs again.
fn stays_inside(target: &Path, depth: usize) -> bool {
    let mut climbed = 0;
    let mut descends = false;
    for part in target.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return false,
            Component::CurDir => {}
            Component::ParentDir if descends => return false,
            Component::ParentDir => climbed += 1,
            Component::Normal(_) => descends = true,
        }
    }
    climbed <= depth && !target.as_os_str().is_empty()
}

/// The listing of a tree's entries, which are sorted.
pub(crate) fn encode(entries: &[TreeEntry]) -> Vec<u8> {
    let mut text = String::with_capacity(HEAD.len() + entries.len() * 112);
    text.push_str(HEAD);
    for entry in entries {
        match &entry.node {
            Node::File { digest, size, executable } => {
                text.push_str(if *executable { "x " } else { "f " });
                text.push_str(&digest.hex());
                text.push_str(&format!(" {size} "));
            }
            Node::Link { target } => {
                text.push_str("l ");
                escape(bytes_of(target), &mut text);
                text.push(' ');
            }
            Node::EmptyDir => text.push_str("d "),
        }
        escape(bytes_of(&entry.path), &mut text);
        text.push('\n');
    }
    text.into_bytes()
}

/// Reads a listing; the error says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<TreeEntry>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its listing is not text")?;
    let lines = text.strip_prefix(HEAD).ok_or("its listing has another first line")?;
    let mut entries = Vec::with_capacity(bytes.len() / 80);
    for line in lines.lines() {
        let entry =
            decode_line(line).ok_or_else(|| format!("its listing has the line `{line}`"))?;
        entries.push(entry);
    }
    check(&entries)?;
    if encode(&entries) != bytes {
        return Err("its listing is not in the one right order and spelling".to_owned());
    }
    Ok(entries)
}

fn decode_line(line: &str) -> Option<TreeEntry> {
    let mut words = line.split(' ');
    let letter = words.next()?;
    let node = match letter {
        "f" | "x" => Node::File {
            digest: words.next()?.parse().ok()?,
            size: words.next()?.parse().ok()?,
            executable: letter == "x",
        },
        "l" => Node::Link { target: unescape(words.next()?)? },
        "d" => Node::EmptyDir,
        _ => return None,
    };
    let path = unescape(words.next()?)?;
    words.next().is_none().then_some(TreeEntry { path, node })
}

fn check(entries: &[TreeEntry]) -> Result<(), String> {
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    let mut previous: Option<&[u8]> = None;
    for entry in entries {
        let path = &entry.path;
        let depth = path.components().count();
        let plain = path.components().all(|it| matches!(it, Component::Normal(_)));
        let rebuilt: PathBuf = path.components().collect();
        if !plain || depth == 0 || rebuilt.as_os_str() != path.as_os_str() {
            return Err(format!("its listing has the path `{}`", path.display()));
        }
        if previous.is_some_and(|it| it >= bytes_of(path)) {
            return Err(format!("its listing has `{}` out of order", path.display()));
        }
        previous = Some(bytes_of(path));
        if path.ancestors().skip(1).any(|it| seen.contains(it)) {
            return Err(format!("its listing has `{}` below a file", path.display()));
        }
        if let Node::Link { target } = &entry.node
            && !stays_inside(target, depth - 1)
        {
            return Err(format!("its listing has the link `{}`", path.display()));
        }
        seen.insert(path);
    }
    Ok(())
}

/// The object that a listing's bytes are.
pub(crate) fn object_of(entries: &[TreeEntry], listing: &[u8]) -> Object {
    let mut size = 0_u64;
    let mut files = 0;
    for entry in entries {
        match &entry.node {
            Node::File { size: it, .. } => {
                size = size.saturating_add(*it);
                files += 1;
            }
            Node::Link { .. } => files += 1,
            Node::EmptyDir => {}
        }
    }
    Object { digest: Digest::of(listing), size, shape: Shape::Tree { files } }
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn escape(bytes: &[u8], text: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '%' || letter == ' ' || letter.is_control() {
                let mut buffer = [0; 4];
                letter.encode_utf8(&mut buffer).bytes().for_each(|it| escape_byte(it, text));
            } else {
                text.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|it| escape_byte(*it, text));
    }
}

fn escape_byte(byte: u8, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn unescape(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    if bytes.is_empty() || bytes.contains(&0) {
        return None;
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}
