//! The product is its chains: over every form, type and edge, on every instruction set.

use half::bf16;

use super::{Form, Product, Start};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::{assert_same, devices, numbers};
use crate::{CpuBuffer, Dtype, Error, Real};

const FORMS: [Form; 3] = [Form::Xwt, Form::Dyw, Form::Dytx];

/// Rows and columns of the operands.
fn sizes(form: Form, (m, n, k): (usize, usize, usize)) -> [(usize, usize); 3] {
    match form {
        Form::Xwt => [(m, k), (n, k), (m, n)],
        Form::Dyw => [(m, n), (n, k), (m, k)],
        Form::Dytx => [(m, n), (m, k), (n, k)],
    }
}

/// The definition, one element after another.
fn chains(form: Form, sizes: [(usize, usize); 3], [a, b]: [&[f32]; 2], out: &mut [f32]) {
    let [(_, a_columns), (_, b_columns), (rows, columns)] = sizes;
    let depth = if form == Form::Dytx { sizes[0].0 } else { a_columns };
    for i in 0..rows {
        for j in 0..columns {
            let mut sum = out[i * columns + j];
            for s in 0..depth {
                let a =
                    if form == Form::Dytx { a[s * a_columns + i] } else { a[i * a_columns + s] };
                let b = if form == Form::Xwt { b[j * b_columns + s] } else { b[s * b_columns + j] };
                sum = a.mul_add(b, sum);
            }
            out[i * columns + j] = sum;
        }
    }
}

fn upload(cpu: &Cpu, dtype: Dtype, data: &[f32]) -> CpuBuffer {
    match dtype {
        Dtype::Bf16 => {
            let near: Vec<bf16> = data.iter().map(|it| bf16::round_from(*it)).collect();
            cpu.upload(&near).unwrap()
        }
        _ => cpu.upload(data).unwrap(),
    }
}

fn download(cpu: &Cpu, buffer: &CpuBuffer) -> Vec<f32> {
    let mut out = cpu.zeros(Dtype::F32, crate::Buffer::len(buffer)).unwrap();
    cpu.copy(View::all(buffer), ViewMut::all(&mut out)).unwrap();
    cpu.read(View::all(&out)).unwrap()
}

fn check(cpu: &Cpu, form: Form, shape: (usize, usize, usize), dtypes: [Dtype; 3], start: Start) {
    let sizes = sizes(form, shape);
    let lens = sizes.map(|it| it.0 * it.1);
    let a = upload(cpu, dtypes[0], &numbers(lens[0], 1));
    let b = upload(cpu, dtypes[1], &numbers(lens[1], 2));
    let mut out = upload(cpu, dtypes[2], &numbers(lens[2], 3));
    let mut want = download(cpu, &out);
    if start == Start::Zero {
        want.fill(0.0);
    }
    chains(form, sizes, [&download(cpu, &a), &download(cpu, &b)], &mut want);
    let (to, columns) = (ViewMut::all(&mut out), sizes.map(|it| it.1));
    let (a, b) = (View::all(&a).rows(columns[0]), View::all(&b).rows(columns[1]));
    cpu.run(|| cpu.matmul(Product { form, a, b, start }, to.rows(columns[2]))).unwrap();
    if dtypes[2] == Dtype::Bf16 {
        want.iter_mut().for_each(|it| *it = bf16::round_from(*it).to_f32());
    }
    assert_same(&download(cpu, &out), &want);
}

#[test]
fn every_form_type_and_edge_is_its_chains_on_every_set() {
    const F: Dtype = Dtype::F32;
    const B: Dtype = Dtype::Bf16;
    let shapes = [(1, 1, 1), (13, 31, 17), (15, 33, 65), (14, 32, 256), (29, 70, 300), (3, 1, 0)];
    for cpu in devices() {
        for form in FORMS {
            for shape in shapes.into_iter().filter(|it| it.2 > 0) {
                for dtypes in [[F, F, F], [F, B, F], [B, B, F], [B, B, B], [B, F, B]] {
                    check(&cpu, form, shape, dtypes, Start::Zero);
                    check(&cpu, form, shape, dtypes, Start::Add);
                }
            }
        }
    }
}

#[test]
fn a_large_product_is_cut_into_tasks_and_chunks_without_a_trace() {
    for cpu in devices() {
        for form in FORMS {
            check(&cpu, form, (230, 1700, 270), [Dtype::F32; 3], Start::Add);
        }
    }
}

#[test]
fn a_gradient_of_the_weight_may_be_made_in_parts() {
    let cpu = Cpu::new(2).unwrap();
    let (tokens, n, k) = (61, 20, 30);
    let (dy, x) = (numbers(tokens * n, 1), numbers(tokens * k, 2));
    let (dy, x) = (cpu.upload(&dy).unwrap(), cpu.upload(&x).unwrap());
    let make = |cuts: &[usize]| {
        let mut out = cpu.zeros(Dtype::F32, n * k).unwrap();
        for it in cuts.windows(2) {
            let dy = View::all(&dy).rows(n).row_range(it[0]..it[1]);
            let x = View::all(&x).rows(k).row_range(it[0]..it[1]);
            let out = ViewMut::all(&mut out).rows(k);
            cpu.matmul(Product { form: Form::Dytx, a: dy, b: x, start: Start::Add }, out).unwrap();
        }
        cpu.read::<f32>(View::all(&out)).unwrap()
    };
    assert_same(&make(&[0, 61]), &make(&[0, 1, 30, 44, 61]));
}

#[test]
fn packed_weights_give_the_bits_of_the_product_whatever_rows_come_along() {
    let (rows, n, k) = (131, 75, 90);
    for cpu in devices() {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let weight = upload(&cpu, dtype, &numbers(n * k, 1));
            let x = cpu.upload(&numbers(rows * k, 2)).unwrap();
            let mut want = cpu.upload(&numbers(rows * n, 3)).unwrap();
            let mut got = cpu.upload(&numbers(rows * n, 3)).unwrap();
            let (weight, x) = (View::all(&weight).rows(k), View::all(&x).rows(k));
            let to = ViewMut::all(&mut want).rows(n);
            cpu.matmul(Product { form: Form::Xwt, a: x, b: weight, start: Start::Add }, to)
                .unwrap();
            let packed = cpu.pack(weight).unwrap();
            for range in [0..1, 1..16, 16..131] {
                let to = ViewMut::all(&mut got).rows(n).row_range(range.clone());
                cpu.run(|| cpu.linear(x.row_range(range), &packed, to, Start::Add)).unwrap();
            }
            assert_same(&download(&cpu, &got), &download(&cpu, &want));
        }
    }
}

#[test]
fn columns_of_wider_rows_can_be_written_alone() {
    let cpu = Cpu::new(1).unwrap();
    let (x, w) = (cpu.upload(&[1.0f32, 2.0]).unwrap(), cpu.upload(&[3.0f32, 4.0]).unwrap());
    let mut out = cpu.zeros(Dtype::F32, 8).unwrap();
    let to = ViewMut::all(&mut out).rows(4).columns(1..3);
    let (x, w) = (View::all(&x).rows(1), View::all(&w).rows(1));
    cpu.matmul(Product { form: Form::Xwt, a: x, b: w, start: Start::Zero }, to).unwrap();
    assert_eq!(out.as_slice::<f32>().unwrap(), [0.0, 3.0, 4.0, 0.0, 0.0, 6.0, 8.0, 0.0]);
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    let cpu = Cpu::new(1).unwrap();
    let x = cpu.zeros(Dtype::F32, 6).unwrap();
    let mut out = cpu.zeros(Dtype::F32, 4).unwrap();
    let (a, b) = (View::all(&x).rows(3), View::all(&x).rows(2));
    let to = ViewMut::all(&mut out).rows(2);
    let result = cpu.matmul(Product { form: Form::Xwt, a, b, start: Start::Zero }, to);
    assert_eq!(result, Err(Error::Length { op: "matmul", buffer: "b", got: 2, want: 3 }));
}
