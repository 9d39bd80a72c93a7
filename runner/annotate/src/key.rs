//! The secret of a study: the links rest on it, the sides, and the pages that need no server.
//!
//! It is drawn when it is first needed and lies beside the study, readable by its owner alone, so that
//! links and sides stay the same when the program starts again. It is no part of the study and reaches
//! no browser: what does is a keyed hash, one for each purpose and person.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::AnnotateError;
use crate::sides::Sides;
use crate::study::{beside, write_new};

/// A secret, as what is derived of it.
pub struct Key {
    links: [u8; 32],
    pages: [u8; 32],
    sides: Sides,
}

const SECRET_BYTES: usize = 32;
const TOKEN_BYTES: usize = 16;

/// Where the secret of a study lies.
pub fn key_of(study: &Path) -> PathBuf {
    beside(study, "key")
}

impl Key {
    /// The secret of a study; nothing where none was drawn yet.
    pub fn kept(study: &Path) -> Result<Option<Self>, AnnotateError> {
        let path = key_of(study);
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AnnotateError::io(&path)(error)),
        }
        match <[u8; SECRET_BYTES]>::try_from(bytes) {
            Ok(secret) => Ok(Some(Self::derived(&secret))),
            Err(bytes) => {
                let reason = format!("is no secret: {} bytes, not {SECRET_BYTES}", bytes.len());
                Err(AnnotateError::io(&path)(io::Error::other(reason)))
            }
        }
    }

    /// Draws the secret of a study that has none.
    pub fn make(study: &Path) -> Result<Self, AnnotateError> {
        let path = key_of(study);
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| AnnotateError::io(&path)(io::Error::other(error.to_string())))?;
        write_new(&path, &secret)?;
        Ok(Self::derived(&secret))
    }

    fn derived(secret: &[u8; SECRET_BYTES]) -> Self {
        let part = |context| blake3::derive_key(context, secret);
        Self {
            links: part("kun annotate 1: links"),
            pages: part("kun annotate 1: pages that need no server"),
            sides: Sides::of(part("kun annotate 1: sides")),
        }
    }

    /// What sides rest on.
    pub fn sides(&self) -> &Sides {
        &self.sides
    }

    /// What stands in the link of somebody.
    pub fn token(&self, name: &str) -> String {
        let hash = blake3::keyed_hash(&self.links, name.as_bytes());
        hash.as_bytes()[..TOKEN_BYTES].iter().map(|it| format!("{it:02x}")).collect()
    }

    /// Whether that is the token of somebody; takes equally long whatever is wrong with it.
    pub(crate) fn opens(&self, name: &str, token: &str) -> bool {
        let want = self.token(name);
        let differs = want.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        token.len() == want.len() && std::hint::black_box(differs) == 0
    }

    /// What the page of somebody carries, and their answers bring back. `study` is its digest.
    pub(crate) fn proof(&self, study: &str, name: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.pages, format!("{study} {name}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn links_stay_the_same_and_the_secret_is_the_owners() {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("s.jsonl");
        assert!(Key::kept(&study).unwrap().is_none());
        let (first, second) = (Key::make(&study).unwrap(), Key::kept(&study).unwrap().unwrap());
        assert_eq!(first.token("ana"), second.token("ana"));
        assert_ne!(first.token("ana"), first.token("bo"));
        assert!(first.opens("ana", &second.token("ana")));
        let token = first.token("ana");
        for wrong in ["", &token[1..], &format!("{token}0"), &first.token("bo")] {
            assert!(!first.opens("ana", wrong));
        }
        let mode = std::fs::metadata(key_of(&study)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Key::make(&study).is_err(), "never over another");
        for wrong in [&b"short"[..], &[0; 33]] {
            std::fs::write(key_of(&study), wrong).unwrap();
            assert!(Key::kept(&study).is_err());
        }
    }

    #[test]
    fn what_one_purpose_or_person_is_given_says_nothing_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::make(&folder.path().join("s.jsonl")).unwrap();
        let proof = |study, name| key.proof(study, name).to_hex().to_string();
        assert_ne!(proof("s", "ana"), proof("s", "bo"));
        assert_ne!(proof("s", "ana"), proof("t", "ana"));
        assert!(!proof("s", "ana").contains(&key.token("ana")));
    }
}
