//! Cached keys and values give the bits of plain attention, however the tokens come and wherever
//! their blocks lie.

use super::{CacheShape, Run, Tokens};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::ops::attention::{Forward, Heads};
use crate::testing::{assert_same, devices, numbers};
use crate::{CpuBuffer, Dtype, Error};

const SHAPE: CacheShape = CacheShape { layers: 2, blocks: 9, kv_heads: 2, head_dim: 40 };
const HEADS: Heads = Heads { query: 6, kv: 2, dim: 40 };

fn tokens<'a>(qkv: &'a CpuBuffer, runs: &'a [Run]) -> Tokens<'a, CpuBuffer> {
    Tokens { qkv: View::all(qkv), heads: HEADS, runs }
}

fn plain(cpu: &Cpu, qkv: &[f32]) -> Vec<f32> {
    let rows = qkv.len() / HEADS.row();
    let qkv = cpu.upload(qkv).unwrap();
    let mut out = cpu.zeros(Dtype::F32, rows * HEADS.out()).unwrap();
    let mut lse = cpu.zeros(Dtype::F32, rows * HEADS.query).unwrap();
    let to = (ViewMut::all(&mut out), ViewMut::all(&mut lse));
    cpu.attention(
        Forward { qkv: View::all(&qkv), spans: &[0, rows as u32], heads: HEADS },
        to.0,
        to.1,
    )
    .unwrap();
    cpu.read(View::all(&out)).unwrap()
}

#[test]
fn tokens_in_any_portions_get_the_bits_of_the_whole() {
    let rows = 101;
    let qkv = numbers(rows * HEADS.row(), 1);
    for cpu in devices() {
        let want = plain(&cpu, &qkv);
        let mut cache = cpu.cache(SHAPE).unwrap();
        let mut past = 0;
        for n in [40, 1, 1, 30, 28, 1] {
            let range = past * HEADS.row()..(past + n) * HEADS.row();
            let some = cpu.upload(&qkv[range]).unwrap();
            let run = [Run { first_row: 0, rows: n, past, blocks: vec![7, 0, 3, 5] }];
            let mut out = cpu.zeros(Dtype::F32, n * HEADS.out()).unwrap();
            cpu.cache_append(&mut cache, 1, tokens(&some, &run)).unwrap();
            let to = ViewMut::all(&mut out);
            cpu.attention_paged(&cache, 1, tokens(&some, &run), to).unwrap();
            let got: Vec<f32> = cpu.read(View::all(&out)).unwrap();
            assert_same(&got, &want[past * HEADS.out()..(past + n) * HEADS.out()]);
            past += n;
        }
    }
}

#[test]
fn a_copied_block_is_the_same_and_then_ones_own() {
    let cpu = Cpu::new(2).unwrap();
    let qkv = numbers(50 * HEADS.row(), 2);
    let want = plain(&cpu, &qkv);
    let mut cache = cpu.cache(SHAPE).unwrap();
    let all = cpu.upload(&qkv).unwrap();
    let run = Run { first_row: 0, rows: 50, past: 0, blocks: vec![2, 8] };
    cpu.cache_append(&mut cache, 0, tokens(&all, &[run])).unwrap();
    cpu.cache_copy(&mut cache, 8, 1).unwrap();
    // Someone else writes to the first of the two.
    let other = cpu.upload(&numbers(10 * HEADS.row(), 3)).unwrap();
    let run = Run { first_row: 0, rows: 10, past: 40, blocks: vec![2, 8] };
    cpu.cache_append(&mut cache, 0, tokens(&other, &[run])).unwrap();
    let last = cpu.upload(&qkv[49 * HEADS.row()..]).unwrap();
    let run = [Run { first_row: 0, rows: 1, past: 49, blocks: vec![2, 1] }];
    let mut out = cpu.zeros(Dtype::F32, HEADS.out()).unwrap();
    let to = ViewMut::all(&mut out);
    cpu.attention_paged(&cache, 0, tokens(&last, &run), to).unwrap();
    assert_same(out.as_slice().unwrap(), &want[49 * HEADS.out()..]);
}

#[test]
fn runs_that_do_not_fit_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let mut cache = cpu.cache(SHAPE).unwrap();
    let qkv = cpu.zeros(Dtype::F32, 2 * HEADS.row()).unwrap();
    let run = Run { first_row: 0, rows: 2, past: 31, blocks: vec![0, 1] };
    let wrong = [
        (2, run.clone(), "layer"),
        (0, Run { rows: 3, ..run.clone() }, "rows of a run"),
        (0, Run { rows: 0, ..run.clone() }, "rows of a run"),
        (0, Run { blocks: vec![0], ..run.clone() }, "blocks of a run"),
        (0, Run { blocks: vec![0, 9], ..run }, "block"),
    ];
    for (layer, run, name) in wrong {
        let result = cpu.cache_append(&mut cache, layer, tokens(&qkv, &[run]));
        assert!(matches!(result, Err(Error::Index { buffer, .. }) if buffer == name), "{name}");
    }
    let huge = CacheShape { blocks: usize::MAX / 2, ..SHAPE };
    assert!(matches!(cpu.cache(huge), Err(Error::Memory { .. })));
}
