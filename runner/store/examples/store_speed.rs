//! Times what must be fast, in a folder that is made and removed: `store_speed FOLDER`.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use plan::kind::Form;
use plan::{Digest, Key, RecursiveKey};
use store::{
    Durability, Object, RECORD_FORMAT, Record, RecordOutput, Rows, Settings, Stats, Store,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let top = std::env::args_os().nth(1).ok_or("the name of a folder is missing")?;
    let dir = Path::new(&top).join("store-speed");
    fs::create_dir_all(&dir)?;
    let timed = index(&dir).and_then(|()| stats(&dir)).and_then(|()| rows(&dir));
    fs::remove_dir_all(&dir)?;
    timed
}

fn index(dir: &Path) -> Result<(), Failure> {
    let fast = Settings { durability: Durability::Fast, ..Settings::default() };
    let store = Store::open_with(&dir.join("fast"), fast)?;
    let object = store.put_bytes(b"out")?;
    let records: Vec<Record> = (0..10_000).map(|n| record(n, object)).collect();
    time("commit of 10,000 records, not waiting for the disk", || store.commit(&records))?;
    let index = time("index of 10,000 records", || store.index())?;
    time("10,000 look-ups of an output", || {
        let found = records.iter().filter(|it| {
            let key = index.key(&it.recursive);
            key.is_some_and(|it| index.output(&it, "data").is_some())
        });
        assert_eq!(found.count(), records.len());
        Ok(())
    })?;
    let full = Store::open(&dir.join("full"))?;
    let object = full.put_bytes(b"out")?;
    for n in 0..3 {
        let name = "durable commit of 1 record";
        time(name, || {
            full.commit(&records[n..n + 1].iter().map(|it| with(it, object)).collect::<Vec<_>>())
        })?;
    }
    time("durable commit of 64 records", || full.commit(&records[100..164]))?;
    Ok(())
}

fn stats(dir: &Path) -> Result<(), Failure> {
    let files = dir.join("files");
    fs::create_dir(&files)?;
    for n in 0..10_000 {
        fs::write(files.join(n.to_string()), n.to_string())?;
    }
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let cache = dir.join("stat.cache");
    let stats = Stats::open(&cache);
    time("first digest of a tree of 10,000 files", || stats.digest_path(&files))?;
    stats.save()?;
    let stats = time("opening 10,000 remembered digests", || Ok(Stats::open(&cache)))?;
    time("10,000 remembered files, one by one", || {
        (0..10_000).try_for_each(|n| stats.digest_file(&files.join(n.to_string())).map(|_| ()))
    })?;
    time("remembered tree of 10,000 files", || stats.digest_path(&files))?;
    Ok(())
}

fn rows(dir: &Path) -> Result<(), Failure> {
    let store = Store::open(&dir.join("rows"))?;
    let space = Digest::of(b"space");
    let rows = Rows::open(&store, &space)?;
    time("1,000,000 rows of 200 bytes put", || {
        (0..1_000_000_u32).try_for_each(|n| rows.put(&Digest::of(&n.to_le_bytes()), &[7; 200]))
    })?;
    drop(rows);
    time("1,000,000 rows opened, all read", || Rows::open(&store, &space))?;
    let rows = time("1,000,000 rows opened", || Rows::open(&store, &space))?;
    time("100,000 rows got", || {
        (0..100_000_u32).try_for_each(|n| rows.get(&Digest::of(&n.to_le_bytes())).map(|_| ()))
    })?;
    Ok(())
}

fn time<T>(name: &str, work: impl FnOnce() -> store::Result<T>) -> store::Result<T> {
    let cpu = cpu_ms();
    let begin = Instant::now();
    let done = work()?;
    let wall = begin.elapsed().as_secs_f64() * 1e3;
    println!("{wall:9.2} ms wall {:9.2} ms cpu  {name}", cpu_ms() - cpu);
    Ok(done)
}

fn cpu_ms() -> f64 {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    clock.tv_sec as f64 * 1e3 + clock.tv_nsec as f64 / 1e6
}

fn with(record: &Record, object: Object) -> Record {
    let mut record = record.clone();
    record.outputs.values_mut().for_each(|it| it.object = object);
    record
}

fn record(n: u32, object: Object) -> Record {
    let output = RecordOutput { object, form: Form::File, file: format!("step-{n}.txt") };
    Record {
        format: RECORD_FORMAT,
        key: Key(Digest::of(&n.to_le_bytes()).0),
        recursive: RecursiveKey(Digest::of(&[&b"r"[..], &n.to_le_bytes()].concat()).0),
        family: Digest::of(b"family"),
        address: format!("lane{}/step{n}", n % 10),
        parts: BTreeMap::from([("kind".to_owned(), "run".to_owned())]),
        outputs: BTreeMap::from([("data".to_owned(), output)]),
        counts: BTreeMap::new(),
        started: 1_700_000_000_000,
        took_ms: 12,
        cpu_ms: 10,
        peak_bytes: 1 << 20,
        host: "host".to_owned(),
        kun: "0.1.0".to_owned(),
        attempts: 1,
        read: BTreeMap::new(),
        work: None,
    }
}
