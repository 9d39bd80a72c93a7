//! Whole generation with a model of Yi-6B's shape, whose weights are random and made on the device: how fast rows
//! decode together, how many documents a queue of them makes in a second, and, from files, how long to the
//! first token.

use std::sync::Arc;
use std::time::Instant;

use kernels::Cuda;
use kernels::decoder::{Config, Layout, Save, UniformWeights, WeightDtype, WeightFiles};
use kernels::generate::{Flow, Generator, Model, Request, Settings};
use kernels::random::Random;
use serde_json::json;

use super::training::config;
use super::{Bench, Sizes, say, say_profile};

/// Bytes a second that an H200 copies, and operations that it makes of products: what was seen with PyTorch.
const COPIED: f64 = 4.3e12;
const MADE: f64 = 790e12;
/// Tokens of prompts in a step.
const STEP_TOKENS: usize = 8192;
/// Steps that come before what is timed: the first ones of a size compile, and capture.
const WARM: usize = 4;
/// Weights as wide as those of a model that begins to learn.
pub(super) const WEIGHTS: UniformWeights = UniformWeights::new(7, 0.02);

/// What is generated.
struct Plan {
    device: Arc<Cuda>,
    model: Arc<Model<Cuda>>,
    /// Bytes of weights that a step of decoding reads, and of a token's keys and values.
    weights: f64,
    token: f64,
    /// Tokens of a prompt, and such that are sampled and timed.
    prompt: usize,
    new: usize,
    vocabulary: usize,
}

/// How long a step takes in which so many rows decode: one of the sizes' batches.
pub(super) fn decode(bench: Bench, which: usize) {
    let rows = bench.sizes.batches[which];
    let plan = Plan::new(bench);
    plan.decode(rows);
    plan.profile(rows);
}

/// How long a document takes, where a queue of them is labelled.
pub(super) fn label(bench: Bench) {
    let rows = bench.sizes.batches[2];
    Plan::new(bench).label(rows);
}

/// From the files of a model to its first token.
pub(super) fn first_token(bench: Bench) {
    let sizes = bench.sizes;
    let config = config(&sizes, sizes.layers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let start = Instant::now();
    Save::new(WeightDtype::Bf16).write(&path, &config, &WEIGHTS).unwrap();
    let saved = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let config = Config::open(&path).unwrap();
    let files = WeightFiles::open(&path, &config).unwrap();
    let cuda = Arc::new(bench.cuda);
    let model = Model::load(Arc::clone(&cuda), &config, &files, context(&sizes)).unwrap();
    let loaded = start.elapsed().as_secs_f64();
    let plan = Plan::of(cuda, model, &sizes);
    plan.generator(1).run([plan.request(0, 1)], &mut |_| Flow::Continue).unwrap();
    say(&json!({"name": "start to first token", "seconds": start.elapsed().as_secs_f64(),
        "bytes": files.bytes(), "loaded_seconds": loaded, "saved_seconds": saved}));
}

fn context(sizes: &Sizes) -> usize {
    2 * (sizes.text_tokens + sizes.new_tokens) + 64
}

impl Plan {
    fn new(bench: Bench) -> Self {
        let sizes = bench.sizes;
        let config = config(&sizes, sizes.layers);
        let cuda = Arc::new(bench.cuda);
        let (start, asked) = (Instant::now(), (&config, WeightDtype::Bf16));
        let model = Model::of(Arc::clone(&cuda), asked, &WEIGHTS, context(&sizes)).unwrap();
        cuda.wait().unwrap();
        say(&json!({"weights_made_seconds": start.elapsed().as_secs_f64()}));
        Self::of(cuda, model, &sizes)
    }

    fn of(device: Arc<Cuda>, model: Model<Cuda>, sizes: &Sizes) -> Self {
        let heads = sizes.heads;
        // The table of embeddings is not read, but for a row of each token.
        let read = Layout::new(model.config()).len() - sizes.vocabulary * sizes.hidden;
        Self {
            device,
            model: Arc::new(model),
            weights: 2.0 * read as f64,
            token: (2 * heads.kv * heads.dim * 2 * sizes.layers) as f64,
            prompt: sizes.text_tokens,
            new: sizes.new_tokens,
            vocabulary: sizes.vocabulary,
        }
    }

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
        let id = |n: u64| (random.unit_at(n) * self.vocabulary as f64) as u32;
        Request::greedy(row, (0..self.prompt as u64).map(id).collect(), new)
    }

    /// Steps in which the last prompts come after the first ones.
    fn later(&self, rows: usize) -> usize {
        (rows * self.prompt).div_ceil(STEP_TOKENS)
    }

    /// As many rows as there are, which have their prompts and decode for so many steps yet.
    fn decoding(&self, rows: usize, new: usize) -> Generator<Cuda> {
        let mut generator = self.generator(rows);
        for row in 0..rows as u64 {
            let new = self.later(rows) + WARM + new;
            generator.submit(self.request(row, new)).unwrap();
        }
        let mut alone = 0;
        while alone < WARM {
            let before = generator.counts();
            generator.step(&mut |_| Flow::Continue).unwrap();
            let counts = generator.counts();
            let only_decoded = counts.computed - before.computed == rows
                && counts.sampled - before.sampled == rows;
            alone += usize::from(only_decoded);
        }
        generator
    }

    fn decode(&self, rows: usize) {
        let mut generator = self.decoding(rows, self.new);
        let mut seconds = Vec::new();
        while !generator.is_idle() {
            let start = Instant::now();
            let ended = generator.step(&mut |_| Flow::Continue).unwrap();
            if ended.is_empty() {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let context = self.prompt + self.later(rows) + WARM + self.new / 2;
        let bytes = self.weights + (rows * context) as f64 * self.token;
        say(&json!({"name": format!("generate, batch {rows}"), "seconds": median, "bytes": bytes,
            "fastest": seconds[0], "tokens_per_second": rows as f64 / median, "prompt": self.prompt,
            "context": context, "steps": seconds.len(), "layers": self.model.config().layers}));
    }

    /// The kernels of one step of decoding, launched one by one.
    fn profile(&self, rows: usize) {
        let mut generator = self.decoding(rows, 2);
        let step = || generator.step(&mut |_| Flow::Continue).unwrap();
        let (_, kernels) = self.device.profile(step).unwrap();
        say_profile(&format!("generate, batch {rows}"), &kernels);
    }

    /// A queue of documents, with answers of different lengths.
    fn label(&self, rows: usize) {
        let documents = 2 * rows;
        let mut generator = self.generator(rows);
        let new = |row: usize| self.new / 2 + row * 7 % self.new.max(1) + 1;
        let requests = (0..documents).map(|row| self.request(row as u64, new(row)));
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
