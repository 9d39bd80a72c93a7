//! The operations of decoding: near their twin, the same on Hopper, and a row's bits whatever comes along.

use half::bf16;
use kernels::cuda::{Numerics, Settings};
use kernels::ops::attention::Heads;
use kernels::ops::decode::{Attending, DecodeQkv, NOBODY, Norm, Parts, Places};
use kernels::ops::paged::{CacheShape, Run, Tokens};
use kernels::ops::rope::{Direction, RopeTable};
use kernels::{Cuda, Decode, Device, Dtype, View, ViewMut};

use crate::cases::{Results, download, upload};
use crate::emulator::{device, emulator};
use crate::{SEEDS, assert_near, assert_same};

/// The sums of a product of some rows of bf16.
pub(crate) fn product<D: Decode>(
    device: &D,
    rows: usize,
    features: usize,
    depth: usize,
) -> Vec<f32> {
    let x = upload(device, Dtype::Bf16, 300 * depth, 1);
    let w = upload(device, Dtype::Bf16, features * depth, 2);
    let w = device.pack(View::all(&w).rows(depth)).unwrap();
    let parts = device.decode_parts(&w);
    let mut numbers = upload(device, Dtype::F32, parts * rows * features, 3);
    let x = View::all(&x).part(0..rows * depth).rows(depth);
    device.decode_product(x, &w, ViewMut::all(&mut numbers)).unwrap();
    let mut out = device.zeros(Dtype::F32, rows * features).unwrap();
    let parts = Parts { numbers: View::all(&numbers), parts };
    device.decode_total(parts, ViewMut::all(&mut out)).unwrap();
    download(device, &out)
}

/// Rows, features and depths, some of which make several parts.
const PRODUCTS: [(usize, usize, usize); 7] = [
    (1, 1, 8),
    (3, 70, 24),
    (8, 64, 136),
    (13, 66, 520),
    (30, 5, 1032),
    (70, 24, 72),
    (200, 8, 64),
];

pub(crate) fn products<D: Decode>(device: &D) -> Results {
    let one = |(rows, features, depth)| {
        (format!("{rows}x{features}x{depth}"), product(device, rows, features, depth))
    };
    PRODUCTS.into_iter().map(one).collect()
}

/// What is done with the parts of products.
pub(crate) fn finishing<D: Decode>(device: &D) -> Results {
    let mut results = Results::new();
    for (n, (rows, width)) in (1..).zip([(1, 8), (3, 40), (5, 515)]) {
        let numbers = upload(device, Dtype::F32, n * rows * 2 * width, 1);
        let parts = Parts { numbers: View::all(&numbers), parts: n };
        let mut gated = device.zeros(Dtype::Bf16, rows * width).unwrap();
        device.decode_gate(parts, width, ViewMut::all(&mut gated)).unwrap();
        let half = View::all(&numbers).part(0..n * rows * width);
        let parts = Parts { numbers: half, parts: n };
        let mut total = device.zeros(Dtype::Bf16, rows * width).unwrap();
        device.decode_total(parts, ViewMut::all(&mut total)).unwrap();
        results.push((format!("gate {n}"), download(device, &gated)));
        results.push((format!("total {n}"), download(device, &total)));
        for (parts, g) in [(None, Dtype::Bf16), (Some(parts), Dtype::F32)] {
            let mut x = upload(device, Dtype::Bf16, rows * width, 2);
            let gain = upload(device, g, width, 3);
            let mut out = device.zeros(Dtype::Bf16, rows * width).unwrap();
            let given = Norm { parts, gain: View::all(&gain), eps: 1e-5 };
            device.decode_norm(given, ViewMut::all(&mut x), ViewMut::all(&mut out)).unwrap();
            results.push((format!("stream {n} {g}"), download(device, &x)));
            results.push((format!("norm {n} {g}"), download(device, &out)));
        }
    }
    results
}

/// Sequences whose cached tokens end beside the borders of blocks, loads and splits.
const LENGTHS: [usize; 9] = [0, 1, 31, 32, 63, 64, 255, 256, 600];
const MOST: usize = 640;

/// Decodes one token for each sequence of these lengths, after a prompt of that many; rows without a
/// sequence are nobody's. Gives the results of attention, row by row.
fn attention_of<D: Decode>(device: &D, heads: Heads, lengths: &[Option<usize>]) -> Vec<Vec<f32>> {
    let stride = MOST / D::BLOCK;
    // Blocks of a sequence lie apart, and those of the same length are always the same ones.
    let block = |length: usize, n: usize| {
        let sequence = LENGTHS.iter().position(|it| *it == length).unwrap();
        ((n * 7 + 3) % stride * LENGTHS.len() + sequence) as u32
    };
    let blocks = stride * LENGTHS.len();
    let shape = CacheShape { layers: 2, blocks, kv_heads: heads.kv, head_dim: heads.dim };
    let mut cache = device.cache(shape).unwrap();
    for &length in LENGTHS.iter().filter(|it| **it > 0) {
        let qkv = upload(device, Dtype::Bf16, length * heads.row(), length as u32);
        let blocks = (0..length.div_ceil(D::BLOCK)).map(|n| block(length, n)).collect();
        let runs = [Run { first_row: 0, rows: length, past: 0, blocks }];
        let tokens = Tokens { qkv: View::all(&qkv), heads, runs: &runs };
        device.cache_append(&mut cache, 1, tokens).unwrap();
    }
    let rows = lengths.len();
    let position = |it: &Option<usize>| it.map_or(NOBODY, |it| it as u32);
    let positions: Vec<u32> = lengths.iter().map(position).collect();
    let row = |it: &Option<usize>| -> Vec<u32> {
        (0..stride).map(|n| it.map_or(u32::MAX, |it| block(it, n))).collect()
    };
    let table: Vec<u32> = lengths.iter().flat_map(row).collect();
    let (positions, table) = (device.upload(&positions).unwrap(), device.upload(&table).unwrap());
    let places = Places { positions: View::all(&positions), blocks: View::all(&table), splits: 4 };
    // A row's product depends on its length alone.
    let numbers: Vec<f32> = lengths
        .iter()
        .flat_map(|it| crate::cases::numbers(heads.row(), it.map_or(9, |it| it as u32 + 77)))
        .collect();
    let again = numbers.iter().map(|it| it * 0.5);
    let numbers: Vec<f32> = numbers.iter().copied().chain(again).collect();
    let numbers = device.upload(&numbers).unwrap();
    let rope = RopeTable::new(device, 10_000.0, heads.dim, MOST).unwrap();
    let given = DecodeQkv {
        parts: Parts { numbers: View::all(&numbers), parts: 2 },
        rope: rope.with_heads(heads, Direction::Forward),
        places,
    };
    let mut queries = device.zeros(Dtype::Bf16, rows * heads.out()).unwrap();
    device.decode_qkv(given, (&mut cache, 1), ViewMut::all(&mut queries)).unwrap();
    let mut workspace = upload(device, Dtype::F32, rows * heads.query * 4 * (heads.dim + 2), 5);
    let mut out = device.zeros(Dtype::Bf16, rows * heads.out()).unwrap();
    let given = Attending {
        queries: View::all(&queries),
        heads,
        places,
        workspace: ViewMut::all(&mut workspace),
    };
    device.decode_attention((&cache, 1), given, ViewMut::all(&mut out)).unwrap();
    download(device, &out).chunks_exact(heads.out()).map(<[f32]>::to_vec).collect()
}

pub(crate) const HEADS: [Heads; 3] = [
    Heads { query: 8, kv: 1, dim: 128 },
    Heads { query: 6, kv: 2, dim: 48 },
    Heads { query: 2, kv: 2, dim: 16 },
];

pub(crate) fn attention<D: Decode>(device: &D) -> Results {
    HEADS.iter().flat_map(|it| attention_with(device, *it)).collect()
}

/// A row of each length, and one of nobody.
pub(crate) fn attention_with<D: Decode>(device: &D, heads: Heads) -> Results {
    let lengths: Vec<_> = [None].into_iter().chain(LENGTHS.map(Some)).collect();
    let rows = attention_of(device, heads, &lengths);
    (0..).zip(rows).map(|(n, it): (usize, _)| (format!("{heads:?} {n}"), it)).collect()
}

#[test]
fn decoding_is_near_its_twin() {
    let within = |_: &str| 8e-3;
    assert_near(products, products, |_| 1e-5);
    assert_near(finishing, finishing, within);
    assert_near(attention, attention, within);
}

#[test]
fn decoding_on_hopper_has_the_bits_of_other_devices() {
    let Some(it) = emulator() else { return };
    it.set_capability(90);
    let portable = Settings { portable: true, ..it.settings(Numerics::Bf16) };
    let want = products(&Cuda::open(portable).unwrap());
    let hopper = it.open(Numerics::Bf16);
    for seed in SEEDS {
        it.set_seed(seed);
        assert_same(&products(&hopper), &want);
    }
    it.set_capability(80);
}

/// A product's rows one by one, in every tile of rows.
#[test]
fn a_row_s_bits_do_not_depend_on_the_rows_beside_it() {
    let Some(it) = device() else { return };
    for capability in [80, 90] {
        it.set_capability(capability);
        let cuda = it.open(Numerics::Bf16);
        let want = product(&cuda, 260, 9, 520);
        for rows in [1, 7, 8, 9, 16, 30, 64, 65, 128, 129] {
            let got = product(&cuda, rows, 9, 520);
            assert_same(
                &vec![(format!("{rows} rows"), got)],
                &vec![(format!("{rows} rows"), want[..rows * 9].to_vec())],
            );
        }
        it.set_capability(80);
    }
    let cuda = it.open(Numerics::Bf16);
    let all: Vec<_> = LENGTHS.map(Some).into();
    let together = attention_of(&cuda, HEADS[1], &all);
    for (length, want) in all.into_iter().zip(together) {
        let alone = attention_of(&cuda, HEADS[1], &[None, length]);
        assert_eq!(alone[1], want, "{length:?}");
    }
}

#[test]
fn wrong_places_are_told_and_touch_nothing() {
    let Some(it) = device() else { return };
    let cuda = it.open(Numerics::Bf16);
    let heads = HEADS[2];
    let shape = CacheShape { layers: 1, blocks: 2, kv_heads: 2, head_dim: 16 };
    let rope = RopeTable::new(&cuda, 10_000.0, 16, 40).unwrap();
    let numbers = upload(&cuda, Dtype::F32, heads.row(), 1);
    for (position, block, buffer, index, len) in
        [(40u32, 0u32, "positions", 40, 40), (3, 2, "blocks", 2, 2)]
    {
        let mut cache = cuda.cache(shape).unwrap();
        let (positions, blocks) =
            (cuda.upload(&[position]).unwrap(), cuda.upload(&[block; 2]).unwrap());
        let places =
            Places { positions: View::all(&positions), blocks: View::all(&blocks), splits: 1 };
        let parts = Parts { numbers: View::all(&numbers), parts: 1 };
        let given = DecodeQkv { parts, rope: rope.with_heads(heads, Direction::Forward), places };
        let mut queries = cuda.upload(&[bf16::ONE; 32]).unwrap();
        cuda.decode_qkv(given, (&mut cache, 0), ViewMut::all(&mut queries)).unwrap();
        let told = kernels::Error::Index { op: "decode_qkv", buffer, index, len };
        assert_eq!(cuda.wait(), Err(told));
    }
}
