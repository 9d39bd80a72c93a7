//! Reads everything and says what is not as it was written.
use crate::*;
use plan::{Digest, Key};
use std::path::PathBuf;
/// What to do with damaged objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// Leave them where they are.
    Leave,
    /// Move them to the folder `bad`.
    Move,
}
/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An object's bytes are not what its name says.
    DamagedObject {
        /// Its name.
        digest: Digest,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// The steps whose records can make it again.
        makers: Vec<(String, Key)>,
    },
    /// A record names an object that is not there.
    MissingObject {
        /// Its name.
        digest: Digest,
        /// The steps whose records name it.
        makers: Vec<(String, Key)>,
    },
    /// A record that cannot be read.
    DamagedRecord {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Rows that cannot be read.
    DamagedRows {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A row that is stored twice, with different content; the first one counts.
    DifferingRow {
        /// The space.
        space: Digest,
        /// The row.
        row: Digest,
    },
    /// A file that no store puts there.
    Stray {
        /// The file.
        path: PathBuf,
    },
}
/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Rows.
    pub rows: u64,
    /// Findings.
    pub findings: u64,
    /// Objects that were moved to `bad`.
    pub moved: u64,
}
impl Store {
    /// Reads everything, with all cores.
    pub fn verify(
        &self,
        quarantine: Quarantine,
        report: &mut dyn FnMut(Finding),
    ) -> Result<VerifyReport> {
        let _ = (quarantine, report);
        todo!()
    }
}
