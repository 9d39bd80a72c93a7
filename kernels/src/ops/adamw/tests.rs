//! Steps against the formulas in f64, and rounded weights beside their masters.

use half::bf16;

use super::moments::{BLOCK, Format, half};
use super::{AdamW, OptimStates, State, joined, split};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::random::Random;
use crate::testing::{assert_near, assert_same, devices, numbers, wide};
use crate::{Buffer, CpuBuffer, Dtype, Real};

const STEP: AdamW = AdamW {
    learning_rate: 1e-2,
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    weight_decay: 0.1,
    step: 1,
    factor: 0.5,
    random: Random::new(3, 4),
    first: 0,
};

/// Weights and moments after three steps.
fn three(cpu: &Cpu, weight: &mut CpuBuffer, master: Option<&mut CpuBuffer>) -> [Vec<f32>; 2] {
    let moments = three_with(cpu, OptimStates::F32, weight, master);
    [&moments[0], &moments[1]].map(|it| cpu.read(View::all(it)).unwrap())
}

/// The same with moments of a kind.
fn three_with(
    cpu: &Cpu,
    moments: OptimStates,
    weight: &mut CpuBuffer,
    mut master: Option<&mut CpuBuffer>,
) -> [CpuBuffer; 2] {
    let n = weight.len();
    let [mut m, mut v] = [0; 2].map(|_| cpu.zeros(moments.dtype(), moments.len(n)).unwrap());
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
    [m, v]
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
    let near = master.as_slice::<f32>().unwrap().iter().map(|it| bf16::round_from(*it));
    assert!(near.eq(weight.as_slice::<bf16>().unwrap().iter().copied()));
}

#[test]
fn all_sets_and_threads_give_the_same_bits() {
    for moments in [OptimStates::F32, OptimStates::Bf16, OptimStates::EightBit] {
        let after = |cpu: &Cpu| {
            let mut weight = cpu.upload(&numbers(40_001, 9)).unwrap();
            three_with(cpu, moments, &mut weight, None);
            weight.as_slice::<f32>().unwrap().to_vec()
        };
        let all: Vec<_> = devices().iter().map(after).collect();
        all[1..].iter().for_each(|it| assert_same(it, &all[0]));
    }
}

#[test]
fn halves_of_a_weight_are_the_weight() {
    for upper in 0..=u16::MAX {
        for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let exact = f32::from_bits(u32::from(upper) << 16 | lower);
            let (high, low) = split(exact);
            assert_eq!(joined(high, low).to_bits(), exact.to_bits());
            if exact.is_finite() && lower != 0x8000 {
                assert_eq!(high.to_bits(), bf16::round_from(exact).to_bits(), "{exact:?}");
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

/// Numbers of many sizes, with signs.
fn of_all_sizes() -> Vec<f32> {
    let powers = (-40..=0).map(|it| 2.0f32.powi(it));
    powers.zip(numbers(41, 5)).map(|(power, it)| power * it * 1.9).collect()
}

#[test]
fn what_is_rounded_by_chance_is_right_in_the_mean() {
    let block = of_all_sizes();
    let exponent = Format::exponent(&block);
    let unit = f64::from(f32::from_bits(u32::from(exponent) << 23));
    let mean = |rounded: &dyn Fn(u32) -> f32| {
        (0..1 << 16).map(|it| f64::from(rounded(it))).sum::<f64>() / 65536.0
    };
    for it in block {
        let halves = mean(&|chance| half(it, chance).to_f32());
        assert!((halves - f64::from(it)).abs() <= f64::from(it.abs()) * 1e-6, "{it} {halves}");
        // Beyond what a byte reaches, 14 or 30 powers of two below the greatest, its steps are equal.
        let signed =
            |chance| Format::Signed.number(Format::Signed.byte(it, exponent, chance), exponent);
        let within = f64::from(it.abs()) * 1e-5 + unit * 2.0f64.powi(-14 - 3 - 8);
        assert!((mean(&signed) - f64::from(it)).abs() <= within, "{it} {}", mean(&signed));
        let (size, positive) = (it.abs(), Format::Positive);
        let number = |chance| positive.number(positive.byte(size, exponent, chance), exponent);
        if f64::from(size) > unit * 2.0f64.powi(-30 - 3) {
            assert!((mean(&number) - f64::from(size)).abs() <= f64::from(size) * 1e-5, "{it}");
        }
        assert!(size == 0.0 || number(0) > 0.0, "a positive number became nothing");
    }
}

#[test]
fn a_byte_s_number_stays_as_it_is() {
    for format in [Format::Signed, Format::Positive] {
        for (byte, chance) in (0..=255).flat_map(|it| [(it, 0), (it, 0x8000), (it, 0xffff)]) {
            let number = format.number(byte, 130);
            // Nothing with a sign is nothing, and the second moment has no byte for it but 0.
            let is_zero = number == 0.0;
            let want = if is_zero && format == Format::Positive { 0 } else { byte };
            let got = format.byte(number, 130, chance);
            assert!(got == want || is_zero && got & 0x7f == 0, "{format:?} {byte} {chance}: {got}");
        }
    }
}

#[test]
fn no_number_is_too_great_or_too_small_for_bytes() {
    for greatest in [0.0, 1e-45, 1e-38, 3e-38, 1.0, 1.96875, 1.999_999_9, f32::MAX, f32::INFINITY] {
        let exponent = Format::exponent(&[greatest, -greatest]);
        for (it, chance) in [greatest, -greatest, greatest / 3.0].map(|it| (it, 0xffff)) {
            let got = Format::Signed.number(Format::Signed.byte(it, exponent, chance), exponent);
            assert!(got.is_finite() && got.abs() <= 2.0 * it.abs().max(1e-37), "{it} {got}");
            assert!(got == 0.0 || got.is_sign_negative() == it.is_sign_negative());
            let byte = Format::Positive.byte(it.abs(), exponent, chance);
            assert!(Format::Positive.number(byte, exponent).is_finite());
        }
    }
}

#[test]
fn moments_in_less_follow_those_in_f32() {
    let (cpu, n) = (Cpu::new(2).unwrap(), 5000);
    let run = |moments| {
        let mut weight = cpu.upload(&numbers(n, 9)).unwrap();
        let [m, v] = three_with(&cpu, moments, &mut weight, None);
        (cpu.read::<f32>(View::all(&weight)).unwrap(), m, v)
    };
    let (want, m, _) = run(OptimStates::F32);
    let m: Vec<f32> = cpu.read(View::all(&m)).unwrap();
    let before = wide(&numbers(n, 9));
    let moved = |after: &[f32]| -> Vec<f64> {
        after.iter().zip(&before).map(|(after, before)| f64::from(*after) - before).collect()
    };
    for (moments, within) in [(OptimStates::Bf16, 4e-3), (OptimStates::EightBit, 8e-2)] {
        let (got, kept, _) = run(moments);
        let (got, want) = (moved(&got), moved(&want));
        let off = got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let off = (off / want.iter().map(|it| it.powi(2)).sum::<f64>()).sqrt();
        assert!(off < within, "{moments:?}: steps are off by {off}");
        if moments == OptimStates::EightBit {
            let all = cpu.read::<u8>(View::all(&kept)).unwrap();
            let exponent = |i: usize| all[n + i / BLOCK];
            let number = |i: usize| Format::Signed.number(all[i], exponent(i));
            let off = (0..n).map(|i| (number(i) - m[i]).abs()).fold(0.0, f32::max);
            assert!(off < 0.05, "{off}");
        }
    }
}

#[test]
fn moments_that_do_not_fit_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let mut weight = cpu.upload(&numbers(8, 1)).unwrap();
    let gradient = cpu.upload(&numbers(8, 2)).unwrap();
    let mut refused = |m: Dtype, v: Dtype, n: usize| {
        let (mut m, mut v) = (cpu.zeros(m, n).unwrap(), cpu.zeros(v, n).unwrap());
        let state = State {
            weight: ViewMut::all(&mut weight),
            master: None,
            m: ViewMut::all(&mut m),
            v: ViewMut::all(&mut v),
            gradient: View::all(&gradient),
        };
        cpu.adamw(STEP, state).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused(Dtype::U8, Dtype::U8, 8), @"`adamw`: `m` has 8 elements, expected 16");
    insta::assert_snapshot!(refused(Dtype::F32, Dtype::Bf16, 8), @"`adamw`: `v` is bf16, which it cannot take here");
    insta::assert_snapshot!(refused(Dtype::U32, Dtype::U32, 8), @"`adamw`: `m` is u32, which it cannot take here");
}
