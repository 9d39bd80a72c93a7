//! Attention against its definition in f64, its gradients against differences, and its bits against
//! themselves: other instruction sets, other threads, other company.

use super::{Backward, Forward, Heads};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::{assert_near, assert_same, devices, dot, numbers, slopes, wide};
use crate::{Dtype, Error};

/// The result of one sequence, by the definition.
fn plain(qkv: &[f64], heads: Heads) -> Vec<f64> {
    let rows = qkv.len() / heads.row();
    let mut out = vec![0.0; rows * heads.out()];
    for row in 0..rows {
        for head in 0..heads.query {
            let part = |row: usize, at: usize| &qkv[row * heads.row() + at..][..heads.dim];
            let query = part(row, head * heads.dim);
            let of = head / heads.group();
            let score =
                |key: usize| dot(query, part(key, heads.key(of))) / (heads.dim as f64).sqrt();
            let weights: Vec<f64> = (0..=row).map(|key| score(key).exp()).collect();
            let total: f64 = weights.iter().sum();
            let out = &mut out[row * heads.out() + head * heads.dim..][..heads.dim];
            for (key, weight) in weights.iter().enumerate() {
                let value = part(key, heads.value(of));
                out.iter_mut().zip(value).for_each(|(out, it)| *out += weight / total * it);
            }
        }
    }
    out
}

/// Result and gradient of all spans.
fn both(cpu: &Cpu, qkv: &[f32], d_out: &[f32], spans: &[u32], heads: Heads) -> [Vec<f32>; 2] {
    let rows = qkv.len() / heads.row();
    let (qkv, d_out) = (cpu.upload(qkv).unwrap(), cpu.upload(d_out).unwrap());
    let mut out = cpu.zeros(Dtype::F32, rows * heads.out()).unwrap();
    let mut lse = cpu.zeros(Dtype::F32, rows * heads.query).unwrap();
    let mut d_qkv = cpu.zeros(Dtype::F32, rows * heads.row()).unwrap();
    cpu.run(|| {
        let to = (ViewMut::all(&mut out), ViewMut::all(&mut lse));
        cpu.attention(Forward { qkv: View::all(&qkv), spans, heads }, to.0, to.1).unwrap();
        let [d_out, out, qkv, lse] = [&d_out, &out, &qkv, &lse].map(View::all);
        let given = Backward { d_out, out, qkv, lse, spans, heads };
        cpu.attention_backward(given, ViewMut::all(&mut d_qkv)).unwrap();
    });
    [&out, &d_qkv].map(|it| cpu.read(View::all(it)).unwrap())
}

const CASES: [(usize, Heads); 4] = [
    (1, Heads { query: 1, kv: 1, dim: 2 }),
    (70, Heads { query: 4, kv: 2, dim: 8 }),
    (33, Heads { query: 6, kv: 1, dim: 40 }),
    (130, Heads { query: 2, kv: 2, dim: 64 }),
];

#[test]
fn it_is_its_definition() {
    let cpu = Cpu::new(2).unwrap();
    for (rows, heads) in CASES {
        let qkv: Vec<f32> = numbers(rows * heads.row(), 1).iter().map(|it| it * 2.0).collect();
        let d_out = numbers(rows * heads.out(), 2);
        let [out, _] = both(&cpu, &qkv, &d_out, &[0, rows as u32], heads);
        assert_near(&out, &plain(&wide(&qkv), heads), 1e-6);
    }
}

#[test]
fn its_gradient_is_its_slope() {
    let cpu = Cpu::new(2).unwrap();
    for (rows, heads) in [(5, CASES[1].1), (37, Heads { query: 2, kv: 1, dim: 4 })] {
        let (qkv, d_out) = (numbers(rows * heads.row(), 3), numbers(rows * heads.out(), 4));
        let [_, d_qkv] = both(&cpu, &qkv, &d_out, &[0, rows as u32], heads);
        let d_out = wide(&d_out);
        let want = slopes(&wide(&qkv), |it| dot(&plain(it, heads), &d_out));
        assert_near(&d_qkv, &want, 3e-6);
    }
}

#[test]
fn all_sets_and_threads_give_the_same_bits() {
    for (rows, heads) in CASES {
        let (qkv, d_out) = (numbers(rows * heads.row(), 5), numbers(rows * heads.out(), 6));
        let spans = [0, rows as u32 / 3, rows as u32 / 3, rows as u32];
        let all = devices().into_iter().map(|cpu| both(&cpu, &qkv, &d_out, &spans, heads));
        let all: Vec<_> = all.collect();
        for it in &all[1..] {
            assert_same(&it[0], &all[0][0]);
            assert_same(&it[1], &all[0][1]);
        }
    }
}

#[test]
fn a_sequence_does_not_see_its_neighbours() {
    let cpu = Cpu::new(2).unwrap();
    let heads = CASES[1].1;
    let (qkv, d_out) = (numbers(110 * heads.row(), 7), numbers(110 * heads.out(), 8));
    let all = both(&cpu, &qkv, &d_out, &[0, 40, 41, 110], heads);
    for range in [0..40, 40..41, 41..110] {
        let rows = |width: usize| range.start * width..range.end * width;
        let (qkv, d_out) = (&qkv[rows(heads.row())], &d_out[rows(heads.out())]);
        let alone = both(&cpu, qkv, d_out, &[0, range.len() as u32], heads);
        assert_same(&alone[0], &all[0][rows(heads.out())]);
        assert_same(&alone[1], &all[1][rows(heads.row())]);
    }
}

#[test]
fn borders_that_do_not_rise_to_the_end_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let heads = CASES[0].1;
    let qkv = cpu.zeros(Dtype::F32, 3 * heads.row()).unwrap();
    for spans in [&[][..], &[0], &[1, 3], &[0, 2], &[0, 4, 3]] {
        let mut out = cpu.zeros(Dtype::F32, 3 * heads.out()).unwrap();
        let mut lse = cpu.zeros(Dtype::F32, 3).unwrap();
        let to = (ViewMut::all(&mut out), ViewMut::all(&mut lse));
        let result = cpu.attention(Forward { qkv: View::all(&qkv), spans, heads }, to.0, to.1);
        assert!(matches!(result, Err(Error::Index { buffer: "spans", .. })), "{spans:?}");
    }
}
