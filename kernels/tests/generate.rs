//! Generation through the public interface: texts that a seed has given once, it gives for ever.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;

use kernels::Cpu;
use kernels::decoder::{Config, WeightFiles};
use kernels::generate::{Draws, Flow, Generator, Model, Output, Request, Settings};
use kernels::ops::sample::Sampling;
use proptest::prelude::*;

fn model() -> Arc<Model<Cpu>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/fixtures/gqa");
    let config = Config::open(&folder).unwrap();
    let files = WeightFiles::open(&folder, &config).unwrap();
    Arc::new(Model::load(Arc::new(Cpu::new(2).unwrap()), &config, &files, 256).unwrap())
}

fn run(model: &Arc<Model<Cpu>>, settings: Settings, requests: Vec<Request>) -> Vec<Output> {
    let mut generator = Generator::new(Arc::clone(model), settings).unwrap();
    generator.run(requests, &mut |_| Flow::Continue).unwrap()
}

/// A change here changes the output of every workflow that samples: it needs a new `numerics`.
#[test]
fn a_seed_gives_the_texts_that_it_always_gave() {
    let request = Request {
        samples: 3,
        draws: Draws::Seeded(20_240_129),
        sampling: Sampling {
            temperature: 0.9,
            top_k: 60,
            top_p: 0.95,
            min_p: 0.01,
            repetition_penalty: 1.05,
        },
        ..Request::greedy(7, vec![11, 12, 13], 10)
    };
    let texts: Vec<Vec<u32>> =
        run(&model(), Settings::default(), vec![request]).into_iter().map(|it| it.ids).collect();
    let want = [
        [41, 21, 41, 31, 91, 37, 13, 94, 30, 9],
        [31, 91, 37, 8, 31, 70, 37, 5, 91, 79],
        [37, 62, 71, 72, 4, 85, 61, 21, 73, 47],
    ];
    assert_eq!(texts, want);
}

fn request() -> impl Strategy<Value = Request> {
    let sampling = (0..3u8, 0..20usize, 0.3..1.0f32, 0.9..1.3f32);
    (1..90usize, 0..4u32, 1..30usize, 1..4u32, sampling).prop_map(
        |(length, beginning, new, samples, (kind, top_k, top_p, penalty))| {
            let sampling = Sampling {
                temperature: f32::from(kind) * 0.7,
                top_k,
                top_p,
                repetition_penalty: penalty,
                ..Sampling::GREEDY
            };
            let id = |i: usize| (i as u32 * 13 + beginning * if i < 50 { 1 } else { 7 }) % 96;
            let plain = Request::greedy(0, (0..length).map(id).collect(), new);
            Request { samples, sampling, stop_ids: vec![beginning * 9 + 1], ..plain }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn no_schedule_changes_an_output(
        requests in prop::collection::vec(request(), 1..10),
        rows in 1..9usize,
        more_tokens in 0..70usize,
        more_blocks in 0..6usize,
    ) {
        let model = model();
        let numbered = (0..).zip(requests).map(|(row, it)| Request { row, ..it });
        let requests: Vec<Request> = numbered.collect();
        let roomy = Settings { rows: 1, step_tokens: 256, cache_tokens: 512 };
        let alone = requests.iter().flat_map(|it| run(&model, roomy, vec![it.clone()]));
        let want: Vec<Output> = alone.collect();
        // The longest of all requests needs four blocks.
        let cache_tokens = 32 * (4 + more_blocks);
        let settings = Settings { rows, step_tokens: rows + more_tokens, cache_tokens };
        for (got, want) in run(&model, settings, requests).into_iter().zip(want) {
            prop_assert_eq!(&got, &Output { known_tokens: got.known_tokens, ..want });
        }
    }
}
