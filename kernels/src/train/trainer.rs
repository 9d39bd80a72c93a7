//! The steps of a run.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use super::crash::{Crash, CrashSample};
use super::error::{Error, Result};
use super::order::{Batch, Cursor, Order};
use super::plan::{Demand, Limits, MemoryPlan};
use super::record::{Evaluation, Record};
use super::sample::Samples;
use super::settings::Settings;
use crate::Device;
use crate::decoder::Config;
use crate::decoder::save::{Save, Weights};
use crate::decoder::train::{
    Activations, Gradients, Micro, Model, OnDevice, Recompute, StepPart, masters,
};
use crate::device::{View, ViewMut};
use crate::ops::adamw::{AdamW, OptimStates, State};
use crate::random::Random;

/// How many losses are kept for a crash.
const KEPT_LOSSES: usize = 20;
/// The stream of random numbers for stochastic rounding of the moments.
const MOMENTS: u64 = 0x6d6f_6d65;
/// Epsilon added to the gradient norm when clipping, as in PyTorch.
const CLIP_EPS: f64 = 1e-6;

/// The texts of a run.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Those that are learnt.
    pub train: Samples,
    /// Those that are only measured.
    pub eval: Samples,
}

/// A run.
pub struct Trainer<'d, D: Device> {
    pub(super) device: &'d D,
    pub(super) settings: Settings,
    pub(super) data: Data,
    order: Order,
    plan: MemoryPlan,
    pub(super) state: OnDeviceState<D>,
    pub(super) progress: Progress,
    gradients: Gradients<D>,
    memory: Activations<D>,
}

/// What a step changes on the device.
pub(super) struct OnDeviceState<D: Device> {
    pub(super) model: Model<D>,
    /// The exact weights, where the model's are rounded.
    pub(super) master: Option<D::Buffer>,
    /// What steps are made on, one after another.
    slots: Vec<Slot>,
    pub(super) m: D::Buffer,
    pub(super) v: D::Buffer,
}

/// Weights that a step is made on, and where their moments are.
struct Slot {
    weights: Range<usize>,
    moments: Range<usize>,
    decay: bool,
}

/// What is trained, in slots.
fn slots<D: Device>(model: &Model<D>, kept: OptimStates) -> Vec<Slot> {
    let weights: Vec<_> = match model.lora() {
        Some((_, layout)) => vec![(0..layout.len(), true)],
        None => model.layout().slots().iter().map(|it| (it.range(), it.decay)).collect(),
    };
    let mut start = 0;
    let slot = |(weights, decay): (Range<usize>, bool)| {
        let moments = start..start + kept.len(weights.len());
        start = moments.end;
        Slot { weights, moments, decay }
    };
    weights.into_iter().map(slot).collect()
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// Steps done.
    pub(super) step: u64,
    pub(super) cursor: Cursor,
    /// The last losses, oldest first.
    pub(super) losses: VecDeque<f64>,
}

impl<'d, D: Device> Trainer<'d, D> {
    /// The memory of a run and its steps, before anything is loaded.
    pub fn plan(
        config: &Config,
        settings: &Settings,
        data: &Data,
        limits: Limits,
    ) -> Result<(MemoryPlan, u64)> {
        let (demand, steps) = Self::demand(config, settings, data)?;
        Ok((MemoryPlan::choose(config, settings, demand, limits)?, steps))
    }

    /// The same with the level of recomputation, one of these, that makes the run fastest.
    pub fn fastest(
        config: &Config,
        settings: &Settings,
        levels: &[Recompute],
        (data, limits): (&Data, Limits),
    ) -> Result<(Settings, MemoryPlan, u64)> {
        let (demand, steps) = Self::demand(config, settings, data)?;
        let (recompute, plan) = MemoryPlan::fastest(config, settings, levels, (demand, limits))?;
        Ok((Settings { recompute, ..settings.clone() }, plan, steps))
    }

    /// What the texts ask for, and how many steps there are.
    fn demand(config: &Config, settings: &Settings, data: &Data) -> Result<(Demand, u64)> {
        settings.check()?;
        check_samples(config, &data.train)?;
        check_samples(config, &data.eval)?;
        let order = Order::new(&data.train, settings)?;
        Ok((Demand { longest: longest(data), step: order.largest_step() }, order.steps()))
    }

    /// A run from these weights.
    pub fn new<W: Weights + ?Sized>(
        device: &'d D,
        (config, weights): (&Config, &W),
        settings: Settings,
        data: Data,
        limits: Limits,
    ) -> Result<Self> {
        let (plan, _) = Self::plan(config, &settings, &data, limits)?;
        let order = Order::new(&data.train, &settings)?;
        device.reserve(plan.micro_tokens)?;
        let precision = settings.precision;
        let positions = longest(&data);
        let mut model = Model::new(device, config, precision, weights, positions)?;
        let mut master = None;
        if let Some(lora) = &settings.lora {
            model.adapt(device, lora, settings.seed)?;
        } else if let Some(dtype) = precision.masters() {
            master = Some(masters(device, &mut model, dtype, weights)?);
        }
        let slots = slots(&model, settings.optim_states);
        let n = slots.last().map_or(0, |it| it.moments.end);
        let dtype = settings.optim_states.dtype();
        let (m, v) = (device.zeros(dtype, n)?, device.zeros(dtype, n)?);
        let gradients = Gradients::new(device, &model)?;
        let memory =
            Activations::new(device, model.sizes(), settings.recompute, plan.micro_tokens)?;
        let state = OnDeviceState { model, master, slots, m, v };
        let progress = Progress::default();
        Ok(Self { device, settings, data, order, plan, state, progress, gradients, memory })
    }

    /// The memory that was planned.
    pub fn memory_plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model<D> {
        &self.state.model
    }

    /// How many steps the run has.
    pub fn steps(&self) -> u64 {
        self.order.steps()
    }

    /// How many steps are done.
    pub fn done(&self) -> u64 {
        self.progress.step
    }

    /// Whether the run has this place.
    pub(super) fn has(&self, cursor: Cursor) -> bool {
        (cursor.row as usize) < self.order.rows()
    }

    /// Does the next step; none is left when there is no record. After an error that says that a
    /// number is not finite the weights are those before the step.
    pub fn step(&mut self) -> Result<Option<Record>> {
        if self.progress.step >= self.order.steps() {
            return Ok(None);
        }
        let (batch, next) = self.order.draw(self.progress.cursor);
        let factor = self.settings.schedule.factor(self.progress.step, self.order.steps());
        let learning_rate = self.settings.learning_rate * factor;
        let device = self.device;
        let (loss, grad_norm) = device.run(|| self.differentiate(&batch))?;
        if !loss.is_finite() || !grad_norm.is_finite() {
            let crash = self.crash(&batch, (loss, grad_norm), learning_rate);
            return Err(Error::NotFinite(Box::new(crash)));
        }
        device.run(|| self.update(learning_rate, grad_norm))?;

        let progress = &mut self.progress;
        (progress.step, progress.cursor) = (progress.step + 1, next);
        if progress.losses.len() == KEPT_LOSSES {
            progress.losses.pop_front();
        }
        progress.losses.push_back(loss);
        Ok(Some(Record {
            step: progress.step,
            steps: self.order.steps(),
            epoch: next.epoch as f64 + next.row as f64 / self.order.rows() as f64,
            loss,
            learning_rate,
            grad_norm,
            tokens: batch.tokens,
            targets: batch.targets,
            operations: self.operations(&batch),
        }))
    }

    /// The loss of a batch and the length of its gradient, which is left in `gradients`.
    fn differentiate(&mut self, batch: &Batch) -> Result<(f64, f64)> {
        let (device, model) = (self.device, &self.state.model);
        self.gradients.clear(device, model)?;
        let mut sum = 0.0;
        let (step, scale) = (self.progress.step, 1.0 / batch.targets as f32);
        let mut first_token = 0;
        for samples in split(&self.data.train, &batch.samples, self.memory.tokens()) {
            let micro = micro(&self.data.train, samples);
            let given = (&micro, StepPart { scale, step, first_token });
            first_token += micro.tokens() as u64;
            let losses =
                model.losses_and_gradients(device, given, &mut self.memory, &mut self.gradients)?;
            // One chain over the tokens of the step, however it is split.
            sum = losses.iter().fold(sum, |sum, it| sum + f64::from(*it));
        }
        self.gradients.finish(device, model)?;
        let square = device.square_sum(View::all(self.gradients.buffer()))?;
        Ok((sum / batch.targets as f64, square.sqrt()))
    }

    fn update(&mut self, learning_rate: f64, grad_norm: f64) -> Result<()> {
        let Settings { beta1, beta2, eps, weight_decay, max_grad_norm, .. } = self.settings;
        let factor = max_grad_norm.map_or(1.0, |it| (it / (grad_norm + CLIP_EPS)).min(1.0));
        let step = self.progress.step + 1;
        let random = Random::of(self.settings.seed, &[MOMENTS, step]);
        let OnDeviceState { model, master, slots, m, v } = &mut self.state;
        for Slot { weights, moments, decay } in slots.iter() {
            let numbers = AdamW {
                learning_rate,
                beta1,
                beta2,
                eps,
                weight_decay: if *decay { weight_decay } else { 0.0 },
                step,
                factor: factor as f32,
                random,
                first: weights.start as u64,
            };
            let state = State {
                weight: ViewMut::all(model.trained_mut()).part(weights.clone()),
                master: master.as_mut().map(|it| ViewMut::all(it).part(weights.clone())),
                m: ViewMut::all(m).part(moments.clone()),
                v: ViewMut::all(v).part(moments.clone()),
                gradient: View::all(self.gradients.buffer()).part(weights.clone()),
            };
            self.device.adamw(numbers, state)?;
        }
        Ok(())
    }

    /// The mean loss over the targets of the texts that are only measured; none without targets.
    pub fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let (device, model, eval) = (self.device, &self.state.model, &self.data.eval);
        let all: Vec<u32> = (0..eval.len() as u32).collect();
        let sum = |of: &dyn Fn(usize) -> usize| (0..eval.len()).map(of).sum::<usize>();
        let (tokens, targets) = (sum(&|it| eval.tokens(it)), sum(&|it| eval.targets(it)));
        if targets == 0 {
            return Ok(None);
        }
        let memory = &mut self.memory;
        let mut total = 0.0;
        for samples in split(eval, &all, memory.tokens()) {
            let micro = micro(eval, samples);
            let losses = device.run(|| model.losses(device, &micro, memory))?;
            total = losses.iter().fold(total, |sum, it| sum + f64::from(*it));
        }
        let loss = total / targets as f64;
        Ok(Some(Evaluation { step: self.progress.step, loss, tokens, targets }))
    }

    /// Saves the model as a folder, with its adapters added to the weights.
    pub fn save(&self, folder: &Path, config: &Config, save: &Save) -> Result<()> {
        Ok(save.write(folder, config, &self.weights())?)
    }

    /// The weights as they are now, with the adapters added to them.
    pub fn weights(&self) -> OnDevice<'_, D> {
        let OnDeviceState { model, master, .. } = &self.state;
        OnDevice { device: self.device, model, master: master.as_ref() }
    }

    fn crash(&self, batch: &Batch, (loss, norm): (f64, f64), learning_rate: f64) -> Crash {
        let train = &self.data.train;
        let sample = |it: &u32| CrashSample {
            sample: *it,
            ids: train.ids(*it as usize).to_vec(),
            trained: train.trained(*it as usize).to_vec(),
        };
        Crash {
            step: self.progress.step + 1,
            loss: loss.to_string(),
            grad_norm: norm.to_string(),
            learning_rate,
            losses: self.progress.losses.iter().copied().collect(),
            batch: batch.samples.iter().map(sample).collect(),
        }
    }

    /// Two for each weight of a product and token forward, twice that back; half of the latter
    /// where weights are frozen. Attention has two products, over half of a square.
    fn operations(&self, batch: &Batch) -> f64 {
        let config = self.state.model.config();
        let embedding = if config.tied { 0 } else { config.vocab * config.hidden };
        let weights = config.parameters() as f64 - embedding as f64;
        let lengths = batch.samples.iter().map(|it| self.data.train.tokens(*it as usize) as f64);
        let squares: f64 = lengths.map(|it| it * it).sum();
        let attention = (config.layers * config.attention_width()) as f64 * squares;
        let passes = if self.settings.lora.is_some() { 4.0 } else { 6.0 };
        passes * weights * batch.tokens as f64 + 6.0 * attention
    }
}

fn longest(data: &Data) -> usize {
    let of = |it: &Samples| (0..it.len()).map(|i| it.tokens(i)).max().unwrap_or(0);
    of(&data.train).max(of(&data.eval))
}

/// That the model knows all tokens and has as many positions as the texts.
fn check_samples(config: &Config, samples: &Samples) -> Result<()> {
    for sample in 0..samples.len() {
        let ids = samples.ids(sample);
        if ids.len() > config.max_positions {
            let most = config.max_positions;
            return Err(Error::Long { sample, tokens: ids.len(), most });
        }
        if let Some(place) = ids.iter().position(|it| *it as usize >= config.vocab) {
            return Err(Error::Token { sample, place, id: ids[place], vocab: config.vocab });
        }
    }
    Ok(())
}

/// Cuts texts into runs of at most this many tokens, in their order. No text is longer than that.
fn split<'a>(
    samples: &'a Samples,
    mut rest: &'a [u32],
    most: usize,
) -> impl Iterator<Item = &'a [u32]> {
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = |it: &&u32| {
            tokens += samples.tokens(**it as usize);
            tokens <= most
        };
        let n = rest.iter().take_while(fits).count().max(1);
        let (part, after) = rest.split_at_checked(n)?;
        rest = after;
        Some(part)
    })
}

fn micro(samples: &Samples, texts: &[u32]) -> Micro {
    let mut micro = Micro::new();
    for text in texts {
        micro.push(samples.ids(*text as usize), samples.trained(*text as usize));
    }
    micro
}
