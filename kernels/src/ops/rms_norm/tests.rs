//! The norm against its definition in f64, its gradients against differences, its rounding by hand.

use half::bf16;

use super::{Backward, Forward};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::{assert_near, assert_same, devices, dot, numbers, slopes, wide};
use crate::{Dtype, Error};

const EPS: f32 = 1e-5;

fn plain(x: &[f64], gain: &[f64]) -> Vec<f64> {
    let width = gain.len();
    let row = |x: &[f64]| {
        let scale = 1.0 / (dot(x, x) / width as f64 + f64::from(EPS)).sqrt();
        x.iter().zip(gain).map(|(x, gain)| x * scale * gain).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

/// The result and the gradients of `x` and `gain`, which begin at one.
fn all(cpu: &Cpu, x: &[f32], gain: &[f32], d_out: &[f32]) -> [Vec<f32>; 3] {
    let rows = x.len() / gain.len();
    let [x, gain, d_out] = [x, gain, d_out].map(|it| cpu.upload(it).unwrap());
    let mut out = cpu.zeros(Dtype::F32, d_out.as_slice::<f32>().unwrap().len()).unwrap();
    let mut scale = cpu.zeros(Dtype::F32, rows).unwrap();
    let ones = |like: &crate::CpuBuffer| vec![1.0f32; like.as_slice::<f32>().unwrap().len()];
    let mut d_x = cpu.upload(&ones(&x)).unwrap();
    let mut d_gain = cpu.upload(&ones(&gain)).unwrap();
    let given = Forward { x: View::all(&x), gain: View::all(&gain), eps: EPS };
    cpu.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale)).unwrap();
    let [d_out, x, gain, scale] = [&d_out, &x, &gain, &scale].map(View::all);
    let given = Backward { d_out, x, gain, scale };
    let to = (ViewMut::all(&mut d_x), Some(ViewMut::all(&mut d_gain)));
    cpu.rms_norm_backward(given, to.0, to.1).unwrap();
    [&out, &d_x, &d_gain].map(|it| cpu.read(View::all(it)).unwrap())
}

#[test]
fn it_is_its_definition_and_its_gradient_its_slope() {
    let cpu = Cpu::new(2).unwrap();
    for (rows, width) in [(1, 1), (3, 7), (5, 33), (2, 300)] {
        let (x, gain) = (numbers(rows * width, 1), numbers(width, 2));
        let d_out = numbers(rows * width, 3);
        let [out, d_x, d_gain] = all(&cpu, &x, &gain, &d_out);
        let (x, gain, d_out) = (wide(&x), wide(&gain), wide(&d_out));
        assert_near(&out, &plain(&x, &gain), 1e-6);
        let one_more = |it: Vec<f64>| it.iter().map(|it| it + 1.0).collect::<Vec<_>>();
        let slope = slopes(&x, |x| dot(&plain(x, &gain), &d_out));
        // Wider than the result's: what began at one may nearly vanish.
        assert_near(&d_x, &one_more(slope), 3e-6);
        let slope = slopes(&gain, |gain| dot(&plain(&x, gain), &d_out));
        assert_near(&d_gain, &one_more(slope), 3e-6);
    }
}

#[test]
fn all_sets_and_threads_give_the_same_bits() {
    let (x, gain, d_out) = (numbers(70 * 130, 4), numbers(130, 5), numbers(70 * 130, 6));
    let all: Vec<_> = devices().iter().map(|cpu| all(cpu, &x, &gain, &d_out)).collect();
    for it in &all[1..] {
        it.iter().zip(&all[0]).for_each(|(got, want)| assert_same(got, want));
    }
}

#[test]
fn a_bf16_row_is_rounded_before_the_gain() {
    // 4/√12.5 = 1.13137…, in bf16 1.1328125; times 3 that is 3.40625, but 3.390625 if the product
    // is made in f32.
    let cpu = Cpu::new(1).unwrap();
    let x = cpu.upload(&[3.0, 4.0].map(bf16::from_f32)).unwrap();
    let gain = cpu.upload(&[1.0, 3.0].map(bf16::from_f32)).unwrap();
    let mut out = cpu.zeros(Dtype::Bf16, 2).unwrap();
    let mut scale = cpu.zeros(Dtype::F32, 1).unwrap();
    let given = Forward { x: View::all(&x), gain: View::all(&gain), eps: 0.0 };
    cpu.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale)).unwrap();
    assert_eq!(out.as_slice::<bf16>().unwrap()[1].to_f32(), 3.40625);
}

#[test]
fn types_and_lengths_that_do_not_fit_are_named() {
    let cpu = Cpu::new(1).unwrap();
    let (x, ids) = (cpu.zeros(Dtype::F32, 6).unwrap(), cpu.zeros(Dtype::U32, 3).unwrap());
    let mut out = cpu.zeros(Dtype::F32, 6).unwrap();
    let mut scale = cpu.zeros(Dtype::F32, 2).unwrap();
    let given = Forward { x: View::all(&x), gain: View::all(&ids), eps: 0.0 };
    let result = cpu.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale));
    assert_eq!(result, Err(Error::Dtype { op: "rms_norm", buffer: "gain", got: Dtype::U32 }));
    let given = Forward { x: View::all(&x).part(0..5), gain: View::all(&x).part(0..3), eps: 0.0 };
    let result = cpu.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale));
    assert_eq!(result, Err(Error::Length { op: "rms_norm", buffer: "x", got: 5, want: 6 }));
}
