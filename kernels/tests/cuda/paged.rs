//! Prompts over cached keys and values: near the processor's numbers, and a row's bits whatever lies beside
//! its keys, whoever comes along, and however its prompt is cut.

use kernels::cuda::{Numerics, Settings};
use kernels::ops::attention::{Forward, Heads};
use kernels::ops::paged::{CacheShape, Run, Tokens};
use kernels::{Cuda, Device, Dtype, View, ViewMut};

use crate::cases::{Results, download, numbers, upload};
use crate::emulator::{device, emulator};
use crate::{SEEDS, assert_near, distance};

/// What lies in a cache before its sequences come.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Before {
    Zeros,
    NoNumbers,
}

/// Prompts, the first number of which is their seed, and how many tokens each of them has in each step.
pub(crate) struct Prompts<'a> {
    pub(crate) heads: Heads,
    pub(crate) seeds: &'a [u32],
    pub(crate) steps: &'a [&'a [usize]],
}

impl Prompts<'_> {
    /// What attention gives each of them.
    pub(crate) fn attend<D: Device>(&self, device: &D, before: Before) -> Vec<Vec<f32>> {
        let Prompts { heads, seeds, steps } = *self;
        let length = |it: usize| steps.iter().map(|step| step[it]).sum::<usize>();
        let n_blocks = (0..seeds.len()).map(|it| length(it).div_ceil(D::BLOCK)).sum::<usize>();
        // Their blocks lie apart, and between those of others.
        let all = (2 * n_blocks).next_multiple_of(7) + 1;
        let mut free = (0..all).map(|it| ((it * 7 + 3) % all) as u32);
        let mut take = |n: usize| free.by_ref().take(n.div_ceil(D::BLOCK)).collect::<Vec<_>>();
        let blocks: Vec<_> = (0..seeds.len()).map(|it| take(length(it))).collect();
        let shape = CacheShape { layers: 2, blocks: all, kv_heads: heads.kv, head_dim: heads.dim };
        let mut cache = device.cache(shape).unwrap();
        if before == Before::NoNumbers {
            let rows = all * D::BLOCK;
            let qkv = device.upload(&vec![half::bf16::NAN; rows * heads.row()]).unwrap();
            let runs = [Run { first_row: 0, rows, past: 0, blocks: (0..all as u32).collect() }];
            let tokens = || Tokens { qkv: View::all(&qkv), heads, runs: &runs };
            for layer in 0..shape.layers {
                device.cache_append(&mut cache, layer, tokens()).unwrap();
            }
        }
        let mut results = vec![Vec::new(); seeds.len()];
        for step in steps {
            let mut runs = Vec::new();
            let mut rows: Vec<half::bf16> = Vec::new();
            for (it, &n) in step.iter().enumerate().filter(|it| *it.1 > 0) {
                let past = results[it].len() / heads.out();
                let all = numbers(length(it) * heads.row(), seeds[it]);
                let first_row = rows.len() / heads.row();
                let own = &all[past * heads.row()..][..n * heads.row()];
                rows.extend(own.iter().map(|it| half::bf16::from_f32(*it)));
                runs.push(Run { first_row, rows: n, past, blocks: blocks[it].clone() });
            }
            let (n, qkv) = (rows.len() / heads.row(), device.upload(&rows).unwrap());
            let tokens = || Tokens { qkv: View::all(&qkv), heads, runs: &runs };
            device.cache_append(&mut cache, 1, tokens()).unwrap();
            let mut out = device.zeros(Dtype::Bf16, n * heads.out()).unwrap();
            device.attention_paged(&cache, 1, tokens(), ViewMut::all(&mut out)).unwrap();
            let out = download(device, &out);
            let mut rest = out.chunks_exact(heads.out());
            for (it, &n) in step.iter().enumerate() {
                results[it].extend(rest.by_ref().take(n).flatten());
            }
        }
        results
    }
}

const HEADS: [Heads; 3] = [
    Heads { query: 4, kv: 2, dim: 64 },
    Heads { query: 3, kv: 1, dim: 128 },
    Heads { query: 2, kv: 2, dim: 64 },
];

/// Several prompts with different pasts, some of whose parts end at borders of pages and tiles.
fn several<D: Device>(device: &D, heads: Heads) -> Results {
    let steps: &[&[usize]] = &[&[1, 128, 33, 200], &[5, 1, 0, 97], &[0, 31, 95, 3]];
    let prompts = Prompts { heads, seeds: &[1, 2, 3, 4], steps };
    let all = prompts.attend(device, Before::Zeros);
    (0..).zip(all).map(|(n, it): (usize, _)| (format!("{heads:?} prompt {n}"), it)).collect()
}

#[test]
fn attention_of_prompts_over_pages_is_near_the_processor_s() {
    let Some(it) = device() else { return };
    for (capability, heads) in [80, 90].into_iter().flat_map(|it| HEADS.map(|heads| (it, heads))) {
        it.set_capability(capability);
        assert_near(|it| several(it, heads), |it| several(it, heads), |_| 8e-3);
        it.set_capability(80);
    }
}

/// The bits of a prompt in parts, between others and with no numbers beside its keys, are those of the same
/// prompt at once and alone, and of attention without a cache.
#[test]
fn a_prompt_s_bits_do_not_depend_on_parts_company_and_what_lies_beside_its_keys() {
    let Some(it) = device() else { return };
    const LENGTH: usize = 330;
    for (capability, heads) in [80, 90].into_iter().flat_map(|it| HEADS.map(|heads| (it, heads))) {
        it.set_capability(capability);
        let cuda = it.open(Numerics::Bf16);
        it.set_capability(80);
        let alone = Prompts { heads, seeds: &[9], steps: &[&[LENGTH]] };
        let want = alone.attend(&cuda, Before::Zeros).remove(0);
        let steps: &[&[usize]] = &[&[3, 1, 0], &[127, 70, 1], &[0, 130, 64], &[1, 129, 65]];
        let beside = Prompts { heads, seeds: &[5, 9, 6], steps };
        for seed in SEEDS {
            it.set_seed(seed);
            let all = beside.attend(&cuda, Before::NoNumbers);
            assert!(all.iter().flatten().all(|it| it.is_finite()), "{capability} {heads:?}");
            assert_eq!(all[1], want, "{capability} {heads:?}");
        }
        it.set_seed(SEEDS[0]);
        let qkv = upload(&cuda, Dtype::Bf16, LENGTH * heads.row(), 9);
        let mut out = cuda.zeros(Dtype::Bf16, LENGTH * heads.out()).unwrap();
        let mut lse = cuda.zeros(Dtype::F32, LENGTH * heads.query).unwrap();
        let given = Forward { qkv: View::all(&qkv), spans: &[0, LENGTH as u32], heads };
        cuda.attention(given, ViewMut::all(&mut out), ViewMut::all(&mut lse)).unwrap();
        assert_eq!(download(&cuda, &out), want, "{capability} {heads:?}");
    }
}

/// Hopper's way is taken where it can be: its sums are others.
#[test]
fn prompts_on_hopper_go_by_its_own_instructions() {
    let Some(it) = emulator() else { return };
    let of = |capability| {
        it.set_capability(capability);
        let settings = Settings { portable: false, ..it.settings(Numerics::Bf16) };
        let cuda = Cuda::open(settings).unwrap();
        it.set_capability(80);
        let prompts = Prompts { heads: HEADS[0], seeds: &[1], steps: &[&[200]] };
        prompts.attend(&cuda, Before::Zeros).remove(0)
    };
    let (hopper, others) = (of(90), of(80));
    assert_ne!(hopper, others);
    assert!(distance(&hopper, &others) < 8e-3);
}
