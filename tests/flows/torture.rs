//! Kills the engine, its workers, or both, at seeded moments, until the work is done; then the
//! results must be those of a run that nobody disturbed, and nothing that was finished may have
//! been done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;

use crate::place::{Place, Started, kill_group, pause};
use crate::seed::Dice;

/// How often something is killed where nothing else is asked for.
const FEW: u64 = 40;
/// Asks for another number.
const VARIABLE: &str = "KUN_TORTURE";
const N_RECORDS: usize = 120;
/// Records that `map` has on their way in one shard.
const WINDOW: usize = 4;

const STEP: &str = r#"
name=$1 log=$2 marks=$3 from=$4 to=$5
echo "begins $name" >> "$log"
if [ "${name#first}" != "$name" ] && ! [ -e "$marks/$name" ]; then
  : > "$marks/$name"; echo "half" > "$to"; exit 3
fi
head -n 3 "$from" > "$to"
sleep 0.06
cat "$from" > "$to"
echo "ends $name" >> "$log"
"#;

const MAP: &str = r#"
log=$1
while IFS= read -r line; do
  echo "record $line" >> "$log"
  sleep 0.004
  echo "$line"
done
"#;

/// Fan-out, chains, joins, shards with a memo of records, a kind, a program that fails at first.
fn manifest(place: &Place) -> String {
    let (log, marks) = (place.log().display().to_string(), place.beside("marks"));
    let marks = marks.display();
    let program = |name: &str, from: &str| {
        format!(
            "run = ['sh', 'step.sh', '{name}', '{log}', '{marks}', '{from}', '${{out.data}}']\n\
             out = {{ data = 'records' }}\ncode = ['step.sh']\n"
        )
    };
    format!(
        "[workflow]\nname = 'torture'\nformat = 1\nseed = 3\ntargets = ['last', 'number', 'second']\n\
         [sources]\na = {{ path = 'a.jsonl' }}\nb = {{ path = 'b.jsonl' }}\nc = {{ path = 'c.jsonl' }}\n\
         [defaults]\nretries = {{ max = 3, backoff = '10ms..40ms', on = ['exit', 'signal'] }}\n\
         [steps.first]\neach = {{ s = ['a', 'b', 'c'] }}\nin = {{ i = '${{sources[each.s]}}' }}\n{}\
         [steps.second]\neach = {{ s = ['a', 'b', 'c'] }}\nin = {{ i = '${{steps.first[each.s].data}}' }}\n{}\
         [steps.joined]\nop = 'concat'\nin = {{ parts = '${{steps.second[*].data}}' }}\n\
         [steps.mapped]\nop = 'map'\nin = {{ data = '${{steps.joined.data}}' }}\nshards = 3\n\
         with = {{ run = ['sh', '{}', '{log}'], same = ['id'], window = {WINDOW} }}\n\
         [steps.last]\nin = {{ i = '${{steps.mapped.data}}', j = '${{steps.joined.data}}' }}\n{}\
         [steps.number]\nop = 'count'\nin = {{ data = '${{steps.last.data}}' }}\n",
        program("first[${each.s}]", "${in.i}"),
        program("second[${each.s}]", "${in.i}"),
        place.beside("map.sh").display(),
        program("last", "${in.i}"),
    )
}

fn project() -> Place {
    let place = Place::new();
    place.write("workflow.toml", manifest(&place));
    place.write("step.sh", STEP);
    std::fs::write(place.beside("map.sh"), MAP).unwrap();
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let record = |n| format!("{{\"id\":\"{name}{n}\"}}\n");
        let text: String = (i..N_RECORDS / 3 + i).map(record).collect();
        place.write(&format!("{name}.jsonl"), text);
    }
    place
}

/// What was killed, and how often.
type Tally = BTreeMap<&'static str, u64>;

#[test]
fn whatever_is_killed_whenever_the_results_are_those_of_an_undisturbed_run() {
    let asked = std::env::var(VARIABLE).ok().map(|it| it.parse().expect("a number of kills"));
    let wanted: u64 = asked.unwrap_or(FEW);
    let calm = project();
    calm.good("run --jobs 2 -q");
    let right = calm.results();
    assert_eq!(right.len(), 5, "{:?}", right.keys());
    let (mut dice, mut tally, mut rounds, mut asked_again) = (Dice::of_today(), Tally::new(), 0, 0);
    while tally.values().sum::<u64>() < wanted {
        rounds += 1;
        let place = project();
        let kills = round(&place, &mut dice, &mut tally, wanted);
        assert_eq!(place.results(), right, "round {rounds}, {tally:?}");
        place.verify("after a round");
        asked_again += check_records(&place, kills);
        let n_lines = place.lines().len();
        place.good("run --jobs 2");
        assert_eq!(place.lines().len(), n_lines, "something ran after all was done");
    }
    let n: u64 = tally.values().sum();
    let said =
        format!("{n} kills in {rounds} rounds: {tally:?}; {asked_again} records asked again");
    std::io::Write::write_all(&mut std::io::stderr(), format!("{said}\n").as_bytes()).unwrap();
}

/// One project until its work is done; gives the number of kills.
fn round(place: &Place, dice: &mut Dice, tally: &mut Tally, wanted: u64) -> u64 {
    let mut done = BTreeSet::new();
    let mut kills = 0;
    // From blow upon blow to one in half a second.
    let longest = 80 + dice.roll(800);
    loop {
        let seen = place.lines().len();
        let mut engine = place.start("run --jobs 3 -q --grace 5");
        while tally.values().sum::<u64>() < wanted && !engine.has_ended() {
            pause(Duration::from_micros(500 * (20 + dice.roll(longest))));
            let Some(what) = strike(&mut engine, dice) else { continue };
            *tally.entry(what).or_default() += 1;
            kills += 1;
            if !what.starts_with("worker") {
                break;
            }
        }
        let code = engine.wait();
        not_again(place, &done, seen);
        if code == Some(0) {
            return kills;
        }
        // Steps fail here only when they were killed too often.
        let said = engine.said();
        assert!(!said.contains("panicked"), "{said}");
        assert!(matches!(code, None | Some(1 | 130)), "exit {code:?}: {said}");
        done = place.recorded();
    }
}

/// Kills something; none: there was nothing.
fn strike(engine: &mut Started, dice: &mut Dice) -> Option<&'static str> {
    let below = engine.children();
    if engine.has_ended() {
        return None;
    }
    match dice.roll(8) {
        0..=2 => {
            engine.signal(Signal::KILL);
            Some("engine")
        }
        3 | 4 => {
            engine.signal(Signal::KILL);
            below.into_iter().for_each(kill_group);
            Some("both")
        }
        5 | 6 => {
            let i = dice.roll(below.len().max(1) as u64) as usize;
            kill_group(*below.get(i)?);
            Some("worker")
        }
        _ => {
            engine.signal(if dice.roll(2) == 0 { Signal::TERM } else { Signal::INT });
            Some("asked to stop")
        }
    }
}

/// Nothing that had a record began again.
fn not_again(place: &Place, done: &BTreeSet<String>, seen: usize) {
    for line in &place.lines()[seen..] {
        let name = line.strip_prefix("begins ").unwrap_or_default();
        assert!(!done.contains(name), "`{name}` ran again");
        assert!(!(line.starts_with("record ") && done.contains("mapped")), "`mapped` ran again");
    }
}

/// A record is asked about again only if it was on its way when something was killed.
fn check_records(place: &Place, kills: u64) -> usize {
    let times = place.times();
    let asked: Vec<usize> =
        times.iter().filter(|it| it.0.starts_with("record ")).map(|it| *it.1).collect();
    let n_different = 3 * (N_RECORDS / 3);
    assert_eq!(asked.len(), n_different);
    let again = asked.iter().sum::<usize>() - n_different;
    let bound = kills as usize * 3 * (WINDOW + 1);
    assert!(again <= bound, "{again} records were asked about again after {kills} kills");
    again
}
