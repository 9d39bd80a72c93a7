//! The CUDA backend on the emulated device: every operation against its twin, whole runs, failures.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cases;
mod emulator;
mod failures;
mod mutations;
mod runs;

use std::sync::Arc;

use cases::Results;
use emulator::emulator;
use kernels::cuda::Numerics;
use kernels::yi::train::Precision;
use kernels::{Cpu, Cuda, Dtype};

/// The same names and the same bits.
#[track_caller]
fn assert_same(got: &Results, want: &Results) {
    assert_eq!(got.len(), want.len());
    for ((name, got), (want_name, want)) in got.iter().zip(want) {
        assert_eq!((name, got.len()), (want_name, want.len()));
        let bits = |it: &f32| it.to_bits();
        let off = got.iter().zip(want).position(|(a, b)| bits(a) != bits(b));
        if let Some(i) = off {
            panic!("{name}, number {i}: {} and not {}", got[i], want[i]);
        }
    }
}

/// The bits of the processor, whatever order blocks and warps run in.
#[track_caller]
fn assert_exact(on_cuda: impl Fn(&Cuda) -> Results, on_cpu: impl Fn(&Cpu) -> Results) {
    let Some(it) = emulator() else { return };
    let want = on_cpu(&Cpu::new(2).unwrap());
    let cuda = it.open(Numerics::Exact);
    for seed in SEEDS {
        it.set_seed(seed);
        assert_same(&on_cuda(&cuda), &want);
    }
}

/// Orders of blocks and warps that are tried.
const SEEDS: [u64; 2] = [0, 0x5eed];

#[test]
fn elementwise_operations_give_the_processor_s_bits() {
    assert_exact(cases::elementwise, cases::elementwise);
    assert_exact(cases::dropout, cases::dropout);
    assert_exact(cases::swiglu, cases::swiglu);
    assert_exact(cases::rope, cases::rope);
    assert_exact(cases::adamw, cases::adamw);
}

#[test]
fn rows_and_sums_give_the_processor_s_bits() {
    assert_exact(cases::embedding, cases::embedding);
    assert_exact(cases::rms_norm, cases::rms_norm);
    assert_exact(cases::square_sum, cases::square_sum);
}

#[test]
fn products_give_the_processor_s_bits() {
    assert_exact(cases::matmul, cases::matmul);
    for (e, w) in [(Dtype::F32, Dtype::F32), (Dtype::F32, Dtype::Bf16)] {
        assert_exact(|it| cases::cross_entropy(it, e, w), |it| cases::cross_entropy(it, e, w));
    }
}

#[test]
fn attention_gives_the_processor_s_bits() {
    for (heads, spans) in cases::attentions() {
        let e = Dtype::F32;
        assert_exact(
            |it| cases::attention(it, e, heads, &spans),
            |it| cases::attention(it, e, heads, &spans),
        );
    }
    assert_exact(|it| cases::paged(it, Dtype::F32), |it| cases::paged(it, Dtype::F32));
}

#[test]
fn training_gives_the_processor_s_bits() {
    let Some(it) = emulator() else { return };
    let cpu = Cpu::new(2).unwrap();
    let cuda = it.open(Numerics::Exact);
    for (tied, precision, adapters) in [
        (true, Precision::F32, None),
        (false, Precision::Bf16Weights, None),
        (false, Precision::Bf16Weights, Some(0.3)),
    ] {
        let settings = runs::training(precision, adapters);
        let want = runs::train(&cpu, tied, &settings).unwrap();
        assert!(want.records.len() == 3 && want.records[2].grad_norm > 0.0);
        assert_eq!(runs::train(&cuda, tied, &settings).unwrap(), want, "{precision:?}");
    }
}

#[test]
fn generation_and_scores_give_the_processor_s_bits() {
    let Some(it) = emulator() else { return };
    for name in ["gqa", "bf16"] {
        let on_cpu = runs::model(Arc::new(Cpu::new(2).unwrap()), name).unwrap();
        let on_cuda = runs::model(Arc::new(it.open(Numerics::Exact)), name).unwrap();
        assert_eq!(runs::generate(&on_cuda).unwrap(), runs::generate(&on_cpu).unwrap());
        assert_eq!(runs::score(&on_cuda).unwrap(), runs::score(&on_cpu).unwrap());
    }
}
