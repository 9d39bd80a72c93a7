//! A plan is exact: what it says will run runs, what it says is cached does not, and what may be
//! cut off runs or is cut off. Tried on random graphs under random edits, undone edits and lost
//! objects.

use std::collections::BTreeSet;
use std::fs;

use engine::Home;
use engine::planning::Standing;
use plan::graph::Address;
use plan::{Graph, Input};
use store::Store;

use crate::stage::{Bench, graph, made, ran, step};

/// A small generator: fixed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Scripts that forget some of what they read, so that edits are often cut off.
const SCRIPTS: [&str; 4] = [
    "for o; do :; done; cat source* i* in/* 2>/dev/null | grep -v '^#' > $o || true",
    "for o; do :; done; cat in/* | wc -l > $o",
    "for o; do :; done; cat in/* | sort -u > $o",
    "for o; do :; done; cat in/* | head -n 2 > $o",
];

fn random_graph(dice: &mut Dice, params: &[u64]) -> Graph {
    let n = params.len();
    let mut instances = vec![];
    for (i, param) in params.iter().enumerate() {
        let mut inputs =
            vec![if i == 0 { Input::Source(0) } else { made(dice.roll(i as u64) as usize) }];
        if i > 1 && dice.roll(2) == 0 {
            inputs.push(made(dice.roll(i as u64) as usize));
        }
        let script = format!("{}; : {}", SCRIPTS[dice.roll(4) as usize], i as u64 * 100 + param);
        let mut instance = step(&format!("s{i}"), &script, &inputs);
        instance.address = Address { step: format!("s{i}"), each: vec![], variant: None };
        instances.push(instance);
    }
    assert_eq!(instances.len(), n);
    graph(instances)
}

fn check(bench: &Bench, graph: &Graph, what: &str) {
    let planned = bench.plan(graph);
    let names = |which: fn(&Standing) -> bool| -> BTreeSet<String> {
        let all = graph.instances.iter().zip(&planned.standings);
        all.filter(|(_, it)| which(it)).map(|(it, _)| it.address.to_string()).collect()
    };
    let will = names(|it| matches!(it, Standing::Stale(_)));
    let may = names(|it| *it == Standing::MaybeCutOff);
    let (_, events) = bench.run(graph);
    let ran: BTreeSet<String> = ran(&events).into_iter().map(str::to_owned).collect();
    assert!(will.is_subset(&ran), "{what}: will run {will:?}, ran {ran:?}");
    let possible: BTreeSet<String> = will.union(&may).cloned().collect();
    assert!(ran.is_subset(&possible), "{what}: will {will:?}, may {may:?}, ran {ran:?}");
}

fn lose_an_object(bench: &Bench, dice: &mut Dice) {
    let store = Store::open(&Home::of(bench.root()).store()).unwrap();
    let records: Vec<_> = store.records().unwrap().collect();
    let record = &records[dice.roll(records.len() as u64) as usize];
    let _ = fs::remove_file(store.object_path(&record.outputs["o"].object.digest));
}

#[test]
fn what_a_plan_says_will_run_is_what_runs() {
    for seed in 1..=6 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let bench = Bench::new("a\nb\n#x\nc\n");
        let mut params = vec![0; 8];
        let shape = Dice(dice.0).0;
        for round in 0..8 {
            let before = random_graph(&mut Dice(shape), &params);
            check(&bench, &before, &format!("seed {seed}, round {round}, before"));
            let what = match dice.roll(4) {
                0 => {
                    bench.write(
                        ["a\nb\n#y\nc\n", "a\nb\nc\n", "a\nb\nc\nd\n"][dice.roll(3) as usize],
                    );
                    "source"
                }
                1 | 2 => {
                    // Two values only, so that edits are undone as often as made.
                    let i = dice.roll(8) as usize;
                    params[i] = 1 - params[i];
                    "script"
                }
                _ => {
                    lose_an_object(&bench, &mut dice);
                    "object"
                }
            };
            let after = random_graph(&mut Dice(shape), &params);
            check(&bench, &after, &format!("seed {seed}, round {round}, {what}"));
        }
    }
}
