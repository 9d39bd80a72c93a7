//! Paths as a manifest writes them, made relative to the project's root, without touching a disk.

use std::path::{Component, Path, PathBuf};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// It is empty, or has a byte that no path should have.
    Malformed,
    /// It leads out of the project.
    Leaves,
}

/// Whether a path may lie outside the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Inside,
    Anywhere,
}

/// A path that a file in the folder `dir` (relative to the root) says, relative to the root.
pub(crate) fn resolve(dir: &Path, text: &str, reach: Reach) -> Result<PathBuf, BadPath> {
    if text.is_empty() || text.len() > 4096 || text.bytes().any(|it| it < b' ' || it == 0x7f) {
        return Err(BadPath::Malformed);
    }
    // Nearly all paths are plain and stand in the root: they are taken as they are.
    let plain = |it: &str| !it.is_empty() && it != "." && it != "..";
    if dir.as_os_str().is_empty() && text.split('/').all(plain) {
        return Ok(PathBuf::from(text));
    }
    let mut out = PathBuf::new();
    for component in dir.join(text).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(it) => out.push(it),
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            Component::ParentDir if out.has_root() => {}
            it if reach == Reach::Anywhere => out.push(it),
            _ => return Err(BadPath::Leaves),
        }
    }
    if out.as_os_str().is_empty() {
        out.push(".");
    }
    Ok(out)
}

/// Whether a text can be the name of one file.
pub(crate) fn is_file_name(text: &str) -> bool {
    let bad = |it: u8| it < b' ' || it == 0x7f || it == b'/' || it == b'\\';
    !text.is_empty() && text.len() <= 200 && text != "." && text != ".." && !text.bytes().any(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file_and_stay_inside() {
        let inside = |dir: &str, text: &str| resolve(Path::new(dir), text, Reach::Inside);
        assert_eq!(inside("", "a/b"), Ok("a/b".into()));
        assert_eq!(inside("sub", "../a"), Ok("a".into()));
        assert_eq!(inside("sub", "./a//b/"), Ok("sub/a/b".into()));
        assert_eq!(inside("sub", ".."), Ok(".".into()));
        assert_eq!(inside("sub", "../../a"), Err(BadPath::Leaves));
        assert_eq!(inside("", "/etc/passwd"), Err(BadPath::Leaves));
        assert_eq!(inside("", "a\nb"), Err(BadPath::Malformed));
        let anywhere = |text: &str| resolve(Path::new("sub"), text, Reach::Anywhere);
        assert_eq!(anywhere("../../a"), Ok("../a".into()));
        assert_eq!(anywhere("../../../a"), Ok("../../a".into()));
        assert_eq!(anywhere("/x/../y"), Ok("/y".into()));
    }
}
