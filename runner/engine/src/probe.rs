//! How long steps without history will take: each that can work on a few records of its data does, and what that
//! took is a forecast for all of them.
//!
//! Two samples are worked on, a few records and some more: what both cost alike is the beginning, such
//! as loading a model, and what the second costs more is the price of its further records. A step
//! can be probed whose kind works by records and whose inputs are all there.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use plan::Input;
use plan::graph::Work;

use crate::error::{EngineError, chain};
use crate::forecast::{Facts, Forecast};
use crate::job::Memory;
use crate::planning::Standing;
use crate::replay::ReplayError;
use crate::run::Home;
use crate::sampled::{Share, asked, data, draw, with_sample, work};

/// About so many records are worked on, first and then.
const FEW: u64 = 4;
const SOME: u64 = 24;
/// Where a few records took this long, they are all.
const LONG: Duration = Duration::from_secs(60);

/// The steps that can be probed, of those that will run and have no forecast.
pub fn steps(facts: &Facts<'_>, forecasts: &[Option<Forecast>]) -> Vec<usize> {
    let there = |input: &Input| match input {
        Input::Source(i) => facts.gathered.hashed[*i].is_some(),
        Input::Output { instance, .. } => facts.planned.standings[instance.0] == Standing::Cached,
    };
    let served = |input: &Input| match input {
        Input::Source(i) => facts.graph.sources[*i].endpoint.is_some(),
        Input::Output { .. } => false,
    };
    let can = |i: &usize| {
        let instance = &facts.graph.instances[*i];
        let Work::Kind { name, .. } = &instance.work else { return false };
        let by_record = steps::kind(name).is_some_and(|it| it.spec().shards.is_some());
        let mut inputs = instance.inputs.values().flatten();
        by_record && inputs.all(|it| there(it) && !served(it))
    };
    let unknown = |i: &usize| facts.planned.standings[*i].may_run() && forecasts[*i].is_none();
    (0..forecasts.len()).filter(unknown).filter(can).collect()
}

/// Works on some records of a step.
pub fn probe(facts: &Facts<'_>, home: &Home, i: usize) -> Result<Forecast, ReplayError> {
    let step = facts.graph.instances[i].address.to_string();
    let failed = |reason: String| ReplayError::Step { step: step.clone(), reason };
    let wrong = |it: std::io::Error| failed(it.to_string());
    let (port, inputs, _) = asked(facts, home, i).map_err(failed)?;
    let path = data(facts.store, (port, &inputs)).map_err(failed)?;
    let n = count(&path).map_err(wrong)?;
    let took = |wanted: u64| -> Result<(u64, Duration), ReplayError> {
        let room = facts.store.attempt().map_err(EngineError::from)?;
        let sample = room.path().join("sample.jsonl");
        let share = Share { of_records: wanted as f64 / n.max(1) as f64, seed: 0 };
        let drawn = draw(&path, &sample, share).map_err(wrong)?.len() as u64;
        let memory =
            Memory { store: room.path().join("kept"), space: plan::Digest([0; 32]), inputs: None };
        let given = (port, inputs.clone(), sample.as_path());
        let prepared = with_sample(facts, i, given, (room.path(), memory)).map_err(failed)?;
        let began = Instant::now();
        work(facts.store, &prepared).map_err(failed)?;
        Ok((drawn, began.elapsed()))
    };
    let few = took(FEW)?;
    let some = if few.1 < LONG && n > few.0 { took(SOME)? } else { (0, Duration::ZERO) };
    Ok(Forecast {
        unit: Some("records".to_owned()),
        units: Some(n),
        known: 0,
        tokens: None,
        took_ms: whole(n, few, some),
        like: format!("{} of its records", some.0.max(few.0)),
    })
}

/// The milliseconds of `n` records, from those of two samples.
fn whole(n: u64, few: (u64, Duration), some: (u64, Duration)) -> u64 {
    let ms = |it: Duration| it.as_secs_f64() * 1000.0;
    let (each, beginning) = match some.0.checked_sub(few.0) {
        Some(more @ 1..) if some.1 > few.1 => {
            let each = (ms(some.1) - ms(few.1)) / more as f64;
            (each, (ms(few.1) - each * few.0 as f64).max(0.0))
        }
        // Nothing tells the beginning from the records: all of it is theirs.
        _ if few.0 >= some.0 => (ms(few.1) / few.0.max(1) as f64, 0.0),
        _ => (0.0, ms(some.1)),
    };
    (beginning + each * n as f64).round() as u64
}

fn count(path: &Path) -> std::io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 18, std::fs::File::open(path)?);
    let (mut n, mut line) = (0, vec![]);
    while reader.read_until(b'\n', &mut line)? > 0 {
        n += 1;
        line.clear();
    }
    Ok(n)
}

/// What a probe that failed says.
pub fn reason(error: &ReplayError) -> String {
    chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_told_from_the_records() {
        let seconds = Duration::from_secs;
        // Ten seconds to begin, one for each record.
        assert_eq!(whole(1000, (4, seconds(14)), (24, seconds(34))), 1_010_000);
        // A few took so long that they are all.
        assert_eq!(whole(100, (4, seconds(80)), (0, Duration::ZERO)), 2_000_000);
        // More records that took no longer cost nothing that can be seen.
        assert_eq!(whole(100, (4, seconds(3)), (24, seconds(2))), 2_000);
    }
}
