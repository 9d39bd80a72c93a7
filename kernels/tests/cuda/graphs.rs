//! Launches that are kept as graphs: the same bits, and mistakes that a device would not forgive.

use std::sync::Arc;

use kernels::cuda::{Graph, Numerics, Settings};
use kernels::{Cuda, Decode, Device, Dtype, Error, View, ViewMut};

use crate::cases::{download, upload};
use crate::emulator::emulator;
use crate::runs;

#[test]
fn generation_with_graphs_has_the_bits_of_generation_without() {
    let Some(it) = emulator() else { return };
    let all = kernels::generate::Settings { rows: 4, step_tokens: 16, cache_tokens: 160 };
    let run = |graphs| {
        let cuda = Cuda::open(Settings { graphs, ..it.settings(Numerics::Bf16) }).unwrap();
        let model = runs::tiny(Arc::new(cuda));
        let before = it.graphs();
        let outputs = (runs::generate(&model).unwrap(), runs::crowd(&model, all).unwrap());
        (outputs, it.graphs() - before)
    };
    let ((want, none), (got, n)) = (run(false), run(true));
    assert_eq!(none, 0);
    assert!(n > 50, "{n} graphs were launched");
    assert_eq!(got, want);
}

#[test]
fn steps_of_generation_allocate_nothing_once_they_were_done_before() {
    let Some(it) = emulator() else { return };
    for numerics in [Numerics::Exact, Numerics::Bf16] {
        let model = runs::tiny(Arc::new(it.open(numerics)));
        let mut again = runs::again_and_again(&model);
        // The last few tables are kept, and only then is what they lay in used again.
        (0..8).for_each(|_| again());
        let before = it.allocations();
        again();
        assert_eq!(it.allocations(), before, "{numerics:?}");
    }
}

/// Doubles a buffer; what comes of it the n-th time.
fn doubled(cuda: &Cuda, graph: &mut Graph, to: &mut kernels::CudaBuffer) -> Result<(), Error> {
    let work = || cuda.scale(2.0, ViewMut::all(to));
    // SAFETY: the tests keep the buffer, or are about what comes of it when they do not: the emulator
    // looks whether it is still there before it launches anything.
    unsafe { cuda.repeat(graph, work) }
}

#[test]
fn a_graph_does_what_its_launches_did_whatever_lies_in_memory_now() {
    let Some(it) = emulator() else { return };
    let cuda = it.open(Numerics::Bf16);
    let (mut graph, mut to) = (Graph::default(), cuda.upload(&[1.0f32, 3.0]).unwrap());
    let before = it.graphs();
    for n in 1..5 {
        doubled(&cuda, &mut graph, &mut to).unwrap();
        let by = (1 << n) as f32;
        assert_eq!(download(&cuda, &to), [by, 3.0 * by], "time {n}");
    }
    cuda.write(ViewMut::all(&mut to), &[5.0f32, 0.5]).unwrap();
    doubled(&cuda, &mut graph, &mut to).unwrap();
    assert_eq!(download(&cuda, &to), [10.0, 1.0]);
    assert_eq!(it.graphs() - before, 4);
}

/// Each of them works while nothing is captured, and is an error while something is; the device goes on.
#[test]
fn what_a_device_forbids_while_a_graph_is_captured_is_an_error() {
    let Some(it) = emulator() else { return };
    let cuda = it.open(Numerics::Bf16);
    let some = upload(&cuda, Dtype::F32, 8, 1);
    let mut to = cuda.zeros(Dtype::F32, 8).unwrap();
    type Call<'a> = &'a mut dyn FnMut(&Cuda) -> Result<(), Error>;
    let calls: [(&str, Call<'_>); 4] = [
        ("wait", &mut |it| it.wait()),
        ("read", &mut |it| it.read::<f32>(View::all(&some)).map(|_| ())),
        ("allocate", &mut |it| it.zeros(Dtype::F32, 4).map(|_| ())),
        ("write", &mut |it| it.write(ViewMut::all(&mut to), &[1.0f32; 8])),
    ];
    for (name, call) in calls {
        let mut graph = Graph::default();
        // SAFETY: the buffers are there until the end of this test.
        let mut once = || unsafe { cuda.repeat(&mut graph, || call(&cuda)) };
        once().unwrap();
        let why = once().unwrap_err();
        let told = |code: &str| code == "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
        assert!(matches!(&why, Error::Driver { code, .. } if told(code)), "{name}: {why}");
        assert_eq!(download(&cuda, &some).len(), 8, "{name}");
    }
}

#[test]
fn a_graph_of_memory_that_was_given_back_is_an_error() {
    let Some(it) = emulator() else { return };
    let cuda = it.open(Numerics::Bf16);
    let (mut graph, mut to) = (Graph::default(), upload(&cuda, Dtype::F32, 8, 1));
    for _ in 0..3 {
        doubled(&cuda, &mut graph, &mut to).unwrap();
    }
    drop(to);
    let mut other = upload(&cuda, Dtype::F32, 8, 1);
    let why = doubled(&cuda, &mut graph, &mut other).unwrap_err();
    assert!(matches!(why, Error::Driver { call: "launch a graph", .. }), "{why}");
    assert_eq!(it.failure(), "a graph uses memory that was given back");
    it.repair();
}
