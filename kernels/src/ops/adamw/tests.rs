//! Steps against the formulas in f64, and rounded weights beside their masters.

use half::bf16;

use super::{AdamW, State, joined, split};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::{assert_near, assert_same, devices, numbers, wide};
use crate::{CpuBuffer, Dtype, Real};

const STEP: AdamW = AdamW {
    learning_rate: 1e-2,
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    weight_decay: 0.1,
    step: 1,
    factor: 0.5,
};

/// Weights and moments after three steps.
fn three(cpu: &Cpu, weight: &mut CpuBuffer, mut master: Option<&mut CpuBuffer>) -> [Vec<f32>; 2] {
    let n = crate::Buffer::len(weight);
    let (mut m, mut v) = (cpu.zeros(Dtype::F32, n).unwrap(), cpu.zeros(Dtype::F32, n).unwrap());
    for step in 1..=3 {
        let gradient = cpu.upload(&numbers(n, step)).unwrap();
        let state = State {
            weight: ViewMut::all(weight),
            master: master.as_deref_mut().map(ViewMut::all),
            m: ViewMut::all(&mut m),
            v: ViewMut::all(&mut v),
            gradient: View::all(&gradient),
        };
        cpu.run(|| cpu.adamw(AdamW { step: step.into(), ..STEP }, state)).unwrap();
    }
    [&m, &v].map(|it| cpu.read(View::all(it)).unwrap())
}

#[test]
fn three_steps_are_the_formulas() {
    let (cpu, n) = (Cpu::new(2).unwrap(), 20_000);
    let mut weight = cpu.upload(&numbers(n, 9)).unwrap();
    let [m, v] = three(&cpu, &mut weight, None);
    let (mut want, mut want_m, mut want_v) = (wide(&numbers(n, 9)), vec![0.0; n], vec![0.0; n]);
    for t in 1..=3 {
        let gradient = wide(&numbers(n, t));
        for i in 0..n {
            let g = gradient[i] * 0.5;
            want_m[i] = 0.9 * want_m[i] + 0.1 * g;
            want_v[i] = 0.95 * want_v[i] + 0.05 * g * g;
            let (first, second) = (1.0 - 0.9f64.powi(t as i32), 1.0 - 0.95f64.powi(t as i32));
            let by = want_m[i] / first / ((want_v[i] / second).sqrt() + 1e-8);
            want[i] = want[i] * (1.0 - 1e-3) - 1e-2 * by;
        }
    }
    assert_near(weight.as_slice().unwrap(), &want, 1e-6);
    assert_near(&m, &want_m, 1e-6);
    assert_near(&v, &want_v, 1e-6);
}

#[test]
fn rounded_weights_follow_masters_that_step_as_f32_does() {
    let (cpu, n) = (Cpu::new(2).unwrap(), 1000);
    let mut alone = cpu.upload(&numbers(n, 9)).unwrap();
    three(&cpu, &mut alone, None);
    let mut master = cpu.upload(&numbers(n, 9)).unwrap();
    let mut weight = cpu.zeros(Dtype::Bf16, n).unwrap();
    three(&cpu, &mut weight, Some(&mut master));
    assert_same(master.as_slice().unwrap(), alone.as_slice().unwrap());
    let near = master.as_slice::<f32>().unwrap().iter().map(|it| bf16::near(*it));
    assert!(near.eq(weight.as_slice::<bf16>().unwrap().iter().copied()));
}

#[test]
fn all_sets_and_threads_give_the_same_bits() {
    let after = |cpu: &Cpu| {
        let mut weight = cpu.upload(&numbers(40_001, 9)).unwrap();
        three(cpu, &mut weight, None);
        weight.as_slice::<f32>().unwrap().to_vec()
    };
    let all: Vec<_> = devices().iter().map(after).collect();
    all[1..].iter().for_each(|it| assert_same(it, &all[0]));
}

#[test]
fn halves_of_a_weight_are_the_weight() {
    for upper in 0..=u16::MAX {
        for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let exact = f32::from_bits(u32::from(upper) << 16 | lower);
            let (high, low) = split(exact);
            assert_eq!(joined(high, low).to_bits(), exact.to_bits());
            if exact.is_finite() && lower != 0x8000 {
                assert_eq!(high.to_bits(), bf16::near(exact).to_bits(), "{exact:?}");
            }
        }
    }
}

#[test]
fn weights_in_halves_step_as_f32_does() {
    let (cpu, n) = (Cpu::new(2).unwrap(), 1000);
    let mut alone = cpu.upload(&numbers(n, 9)).unwrap();
    let want = three(&cpu, &mut alone, None);
    let (high, low): (Vec<bf16>, Vec<bf16>) = numbers(n, 9).into_iter().map(split).unzip();
    let (mut weight, mut low) = (cpu.upload(&high).unwrap(), cpu.upload(&low).unwrap());
    assert_eq!(three(&cpu, &mut weight, Some(&mut low)), want);
    let halves = weight.as_slice::<bf16>().unwrap().iter().zip(low.as_slice::<bf16>().unwrap());
    let exact: Vec<f32> = halves.map(|it| joined(*it.0, *it.1)).collect();
    assert_same(&exact, alone.as_slice().unwrap());
}
