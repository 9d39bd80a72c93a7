//! Records in batches on several threads: what comes out depends neither on their number nor on
//! where a batch ends, and no more than a batch is in memory.

use std::path::PathBuf;

use crate::model::record::Unfit;
use crate::records::{Lines, Output, Progress, count_lines};
use crate::text::ledger::Verdict;
use crate::{Cx, StepError};

/// A batch is full with so many bytes.
const BATCH_BYTES: usize = 8 << 20;

/// The records of a step's shard.
pub(crate) struct Source {
    path: PathBuf,
    lines: Lines,
    end: u64,
    progress: Progress,
}

/// Lines that are worked on together.
struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
    /// How many lines of the file stand before it.
    before: u64,
}

impl Source {
    /// The records of a port; of the shard, where the step is sharded.
    pub(crate) fn open(port: &'static str, cx: &Cx<'_>) -> Result<Self, StepError> {
        let path = cx.input(port)?.to_owned();
        let mut lines = Lines::open(&path)?;
        let (mut end, mut total) = (u64::MAX, None);
        if let Some(shard) = cx.shard {
            let range = shard.range(count_lines(&path, cx)?);
            lines.skip(range.start)?;
            end = range.end;
            total = Some(range.end - range.start);
        }
        Ok(Self { path, lines, end, progress: Progress::new("records", total) })
    }

    /// Gives each record to `work`, on all threads of the step, and what `work` gathered from
    /// neighbouring records to `take`, in the order of the records. The gatherings may be cut
    /// anywhere: whatever they hold must mean the same when it is put together.
    pub(crate) fn each<P, W, T>(
        &mut self,
        cx: &mut Cx<'_>,
        work: &W,
        take: &mut T,
    ) -> Result<(), StepError>
    where
        P: Default + Send,
        W: Fn(&[u8], &mut P) -> Result<(), Unfit> + Sync,
        T: FnMut(P) -> Result<(), StepError>,
    {
        let mut batch = Batch { bytes: Vec::new(), ends: Vec::new(), before: 0 };
        let mut line = Vec::new();
        loop {
            batch.bytes.clear();
            batch.ends.clear();
            batch.before = self.lines.line;
            while batch.bytes.len() < BATCH_BYTES && self.lines.line < self.end {
                cx.check_stop()?;
                if !self.lines.next(&mut line)? {
                    break;
                }
                batch.bytes.extend_from_slice(&line);
                batch.ends.push(batch.bytes.len());
            }
            if batch.ends.is_empty() {
                self.progress.say(cx);
                return Ok(());
            }
            for (part, wrong) in batch.work(cx.threads, work) {
                if let Some((i, it)) = wrong {
                    let line = batch.before + i as u64 + 1;
                    let file = self.path.clone();
                    let (field, reason) = (it.field, it.reason);
                    return Err(StepError::Record { file, line, field, reason });
                }
                take(part)?;
            }
            self.progress.did(batch.ends.len() as u64, cx);
        }
    }
}

/// What a kind that filters makes of neighbouring records.
#[derive(Default)]
pub(crate) struct Sieved<S> {
    /// The records that go on, with their line feeds.
    pub(crate) data: Vec<u8>,
    /// The lines of the ledger.
    pub(crate) ledger: Vec<u8>,
    /// Memory that is used again; it says nothing about records.
    pub(crate) scratch: S,
}

impl<S> Sieved<S> {
    /// How many records go on: each is a line of `data`.
    pub(crate) fn kept(&self) -> u64 {
        n_lines(&self.data)
    }

    /// How many do not: each record is a line of `ledger`.
    pub(crate) fn dropped(&self) -> u64 {
        n_lines(&self.ledger) - self.kept()
    }

    /// Writes the ledger's line, and says whether the record goes on.
    pub(crate) fn judge(&mut self, verdict: &Verdict<'_>) -> bool {
        verdict.write(&mut self.ledger);
        verdict.fails.is_empty()
    }
}

/// Runs a kind with the slots `data` and `ledger` over the records of its port `data`.
pub(crate) fn sieve<S, W>(cx: &mut Cx<'_>, work: &W) -> Result<(), StepError>
where
    S: Default + Send,
    W: Fn(&[u8], &mut Sieved<S>) -> Result<(), Unfit> + Sync,
{
    let mut source = Source::open("data", cx)?;
    let mut data = Output::create(cx.output("data")?)?;
    let mut ledger = Output::create(cx.output("ledger")?)?;
    let (mut kept, mut dropped) = (0, 0);
    source.each(cx, work, &mut |part: Sieved<S>| {
        kept += part.kept();
        dropped += part.dropped();
        data.bytes(&part.data)?;
        ledger.bytes(&part.ledger)
    })?;
    data.finish()?;
    ledger.finish()?;
    cx.count("kept", kept);
    cx.count("dropped", dropped);
    Ok(())
}

fn n_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|it| **it == b'\n').count() as u64
}

/// What was gathered, and the record that ended it early.
type Gathered<P> = (P, Option<(usize, Unfit)>);

impl Batch {
    fn line(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    fn work<P, W>(&self, threads: usize, work: &W) -> Vec<Gathered<P>>
    where
        P: Default + Send,
        W: Fn(&[u8], &mut P) -> Result<(), Unfit> + Sync,
    {
        let run = |range: std::ops::Range<usize>| {
            let mut part = P::default();
            for i in range {
                if let Err(it) = work(self.line(i), &mut part) {
                    return (part, Some((i, it)));
                }
            }
            (part, None)
        };
        let ranges = self.ranges(threads);
        if let [range] = &ranges[..] {
            return vec![run(range.clone())];
        }
        std::thread::scope(|scope| {
            let run = &run;
            let all: Vec<_> =
                ranges.into_iter().map(|range| scope.spawn(move || run(range))).collect();
            let join = |it: std::thread::ScopedJoinHandle<'_, Gathered<P>>| {
                it.join().unwrap_or_else(|it| std::panic::resume_unwind(it))
            };
            all.into_iter().map(join).collect()
        })
    }

    /// One range of lines for each thread, of about as many bytes each.
    fn ranges(&self, threads: usize) -> Vec<std::ops::Range<usize>> {
        let n = threads.clamp(1, self.ends.len());
        let mut all = Vec::with_capacity(n);
        let mut start = 0;
        for i in 1..=n {
            let end = match i == n {
                true => self.ends.len(),
                false => self.ends.partition_point(|it| *it <= self.bytes.len() / n * i),
            };
            if end > start {
                all.push(start..end);
            }
            start = end.max(start);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_a_batch_cover_every_line_once() {
        for lengths in [vec![5], vec![0, 0, 0], vec![1, 100, 1, 1], vec![7; 100]] {
            let sum = |at: &mut usize, it: &usize| {
                *at += it;
                Some(*at)
            };
            let ends: Vec<usize> = lengths.iter().scan(0, sum).collect();
            let bytes = vec![b'x'; *ends.last().unwrap()];
            let n = ends.len();
            let batch = Batch { bytes, ends, before: 0 };
            for threads in [1, 2, 3, 64] {
                let lines: Vec<usize> = batch.ranges(threads).into_iter().flatten().collect();
                assert_eq!(lines, (0..n).collect::<Vec<_>>());
            }
        }
    }
}
