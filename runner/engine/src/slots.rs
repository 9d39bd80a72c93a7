//! Slots: how much of each pool there is, and who holds it. Devices of a pool are told apart.

use std::collections::BTreeMap;

/// What there is of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// So many equal slots (or bytes).
    Count(u64),
    /// These devices, each held by one step at a time.
    Devices(Vec<u32>),
}

/// All pools of a run.
#[derive(Debug)]
pub struct Slots {
    counts: BTreeMap<String, (u64, u64)>,         // held, all
    devices: BTreeMap<String, (Vec<u32>, usize)>, // free, all
}

/// What one unit of work holds; give it back with [`Slots::release`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    counts: BTreeMap<String, u64>,
    /// Pool to device numbers.
    pub devices: BTreeMap<String, Vec<u32>>,
}

impl Slots {
    /// Slots for these pools.
    pub fn new(pools: BTreeMap<String, Capacity>) -> Self {
        let mut slots = Self { counts: BTreeMap::new(), devices: BTreeMap::new() };
        for (name, capacity) in pools {
            match capacity {
                Capacity::Count(all) => drop(slots.counts.insert(name, (0, all))),
                Capacity::Devices(mut all) => {
                    all.sort_unstable_by(|a, b| b.cmp(a)); // the smallest is popped first
                    let n = all.len();
                    slots.devices.insert(name, (all, n));
                }
            }
        }
        slots
    }

    /// Why these slots can never be had, if so: a wish greater than the pool.
    pub fn refusal(&self, uses: &BTreeMap<String, u64>) -> Option<String> {
        uses.iter().find_map(|(pool, n)| {
            let all = match (self.counts.get(pool), self.devices.get(pool)) {
                (Some((_, all)), _) => *all,
                (_, Some((_, all))) => *all as u64,
                (None, None) => 0,
            };
            // A step that wants more processors or memory than there are runs alone.
            let alone = pool == "cpu" || pool == "mem";
            (*n > all && !alone).then(|| format!("it uses {n} of `{pool}`, and there are {all}"))
        })
    }

    /// Takes all of these slots, or none.
    pub fn take(&mut self, uses: &BTreeMap<String, u64>) -> Option<Held> {
        let fits = uses.iter().all(|(pool, n)| {
            if let Some((held, all)) = self.counts.get(pool) {
                held + n <= *all || *held == 0
            } else if let Some((free, _)) = self.devices.get(pool) {
                free.len() as u64 >= *n
            } else {
                true
            }
        });
        if !fits {
            return None;
        }
        let mut taken = Held::default();
        for (pool, n) in uses {
            if let Some((held, _)) = self.counts.get_mut(pool) {
                *held += n;
                taken.counts.insert(pool.clone(), *n);
            } else if let Some((free, _)) = self.devices.get_mut(pool) {
                let devices = free.split_off(free.len() - *n as usize);
                taken.devices.insert(pool.clone(), devices.into_iter().rev().collect());
            }
        }
        Some(taken)
    }

    /// Gives slots back.
    pub fn release(&mut self, held: Held) {
        for (pool, n) in held.counts {
            if let Some((held, _)) = self.counts.get_mut(&pool) {
                *held -= n;
            }
        }
        for (pool, devices) in held.devices {
            if let Some((free, _)) = self.devices.get_mut(&pool) {
                free.extend(devices);
                free.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
    }

    fn slots() -> Slots {
        Slots::new(BTreeMap::from([
            ("cpu".to_owned(), Capacity::Count(2)),
            ("gpu".to_owned(), Capacity::Devices(vec![3, 0, 1])),
        ]))
    }

    #[test]
    fn takes_all_or_nothing_and_gives_back() {
        let mut slots = slots();
        let first = slots.take(&uses(&[("cpu", 1), ("gpu", 2)])).unwrap();
        assert_eq!(first.devices["gpu"], [0, 1]);
        assert_eq!(slots.take(&uses(&[("cpu", 1), ("gpu", 2)])), None);
        let second = slots.take(&uses(&[("cpu", 1), ("gpu", 1)])).unwrap();
        assert_eq!(second.devices["gpu"], [3]);
        slots.release(first);
        slots.release(second);
        assert_eq!(slots.take(&uses(&[("gpu", 3)])).unwrap().devices["gpu"], [0, 1, 3]);
    }

    #[test]
    fn a_step_that_wants_more_processors_than_there_are_runs_alone() {
        let mut slots = slots();
        let small = slots.take(&uses(&[("cpu", 1)])).unwrap();
        assert_eq!(slots.take(&uses(&[("cpu", 8)])), None);
        slots.release(small);
        assert!(slots.take(&uses(&[("cpu", 8)])).is_some());
    }

    #[test]
    fn more_devices_than_there_are_is_refused() {
        let said = slots().refusal(&uses(&[("gpu", 4)]));
        assert_eq!(said.as_deref(), Some("it uses 4 of `gpu`, and there are 3"));
        assert_eq!(slots().refusal(&uses(&[("cpu", 400)])), None);
    }
}
