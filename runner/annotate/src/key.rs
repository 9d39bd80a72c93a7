//! The secret behind the links: each annotator's token is a function of it and of their name, so that
//! links stay the same when the program starts again. It lies beside the study, readable by its owner
//! alone, and is no part of the study.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::AnnotateError;

/// A secret.
pub struct Key([u8; 32]);

const TOKEN_BYTES: usize = 16;

impl Key {
    /// The secret of a study; a new one where there is none.
    pub fn of(study: &Path) -> Result<Self, AnnotateError> {
        let path = beside(study);
        let io = || AnnotateError::io(&path);
        let mut bytes = [0; 32];
        match OpenOptions::new().read(true).open(&path) {
            Ok(mut file) => {
                file.read_exact(&mut bytes).map_err(io())?;
                return Ok(Self(bytes));
            }
            Err(it) if it.kind() == std::io::ErrorKind::NotFound => {}
            Err(it) => return Err(io()(it)),
        }
        getrandom::fill(&mut bytes).map_err(|it| io()(std::io::Error::other(it.to_string())))?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(io())?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io())?;
        Ok(Self(bytes))
    }

    /// What stands in the link of somebody.
    pub fn token(&self, name: &str) -> String {
        self.bytes(name).iter().map(|it| format!("{it:02x}")).collect()
    }

    /// Whether that is the token of somebody; takes equally long whatever is wrong with it.
    pub(crate) fn opens(&self, name: &str, token: &str) -> bool {
        let want = self.token(name);
        let differs = want.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        token.len() == want.len() && std::hint::black_box(differs) == 0
    }

    fn bytes(&self, name: &str) -> [u8; TOKEN_BYTES] {
        let hash = blake3::keyed_hash(&self.0, name.as_bytes());
        let mut bytes = [0; TOKEN_BYTES];
        bytes.copy_from_slice(&hash.as_bytes()[..TOKEN_BYTES]);
        bytes
    }
}

fn beside(study: &Path) -> PathBuf {
    let mut name = study.file_name().unwrap_or_default().to_owned();
    name.push(".key");
    study.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn links_stay_the_same_and_the_secret_is_the_owners() {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("s.jsonl");
        let (first, second) = (Key::of(&study).unwrap(), Key::of(&study).unwrap());
        assert_eq!(first.token("ana"), second.token("ana"));
        assert_ne!(first.token("ana"), first.token("bo"));
        assert!(first.opens("ana", &second.token("ana")));
        let token = first.token("ana");
        for wrong in ["", &token[1..], &format!("{token}0"), &first.token("bo")] {
            assert!(!first.opens("ana", wrong));
        }
        let mode = std::fs::metadata(beside(&study)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(beside(&study), "short").unwrap();
        assert!(Key::of(&study).is_err());
    }
}
