//! Times the kinds that work on texts, on one thread: `rows_speed FOLDER [MEGABYTES [RUNS]]`. The
//! records are made from a fixed seed; each line gives the best, the median and the worst run by the
//! processor time of this process, and the median by the clock.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use plan::Digest;
use steps::{Cx, Memo, Say, StepError};

type Failure = Box<dyn std::error::Error>;

struct NoMemo;

impl Memo for NoMemo {
    fn get(&mut self, _: &Digest) -> Result<Option<Vec<u8>>, StepError> {
        Ok(None)
    }

    fn put(&mut self, _: &Digest, _: &[u8]) -> Result<(), StepError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let top = args.next().ok_or("the name of a folder is missing")?;
    let megabytes: usize = args.next().map_or(Ok(64), |it| it.parse())?;
    let runs: usize = args.next().map_or(Ok(5), |it| it.parse())?;
    let dir = Path::new(&top).join("rows-speed");
    fs::create_dir_all(&dir)?;
    let timed = all(&dir, megabytes << 20, runs);
    fs::remove_dir_all(&dir)?;
    timed
}

fn all(dir: &Path, bytes: usize, runs: usize) -> Result<(), Failure> {
    let data = dir.join("data.jsonl");
    fs::write(&data, records(bytes))?;
    let one = |port: &str, path: &Path| (port.to_owned(), vec![path.to_owned()]);
    let from = BTreeMap::from([one("data", &data)]);
    let ratios = "preset = 'ratios'\nmeasure = ['sensitive', 'repeated', 'format']";
    let works = [
        ("normalize", ""),
        ("rules", ""),
        ("rules", ratios),
        ("anonymize", ""),
        ("segment", ""),
        ("dedup", ""),
        ("stats", ""),
        ("measure", "values = { n = 'n' }\nmax = { n = 50 }"),
    ];
    for (kind, with) in works {
        time(dir, (kind, with), &from, runs)?;
    }
    // A million short records: what a threshold costs.
    let short = dir.join("short.jsonl");
    let line =
        |i: u64| format!("{{\"id\":\"{i:016x}\",\"text\":\"第{i}条，说的是天气和收成。\"}}\n");
    fs::write(&short, (0..1_000_000).map(line).collect::<String>())?;
    let outputs = work(dir, ("rules", ""), &BTreeMap::from([one("data", &short)]))?;
    let ledger = dir.join("ledger.jsonl");
    fs::rename(&outputs["ledger"], &ledger)?;
    let from = BTreeMap::from([one("data", &short), one("ledger", &ledger)]);
    time(dir, ("cut", "min = { length = 17 }"), &from, runs)
}

/// Chinese sentences of a few hundred characters, some with numbers, Latin words and wide letters.
fn records(bytes: usize) -> String {
    const CHARS: &str = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经";
    let chars: Vec<char> = CHARS.chars().collect();
    let mut state = 20_261_121_u64;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % n
    };
    let mut out = String::with_capacity(bytes + 4096);
    let mut i = 0;
    while out.len() < bytes {
        let _ = write!(out, "{{\"id\":\"{i:016x}\",\"source\":\"made\",\"n\":{i},\"text\":\"");
        for _ in 0..3 + draw(30) {
            for _ in 0..5 + draw(20) {
                out.push(chars[draw(chars.len())]);
            }
            match draw(24) {
                0 => drop(write!(out, "１{}ＡＢ", draw(1000))),
                1 => drop(write!(out, " GDP {}%", draw(100))),
                2 => drop(write!(out, "电话138{:08}", draw(100_000_000))),
                3 => out.push_str("\\n"),
                _ => {}
            }
            out.push_str(["，", "。", "！", "。\\n"][draw(4)]);
        }
        out.push_str("\"}\n");
        i += 1;
    }
    out
}

fn work(
    dir: &Path,
    (name, with): (&str, &str),
    inputs: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let kind = steps::kind(name).ok_or("there is no such kind")?;
    let slot = |it: &plan::kind::Slot| (it.name.to_owned(), dir.join(format!("out-{}", it.name)));
    let outputs: BTreeMap<String, PathBuf> = kind.spec().outputs.iter().map(slot).collect();
    let mut cx = Cx {
        inputs: inputs.clone(),
        servers: BTreeMap::new(),
        outputs: outputs.clone(),
        state: dir.join("state"),
        seed: None,
        shard: None,
        checkpoint: None,
        threads: 1,
        gpu: None,
        memo: &mut NoMemo,
        report: &mut |_: Say| {},
        stop: &|| false,
    };
    kind.run_table(with.parse()?, &mut cx)?;
    Ok(outputs)
}

fn time(
    dir: &Path,
    what: (&str, &str),
    inputs: &BTreeMap<String, Vec<PathBuf>>,
    runs: usize,
) -> Result<(), Failure> {
    let mut bytes = 0;
    for it in inputs.values().flatten() {
        bytes += fs::metadata(it)?.len();
    }
    let (mut seconds, mut clock) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (start, before) = (Instant::now(), processor_seconds()?);
        work(dir, what, inputs)?;
        seconds.push(processor_seconds()? - before);
        clock.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    clock.sort_by(f64::total_cmp);
    let (best, middle) = (seconds[0], seconds[seconds.len() / 2]);
    let (mean_speed, speed) = (bytes as f64 / 1e6 / middle, bytes as f64 / 1e6 / best);
    let (name, with) = what;
    let (worst, clock) = (seconds[seconds.len() - 1], clock[clock.len() / 2]);
    println!(
        "{name} {with:?}: {best:.2} / {middle:.2} / {worst:.2} s, {speed:.0} / {mean_speed:.0} MB/s; \
         {clock:.2} s by the clock"
    );
    Ok(())
}

/// Of this process so far, in hundredths.
fn processor_seconds() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').ok_or("no process")?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().filter_map(|it| it.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}
