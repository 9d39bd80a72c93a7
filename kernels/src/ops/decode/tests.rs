//! How sums are cut, and the twin against the operations that prompts go through.

use super::{
    Attending, BLOCKS, DecodeQkv, NOBODY, Norm, Parts, Places, cut, splits, workspace_len,
};
use crate::decode::Decode;
use crate::device::{Device, View, ViewMut};
use crate::ops::attention::Heads;
use crate::ops::matmul::Start;
use crate::ops::paged::{CacheShape, Run, Tokens};
use crate::ops::rope::{Direction, RopeTable};
use crate::testing::numbers;
use crate::{Cpu, CpuBuffer, Dtype};

#[test]
fn parts_cover_the_sum_and_are_many_where_features_are_few() {
    // Those of Yi-6B: queries, keys and values; the way out; gate and up; down; the head.
    let yi = [(5120, 4096), (4096, 4096), (22_016, 4096), (4096, 11_008), (64_000, 4096)];
    assert_eq!(yi.map(|it| cut(it.0, it.1).0), [2, 2, 1, 2, 1]);
    for (features, depth) in yi.into_iter().chain([(1, 8), (70, 520), (9, 1032), (64, 100_000)]) {
        let (parts, each) = cut(features, depth);
        assert!(each.is_multiple_of(64) && (parts - 1) * each < depth && depth <= parts * each);
        assert!(parts <= BLOCKS && (parts == 1 || depth >= 256 * parts));
    }
}

#[test]
fn splits_are_counted_by_length_alone() {
    assert_eq!([0, 1, 256, 257, 4096].map(splits), [1, 1, 1, 2, 16]);
}

const HEADS: Heads = Heads { query: 4, kv: 2, dim: 6 };

fn upload(cpu: &Cpu, n: usize, seed: u32) -> CpuBuffer {
    cpu.upload(&numbers(n, seed)).unwrap()
}

/// The twin of a token after 33 others, and what a prompt's way gives for the same rows.
#[test]
fn the_twin_is_what_a_prompt_s_way_gives() {
    let cpu = Cpu::new(2).unwrap();
    let shape = CacheShape { layers: 1, blocks: 3, kv_heads: 2, head_dim: 6 };
    let (mut cache, mut other) = (cpu.cache(shape).unwrap(), Device::cache(&cpu, shape).unwrap());
    let past = upload(&cpu, 33 * HEADS.row(), 1);
    let run = |rows, past| [Run { first_row: 0, rows, past, blocks: vec![2, 0] }];
    for cache in [&mut cache, &mut other] {
        let runs = run(33, 0);
        let tokens = Tokens { qkv: View::all(&past), heads: HEADS, runs: &runs };
        cpu.cache_append(cache, 0, tokens).unwrap();
    }
    let (x, w) = (upload(&cpu, 2 * 5, 2), upload(&cpu, HEADS.row() * 5, 3));
    let w = cpu.pack(View::all(&w).rows(5)).unwrap();
    let rope = RopeTable::new(&cpu, 1e4, 6, 64).unwrap();
    // The first row is nobody's.
    let mut parts = cpu.zeros(Dtype::F32, 2 * HEADS.row()).unwrap();
    cpu.decode_product(View::all(&x).rows(5), &w, ViewMut::all(&mut parts)).unwrap();
    let positions = cpu.upload(&[NOBODY, 33]).unwrap();
    let blocks = cpu.upload(&[9u32, 9, 2, 0]).unwrap();
    let places = Places { positions: View::all(&positions), blocks: View::all(&blocks), splits: 1 };
    let given = DecodeQkv {
        parts: Parts { numbers: View::all(&parts), parts: 1 },
        rope: rope.with_heads(HEADS, Direction::Forward),
        places,
    };
    let mut queries = cpu.zeros(Dtype::F32, 2 * HEADS.out()).unwrap();
    cpu.decode_qkv(given, (&mut cache, 0), ViewMut::all(&mut queries)).unwrap();
    let mut memory = cpu.zeros(Dtype::F32, workspace_len(2, HEADS, 1)).unwrap();
    let mut got = cpu.zeros(Dtype::F32, 2 * HEADS.out()).unwrap();
    let (queries, workspace) = (View::all(&queries), ViewMut::all(&mut memory));
    let given = Attending { queries, heads: HEADS, places, workspace };
    cpu.decode_attention((&cache, 0), given, ViewMut::all(&mut got)).unwrap();
    let got: Vec<f32> = cpu.read(View::all(&got)).unwrap();

    let mut qkv = cpu.zeros(Dtype::F32, HEADS.row()).unwrap();
    let to = ViewMut::all(&mut qkv).rows(HEADS.row());
    cpu.linear(View::all(&x).part(5..10).rows(5), &w, to, Start::Zero).unwrap();
    let position = cpu.upload(&[33u32]).unwrap();
    let rope = rope.with_heads(HEADS, Direction::Forward);
    cpu.rope(ViewMut::all(&mut qkv), View::all(&position), rope).unwrap();
    let runs = run(1, 33);
    let tokens = || Tokens { qkv: View::all(&qkv), heads: HEADS, runs: &runs };
    cpu.cache_append(&mut other, 0, tokens()).unwrap();
    let mut want = cpu.zeros(Dtype::F32, HEADS.out()).unwrap();
    cpu.attention_paged(&other, 0, tokens(), ViewMut::all(&mut want)).unwrap();
    let want: Vec<f32> = cpu.read(View::all(&want)).unwrap();
    assert_eq!(got, [vec![0.0; HEADS.out()], want].concat());
}

#[test]
fn parts_are_added_before_anything_else_is_done() {
    let cpu = Cpu::new(1).unwrap();
    let numbers = cpu.upload(&[1.0f32, -2.0, 3.0, 0.5, 2.0, 2.0, -1.0, 0.5]).unwrap();
    let parts = || Parts { numbers: View::all(&numbers), parts: 2 };
    let mut total = cpu.zeros(Dtype::F32, 4).unwrap();
    cpu.decode_total(parts(), ViewMut::all(&mut total)).unwrap();
    assert_eq!(cpu.read::<f32>(View::all(&total)).unwrap(), [3.0, 0.0, 2.0, 1.0]);
    // silu(3) · 2 and silu(0) · 1.
    let mut gated = cpu.zeros(Dtype::F32, 2).unwrap();
    cpu.decode_gate(parts(), 2, ViewMut::all(&mut gated)).unwrap();
    let gated: Vec<f32> = cpu.read(View::all(&gated)).unwrap();
    assert!((gated[0] - 5.715_445).abs() < 1e-5 && gated[1] == 0.0, "{gated:?}");
    let mut x = cpu.upload(&[0.0f32, 4.0, 1.0, 0.0]).unwrap();
    let gain = cpu.upload(&[1.0f32, 0.5, 2.0, 1.0]).unwrap();
    let mut out = cpu.zeros(Dtype::F32, 4).unwrap();
    let given = Norm { parts: Some(parts()), gain: View::all(&gain), eps: 0.0 };
    cpu.decode_norm(given, ViewMut::all(&mut x), ViewMut::all(&mut out)).unwrap();
    assert_eq!(cpu.read::<f32>(View::all(&x)).unwrap(), [3.0, 4.0, 3.0, 1.0]);
    let by = 1.0 / (35.0f32 / 4.0).sqrt();
    let want = [3.0 * by, 4.0 * by * 0.5, 3.0 * by * 2.0, by];
    assert_eq!(cpu.read::<f32>(View::all(&out)).unwrap(), want);
}
