//! The product against its definition in f64, its gradients against differences.

use crate::Dtype;
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::{assert_near, assert_same, devices, dot, numbers, slopes, wide};

fn plain(gate_up: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        let product = |i: usize| row[i] / (1.0 + (-row[i]).exp()) * row[i + width];
        (0..width).map(product).collect::<Vec<_>>()
    };
    gate_up.chunks(2 * width).flat_map(row).collect()
}

fn both(cpu: &Cpu, gate_up: &[f32], d_out: &[f32], width: usize) -> [Vec<f32>; 2] {
    let mut out = cpu.zeros(Dtype::F32, d_out.len()).unwrap();
    let mut d_gate_up = cpu.zeros(Dtype::F32, gate_up.len()).unwrap();
    let [gate_up, d_out] = [gate_up, d_out].map(|it| cpu.upload(it).unwrap());
    cpu.swiglu(View::all(&gate_up), width, ViewMut::all(&mut out)).unwrap();
    let to = ViewMut::all(&mut d_gate_up);
    cpu.swiglu_backward(View::all(&d_out), View::all(&gate_up), width, to).unwrap();
    [&out, &d_gate_up].map(|it| cpu.read(View::all(it)).unwrap())
}

#[test]
fn it_is_its_definition_and_its_gradient_its_slope() {
    let cpu = Cpu::new(2).unwrap();
    for (rows, width) in [(1, 1), (3, 7), (4, 50)] {
        let gate_up: Vec<f32> = numbers(2 * rows * width, 1).iter().map(|it| it * 9.0).collect();
        let d_out = numbers(rows * width, 2);
        let [out, d_gate_up] = both(&cpu, &gate_up, &d_out, width);
        let (gate_up, d_out) = (wide(&gate_up), wide(&d_out));
        assert_near(&out, &plain(&gate_up, width), 1e-6);
        let slope = slopes(&gate_up, |it| dot(&plain(it, width), &d_out));
        assert_near(&d_gate_up, &slope, 1e-6);
    }
}

#[test]
fn all_sets_and_threads_give_the_same_bits() {
    let (gate_up, d_out) = (numbers(2 * 70 * 33, 3), numbers(70 * 33, 4));
    let all: Vec<_> = devices().iter().map(|cpu| both(cpu, &gate_up, &d_out, 33)).collect();
    for it in &all[1..] {
        it.iter().zip(&all[0]).for_each(|(got, want)| assert_same(got, want));
    }
}
