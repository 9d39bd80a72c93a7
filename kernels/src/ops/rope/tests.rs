//! Turns against complex numbers in f64, and back again.

use super::{Direction, RopeTable};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::ops::attention::Heads;
use crate::testing::{assert_near, assert_same, devices, numbers, wide};
use crate::{Dtype, Error};

const HEADS: Heads = Heads { query: 3, kv: 1, dim: 20 };

fn turned(cpu: &Cpu, qkv: &[f32], positions: &[u32], direction: Direction) -> Vec<f32> {
    let table = RopeTable::new(cpu, 10_000.0, HEADS.dim, 50).unwrap();
    let mut qkv = cpu.upload(qkv).unwrap();
    let positions = cpu.upload(positions).unwrap();
    let rope = table.with_heads(HEADS, direction);
    cpu.rope(ViewMut::all(&mut qkv), View::all(&positions), rope).unwrap();
    cpu.read(View::all(&qkv)).unwrap()
}

#[test]
fn pairs_turn_by_their_angle_and_values_stay() {
    let (positions, half) = ([0, 1, 49, 7], HEADS.dim / 2);
    let qkv = numbers(positions.len() * HEADS.row(), 1);
    let got = turned(&Cpu::new(2).unwrap(), &qkv, &positions, Direction::Forward);
    let mut want = wide(&qkv);
    for (row, position) in want.chunks_mut(HEADS.row()).zip(positions) {
        for head in row[..4 * HEADS.dim].chunks_mut(HEADS.dim) {
            for i in 0..half {
                let angle = f64::from(position) / 10_000f64.powf(i as f64 / half as f64);
                let (a, b) = (head[i], head[i + half]);
                head[i] = a * angle.cos() - b * angle.sin();
                head[i + half] = b * angle.cos() + a * angle.sin();
            }
        }
    }
    assert_near(&got, &want, 1e-6);
}

#[test]
fn the_way_back_undoes_the_way_there() {
    let cpu = Cpu::new(1).unwrap();
    let qkv = numbers(2 * HEADS.row(), 2);
    let there = turned(&cpu, &qkv, &[13, 44], Direction::Forward);
    let back = turned(&cpu, &there, &[13, 44], Direction::Backward);
    assert_near(&back, &wide(&qkv), 1e-6);
}

#[test]
fn all_sets_and_threads_give_the_same_bits() {
    let qkv = numbers(9 * HEADS.row(), 3);
    let positions = [0, 1, 2, 3, 4, 0, 1, 2, 40];
    for direction in [Direction::Forward, Direction::Backward] {
        let all = devices().into_iter().map(|cpu| turned(&cpu, &qkv, &positions, direction));
        let all: Vec<_> = all.collect();
        all[1..].iter().for_each(|it| assert_same(it, &all[0]));
    }
}

#[test]
fn a_position_beyond_the_table_is_named() {
    let cpu = Cpu::new(1).unwrap();
    let table = RopeTable::new(&cpu, 10_000.0, HEADS.dim, 50).unwrap();
    let mut qkv = cpu.zeros(Dtype::F32, HEADS.row()).unwrap();
    let positions = cpu.upload(&[50u32]).unwrap();
    let rope = table.with_heads(HEADS, Direction::Forward);
    let result = cpu.rope(ViewMut::all(&mut qkv), View::all(&positions), rope);
    assert_eq!(result, Err(Error::Index { op: "rope", buffer: "positions", index: 50, len: 50 }));
}
