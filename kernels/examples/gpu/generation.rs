//! Whole generation with a model of Yi-6B's shape, whose weights are random: how long to the first token, how
//! fast many rows decode together, and how many documents a queue of them makes in a second.

use std::sync::Arc;
use std::time::Instant;

use kernels::Cuda;
use kernels::generate::{Flow, Generator, Model, Request, Settings};
use kernels::random::Random;
use kernels::yi::{Config, Save, WeightDtype, WeightFiles};
use serde_json::json;

use super::training::{Rounds, config};
use super::{Sizes, say};

/// Bytes a second that an H200 copies, and operations that it makes of products: what was seen with PyTorch.
const COPIED: f64 = 4.3e12;
const MADE: f64 = 790e12;
/// Tokens of prompts in a step.
const STEP_TOKENS: usize = 8192;
/// Steps that come before what is timed: the first ones of a size compile, and capture.
const WARM: usize = 4;

/// What is generated.
struct Plan {
    model: Arc<Model<Cuda>>,
    /// Bytes of weights that a step of decoding reads, and of a token's keys and values.
    weights: f64,
    token: f64,
    /// Tokens of a prompt, and such that are picked and timed.
    prompt: usize,
    new: usize,
    vocabulary: usize,
}

/// Measures everything, each as a line of JSON.
pub(super) fn measure(cuda: Cuda, sizes: &Sizes) {
    let config = config(sizes, sizes.layers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    Save::new(WeightDtype::Bf16).write(&path, &config, &Rounds::new()).unwrap();
    let is_tiny = sizes.hidden < 1024;
    let (batches, new) = if is_tiny { ([1, 2, 4], 3) } else { ([1, 64, 256], 64) };
    let context = 2 * (sizes.text_tokens + new) + 64;
    let heads = sizes.heads;
    let start = Instant::now();
    let config = Config::open(&path).unwrap();
    let files = WeightFiles::open(&path, &config).unwrap();
    let model = Arc::new(Model::load(Arc::new(cuda), &config, &files, context).unwrap());
    let of_table = (sizes.vocabulary * sizes.hidden * 2) as f64;
    let plan = Plan {
        model,
        weights: files.bytes() as f64 - of_table,
        token: (2 * heads.kv * heads.dim * 2 * sizes.layers) as f64,
        prompt: sizes.text_tokens,
        new,
        vocabulary: sizes.vocabulary,
    };
    plan.generator(1).run([plan.request(0, 1)], &mut |_| Flow::Continue).unwrap();
    let line = json!({"name": "start to first token", "seconds": start.elapsed().as_secs_f64(),
        "bytes": files.bytes()});
    say(&line);
    for rows in batches {
        plan.decode(rows);
    }
    plan.label(batches[batches.len() - 1]);
}

impl Plan {
    fn generator(&self, rows: usize) -> Generator<Cuda> {
        let most = self.model.context();
        let step_tokens = STEP_TOKENS.max(rows);
        let cache_tokens = rows * most.next_multiple_of(32);
        Generator::new(Arc::clone(&self.model), Settings { rows, step_tokens, cache_tokens })
            .unwrap()
    }

    /// A prompt that begins like no other.
    fn request(&self, row: u64, new: usize) -> Request {
        let random = Random::new(19, row);
        let id = |it: u64| (random.unit_at(it) * self.vocabulary as f64) as u32;
        Request::greedy(row, (0..self.prompt as u64).map(id).collect(), new)
    }

    /// How long a step takes in which this many rows decode and nothing else is done.
    fn decode(&self, rows: usize) {
        let mut generator = self.generator(rows);
        // The last prompts come some steps after the first ones.
        let later = (rows * self.prompt).div_ceil(STEP_TOKENS);
        for row in 0..rows as u64 {
            generator.submit(self.request(row, later + WARM + self.new)).unwrap();
        }
        let (mut seconds, mut tokens) = (0.0, 0);
        let mut alone = 0;
        while !generator.is_idle() {
            let (start, before) = (Instant::now(), generator.counts());
            let ended = generator.step(&mut |_| Flow::Continue).unwrap();
            let counts = generator.counts();
            let only_decoded =
                counts.computed - before.computed == rows && counts.picked - before.picked == rows;
            alone += usize::from(only_decoded);
            if only_decoded && alone > WARM && ended.is_empty() {
                seconds += start.elapsed().as_secs_f64();
                tokens += rows;
            }
        }
        let steps = (tokens / rows).max(1) as f64;
        let context = self.prompt + later + WARM + self.new / 2;
        let bytes = self.weights + (rows * context) as f64 * self.token;
        say(
            &json!({"name": format!("generate, batch {rows}"), "seconds": seconds / steps, "bytes": bytes,
            "tokens_per_second": tokens as f64 / seconds, "prompt": self.prompt, "context": context,
            "steps": steps, "layers": self.model.config().layers}),
        );
    }

    /// How long a document takes, where a queue of them is labelled, with answers of different lengths.
    fn label(&self, rows: usize) {
        let documents = 2 * rows;
        let mut generator = self.generator(rows);
        let new = |row: usize| self.new / 2 + row * 7 % self.new.max(1) + 1;
        let requests = (0..documents).map(|it| self.request(it as u64, new(it)));
        let start = Instant::now();
        let outputs = generator.run(requests, &mut |_| Flow::Continue).unwrap();
        let seconds = start.elapsed().as_secs_f64() / documents as f64;
        let tokens: usize = outputs.iter().map(|it| it.ids.len()).sum();
        let each = tokens as f64 / documents as f64;
        let flop = self.prompt as f64 * self.weights;
        let context = self.prompt as f64 + each / 2.0;
        let bytes = each * (self.weights / rows as f64 + context * self.token);
        say(&json!({"name": "label throughput", "seconds": seconds, "bytes": bytes,
            "floor_seconds": flop / MADE + bytes / COPIED, "documents_per_second": 1.0 / seconds,
            "tokens_per_second": tokens as f64 / (seconds * documents as f64),
            "documents": documents, "prompt": self.prompt, "tokens_each": each}));
    }
}
