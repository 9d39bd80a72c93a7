//! A study that is open to be written: what somebody did is on the disk before it counts.
//!
//! Where the file is no longer the one that was opened, nothing counts from then on: all that did is
//! written into a file beside it, and so is what people still send. See [`crate::recovery`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::recovery::{Recovery, recovery_of};
use crate::study::{End, Later, Whole, beside, encoded, read_whole};
use crate::votes::Vote;
use crate::watched::{Change, Failure, Watched};
use crate::{AnnotateError, Did, Said, Seats, Taken, votes};

/// A study with a lock on it.
#[derive(Debug)]
pub struct Journal {
    file: Watched,
    end: End,
    seats: Seats,
    /// All that counts, in order.
    later: Vec<Later>,
    state: State,
}

/// Whether votes are taken.
#[derive(Debug)]
enum State {
    Open,
    /// The system refused a write, and nobody knows what is there of it.
    Broken,
    /// The file was changed; nothing is kept aside yet.
    Changed(Change),
    /// The file was changed, and everything is kept aside.
    Stopped(Change, Box<Recovery>),
}

impl Journal {
    /// Opens a study; nobody else may write it meanwhile. It is refused where votes lie beside it that
    /// may not be in it.
    pub fn open(path: &Path) -> Result<Self, AnnotateError> {
        let recovery = recovery_of(path);
        if recovery.exists() {
            return Err(AnnotateError::Unrecovered { study: path.to_owned(), recovery });
        }
        Self::open_unguarded(path)
    }

    pub(crate) fn open_unguarded(path: &Path) -> Result<Self, AnnotateError> {
        let file = Watched::open(path)?;
        let whole = read_whole(file.reader().map_err(AnnotateError::io(path))?, path)?;
        let (seats, later, end) = replayed(whole, path)?;
        Ok(Self { file, end, seats, later, state: State::Open })
    }

    /// Where everybody is, without a lock.
    pub fn seen(path: &Path) -> Result<Seats, AnnotateError> {
        let file = File::open(path).map_err(AnnotateError::io(path))?;
        replayed(read_whole(file, path)?, path).map(|it| it.0)
    }

    /// Where everybody is.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    pub(crate) fn later(&self) -> &[Later] {
        &self.later
    }

    /// The start of a line at the end of the file, of which the rest is missing: how many bytes, and
    /// where they go when something is written.
    pub fn torn(&self) -> Option<(usize, PathBuf)> {
        match &self.end {
            End::Torn(bytes) => Some((bytes.len(), beside(self.file.path(), "torn"))),
            End::Whole | End::Unended => None,
        }
    }

    /// Whether votes are still taken. Where the file was changed, this keeps everything aside and says so.
    pub fn look(&mut self) -> Result<(), AnnotateError> {
        if matches!(self.state, State::Open)
            && let Some(change) = self.file.check().map_err(AnnotateError::io(self.file.path()))?
        {
            self.state = State::Changed(change);
        }
        self.taking()
    }

    /// Writes down what somebody did, forces it to the disk, and only then takes it. The inner
    /// error says why it cannot be done.
    pub fn record(&mut self, did: Did) -> Result<Result<(), String>, AnnotateError> {
        if let Err(reason) = self.seats.check(&did) {
            return Ok(Err(reason));
        }
        match self.extend(vec![Later::Did(did.clone())]) {
            Ok(()) => Ok(Ok(())),
            Err(error) => {
                if let Did::Said(said) = did {
                    self.keep(said)?;
                }
                Err(error)
            }
        }
    }

    /// Keeps what somebody sent and what does not count, where such things are kept.
    fn keep(&mut self, said: Said) -> Result<(), AnnotateError> {
        let State::Stopped(change, recovery) = &mut self.state else { return Ok(()) };
        let kept = recovery.keep(said);
        if kept.is_err() {
            // It may be gone as well: with the next request it is made again.
            self.state = State::Changed(change.clone());
        }
        kept
    }

    /// The same of much at once, about different things: all of it or nothing.
    pub(crate) fn record_all(&mut self, all: Vec<Said>) -> Result<(), AnnotateError> {
        let mut about = BTreeSet::new();
        for it in &all {
            if !about.insert((&it.annotator, &it.unit, it.round)) {
                return Err(AnnotateError::Study(format!("it answers `{}` twice", it.unit)));
            }
            self.seats.check(&Did::Said(it.clone())).map_err(AnnotateError::Study)?;
        }
        self.extend(all.into_iter().map(|it| Later::Did(Did::Said(it))).collect())
    }

    /// Takes the votes of a file, all of them or nothing. What is known already is not taken again.
    pub fn import(&mut self, file: &Path) -> Result<Taken, AnnotateError> {
        let (mut taken, mut new) = (Taken { new: 0, known: 0, other: 0 }, Vec::new());
        let known: BTreeMap<_, _> =
            self.seats.outside().iter().map(|it| (it.place(), it)).collect();
        for it in votes::read(file, &self.seats)? {
            match known.get(&it.place()) {
                Some(there) if there.said.answers == it.said.answers => taken.known += 1,
                Some(_) => taken.other += 1,
                None => new.push(Later::Vote(Vote::from(it))),
            }
        }
        taken.new = new.len();
        self.extend(new)?;
        Ok(taken)
    }

    /// Forces lines to the disk, all of them or nothing, and takes what they say.
    pub(crate) fn extend(&mut self, new: Vec<Later>) -> Result<(), AnnotateError> {
        let text: Vec<u8> = new.iter().flat_map(|it| encoded(&it.clone().line())).collect();
        self.write(text)?;
        for later in new {
            take(&mut self.seats, &later).map_err(AnnotateError::Study)?;
            self.later.push(later);
        }
        Ok(())
    }

    fn write(&mut self, mut text: Vec<u8>) -> Result<(), AnnotateError> {
        self.taking()?;
        if text.is_empty() {
            return Ok(());
        }
        let written = self.mend(&mut text).and_then(|()| match self.file.append(&text) {
            Ok(()) => {
                self.end = End::Whole;
                Ok(())
            }
            Err(failure) => Err(failure),
        });
        match written {
            Ok(()) => Ok(()),
            Err(Failure::Changed(change)) => {
                self.state = State::Changed(change);
                self.taking()
            }
            Err(failure) => {
                if let Failure::Broken(_) = failure {
                    self.state = State::Broken;
                }
                Err(failure.at(self.file.path()))
            }
        }
    }

    /// Sees to the end of the file before something comes behind it: what was cut off goes aside, and a
    /// line that lacks its line feed gets it.
    fn mend(&mut self, text: &mut Vec<u8>) -> Result<(), Failure> {
        match &self.end {
            End::Whole => {}
            End::Unended => text.insert(0, b'\n'),
            End::Torn(bytes) => {
                let aside = beside(self.file.path(), "torn");
                let file = OpenOptions::new().create(true).append(true).open(aside);
                file.and_then(|mut it| {
                    it.write_all(bytes)?;
                    it.write_all(b"\n")?;
                    it.sync_all()
                })
                .map_err(Failure::Io)?;
                self.file.cut(self.file.length() - bytes.len() as u64)?;
                self.end = End::Whole;
            }
        }
        Ok(())
    }

    /// Whether votes are taken; where the file was changed, everything is kept aside first.
    fn taking(&mut self) -> Result<(), AnnotateError> {
        let study = self.file.path();
        if let State::Changed(change) = &self.state {
            let recovery = Recovery::make(study, &self.seats, &self.later)?;
            self.state = State::Stopped(change.clone(), Box::new(recovery));
        }
        match &self.state {
            State::Open => Ok(()),
            State::Stopped(change, _) => Err(AnnotateError::Stopped {
                study: study.to_owned(),
                change: change.clone(),
                recovery: recovery_of(study),
            }),
            State::Broken | State::Changed(_) => Err(AnnotateError::Closed(study.to_owned())),
        }
    }
}

fn replayed(whole: Whole, path: &Path) -> Result<(Seats, Vec<Later>, End), AnnotateError> {
    let mut seats = Seats::new(whole.study);
    let wrong = |line, reason| AnnotateError::Line { path: path.to_owned(), line, reason };
    if let Some((line, _)) = whole.unsaved.first() {
        return Err(wrong(*line, "stands where it may not".to_owned()));
    }
    let mut all = Vec::new();
    for (line, later) in whole.later {
        take(&mut seats, &later).map_err(|reason| wrong(line, reason))?;
        all.push(later);
    }
    Ok((seats, all, whole.end))
}

fn take(seats: &mut Seats, later: &Later) -> Result<(), String> {
    match later {
        Later::Did(did) => seats.apply(did.clone()),
        Later::Vote(vote) => {
            let outside = vote.clone().settle(seats)?;
            seats.take(vec![outside]);
            Ok(())
        }
    }
}
