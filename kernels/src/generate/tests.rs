//! The generator against `transformers`, and against itself under every circumstance.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use serde_json::Value;

use super::model::Work;
use super::*;
use crate::cpu::Cpu;
use crate::decoder::{Config, WeightFiles};
use crate::device::Device;
use crate::machine::Isa;
use crate::ops::sample::{SampleError, Sampling};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/fixtures").join(name)
}

/// A model of the oracle on a device.
pub(crate) fn model_on(name: &str, cpu: Cpu) -> Arc<Model<Cpu>> {
    let folder = fixture(name);
    let config = Config::open(&folder).unwrap();
    let files = WeightFiles::open(&folder, &config).unwrap();
    Arc::new(Model::load(Arc::new(cpu), &config, &files, usize::MAX).unwrap())
}

pub(crate) fn model(name: &str) -> Arc<Model<Cpu>> {
    model_on(name, Cpu::new(2).unwrap())
}

pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().map(|it| it.as_u64().unwrap() as u32).collect()
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(|it| it.as_f64().unwrap()).collect()
}

fn numbers<const N: usize, T>(
    tensors: &SafeTensors<'_>,
    name: &str,
    from: fn([u8; N]) -> T,
) -> Vec<T> {
    let tensor = tensors.tensor(name).unwrap();
    tensor.data().as_chunks::<N>().0.iter().map(|it| from(*it)).collect()
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f32], within: f32, what: &str) {
    assert_eq!(got.len(), want.len());
    let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
    assert!(worst <= within, "{what}: off by {worst}");
}

/// Logits and hidden states of all rows of the oracle's batch, the rows side by side in one step.
#[test]
fn logits_and_hidden_states_are_those_of_transformers() {
    for name in ["mha", "gqa", "tied", "bf16", "sharded"] {
        let model = model(name);
        let file = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let shape = tensors.tensor("input_ids").unwrap().shape().to_vec();
        let (rows, length) = (shape[0], shape[1]);
        let all = numbers(&tensors, "input_ids", u32::from_le_bytes);
        let per_row = length.div_ceil(Cpu::BLOCK);
        let mut batch = Batch::default();
        for (row, ids) in all.chunks(length).enumerate() {
            let blocks: Vec<u32> =
                (row * per_row..(row + 1) * per_row).map(|it| it as u32).collect();
            batch.push(ids, 0, &blocks);
        }
        let n = rows * length;
        let mut work = Work::new(&model, n, n).unwrap();
        let mut cache = model.cache(rows * per_row).unwrap();
        let expected = |name: &str| numbers(&tensors, name, f32::from_le_bytes);
        model.embed(&batch, &mut work).unwrap();
        for layer in 0..model.config().layers {
            let want = expected(&format!("hidden/{layer}"));
            assert_close(&model.stream(n, &work), &want, 2e-4, &format!("{name}, hidden {layer}"));
            model.layer(layer, &batch, &mut cache, &mut work).unwrap();
        }
        let wanted: Vec<u32> = (0..n as u32).collect();
        let logits = model.logits(&wanted, &mut work).unwrap();
        let logits: Vec<f32> = model.device().read(logits).unwrap();
        assert_close(&logits, &expected("logits"), 2e-4, &format!("{name}, logits"));
        let last = expected(&format!("hidden/{}", model.config().layers));
        assert_close(&model.normed(n, &work), &last, 2e-4, &format!("{name}, last hidden"));
    }
}

fn settings_of(case: &Value) -> Sampling {
    let settings = &case["settings"];
    let number = |name: &str| settings[name].as_f64().map(|it| it as f32);
    Sampling {
        temperature: number("temperature").unwrap_or(0.0),
        top_k: settings["top_k"].as_u64().unwrap_or(0) as usize,
        top_p: number("top_p").unwrap_or(1.0),
        min_p: number("min_p").unwrap_or(0.0),
        repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
    }
}

/// The oracle's cases as requests, and the outputs they must have.
fn oracle(kind: &str) -> (Vec<Request>, Vec<Value>) {
    let cases = json("gqa/generate.json")[kind].as_array().unwrap().clone();
    let request = |(row, case): (usize, &Value)| Request {
        sampling: settings_of(case),
        draws: Draws::Listed(floats(&case["uniforms"])),
        min_new_tokens: case["settings"]["min_new_tokens"].as_u64().unwrap_or(0) as usize,
        stop_ids: ids(&case["stop_ids"]),
        ..Request::greedy(
            row as u64,
            ids(&case["prompt"]),
            case["max_new_tokens"].as_u64().unwrap_or(48) as usize,
        )
    };
    (cases.iter().enumerate().map(request).collect(), cases)
}

fn run(model: &Arc<Model<Cpu>>, settings: Settings, requests: Vec<Request>) -> Vec<Output> {
    let mut generator = Generator::new(Arc::clone(model), settings).unwrap();
    generator.run(requests, &mut |_| Flow::Continue).unwrap()
}

const ROOMY: Settings = Settings { rows: 8, step_tokens: 64, cache_tokens: 2048 };

#[test]
fn outputs_are_those_of_transformers() {
    let model = model("gqa");
    for kind in ["greedy", "sampled"] {
        let (requests, cases) = oracle(kind);
        let outputs = run(&model, ROOMY, requests);
        assert_eq!(outputs.len(), cases.len());
        for (output, case) in outputs.iter().zip(&cases) {
            assert_eq!(output.ids, ids(&case["output"]), "{kind} {}", output.row);
            let want = floats(&case["log_probabilities"]);
            for (got, want) in output.log_probabilities.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 2e-4, "{got}, expected {want}");
            }
        }
    }
}

/// Requests of every kind: greedy and drawn, short and long, several samples, shared beginnings.
fn mixture() -> Vec<Request> {
    let prompt = |row: u32, n: u32| -> Vec<u32> {
        // Rows of the same parity begin alike, for about forty tokens.
        (0..n)
            .map(|i| if i < 40 { (i * 7 + row % 2 * 11) % 96 } else { (i * row + 5) % 96 })
            .collect()
    };
    let drawn = Sampling { temperature: 1.1, top_p: 0.95, ..Sampling::GREEDY };
    let all = [(1, 1), (5, 1), (31, 1), (32, 3), (45, 1), (64, 1), (65, 2), (80, 1), (96, 1)];
    let request = |(row, (length, samples)): (usize, (u32, u32))| Request {
        samples,
        draws: Draws::Seeded(9),
        sampling: match row % 3 {
            0 => Sampling::GREEDY,
            1 => drawn,
            _ => Sampling { repetition_penalty: 1.2, ..drawn },
        },
        stop_ids: vec![3],
        min_new_tokens: row,
        ..Request::greedy(row as u64, prompt(row as u32, length), 20 + row)
    };
    all.into_iter().enumerate().map(request).collect()
}

/// The same but for what was found in the cache.
#[track_caller]
fn assert_same(got: &[Output], want: &[Output]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        let bits = |it: &Output| it.log_probabilities.iter().map(|it| it.to_bits()).collect();
        let (got_bits, want_bits): (Vec<u32>, Vec<u32>) = (bits(got), bits(want));
        assert_eq!(got_bits, want_bits, "row {}, sample {}", got.row, got.sample);
        assert_eq!(*got, Output { known_tokens: got.known_tokens, ..want.clone() });
    }
}

/// Every request alone, with a generator of its own and more room than it needs.
fn alone(model: &Arc<Model<Cpu>>) -> Vec<Output> {
    let one = |it| run(model, Settings { rows: 1, ..ROOMY }, vec![it]);
    mixture().into_iter().flat_map(one).collect()
}

#[test]
fn a_row_does_not_depend_on_company_chunks_order_or_room() {
    let model = model("gqa");
    let want = alone(&model);
    assert!(want.iter().any(|it| matches!(it.finish, Finish::StopId(3))));
    assert!(want.iter().any(|it| it.finish == Finish::Length));
    let settings = |(rows, step_tokens, cache_tokens)| Settings { rows, step_tokens, cache_tokens };
    let all =
        [(32, 512, 4096), (4, 512, 4096), (12, 13, 4096), (1, 1, 4096), (32, 64, 160), (5, 7, 192)];
    for settings in all.map(settings) {
        let mut generator = Generator::new(Arc::clone(&model), settings).unwrap();
        let outputs = generator.run(mixture(), &mut |_| Flow::Continue).unwrap();
        assert_same(&outputs, &want);
        let crowded = settings.cache_tokens < 4096 && settings.rows > 1;
        assert_eq!(generator.counts().preempted > 0, crowded, "{settings:?}");
        // Once more, with what the cache knows by now, and the other way round.
        let reversed = mixture().into_iter().rev();
        let mut outputs = generator.run(reversed, &mut |_| Flow::Continue).unwrap();
        outputs.sort_by_key(|it| (it.row, it.sample));
        assert_same(&outputs, &want);
    }
}

#[test]
fn a_row_does_not_depend_on_threads_or_instructions() {
    let want = alone(&model("gqa"));
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        for threads in [1, 3] {
            let model = model_on("gqa", Cpu::with_isa(threads, isa).unwrap());
            assert_same(&run(&model, ROOMY, mixture()), &want);
        }
    }
}

#[test]
fn the_samples_of_a_request_share_its_prompt_and_differ() {
    let model = model("gqa");
    let one = mixture().swap_remove(7);
    let request = Request { samples: 5, row: 70, stop_ids: vec![], ..one };
    let (prompt, new) = (request.prompt.len(), request.max_new_tokens);
    let mut generator = Generator::new(Arc::clone(&model), ROOMY).unwrap();
    let outputs = generator.run([request.clone()], &mut |_| Flow::Continue).unwrap();
    // The last token of an output is never computed.
    assert_eq!(generator.counts().computed, prompt + 5 * (new - 1));
    assert_eq!(generator.counts().sampled, 5 * new);
    let mut texts: Vec<_> = outputs.iter().map(|it| it.ids.clone()).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 5);
    // Where only two have a place, the others come later, with the same texts.
    let narrow = Settings { rows: 2, step_tokens: 9, cache_tokens: 256 };
    assert_same(&run(&model, narrow, vec![request.clone()]), &outputs);
    let single = Request { samples: 1, ..request };
    assert_same(&run(&model, ROOMY, vec![single]), &outputs[..1]);
}

#[test]
fn a_shared_beginning_is_computed_once() {
    let model = model("gqa");
    let beginning: Vec<u32> = (0..70).map(|it| it * 5 % 96).collect();
    let request = |row: u32| {
        let prompt = [&beginning[..], &[row, row + 1, 7]].concat();
        Request::greedy(u64::from(row), prompt, 4)
    };
    let mut generator = Generator::new(Arc::clone(&model), ROOMY).unwrap();
    let mut outputs = generator.run([request(1)], &mut |_| Flow::Continue).unwrap();
    let first = generator.counts().computed;
    outputs.extend(generator.run((2..6).map(request), &mut |_| Flow::Continue).unwrap());
    assert_eq!(outputs.iter().map(|it| it.known_tokens).collect::<Vec<_>>(), [0, 64, 64, 64, 64]);
    assert_eq!(generator.counts().computed, first + 4 * (first - 64));
    for (row, output) in (1..).zip(&outputs) {
        assert_same(&run(&model, ROOMY, vec![request(row)]), std::slice::from_ref(output));
    }
}

#[test]
fn an_output_ends_where_it_is_told_to() {
    let model = model("gqa");
    let prompt = mixture()[4].prompt.clone();
    let plain = Request::greedy(1, prompt, 30);
    let full = run(&model, ROOMY, vec![plain.clone()]).swap_remove(0);
    assert_eq!((full.ids.len(), full.finish, full.finish.word()), (30, Finish::Length, "length"));
    let end = |request: Request| {
        let output = run(&model, ROOMY, vec![request]).swap_remove(0);
        assert_eq!(output.ids, full.ids[..output.ids.len()]);
        (output.ids.len(), output.finish)
    };
    let first_of = |id: u32| full.ids.iter().position(|it| *it == id).unwrap() + 1;
    let stop = full.ids[6];
    let stop_ids = vec![stop];
    let by_id = Request { stop_ids, ..plain.clone() };
    assert_eq!(end(by_id), (first_of(stop), Finish::StopId(stop)));
    let pair = full.ids[8..10].to_vec();
    let at = full.ids.windows(2).position(|it| it == pair).unwrap() + 2;
    let stop_sequences = vec![vec![], vec![95, 95, 95, 95, 95], pair.clone()];
    let by_pair = Request { stop_sequences, ..plain.clone() };
    assert_eq!(end(by_pair.clone()), (at, Finish::StopSequence(2)));
    // A sequence that comes too early does not count.
    let (later, finish) = end(Request { min_new_tokens: at + 1, ..by_pair });
    assert!(later > at && finish != Finish::StopSequence(0));
    assert_eq!(end(Request { max_new_tokens: 0, ..plain.clone() }), (0, Finish::Length));
    // The context ends it too.
    let long = Request::greedy(2, vec![5; 250], 30);
    let output = run(&model, ROOMY, vec![long]).swap_remove(0);
    assert_eq!((output.ids.len(), output.finish), (6, Finish::Length));
    // And whoever watches, who sees every token once, in order.
    let mut seen = Vec::new();
    let mut generator = Generator::new(model, ROOMY).unwrap();
    let mut watch = |token: Token| {
        assert_eq!(token.place, seen.len());
        seen.push((token.id, token.log_probability));
        if seen.len() == 5 { Flow::Stop } else { Flow::Continue }
    };
    let output = generator.run([plain], &mut watch).unwrap().swap_remove(0);
    assert_eq!((output.finish, output.finish.word()), (Finish::Asked, "stop"));
    let got: Vec<_> = output.ids.into_iter().zip(output.log_probabilities).collect();
    assert_eq!(got, seen);
}

#[test]
fn a_cancelled_row_gives_back_what_it_has_and_the_others_go_on() {
    let model = model("gqa");
    let want = run(&model, ROOMY, mixture());
    let mut generator = Generator::new(Arc::clone(&model), Settings { rows: 4, ..ROOMY }).unwrap();
    mixture().into_iter().for_each(|it| generator.submit(it).unwrap());
    let mut outputs = Vec::new();
    let mut n_steps = 0;
    while !generator.is_idle() {
        if n_steps == 3 {
            // One that runs, one that waits, and one that is not there.
            [1, 6, 99].into_iter().for_each(|it| generator.cancel(it));
        }
        outputs.extend(generator.step(&mut |_| Flow::Continue).unwrap());
        n_steps += 1;
    }
    outputs.sort_by_key(|it| (it.row, it.sample));
    assert_eq!(outputs.len(), want.len());
    for (got, want) in outputs.iter().zip(&want) {
        let cancelled = [1, 6].contains(&got.row);
        assert_eq!(got.finish == Finish::Cancelled, cancelled);
        assert_eq!(got.ids, want.ids[..got.ids.len()]);
        assert_eq!(got.ids.len() == want.ids.len(), !cancelled);
    }
    // All blocks came back: what fills the cache alone still fits.
    let whole = Request::greedy(5, vec![7; 200], 50);
    assert_eq!(generator.run([whole], &mut |_| Flow::Continue).unwrap()[0].ids.len(), 50);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let model = model("gqa");
    let narrow = Settings { cache_tokens: 64, ..ROOMY };
    let mut generator = Generator::new(Arc::clone(&model), narrow).unwrap();
    let mut refuse = |request| generator.submit(request).unwrap_err().to_string();
    let plain = Request::greedy(3, vec![1, 2], 5);
    assert_eq!(refuse(Request::greedy(3, vec![], 5)), "row 3: the prompt is empty");
    let token = Request::greedy(3, vec![1, 96], 5);
    assert_eq!(refuse(token), "row 3: token 96, and the model has 96");
    assert_eq!(refuse(Request { samples: 0, ..plain.clone() }), "row 3: `samples` is 0");
    let sampling = Sampling { top_p: 2.0, ..Sampling::GREEDY };
    assert_eq!(refuse(Request { sampling, ..plain }), "row 3: `top_p` cannot be 2");
    let long = Request::greedy(3, vec![1; 256], 5);
    assert_eq!(refuse(long), "row 3: 256 tokens, and the context is 256");
    let large = Request::greedy(3, vec![1; 60], 5);
    assert_eq!(refuse(large), "row 3: up to 65 tokens, and the cache holds 64");
    let wrong = Generator::new(model, Settings { rows: 9, step_tokens: 8, cache_tokens: 64 });
    let message = wrong.err().unwrap().to_string();
    assert_eq!(message, "`step_tokens` is 8, at least 9");
}

#[test]
fn a_model_whose_logits_are_no_numbers_ends_with_the_row_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::copy(fixture("gqa/config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(fixture("gqa/model.safetensors")).unwrap();
    let (header, tensors) = SafeTensors::read_metadata(&bytes).unwrap();
    let start = 8 + header + tensors.info("model.norm.weight").unwrap().data_offsets.0;
    let huge = f32::MAX.to_le_bytes();
    bytes[start..start + 256].chunks_mut(4).for_each(|it| it.copy_from_slice(&huge));
    std::fs::write(path, bytes).unwrap();
    let config = Config::open(folder.path()).unwrap();
    let files = WeightFiles::open(folder.path(), &config).unwrap();
    let cpu = Arc::new(Cpu::new(1).unwrap());
    let model = Arc::new(Model::load(cpu, &config, &files, 64).unwrap());
    let mut generator = Generator::new(model, ROOMY).unwrap();
    let error = generator.run([Request::greedy(4, vec![1], 2)], &mut |_| Flow::Continue);
    let error = error.unwrap_err();
    let Error::Pick { row: 4, place: 0, source: SampleError::Logit { .. } } = error else {
        panic!("{error}");
    };
}
