//! A study that is open to be written: what somebody did is on the disk before it counts.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::study::{Line, encoded, read_whole};
use crate::{AnnotateError, Did, Seats};

/// A study with a lock on it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// How many bytes are whole lines.
    whole: u64,
    broken: bool,
    seats: Seats,
}

impl Journal {
    /// Opens a study; nobody else may write it meanwhile. A line that was cut off goes away with the
    /// next one that is written.
    pub fn open(path: &Path) -> Result<Self, AnnotateError> {
        let io = || AnnotateError::io(path);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io())?;
        file.try_lock().map_err(|it| match it {
            TryLockError::WouldBlock => AnnotateError::Busy(path.to_owned()),
            TryLockError::Error(it) => io()(it),
        })?;
        let (seats, whole) = replayed(path)?;
        Ok(Self { file, path: path.to_owned(), whole, broken: false, seats })
    }

    /// Where everybody is, without a lock.
    pub fn seen(path: &Path) -> Result<Seats, AnnotateError> {
        replayed(path).map(|it| it.0)
    }

    /// Where everybody is.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Writes down what somebody did, forces it to the disk, and only then takes it. The inner
    /// error says why it cannot be done.
    pub fn record(&mut self, did: Did) -> Result<Result<(), String>, AnnotateError> {
        if self.broken {
            return Err(AnnotateError::Closed(self.path.clone()));
        }
        if let Err(reason) = self.seats.check(&did) {
            return Ok(Err(reason));
        }
        let line = encoded(&Line::Did(did.clone()));
        if let Err(source) = self.append(&line) {
            // What is there of it must not stand before the next line.
            self.broken = self.file.set_len(self.whole).is_err();
            return Err(AnnotateError::io(&self.path)(source));
        }
        self.whole += line.len() as u64;
        Ok(self.seats.apply(did))
    }

    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.file.set_len(self.whole)?;
        self.file.seek(SeekFrom::Start(self.whole))?;
        self.file.write_all(line)?;
        self.file.sync_data()
    }
}

fn replayed(path: &Path) -> Result<(Seats, u64), AnnotateError> {
    let (study, did, whole) = read_whole(path)?;
    let mut seats = Seats::new(study);
    for (line, it) in did {
        let wrong = |reason| AnnotateError::Line { path: path.to_owned(), line, reason };
        seats.apply(it).map_err(wrong)?;
    }
    Ok((seats, whole))
}
