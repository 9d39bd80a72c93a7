//! The CUDA backend on the emulated device: every operation against its twin, whole runs, failures.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../emulator/build.rs"]
mod build;
mod cases;
mod decoding;
mod emulator;
mod failures;
mod graphs;
mod mutations;
mod paged;
mod picking;
mod rehearsal;
mod runs;
mod timing;
mod watchdog;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cases::Results;
use emulator::{device, emulator};
use kernels::cuda::Numerics;
use kernels::decoder::train::Precision;
use kernels::generate::{self, Model, Output};
use kernels::ops::adamw::OptimStates;
use kernels::train::Settings;
use kernels::{AnyDevice, Cpu, Cuda, Device, Dtype, View};

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
    let Some(it) = device() else { return };
    let want = on_cpu(&Cpu::new(2).unwrap());
    let cuda = it.open(Numerics::Exact);
    for seed in SEEDS {
        it.set_seed(seed);
        assert_same(&on_cuda(&cuda), &want);
    }
}

/// ‖got − want‖ over ‖want‖.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |it: f64| it * it;
    let off = got.iter().zip(want).map(|(a, b)| square(f64::from(*a) - f64::from(*b)));
    let size: f64 = want.iter().map(|it| square(f64::from(*it))).sum();
    (off.sum::<f64>() / size.max(1e-30)).sqrt()
}

/// Near the processor's numbers, and the same bits whatever order blocks and warps run in.
#[track_caller]
fn assert_near(
    on_cuda: impl Fn(&Cuda) -> Results,
    on_cpu: impl Fn(&Cpu) -> Results,
    within: impl Fn(&str) -> f64,
) {
    let Some(it) = device() else { return };
    let want = on_cpu(&Cpu::new(2).unwrap());
    let cuda = it.open(Numerics::Bf16);
    let all = SEEDS.map(|seed| {
        it.set_seed(seed);
        on_cuda(&cuda)
    });
    for ((name, got), (_, want)) in all[0].iter().zip(&want) {
        let off = distance(got, want);
        assert!(off <= within(name), "{name}: off by {off:e}");
    }
    all[1..].iter().for_each(|it| assert_same(it, &all[0]));
}

/// Orders of blocks and warps that are tried.
const SEEDS: [u64; 2] = [0, 0x5eed];

#[test]
fn elementwise_operations_give_the_processor_s_bits() {
    assert_exact(cases::elementwise, cases::elementwise);
    assert_exact(cases::dropout, cases::dropout);
    assert_exact(cases::uniform, cases::uniform);
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
    let f32 = Dtype::F32;
    assert_exact(|it| cases::fused(it, f32, f32), |it| cases::fused(it, f32, f32));
    for (e, w) in [(Dtype::F32, Dtype::F32), (Dtype::F32, Dtype::Bf16)] {
        assert_exact(|it| cases::cross_entropy(it, e, w), |it| cases::cross_entropy(it, e, w));
    }
}

#[test]
fn matrices_lie_as_kernels_believe() {
    let Some(it) = device() else { return };
    for (seed, capability) in SEEDS.into_iter().flat_map(|it| [(it, 80), (it, 90)]) {
        it.set_seed(seed);
        it.set_capability(capability);
        it.open(Numerics::Bf16).probe().unwrap();
        it.set_capability(80);
    }
}

/// How far sums of that depth may be from the processor's. Tensor cores align the terms of a step and cut off
/// what is below a bit or two more than f32 has (Fasi et al., "Numerical behavior of NVIDIA tensor cores", 2021),
/// always towards zero, so that the error grows with the depth: about 1e-9 for each term. Four times that.
fn truncated(depth: usize) -> f64 {
    (4.3e-9 * depth as f64).max(1e-6)
}

#[test]
fn products_of_tensor_cores_are_near_the_processor_s() {
    // One rounding to bf16 where the sums differ in their last bits; f32 to a few of these.
    let within = |name: &str| {
        let mut words = name.rsplit(' ');
        let (dtype, depth) = (words.next().unwrap(), words.next().unwrap());
        if dtype == "bf16" { 2e-3 } else { truncated(depth.parse().unwrap()) }
    };
    assert_near(cases::tensor_products, cases::tensor_products, within);
    let bf16 = Dtype::Bf16;
    assert_near(|it| cases::fused(it, bf16, bf16), |it| cases::fused(it, bf16, bf16), |_| 4e-3);
    assert_near(cases::mixed_products, cases::mixed_products, |_| 4e-3);
}

#[test]
fn rows_and_sums_in_bf16_are_near_the_processor_s() {
    let bf16 = Dtype::Bf16;
    // Sums in another order may round a number to its neighbour.
    let within = |name: &str| if name.contains("bf16") { 3e-3 } else { 1e-5 };
    assert_near(cases::rms_norm, cases::rms_norm, within);
    assert_near(cases::embedding, cases::embedding, within);
    assert_near(
        |it| cases::cross_entropy(it, bf16, bf16),
        |it| cases::cross_entropy(it, bf16, bf16),
        |name| if name.ends_with("nll") || name.ends_with("alone") { 3e-6 } else { 4e-3 },
    );
    let Some(it) = device() else { return };
    let (cuda, cpu) = (it.open(Numerics::Bf16), Cpu::new(2).unwrap());
    for n in [1, 4099, 40_000, 5_000_000] {
        let (x, y) = (cases::upload(&cuda, bf16, n, 1), cases::upload(&cpu, bf16, n, 1));
        let (got, want) = (cuda.square_sum(View::all(&x)), cpu.square_sum(View::all(&y)));
        let (got, want) = (got.unwrap(), want.unwrap());
        assert!((got - want).abs() <= 1e-12 * want, "{n}: {got} and not {want}");
    }
}

/// The same results whether or not Hopper's own instructions are used: the same chains; and whether or not
/// what comes after a product is done at once.
#[test]
fn products_of_hopper_are_those_of_tensor_cores() {
    let Some(it) = emulator() else { return };
    let all = |cuda: &Cuda| {
        [cases::tensor_products(cuda), cases::fused(cuda, Dtype::Bf16, Dtype::Bf16)].concat()
    };
    it.set_capability(90);
    let portable = kernels::cuda::Settings { portable: true, ..it.settings(Numerics::Bf16) };
    let want = all(&Cuda::open(portable).unwrap());
    let hopper = it.open(Numerics::Bf16);
    for seed in SEEDS {
        it.set_seed(seed);
        assert_same(&all(&hopper), &want);
    }
    it.set_capability(80);
}

#[test]
fn what_comes_after_a_product_gives_the_same_bits_at_once() {
    let Some(it) = device() else { return };
    let bf16 = Dtype::Bf16;
    for (seed, capability) in SEEDS.into_iter().flat_map(|it| [(it, 80), (it, 90)]) {
        it.set_seed(seed);
        it.set_capability(capability);
        let cuda = it.open(Numerics::Bf16);
        it.set_capability(80);
        let want = cases::one_after_another(&cuda, bf16, bf16);
        assert_same(&cases::fused(&cuda, bf16, bf16), &want);
    }
    it.set_seed(SEEDS[0]);
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
    assert_exact(|it| cases::paged(it, Dtype::F32, 20), |it| cases::paged(it, Dtype::F32, 20));
}

#[test]
fn attention_of_tensor_cores_is_near_the_processor_s() {
    let e = Dtype::Bf16;
    let within = |name: &str| if name.ends_with("lse") { 1e-5 } else { 8e-3 };
    for (heads, spans) in cases::tensor_attentions() {
        assert_near(
            |it| cases::attention(it, e, heads, &spans),
            |it| cases::attention(it, e, heads, &spans),
            within,
        );
    }
    // The ways for all types are taken for heads that have no whole sixteens.
    for dim in [32, 20] {
        assert_near(|it| cases::paged(it, e, dim), |it| cases::paged(it, e, dim), within);
    }
    let (heads, spans) = &cases::attentions()[1];
    assert_near(
        |it| cases::attention(it, e, *heads, spans),
        |it| cases::attention(it, e, *heads, spans),
        within,
    );
}

#[test]
fn attention_of_hopper_is_near_the_processor_s() {
    let Some(it) = device() else { return };
    it.set_capability(90);
    let e = Dtype::Bf16;
    let within = |name: &str| if name.ends_with("lse") { 1e-5 } else { 8e-3 };
    for (heads, spans) in cases::hopper_attentions() {
        assert_near(
            |it| cases::attention(it, e, heads, &spans),
            |it| cases::attention(it, e, heads, &spans),
            within,
        );
    }
    it.set_capability(80);
}

#[test]
fn training_gives_the_processor_s_bits() {
    let Some(it) = device() else { return };
    let cpu = Cpu::new(2).unwrap();
    let cuda = it.open(Numerics::Exact);
    for (tied, precision, adapters) in [
        (true, Precision::F32, None),
        (false, Precision::Bf16Weights, None),
        (false, Precision::Bf16Weights, Some(0.3)),
        (false, Precision::Bf16, None),
    ] {
        let settings = runs::training(precision, adapters);
        let want = runs::train(&cpu, tied, &settings).unwrap();
        assert!(want.records.len() == 3 && want.records[2].grad_norm > 0.0);
        assert_eq!(runs::train(&cuda, tied, &settings).unwrap(), want, "{precision:?}");
    }
    for optim_states in [OptimStates::Bf16, OptimStates::EightBit] {
        let settings = Settings { optim_states, ..runs::training(Precision::Bf16Split, None) };
        let want = runs::train(&cpu, false, &settings).unwrap();
        assert_eq!(runs::train(&cuda, false, &settings).unwrap(), want, "{optim_states:?}");
    }
}

#[test]
fn generation_and_scores_give_the_processor_s_bits() {
    let Some(it) = device() else { return };
    for name in ["gqa", "bf16"] {
        let on_cpu = runs::model(Arc::new(Cpu::new(2).unwrap()), name).unwrap();
        let on_cuda = runs::model(Arc::new(it.open(Numerics::Exact)), name).unwrap();
        assert_eq!(runs::generate(&on_cuda).unwrap(), runs::generate(&on_cpu).unwrap());
        assert_eq!(runs::score(&on_cuda).unwrap(), runs::score(&on_cpu).unwrap());
    }
}

/// The same calls through the type that steps use.
#[test]
fn a_device_that_is_chosen_at_run_time_gives_the_same_bits() {
    let Some(it) = device() else { return };
    let cpu = AnyDevice::Cpu(Cpu::new(2).unwrap());
    let cuda = AnyDevice::Cuda(Box::new(it.open(Numerics::Exact)));
    assert!(cuda.memory_bytes().unwrap() > 0);
    let settings = runs::training(Precision::F32, Some(0.3));
    let want = runs::train(&cpu, false, &settings).unwrap();
    assert_eq!(runs::train(&cuda, false, &settings).unwrap(), want);
    let on_cpu = runs::model(Arc::new(cpu), "gqa").unwrap();
    let on_cuda = runs::model(Arc::new(cuda), "gqa").unwrap();
    assert_eq!(runs::generate(&on_cuda).unwrap(), runs::generate(&on_cpu).unwrap());
}

#[test]
fn training_in_bf16_is_near_the_processor_s_and_repeats_itself() {
    let Some(it) = device() else { return };
    let cpu = Cpu::new(2).unwrap();
    let (tiny, wide) = (runs::TINY, runs::WIDE);
    let low = Precision::Bf16Split;
    for (capability, sizes, tied, (precision, adapters)) in [
        (80, tiny, false, (Precision::Bf16, None)),
        (80, tiny, true, (Precision::Bf16, Some(0.3))),
        (90, wide, false, (low, None)),
    ] {
        it.set_capability(capability);
        let cuda = it.open(Numerics::Bf16);
        it.set_capability(80);
        let mut settings = runs::training(precision, adapters);
        if sizes == wide {
            settings.micro_tokens = Some(200);
        }
        let want = runs::train_sized(&cpu, (sizes, tied), &settings).unwrap();
        let got = runs::train_sized(&cuda, (sizes, tied), &settings).unwrap();
        let off = |a: f64, b: f64| (a - b).abs() / b;
        // Before the first step both have the same weights; after it AdamW makes a whole step of the sign
        // of the smallest gradient.
        let (first, of_cpu) = (&got.records[0], &want.records[0]);
        assert!(off(first.loss, of_cpu.loss) < 1e-3, "{first:?} and not {of_cpu:?}");
        assert!(off(first.grad_norm, of_cpu.grad_norm) < 5e-3, "{first:?} and not {of_cpu:?}");
        for (got, want) in got.records.iter().zip(&want.records) {
            assert!(off(got.loss, want.loss) < 1e-2, "{got:?} and not {want:?}");
        }
        assert!(off(got.eval, want.eval) < 1e-2);
        it.set_seed(SEEDS[1]);
        let again = runs::train_sized(&cuda, (sizes, tied), &settings).unwrap();
        assert_eq!(again, got, "two runs, two results");
        it.set_seed(SEEDS[0]);
    }
}

#[test]
fn a_step_after_the_first_takes_no_memory() {
    let Some(it) = emulator() else { return };
    let (exact, bf16) = (Numerics::Exact, Numerics::Bf16);
    for (capability, numerics, sizes, (precision, adapters)) in [
        (80, exact, runs::TINY, (Precision::Bf16Weights, None)),
        (80, bf16, runs::TINY, (Precision::Bf16, Some(0.3))),
        (80, bf16, runs::TINY, (Precision::Bf16, None)),
        (90, bf16, runs::WIDE, (Precision::Bf16Split, None)),
    ] {
        it.set_capability(capability);
        let cuda = it.open(numerics);
        it.set_capability(80);
        let settings = runs::training(precision, adapters);
        let rises = runs::counted_steps(&cuda, sizes, &settings, || it.allocations());
        assert_eq!(rises, [0, 0], "{capability} {numerics:?} {precision:?} {adapters:?}");
    }
}

#[test]
fn generation_in_bf16_picks_the_processor_s_tokens_whatever_the_company() {
    let Some(it) = device() else { return };
    for (capability, sizes) in [(80, runs::TINY), (90, runs::WIDE)] {
        it.set_capability(capability);
        let cuda = it.open(Numerics::Bf16);
        it.set_capability(80);
        let on_cpu = runs::fresh(Arc::new(Cpu::new(2).unwrap()), sizes);
        generation_in_bf16(&runs::fresh(Arc::new(cuda), sizes), &on_cpu);
    }
}

/// One row at a time, in small steps.
const ALONE: generate::Settings = generate::Settings { rows: 1, step_tokens: 5, cache_tokens: 160 };

/// Outputs without how many tokens of them were known.
fn alike(outputs: Vec<Output>) -> Vec<Output> {
    outputs.into_iter().map(|it| Output { known_tokens: 0, ..it }).collect()
}

/// How far apart, in log-probability, two tokens may be for rounding to decide between them.
const TIE: f32 = 0.05;

/// The same tokens and near log-probabilities, up to where the processor itself sees a tie between the two that
/// were sampled: from there on they are answers to different prompts.
fn assert_same_to_a_tie(got: &Output, want: &Output, on_cpu: &Arc<Model<Cpu>>) {
    assert_eq!(got.ids.len(), want.ids.len());
    let n = got.ids.iter().zip(&want.ids).take_while(|(a, b)| a == b).count();
    assert!(distance(&got.log_probabilities[..n], &want.log_probabilities[..n]) < 2e-2);
    if n < want.ids.len() {
        let prefix = [&runs::prompt_of(want.row)[..], &want.ids[..n]].concat();
        let of = |id| runs::log_probability(on_cpu, &prefix, id).unwrap();
        let gap = of(want.ids[n]) - of(got.ids[n]);
        assert!(
            gap.abs() < TIE,
            "token {n} is {} and not {}, {gap} apart",
            got.ids[n],
            want.ids[n]
        );
    }
}

#[test]
fn tokens_may_differ_at_a_tie_and_nowhere_else() {
    let on_cpu = runs::fresh(Arc::new(Cpu::new(2).unwrap()), runs::TINY);
    let want = runs::generate(&on_cpu).unwrap().remove(0);
    assert_same_to_a_tie(&want, &want, &on_cpu);
    let prefix = [&runs::prompt_of(want.row)[..], &want.ids[..3]].concat();
    let all: Vec<f32> =
        (0..72).map(|id| runs::log_probability(&on_cpu, &prefix, id).unwrap()).collect();
    let unlikely = (0..72).min_by(|a, b| all[*a].total_cmp(&all[*b])).unwrap();
    let mut other = want.clone();
    other.ids[3] = unlikely as u32;
    let compared = catch_unwind(AssertUnwindSafe(|| assert_same_to_a_tie(&other, &want, &on_cpu)));
    assert!(
        compared.is_err(),
        "a token that is {} less likely passes",
        all[want.ids[3] as usize] - all[unlikely]
    );
}

fn generation_in_bf16(on_cuda: &Arc<Model<Cuda>>, on_cpu: &Arc<Model<Cpu>>) {
    let (got, want) = (runs::generate(on_cuda).unwrap(), runs::generate(on_cpu).unwrap());
    let is_greedy = |it: &&Output| it.row != 7;
    for (got, want) in got.iter().zip(&want).filter(|it| is_greedy(&it.0)) {
        assert_same_to_a_tie(got, want, on_cpu);
    }
    let (scores, near) = (runs::score(on_cuda).unwrap(), runs::score(on_cpu).unwrap());
    for (got, want) in scores.iter().zip(&near) {
        assert!(distance(&got.nll, &want.nll) < 1e-2);
    }
    // One after another: other tiles, the same bits.
    assert_eq!(alike(runs::generate_with(on_cuda, ALONE).unwrap()), alike(got));
    assert_eq!(runs::score_with(on_cuda, ALONE).unwrap(), scores);
}

/// Sequences give their blocks back, and what was sampled before is computed as it was.
#[test]
fn generation_in_bf16_picks_the_same_tokens_where_rows_are_sent_back() {
    let Some(it) = device() else { return };
    let model = runs::tiny(Arc::new(it.open(Numerics::Bf16)));
    let crowded = generate::Settings { rows: 4, step_tokens: 16, cache_tokens: 160 };
    let (want, n) = runs::crowd(&model, ALONE).unwrap();
    assert_eq!(n, 0);
    let (got, n) = runs::crowd(&model, crowded).unwrap();
    assert!(n > 0, "nobody was preempted");
    assert_eq!(alike(got), alike(want));
}
