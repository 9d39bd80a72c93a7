//! Votes that are kept beside a study whose file somebody changed while it was served, and how they come
//! back into it.
//!
//! `FILE.recovery` is a whole study of its own: all that counted until then, and behind it what people
//! sent afterwards, which nobody was told counts. As long as it lies there, the study is not opened to be
//! written, so that nobody is asked again for what they have answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::Journal;
use crate::study::{Later, Line, Whole, beside, encoded, read_whole, write_new};
use crate::watched::Watched;
use crate::{AnnotateError, Did, Said, Seats};

const ENDING: &str = "recovery";

/// Where the votes of a study are kept when its file is changed.
pub fn recovery_of(study: &Path) -> PathBuf {
    beside(study, ENDING)
}

/// What came back into a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whether the study was missing or cut off, and was made whole.
    pub restored: bool,
    /// So many were missing in it, beside what made it whole.
    pub new: usize,
    /// So many were there already.
    pub known: usize,
    /// Why others were not taken.
    pub other: Vec<String>,
    /// Where the file of votes lies now.
    pub file: PathBuf,
}

/// The file of votes while a study is served.
#[derive(Debug)]
pub(crate) struct Recovery {
    file: Watched,
}

impl Recovery {
    /// Keeps all that counts.
    pub(crate) fn make(
        study: &Path,
        seats: &Seats,
        later: &[Later],
    ) -> Result<Self, AnnotateError> {
        let path = recovery_of(study);
        write_new(&path, &whole_text(seats, later))?;
        Ok(Self { file: Watched::open(&path)? })
    }

    /// Keeps what somebody sent, which does not count.
    pub(crate) fn keep(&mut self, said: Said) -> Result<(), AnnotateError> {
        let line = encoded(&Line::Unsaved(said));
        let path = self.file.path().to_owned();
        self.file.append(&line).map_err(|failure| failure.at(&path))
    }
}

fn whole_text(seats: &Seats, later: &[Later]) -> Vec<u8> {
    let mut text = seats.study.encoded();
    later.iter().for_each(|it| text.extend(encoded(&it.clone().line())));
    text
}

/// Brings what was kept aside back into the study, and puts the file away.
pub fn recover(study: &Path) -> Result<Recovered, AnnotateError> {
    let path = recovery_of(study);
    if !path.exists() {
        let what = format!("there is nothing to recover: no `{}`", path.display());
        return Err(AnnotateError::Study(what));
    }
    // As long as a server keeps votes there, this says that it is busy.
    let kept_file = Watched::open(&path)?;
    let kept = read_whole(kept_file.reader().map_err(AnnotateError::io(&path))?, &path)?;
    let restored = restore(study, &kept)?;
    let mut journal = Journal::open_unguarded(study)?;
    if journal.seats().study.digest() != kept.study.digest() {
        return Err(AnnotateError::OtherStudy { study: study.to_owned(), recovery: path });
    }
    let mut merge = Merge::into(&journal);
    merge.all(kept);
    journal.extend(merge.new.clone())?;
    let file = free_name(study);
    std::fs::rename(&path, &file).map_err(AnnotateError::io(&path))?;
    let Merge { new, known, other, .. } = merge;
    Ok(Recovered { restored, new: new.len(), known, other, file })
}

/// Makes a study whole that is gone or was cut off; any other file is left alone.
fn restore(study: &Path, kept: &Whole) -> Result<bool, AnnotateError> {
    let seats = Seats::new(kept.study.clone());
    let later: Vec<Later> = kept.later.iter().map(|it| it.1.clone()).collect();
    let text = whole_text(&seats, &later);
    let there = match std::fs::read(study) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_new(study, &text)?;
            return Ok(true);
        }
        Err(error) => return Err(AnnotateError::io(study)(error)),
    };
    if there.len() >= text.len() || !text.starts_with(&there) {
        return Ok(false);
    }
    let mut file = Watched::open(study)?;
    match file.length() == there.len() as u64 {
        true => file.append(&text[there.len()..]).map(|()| true),
        false => Ok(false),
    }
    .map_err(|failure| failure.at(study))
}

/// A name under which the file of votes can stay for good.
fn free_name(study: &Path) -> PathBuf {
    let name = |n: usize| match n {
        1 => beside(study, "recovered"),
        n => beside(study, &format!("recovered-{n}")),
    };
    (1..).map(name).find(|it| !it.exists()).expect("there are more numbers than files")
}

/// What is to be appended to a study.
struct Merge {
    seats: Seats,
    /// What each annotator did there, in order.
    there: BTreeMap<String, Vec<Did>>,
    new: Vec<Later>,
    known: usize,
    other: Vec<String>,
}

/// Which of somebody's doings are taken.
enum Way {
    /// All behind the first so many: one history continues the other.
    Tail(usize),
    /// Those of these numbers that nobody took back: the histories have parted.
    Standing(BTreeSet<usize>),
}

impl Merge {
    fn into(journal: &Journal) -> Self {
        let there = by_annotator(journal.later().iter());
        let seats = journal.seats().clone();
        Self { seats, there, new: Vec::new(), known: 0, other: Vec::new() }
    }

    fn all(&mut self, kept: Whole) {
        let kept_by = by_annotator(kept.later.iter().map(|it| &it.1));
        let way = |(name, did): (&String, &Vec<Did>)| {
            let there = self.there.get(name).map_or(&[][..], Vec::as_slice);
            (name.clone(), way(there, did))
        };
        let ways: BTreeMap<String, Way> = kept_by.iter().map(way).collect();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, later) in kept.later {
            let did = match later {
                Later::Did(did) => did,
                vote => {
                    self.vote(vote);
                    continue;
                }
            };
            let n = counts.entry(did.annotator().to_owned()).or_default();
            *n += 1;
            match (&ways[did.annotator()], did) {
                (Way::Tail(skipped), did) if *n > *skipped => self.push(did),
                (Way::Tail(_), _) => self.known += 1,
                (Way::Standing(numbers), Did::Said(said)) if numbers.contains(n) => {
                    self.answer(said);
                }
                (Way::Standing(_), did @ Did::Left { .. }) => self.push(did),
                // It was taken back, or takes back.
                (Way::Standing(_), _) => {}
            }
        }
        // Who sent something twice means the last of it.
        let mut last = BTreeMap::new();
        for (_, said) in kept.unsaved {
            last.insert((said.annotator.clone(), said.unit.clone(), said.round), said);
        }
        last.into_values().for_each(|it| self.answer(it));
    }

    fn push(&mut self, did: Did) {
        match self.seats.apply(did.clone()) {
            Ok(()) => self.new.push(Later::Did(did)),
            Err(reason) => self.other.push(reason),
        }
    }

    /// An answer that may be there already, or in another way.
    fn answer(&mut self, said: Said) {
        let seat = self.seats.seat(&said.annotator);
        let same = |it: &&Said| it.unit == said.unit && it.round == said.round;
        match seat.and_then(|it| it.said().find(same)) {
            Some(there) if there.answers == said.answers => self.known += 1,
            Some(_) => {
                let (name, unit) = (&said.annotator, &said.unit);
                self.other.push(format!("`{name}` has answered `{unit}` otherwise since"));
            }
            None => self.push(Did::Said(said)),
        }
    }

    fn vote(&mut self, later: Later) {
        let Later::Vote(vote) = later else { return };
        let name = vote.annotator.clone();
        let outside = match vote.clone().settle(&self.seats) {
            Ok(outside) => outside,
            Err(reason) => return self.other.push(reason),
        };
        match self.seats.outside().iter().find(|it| it.place() == outside.place()) {
            Some(there) if there.said.answers == outside.said.answers => self.known += 1,
            Some(_) => self.other.push(format!("`{name}` votes otherwise there")),
            None => {
                self.seats.take(vec![outside]);
                self.new.push(Later::Vote(vote));
            }
        }
    }
}

fn by_annotator<'a>(later: impl Iterator<Item = &'a Later>) -> BTreeMap<String, Vec<Did>> {
    let mut all: BTreeMap<String, Vec<Did>> = BTreeMap::new();
    for it in later {
        if let Later::Did(did) = it {
            all.entry(did.annotator().to_owned()).or_default().push(did.clone());
        }
    }
    all
}

fn way(there: &[Did], kept: &[Did]) -> Way {
    if kept.starts_with(there) || there.starts_with(kept) {
        return Way::Tail(there.len());
    }
    let mut standing = Vec::new();
    for (i, did) in kept.iter().enumerate() {
        match did {
            Did::Said(_) => standing.push(i + 1),
            Did::Undo { .. } => {
                standing.pop();
            }
            Did::Left { .. } => {}
        }
    }
    Way::Standing(standing.into_iter().collect())
}
