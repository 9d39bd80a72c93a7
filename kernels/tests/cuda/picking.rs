//! Picks on a device: the processor's tokens and the bits of their log-probabilities.

use kernels::cuda::Numerics;
use kernels::ops::sample::{Given, Pick, SampleError, Sampling, Seen};
use kernels::random::Random;
use kernels::{Cpu, Decode, Device, View};

use crate::SEEDS;
use crate::cases::{Results, numbers};
use crate::emulator::device;

type Picked = Vec<Result<Pick, SampleError>>;

/// Settings that need one, several or all of the steps.
fn settings() -> Vec<Sampling> {
    let draw = Sampling { temperature: 1.0, ..Sampling::GREEDY };
    vec![
        Sampling::GREEDY,
        Sampling { repetition_penalty: 1.7, ..Sampling::GREEDY },
        draw,
        Sampling { temperature: 0.4, top_k: 3, ..draw },
        Sampling { temperature: 1.6, top_p: 0.8, ..draw },
        Sampling { top_p: 0.0, ..draw },
        Sampling { min_p: 0.2, ..draw },
        Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, min_p: 0.01, repetition_penalty: 1.2 },
    ]
}

/// Rows of logits with ties, with tokens that cannot be, and very flat ones.
fn logits(rows: usize, vocab: usize) -> Vec<f32> {
    let mut all = numbers(rows * vocab, 17);
    for (row, logits) in all.chunks_exact_mut(vocab).enumerate() {
        match row % 4 {
            0 => logits.iter_mut().for_each(|it| *it *= 12.0),
            1 => logits.iter_mut().for_each(|it| *it = (*it * 4.0).round()),
            2 => logits.iter_mut().step_by(3).for_each(|it| *it = f32::NEG_INFINITY),
            _ => logits.iter_mut().for_each(|it| *it *= 1e-3),
        }
    }
    all
}

fn picks<D: Decode>(device: &D, vocab: usize) -> Picked {
    let (all, rows) = (settings(), 64);
    let mut seen = Seen::default();
    seen.add(&[0, 5, vocab as u32 - 1, 3, 900_000]);
    let given: Vec<Given<'_>> = (0..rows)
        .map(|row| Given {
            sampling: all[row % all.len()],
            seen: &seen,
            suppressed: if row % 3 == 0 { &[1, 7, 2] } else { &[] },
            uniform: Random::new(5, 7).unit_at(row as u64),
        })
        .collect();
    // Each setting meets each sort of logits.
    let logits: Vec<f32> = {
        let sorts = logits(4, vocab);
        (0..rows).flat_map(|row| sorts[row / all.len() % 4 * vocab..][..vocab].to_vec()).collect()
    };
    let buffer = device.upload(&logits).unwrap();
    device.pick(View::all(&buffer), &given).unwrap()
}

fn assert_picks(vocab: usize, seed: u64) {
    let Some(it) = device() else { return };
    let (cpu, cuda) = (Cpu::new(2).unwrap(), it.open(Numerics::Exact));
    it.set_seed(seed);
    assert_eq!(picks(&cuda, vocab), picks(&cpu, vocab), "{vocab} tokens");
    it.set_seed(0);
}

#[test]
fn picks_of_few_tokens_are_the_processor_s_to_the_bit() {
    assert_picks(11, SEEDS[0]);
    assert_picks(72, SEEDS[1]);
}

#[test]
fn picks_of_many_tokens_are_the_processor_s_to_the_bit() {
    assert_picks(5000, SEEDS[0]);
}

/// For planted mistakes: tokens and log-probabilities as numbers.
pub(crate) fn some<D: Decode>(device: &D) -> Results {
    let one = |it: Result<Pick, SampleError>| {
        it.map_or([-1.0; 2], |it| [it.id as f32, it.log_probability])
    };
    vec![("picks".into(), picks(device, 300).into_iter().flat_map(one).collect())]
}

#[test]
fn what_cannot_be_picked_from_is_the_same_error_on_a_device() {
    let Some(it) = device() else { return };
    let (cpu, cuda) = (Cpu::new(1).unwrap(), it.open(Numerics::Exact));
    let seen = Seen::default();
    let greedy = Given { sampling: Sampling::GREEDY, seen: &seen, suppressed: &[], uniform: 0.0 };
    let draw = Given { sampling: Sampling { temperature: 1.0, ..Sampling::GREEDY }, ..greedy };
    let none = Given { suppressed: &[0, 1, 2], ..draw };
    let rows = [[1.0, f32::INFINITY, f32::INFINITY], [f32::NEG_INFINITY; 3], [0.0, 1.0, 2.0]];
    let given = [greedy, draw, none];
    let on = |device: &dyn Fn(&[f32]) -> Picked| device(&rows.concat());
    let want = on(&|all| cpu.pick(View::all(&cpu.upload(all).unwrap()), &given).unwrap());
    let got = on(&|all| cuda.pick(View::all(&cuda.upload(all).unwrap()), &given).unwrap());
    assert_eq!(got, want);
    assert!(matches!(got[0], Err(SampleError::Logit { id: 1, .. })));
    assert!(got[1..].iter().all(|it| *it == Err(SampleError::Nothing { vocab: 3 })));
    let nan = cuda.upload(&[0.0, f32::NAN]).unwrap();
    let error = cuda.pick(View::all(&nan), &[greedy]).unwrap().remove(0).unwrap_err();
    assert_eq!(error.to_string(), "the logit of token 1 is NaN");
    let empty = cuda.upload::<f32>(&[]).unwrap();
    assert_eq!(cuda.pick(View::all(&empty), &[]).unwrap(), []);
}
