//! A study that is open to be written: what somebody did is on the disk before it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::study::{Later, Line, encoded, read_whole};
use crate::votes::Vote;
use crate::{AnnotateError, Did, Said, Seats, Taken, votes};

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
        if let Err(reason) = self.seats.check(&did) {
            return Ok(Err(reason));
        }
        self.write(&encoded(&Line::Did(did.clone())))?;
        Ok(self.seats.apply(did))
    }

    /// The same of much at once, about different things: all of it or nothing.
    pub(crate) fn record_all(&mut self, all: Vec<Said>) -> Result<(), AnnotateError> {
        let mut about = BTreeSet::new();
        let mut text = Vec::new();
        for it in &all {
            if !about.insert((&it.annotator, &it.unit, it.round)) {
                return Err(AnnotateError::Study(format!("it answers `{}` twice", it.unit)));
            }
            let did = Did::Said(it.clone());
            self.seats.check(&did).map_err(AnnotateError::Study)?;
            text.extend(encoded(&Line::Did(did)));
        }
        self.write(&text)?;
        for it in all {
            self.seats.apply(Did::Said(it)).map_err(AnnotateError::Study)?;
        }
        Ok(())
    }

    /// Takes the votes of a file, all of them or nothing. What is known already is not taken again.
    pub fn import(&mut self, file: &Path) -> Result<Taken, AnnotateError> {
        let (mut taken, mut text) = (Taken { new: 0, known: 0, other: 0 }, Vec::new());
        let mut new = Vec::new();
        let known: BTreeMap<_, _> =
            self.seats.outside().iter().map(|it| (it.place(), it)).collect();
        for it in votes::read(file, &self.seats)? {
            match known.get(&it.place()) {
                Some(there) if there.said.answers == it.said.answers => taken.known += 1,
                Some(_) => taken.other += 1,
                None => {
                    text.extend(encoded(&Line::Vote(Vote::from(it.clone()))));
                    new.push(it);
                }
            }
        }
        taken.new = new.len();
        self.write(&text)?;
        self.seats.take(new);
        Ok(taken)
    }

    /// Forces lines to the disk, all of them or nothing.
    fn write(&mut self, lines: &[u8]) -> Result<(), AnnotateError> {
        if self.broken {
            return Err(AnnotateError::Closed(self.path.clone()));
        }
        if let Err(source) = self.append(lines) {
            // What is there of it must not stand before the next line.
            self.broken = self.file.set_len(self.whole).is_err();
            return Err(AnnotateError::io(&self.path)(source));
        }
        self.whole += lines.len() as u64;
        Ok(())
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
        match it {
            Later::Did(it) => seats.apply(it).map_err(wrong)?,
            Later::Vote(it) => {
                let it = it.settle(&seats).map_err(wrong)?;
                seats.take(vec![it]);
            }
        }
    }
    Ok((seats, whole))
}
