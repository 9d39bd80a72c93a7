//! Scores against `transformers`, and against themselves in every company.

use std::sync::Arc;

use super::*;
use crate::cpu::Cpu;
use crate::decoder::WeightFiles;
use crate::decoder::train::{self, Micro, Precision, Recompute};
use crate::device::Device;
use crate::generate::tests::{fixture, floats, ids, json, model, model_on};
use crate::generate::{Error, Flow, Generator, Model, Refusal, Request, Settings};
use crate::machine::Isa;

const ROOMY: Settings = Settings { rows: 8, step_tokens: 64, cache_tokens: 2048 };

fn scorer(model: &Arc<Model<Cpu>>, settings: Settings) -> Scorer<Cpu> {
    Scorer::new(Arc::clone(model), settings).unwrap()
}

/// The oracle's texts.
fn texts() -> Vec<(Text, Vec<f64>, Option<f64>)> {
    let file = json("gqa/score.json");
    let text = |it: &serde_json::Value| {
        let text = Text { prompt: ids(&it["prompt"]), ids: ids(&it["text"]) };
        (text, floats(&it["nll"]), it["perplexity"].as_f64())
    };
    file["texts"].as_array().unwrap().iter().map(text).collect()
}

/// The oracle's prompts with candidates.
fn choices() -> Vec<(Choices, Vec<f64>)> {
    let file = json("gqa/score.json");
    let one = |it: &serde_json::Value| {
        let candidates = it["candidates"].as_array().unwrap().iter().map(ids).collect();
        (Choices { prompt: ids(&it["prompt"]), candidates }, floats(&it["log_probabilities"]))
    };
    file["choices"].as_array().unwrap().iter().map(one).collect()
}

fn bits(scored: &Scored) -> Vec<u32> {
    scored.nll.iter().map(|it| it.to_bits()).collect()
}

#[test]
fn losses_and_perplexities_are_those_of_transformers() {
    let cases = texts();
    let all: Vec<Text> = cases.iter().map(|it| it.0.clone()).collect();
    let scored = scorer(&model("gqa"), ROOMY).texts(&all).unwrap();
    for (got, (text, nll, perplexity)) in scored.iter().zip(&cases) {
        assert_eq!((got.tokens, got.nll.len()), (text.ids.len(), nll.len()));
        for (got, want) in got.nll.iter().zip(nll) {
            assert!((f64::from(*got) - want).abs() < 2e-4, "{got}, expected {want}");
        }
        let close = |got: f64, want: f64| (got - want).abs() < 1e-4 * want;
        match (got.perplexity(), *perplexity) {
            (Some(got), Some(want)) => assert!(close(got, want), "{got}, expected {want}"),
            (got, want) => assert_eq!(got, want),
        }
    }
}

#[test]
fn the_score_of_opencompass_counts_the_first_token() {
    let file = json("gqa/score.json");
    let mut scorer = scorer(&model("gqa"), ROOMY);
    for case in file["opencompass"].as_array().unwrap() {
        let text = Text { prompt: vec![], ids: ids(&case["ids"]) };
        let got = scorer.texts(&[text]).unwrap()[0].opencompass();
        let want = case["score"].as_f64().unwrap();
        assert!((got - want).abs() < 1e-4, "{got}, expected {want}");
    }
}

#[test]
fn log_probabilities_of_choices_are_those_of_transformers() {
    let cases = choices();
    let all: Vec<Choices> = cases.iter().map(|it| it.0.clone()).collect();
    let scored = scorer(&model("gqa"), ROOMY).choices(&all).unwrap();
    for (got, (_, want)) in scored.iter().zip(&cases) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            let got = got.log_probability();
            assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{got}, expected {want}");
        }
    }
}

#[test]
fn a_score_is_the_same_alone_in_company_and_as_a_choice() {
    let model = model("gqa");
    let texts: Vec<Text> = texts().into_iter().map(|it| it.0).collect();
    let choices: Vec<Choices> = choices().into_iter().map(|it| it.0).collect();
    let alone = |text: &Text| scorer(&model, ROOMY).texts(std::slice::from_ref(text)).unwrap();
    let want_texts: Vec<_> = texts.iter().map(|it| bits(&alone(it)[0])).collect();
    let as_text = |it: &Choices| -> Vec<Vec<u32>> {
        let text = |ids: &Vec<u32>| Text { prompt: it.prompt.clone(), ids: ids.clone() };
        it.candidates.iter().map(|it| bits(&alone(&text(it))[0])).collect()
    };
    let want_choices: Vec<_> = choices.iter().map(as_text).collect();
    let sets = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    let sizes = [(1, 1, 2048), (8, 9, 128), (8, 512, 2048), (8, 33, 160)];
    for ((rows, step_tokens, cache_tokens), isa) in sizes.into_iter().zip(sets.iter().cycle()) {
        let model = model_on("gqa", Cpu::with_isa(3, *isa).unwrap());
        let mut scorer = scorer(&model, Settings { rows, step_tokens, cache_tokens });
        // Twice: the second time most of it is known.
        for _ in 0..2 {
            let got: Vec<_> = scorer.texts(&texts).unwrap().iter().map(bits).collect();
            assert_eq!(got, want_texts);
            let got = scorer.choices(&choices).unwrap();
            let got: Vec<Vec<_>> = got.iter().map(|it| it.iter().map(bits).collect()).collect();
            assert_eq!(got, want_choices);
        }
    }
}

#[test]
fn a_text_may_be_cut_anywhere_into_prompt_and_text() {
    let model = model("gqa");
    let all: Vec<u32> = (0..75).map(|it| it * it % 96).collect();
    let mut scorer = scorer(&model, ROOMY);
    let whole = Text { prompt: vec![], ids: all.clone() };
    let whole = bits(&scorer.texts(&[whole]).unwrap()[0]);
    for cut in [1, 31, 32, 33, 64, 74, 75] {
        let text = Text { prompt: all[..cut].to_vec(), ids: all[cut..].to_vec() };
        assert_eq!(bits(&scorer.texts(&[text]).unwrap()[0]), whole[cut - 1..]);
    }
}

#[test]
fn a_prompt_is_computed_once_for_all_its_candidates_and_shared_with_the_next() {
    let model = model("gqa");
    let mut scorer = scorer(&model, ROOMY);
    let prompt: Vec<u32> = (0..70).map(|it| it * 3 % 96).collect();
    let candidates = vec![vec![1], vec![2], vec![3, 4], vec![5, 6, 7]];
    let one = Choices { prompt: prompt.clone(), candidates: candidates.clone() };
    scorer.choices(&[one]).unwrap();
    // No last token of a candidate is computed.
    assert_eq!(scorer.computed(), 70 + 1 + 2);
    let next = Choices { prompt: [&prompt[..65], &[9]].concat(), candidates };
    scorer.choices(&[next]).unwrap();
    assert_eq!(scorer.computed(), 73 + 2 + 1 + 2);
}

#[test]
fn what_is_generated_has_the_log_probabilities_that_scoring_gives_it() {
    let model = model("gqa");
    let prompt: Vec<u32> = vec![4, 8, 15, 16, 23, 42];
    let mut generator = Generator::new(Arc::clone(&model), ROOMY).unwrap();
    let request = Request::greedy(1, prompt.clone(), 50);
    let output = generator.run([request], &mut |_| Flow::Continue).unwrap().swap_remove(0);
    let text = Text { prompt, ids: output.ids };
    let scored = scorer(&model, ROOMY).texts(&[text]).unwrap().swap_remove(0);
    let got: Vec<f32> = scored.nll.iter().map(|it| -it).collect();
    assert_eq!(got, output.log_probabilities);
}

#[test]
fn training_has_the_same_losses() {
    let mut scores = scorer(&model("gqa"), ROOMY);
    let config = scores.model().config().clone();
    let files = WeightFiles::open(&fixture("gqa"), &config).unwrap();
    let cpu = Cpu::new(2).unwrap();
    let model = train::Model::new(&cpu, &config, Precision::F32, &files, 256).unwrap();
    let mut memory = train::Activations::new(&cpu, model.sizes(), Recompute::None, 300).unwrap();
    let texts: Vec<Vec<u32>> =
        [3u32, 90, 32, 64, 1, 33].map(|n| (0..n).map(|i| (i * i + n) % 96).collect()).to_vec();
    let mut micro = Micro::new();
    texts.iter().for_each(|it| micro.push(it, &vec![true; it.len()]));
    let losses = cpu.run(|| model.losses(&cpu, &micro, &mut memory)).unwrap();
    let text = |ids: Vec<u32>| Text { prompt: vec![], ids };
    let texts: Vec<Text> = texts.into_iter().map(text).collect();
    // Training has a zero where a text ends.
    let scored = scores.texts(&texts).unwrap().into_iter();
    let got: Vec<f32> = scored.flat_map(|it| it.nll.into_iter().chain([0.0])).collect();
    assert_eq!(got, losses);
}

#[test]
fn little_is_scored_without_trouble_and_too_much_is_refused_by_name() {
    let model = model("gqa");
    let mut scorer = scorer(&model, Settings { cache_tokens: 96, ..ROOMY });
    let text = |prompt: usize, ids: usize| Text { prompt: vec![3; prompt], ids: vec![5; ids] };
    let scored = scorer.texts(&[text(0, 0), text(0, 1), text(9, 0), text(0, 2)]).unwrap();
    let losses: Vec<_> = scored.iter().map(|it| it.nll.len()).collect();
    assert_eq!(losses, [0, 0, 0, 1]);
    assert_eq!(
        (scored[1].mean(), scored[1].opencompass(), scored[0].opencompass()),
        (None, 0.0, 0.0)
    );
    assert!(
        scorer.choices(&[Choices { prompt: vec![1], candidates: vec![] }]).unwrap()[0].is_empty()
    );
    let refusal = |it: Result<Vec<Scored>, Error>| match it {
        Err(Error::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let long = refusal(scorer.texts(&[text(0, 5), text(200, 57)]));
    assert_eq!(long, Refusal::Context { row: 1, tokens: 257, context: 256 });
    let large = refusal(scorer.texts(&[text(90, 8)]));
    assert_eq!(large, Refusal::Cache { row: 0, tokens: 97, cache: 96 });
    assert!(scorer.texts(&[text(90, 7)]).is_ok());
    let unknown = Text { prompt: vec![], ids: vec![1, 96] };
    assert_eq!(refusal(scorer.texts(&[unknown])), Refusal::Token { row: 0, id: 96, vocab: 96 });
}
