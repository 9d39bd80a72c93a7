//! What goes wrong on a device comes back as an error, wherever it happens, and nothing is leaked.

use std::sync::Arc;

use kernels::cuda::Numerics;
use kernels::decoder::train::Precision;
use kernels::ops::rope::{Direction, RopeTable};
use kernels::ops::{attention::Heads, matmul::Start};
use kernels::{Cuda, Device, Dtype, Error, View, ViewMut, decoder, generate, train};

use crate::emulator::{Emulator, emulator};
use crate::runs;

/// The device's own error within that of a run.
fn of_training(it: train::Error) -> Error {
    match it {
        train::Error::Device(it) => it,
        train::Error::Model(decoder::Error::Device(it)) => it,
        other => panic!("{other}"),
    }
}

fn of_generation(it: generate::Error) -> Error {
    match it {
        generate::Error::Device(it) => it,
        other => panic!("{other}"),
    }
}

fn generation(cuda: &Arc<Cuda>) -> Result<(), Error> {
    let model = runs::model(Arc::clone(cuda), "gqa").map_err(of_generation)?;
    runs::generate(&model).map(|_| ()).map_err(of_generation)
}

/// Lets the n-th call fail for n that double, until none does: each is the error that it should be, and
/// afterwards the same run goes well.
fn each_fails(it: &Emulator, fail: fn(&Emulator, i32), is_it: fn(&Error) -> bool) {
    let settings = runs::training(Precision::F32, None);
    let train = |n: i32| {
        let cuda = it.open(Numerics::Exact);
        fail(it, n);
        let result = runs::train(&cuda, false, &settings).map(|_| ()).map_err(of_training);
        fail(it, -1);
        it.repair();
        result
    };
    let generate = |n: i32| {
        let cuda = Arc::new(it.open(Numerics::Exact));
        fail(it, n);
        let result = generation(&cuda);
        fail(it, -1);
        it.repair();
        result
    };
    // With graphs, whose launches fail too.
    let decode = |n: i32| {
        let cuda = Arc::new(it.open(Numerics::Bf16));
        let model = runs::tiny(cuda);
        fail(it, n);
        let result = runs::generate(&model).map(|_| ()).map_err(of_generation);
        fail(it, -1);
        it.repair();
        result
    };
    for run in [&train as &dyn Fn(i32) -> Result<(), Error>, &generate, &decode] {
        let before = it.used();
        let mut failed = 0;
        for n in (0..12).map(|it| (1 << it) - 1) {
            match run(n) {
                Ok(()) => break,
                Err(it) => assert!(is_it(&it), "call {n}: {it}"),
            }
            failed += 1;
            assert_eq!(it.used(), before, "memory is leaked after call {n} failed");
        }
        assert!(failed > 4, "{failed} calls failed");
        run(-1).unwrap();
    }
}

#[test]
fn memory_that_ends_is_an_error_wherever_it_ends() {
    let Some(it) = emulator() else { return };
    each_fails(it, Emulator::fail_allocation, |it| matches!(it, Error::Memory { .. }));
}

#[test]
fn a_launch_that_fails_is_an_error_wherever_it_fails() {
    let Some(it) = emulator() else { return };
    each_fails(
        it,
        Emulator::fail_launch,
        |it| matches!(it, Error::Driver { code, .. } if code == "CUDA_ERROR_LAUNCH_FAILED"),
    );
}

#[test]
fn a_kernel_that_is_not_there_or_does_not_compile_is_an_error() {
    let Some(it) = emulator() else { return };
    let add = |edit: fn(&str) -> String| {
        let cuda = it.edited(Numerics::Exact, Arc::new(move |_, text| edit(text)));
        let (x, mut to) = (cuda.upload(&[1.0f32]).unwrap(), cuda.zeros(Dtype::F32, 1).unwrap());
        cuda.add(View::all(&x), ViewMut::all(&mut to))
    };
    let missing = add(|text| text.replace("add(const", "sum(const"));
    assert!(matches!(missing, Err(Error::Driver { code, .. }) if code == "CUDA_ERROR_NOT_FOUND"));
    let broken = add(|text| text.replace("round_to<B>", "nearest<B>"));
    assert!(matches!(broken, Err(Error::Compile { log, .. }) if log.contains("nearest")));
}

#[test]
fn wrong_indices_on_the_device_are_told_at_the_next_wait() {
    let Some(it) = emulator() else { return };
    let cuda = it.open(Numerics::Exact);
    let table = cuda.upload(&[1.0f32; 12]).unwrap();
    let ids = cuda.upload(&[2u32, 4, 1]).unwrap();
    let mut out = cuda.zeros(Dtype::F32, 9).unwrap();
    cuda.embed(View::all(&table).rows(3), View::all(&ids), ViewMut::all(&mut out)).unwrap();
    let index = |op, buffer, index, len| Error::Index { op, buffer, index, len };
    assert_eq!(cuda.wait(), Err(index("embed", "ids", 4, 4)));
    // Once; what comes later goes well.
    assert_eq!(cuda.read::<f32>(View::all(&out)).unwrap()[..3], [1.0; 3]);
    let heads = Heads { query: 1, kv: 1, dim: 2 };
    let rope = RopeTable::new(&cuda, 1e4, 2, 4).unwrap();
    let mut qkv = cuda.upload(&[1.0f32; 18]).unwrap();
    let rope = rope.with_heads(heads, Direction::Forward);
    cuda.rope(ViewMut::all(&mut qkv), View::all(&ids), rope).unwrap();
    assert_eq!(cuda.wait(), Err(index("rope", "positions", 4, 4)));
}

#[test]
fn shapes_that_do_not_fit_are_refused_before_anything_is_launched() {
    let Some(it) = emulator() else { return };
    let cuda = it.open(Numerics::Exact);
    let weight = cuda.upload(&[1.0f32; 12]).unwrap();
    let packed = cuda.pack(View::all(&weight).rows(3)).unwrap();
    let x = cuda.upload(&[1.0f32; 8]).unwrap();
    let mut out = cuda.zeros(Dtype::F32, 8).unwrap();
    let to = ViewMut::all(&mut out).rows(4);
    let wrong = cuda.linear(View::all(&x).rows(4), &packed, to, Start::Zero);
    assert!(matches!(wrong, Err(Error::Length { .. })));
    let ids = cuda.upload(&[1u32; 8]).unwrap();
    let wrong = cuda.add(View::all(&ids), ViewMut::all(&mut out));
    assert!(matches!(wrong, Err(Error::Dtype { buffer: "x", .. })));
    assert!(matches!(cuda.zeros(Dtype::F32, usize::MAX), Err(Error::Memory { .. })));
    assert!(matches!(cuda.zeros(Dtype::F32, 1 << 40), Err(Error::Memory { .. })));
}

#[test]
fn there_is_no_second_device() {
    let Some(it) = emulator() else { return };
    let settings = kernels::cuda::Settings { ordinal: 1, ..it.settings(Numerics::Exact) };
    let why = Cuda::open(settings).err().unwrap();
    assert_eq!(why, Error::NoDevice { reason: "number 1 of 1".into() });
}
