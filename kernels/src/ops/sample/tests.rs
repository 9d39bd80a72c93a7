//! The pick against `transformers`' values, and its edges.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use super::*;

fn given(sampling: Sampling, seen: &Seen, uniform: f64) -> Given<'_> {
    Given { sampling, seen, suppressed: &[], uniform }
}

fn drawn(logits: &[f32], sampling: Sampling, uniform: f64) -> u32 {
    let seen = Seen::default();
    Sampler::default().pick(logits, given(sampling, &seen, uniform)).unwrap().id
}

const DRAW: Sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };

/// A case's settings; a missing one does nothing.
fn sampling_of(settings: &Value) -> Sampling {
    let number = |name: &str| settings[name].as_f64().map(|it| it as f32);
    Sampling {
        temperature: number("temperature").unwrap_or(1.0),
        top_k: settings["top_k"].as_u64().unwrap_or(0) as usize,
        top_p: number("top_p").unwrap_or(1.0),
        min_p: number("min_p").unwrap_or(0.0),
        repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().map(|it| it.as_u64().unwrap() as u32).collect()
}

#[test]
fn the_warpers_are_those_of_transformers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/oracle/fixtures/gqa/");
    let cases = fs::read(format!("{folder}warpers.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    let file = fs::read(format!("{folder}warpers.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let tensor = |name: String| -> Vec<f32> {
        let bytes = tensors.tensor(&name).unwrap().data().chunks_exact(4);
        bytes.map(|it| f32::from_le_bytes(it.try_into().unwrap())).collect()
    };
    assert_eq!(cases.len(), 12);
    for (i, case) in cases.iter().enumerate() {
        let (before, after) = (tensor(format!("{i}/before")), tensor(format!("{i}/after")));
        let mut seen = Seen::default();
        seen.add(&ids(&case["prompt"]));
        seen.add(&ids(&case["output"]));
        let suppressed = ids(&case["settings"]["stop_ids"]);
        let sampling = sampling_of(&case["settings"]);
        sampling.check().unwrap();
        let given = Given { sampling, seen: &seen, suppressed: &suppressed, uniform: 0.0 };
        let got = Sampler::default().warped(&before, given);
        for (id, (got, want)) in got.iter().zip(&after).enumerate() {
            let same = got == want || (got - want).abs() <= 1e-6 * want.abs();
            assert!(same, "case {i}, token {id}: {got}, expected {want}");
        }
    }
}

#[test]
fn of_equal_scores_the_smallest_id_is_taken() {
    assert_eq!(drawn(&[1.0, 3.0, 3.0, 2.0], Sampling::GREEDY, 0.9), 1);
    assert_eq!(drawn(&[-0.0, 0.0], Sampling::GREEDY, 0.9), 0);
    assert_eq!(drawn(&[f32::NEG_INFINITY, -1e30], Sampling::GREEDY, 0.9), 1);
    // Ties with the k-th stay; of equal ones top-p drops the last.
    let top_k = Sampling { top_k: 1, ..DRAW };
    assert_eq!((drawn(&[2.0, 2.0, 1.0], top_k, 0.4), drawn(&[2.0, 2.0, 1.0], top_k, 0.6)), (0, 1));
    let top_p = Sampling { top_p: 0.5, ..DRAW };
    assert_eq!(drawn(&[2.0; 4], top_p, 0.999), 1);
    assert_eq!(drawn(&[1.0, 2.0], Sampling { top_p: 0.0, ..DRAW }, 0.999), 1);
}

#[test]
fn a_draw_is_the_first_id_whose_cumulative_probability_is_above_the_uniform_number() {
    let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 0.0];
    let at = |uniform| drawn(&logits, DRAW, uniform);
    assert_eq!([0.0, 0.249, 0.251, 0.749, 0.751].map(at), [0, 0, 1, 1, 3]);
    assert_eq!(at(1.0 - f64::EPSILON / 2.0), 3);
}

#[test]
fn top_p_of_many_tokens_is_that_of_a_full_sort() {
    let logits: Vec<f32> = (0..5000u32).map(|it| (it * 7919 % 4001) as f32 * 2.5e-4).collect();
    for p in [0.001, 0.05, 0.5, 0.97] {
        let sampling = Sampling { top_p: p, ..DRAW };
        let kept = Sampler::default().warped(&logits, given(sampling, &Seen::default(), 0.0));
        let kept: Vec<usize> = (0..5000).filter(|it| kept[*it] > f32::NEG_INFINITY).collect();
        let weight = |it: usize| f64::from(logits[it] - 1.0).exp();
        let mut order: Vec<usize> = (0..5000).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        let all: f64 = order.iter().map(|it| weight(*it)).sum();
        let mut rest = all;
        let mut want = Vec::new();
        for id in order {
            if rest <= (1.0 - f64::from(p)) * all {
                break;
            }
            want.push(id);
            rest -= weight(id);
        }
        want.sort_unstable();
        assert!(kept.len().abs_diff(want.len()) <= 1, "{p}: {} {}", kept.len(), want.len());
        let n = kept.len().min(want.len());
        assert!(n > 0 && kept.iter().filter(|it| want.contains(it)).count() >= n);
    }
}

#[test]
fn what_cannot_be_picked_from_is_a_named_error() {
    let pick = |logits: &[f32]| {
        Sampler::default().pick(logits, given(Sampling::GREEDY, &Seen::default(), 0.0))
    };
    let error = pick(&[0.0, f32::NAN]).unwrap_err();
    assert_eq!(error.to_string(), "the logit of token 1 is NaN");
    let error = pick(&[f32::INFINITY, 0.0]).unwrap_err();
    assert_eq!(error.to_string(), "the logit of token 0 is inf");
    let error = pick(&[f32::NEG_INFINITY; 3]).unwrap_err();
    assert_eq!(error, SampleError::Nothing { vocab: 3 });
    assert_eq!(pick(&[]).unwrap_err(), SampleError::Nothing { vocab: 0 });
    let seen = Seen::default();
    let all = Given { suppressed: &[0, 1], ..given(DRAW, &seen, 0.5) };
    let error = Sampler::default().pick(&[1.0, 2.0], all).unwrap_err();
    assert_eq!(error, SampleError::Nothing { vocab: 2 });
    let wrong = [
        Sampling { temperature: -1.0, ..DRAW },
        Sampling { temperature: f32::NAN, ..DRAW },
        Sampling { top_p: 1.5, ..DRAW },
        Sampling { min_p: -0.1, ..DRAW },
        Sampling { repetition_penalty: 0.0, ..DRAW },
    ];
    assert!(wrong.iter().all(|it| it.check().is_err()));
}

#[test]
fn log_probabilities_are_those_of_the_bare_logits() {
    let logits = [0.5, -1.0, 2.0, 0.0, 1.5];
    let all: f64 = logits.iter().map(|it| f64::from(*it).exp()).sum();
    let sampling = Sampling { temperature: 0.3, top_k: 1, ..Sampling::GREEDY };
    let seen = Seen::default();
    let pick = Sampler::default().pick(&logits, given(sampling, &seen, 0.5)).unwrap();
    assert_eq!(pick.id, 2);
    assert!((f64::from(pick.log_probability) - (2.0 - all.ln())).abs() < 1e-6);
    let top = top_log_probabilities(&logits, 2);
    assert_eq!(top, [(2, pick.log_probability), (4, log_probability(&logits, 4))]);
    assert_eq!(top_log_probabilities(&logits, 9).len(), 5);
}

#[test]
fn seen_tokens_are_noted_once_and_penalised_once() {
    let mut seen = Seen::default();
    seen.add(&[3, 70, 3, 70, 0]);
    assert_eq!(seen.ids(), [3, 70, 0]);
    let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::GREEDY };
    let warped = Sampler::default().warped(&[4.0, 1.0, 1.0, -1.0], given(sampling, &seen, 0.0));
    assert_eq!(warped, [2.0, 1.0, 1.0, -2.0]);
}
