//! Continuous batching: requests go in, tokens come out step by step.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Error;
use super::blocks::Blocks;
use super::decoder::{Picked, Row};
use super::model::{Batch, Model};
use super::request::{Finish, Flow, Output, Request, Token};
use super::schedule::{Part, Schedule};
use super::sequence::{Kind, Numbered, Sequence, Way};
use super::stage::Stage;
use crate::decode::Decode;
use crate::device::Device;
use crate::ops::paged::Run;
use crate::ops::sample::{Given, Pick};

/// How much is done at a time. Nothing here changes a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many outputs are on their way at once.
    pub rows: usize,
    /// How many tokens a step computes, those of prompts included.
    pub step_tokens: usize,
    /// For how many tokens there are keys and values.
    pub cache_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rows: 32, step_tokens: 512, cache_tokens: 1 << 15 }
    }
}

impl Settings {
    /// How many blocks the cache has.
    pub(crate) fn blocks<D: Device>(&self) -> usize {
        self.cache_tokens.div_ceil(D::BLOCK)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { rows, step_tokens, cache_tokens } = *self;
        let all = [("rows", rows, 1), ("step_tokens", step_tokens, rows.max(1))];
        let all = all.into_iter().chain([("cache_tokens", cache_tokens, 1)]);
        for (setting, value, least) in all {
            if value < least {
                return Err(Error::Setting { setting, value, least });
            }
        }
        Ok(())
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps.
    pub steps: usize,
    /// Tokens that went through the model.
    pub computed: usize,
    /// Tokens of prompts that were found in the cache instead.
    pub known: usize,
    /// Tokens that were sampled.
    pub sampled: usize,
    /// How often a row was preempted.
    pub preempted: usize,
}

/// Continues many prompts at once.
pub struct Generator<D: Decode> {
    stage: Stage<D>,
    schedule: Schedule,
    counts: Counts,
    /// Outputs that need no step.
    ready: Vec<Ended>,
    cache_tokens: usize,
    submitted: u64,
}

/// An output, and the number of its request.
type Ended = (u64, Output);

impl<D: Decode> Generator<D> {
    /// A generator with nothing to do.
    pub fn new(model: Arc<Model<D>>, settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let blocks = settings.blocks::<D>();
        let stage = Stage::generating(model, (settings.step_tokens, settings.rows), blocks)?;
        let schedule = Schedule {
            waiting: VecDeque::new(),
            running: Vec::new(),
            blocks: Blocks::new(blocks, D::BLOCK),
            most_running: settings.rows,
            step_tokens: settings.step_tokens,
            preempted: 0,
        };
        let cache_tokens = blocks * D::BLOCK;
        let (counts, ready) = (Counts::default(), Vec::new());
        Ok(Self { stage, schedule, counts, ready, cache_tokens, submitted: 0 })
    }

    /// The model.
    pub fn model(&self) -> &Model<D> {
        self.stage.model()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        Counts { preempted: self.schedule.preempted, ..self.counts }
    }

    /// Whether nothing is queued or running.
    pub fn is_idle(&self) -> bool {
        self.schedule.waiting.is_empty()
            && self.schedule.running.is_empty()
            && self.ready.is_empty()
    }

    /// How many outputs are queued or running; a request with many samples counts once until its
    /// prompt is computed.
    pub fn pending(&self) -> usize {
        self.schedule.waiting.len() + self.schedule.running.len() + self.ready.len()
    }

    /// Queues a request.
    pub fn submit(&mut self, request: Request) -> Result<(), Error> {
        let (vocab, context) = (self.model().config().vocab, self.model().context());
        request.check(vocab, context, self.cache_tokens)?;
        let (samples, needs_steps) = (request.samples, request.max_new_tokens > 0);
        let kind = self.kind();
        let numbered = Arc::new(Numbered { number: self.submitted, request });
        self.submitted += 1;
        let mut first = Sequence::new(numbered, 0, kind);
        first.followers = (1..samples).collect();
        if needs_steps {
            self.schedule.waiting.push_back(first);
        } else {
            self.end_all(first, Finish::Length);
        }
        Ok(())
    }

    /// Ends all outputs of a row; they come back from the next step as they are.
    pub fn cancel(&mut self, row: u64) {
        let schedule = &mut self.schedule;
        let all = schedule.waiting.drain(..).map(|it| (false, it));
        let all: Vec<_> = all.chain(schedule.running.drain(..).map(|it| (true, it))).collect();
        let mut gone = Vec::new();
        for (runs, mut sequence) in all {
            if sequence.request.row == row {
                schedule.blocks.release(std::mem::take(&mut sequence.table));
                gone.push(sequence);
            } else if runs {
                schedule.running.push(sequence);
            } else {
                schedule.waiting.push_back(sequence);
            }
        }
        gone.into_iter().for_each(|it| self.end_all(it, Finish::Cancelled));
    }

    fn kind(&self) -> Kind {
        Kind { context: self.stage.model().context(), sampled: self.stage.sampled() }
    }

    /// Ends an output, and those that wait for its prompt.
    fn end_all(&mut self, mut sequence: Sequence, finish: Finish) {
        let kind = self.kind();
        let followers = std::mem::take(&mut sequence.followers);
        let others = followers
            .into_iter()
            .map(|sample| Sequence::new(Arc::clone(&sequence.request), sample, kind));
        let others: Vec<_> = others.collect();
        for it in std::iter::once(sequence).chain(others) {
            self.ready.push((it.request.number, it.into_output(finish)));
        }
    }

    /// One step for everybody. `watch` sees each token as it comes and may end its output.
    ///
    /// Returns the outputs that ended. After an error the generator is of no use.
    pub fn step(&mut self, watch: &mut dyn FnMut(Token) -> Flow) -> Result<Vec<Output>, Error> {
        Ok(self.advance(watch)?.into_iter().map(|it| it.1).collect())
    }

    fn advance(&mut self, watch: &mut dyn FnMut(Token) -> Flow) -> Result<Vec<Ended>, Error> {
        let mut ended = std::mem::take(&mut self.ready);
        if self.schedule.running.is_empty() && self.schedule.waiting.is_empty() {
            return Ok(ended);
        }
        let device = Arc::clone(self.stage.model().device());
        let picks = device.run(|| self.compute())?;
        let finishes: Vec<_> =
            picks.into_iter().map(|(i, pick)| self.take(i, pick, watch)).collect();
        self.remove(finishes, &mut ended);
        self.counts.steps += 1;
        Ok(ended)
    }

    /// Does requests to their ends; outputs in the order of the requests and their samples.
    pub fn run(
        &mut self,
        requests: impl IntoIterator<Item = Request>,
        watch: &mut dyn FnMut(Token) -> Flow,
    ) -> Result<Vec<Output>, Error> {
        for request in requests {
            self.submit(request)?;
        }
        let mut all = Vec::new();
        while !self.is_idle() {
            all.extend(self.advance(watch)?);
        }
        all.sort_by_key(|(number, it)| (*number, it.sample));
        Ok(all.into_iter().map(|it| it.1).collect())
    }

    /// Runs the next plan; picks a token for every sequence that is computed to its end.
    fn compute(&mut self) -> Result<Vec<(usize, Pick)>, Error> {
        let plan = self.schedule.plan();
        self.stage.copy(&plan.copies)?;
        self.counts.computed += plan.rows();
        let is_sampled = |it: &Part| self.schedule.running[it.sequence].way() == Way::Decode;
        let (sampled, prompts): (Vec<Part>, Vec<Part>) =
            plan.parts.iter().copied().partition(is_sampled);
        let decoded = self.decode(&sampled)?;
        let mut picking = self.prefill(&prompts)?;
        for part in &plan.parts {
            let it = &mut self.schedule.running[part.sequence];
            let len = it.table.len + part.rows;
            self.schedule.blocks.advance(&mut it.table, &it.ids, len);
        }
        picking.retain(|it| self.schedule.running[it.0].pending() == 0);
        self.split(&mut picking);
        let rows: Vec<u32> = picking.iter().map(|it| it.1).collect();
        let running = &self.schedule.running;
        let given: Vec<Given<'_>> = picking.iter().map(|it| running[it.0].given()).collect();
        let picks = self.stage.pick(&rows, &given)?;
        let of_prompts = picking.iter().map(|it| it.0).zip(picks);
        let all = decoded.into_iter().chain(of_prompts);
        all.map(|(sequence, pick)| Ok((sequence, self.checked(sequence, pick)?))).collect()
    }

    /// Computes tokens that were sampled, and picks after the last of each sequence.
    fn decode(&mut self, parts: &[Part]) -> Result<Vec<(usize, Picked)>, Error> {
        let (mut rows, mut sequences) = (Vec::new(), Vec::new());
        for part in parts {
            let it = &self.schedule.running[part.sequence];
            for position in it.table.len..it.table.len + part.rows {
                let given = (position + 1 == it.ids.len()).then(|| it.given());
                let (id, blocks) = (it.ids[position], it.table.blocks.as_slice());
                rows.push(Row { id, position, blocks, given });
                sequences.push(part.sequence);
            }
        }
        let picks = self.stage.decode(&rows)?;
        Ok(sequences.into_iter().zip(picks).filter_map(|it| Some((it.0, it.1?))).collect())
    }

    /// Computes tokens of prompts; each part's sequence, and the row of its last token.
    fn prefill(&mut self, parts: &[Part]) -> Result<Vec<(usize, u32)>, Error> {
        let mut batch = Batch::default();
        for part in parts {
            let it = &self.schedule.running[part.sequence];
            let past = it.table.len;
            batch.push(&it.ids[past..past + part.rows], past, &it.table.blocks);
        }
        if !parts.is_empty() {
            self.stage.forward(&batch)?;
        }
        let last = |run: &Run| (run.first_row + run.rows - 1) as u32;
        Ok(parts.iter().zip(&batch.runs).map(|it| (it.0.sequence, last(it.1))).collect())
    }

    /// A pick, or where there is none.
    fn checked(&self, sequence: usize, pick: Picked) -> Result<Pick, Error> {
        let it = &self.schedule.running[sequence];
        let (row, place) = (it.request.row, it.output().len());
        pick.map_err(|source| Error::Pick { row, place, source })
    }

    /// Lets the other samples of a request go on from its prompt: now, where there is a place, and
    /// else from the queue, where they find most of it known.
    fn split(&mut self, picking: &mut Vec<(usize, u32)>) {
        let kind = self.kind();
        for i in 0..picking.len() {
            let (place, row) = picking[i];
            let schedule = &mut self.schedule;
            let request = Arc::clone(&schedule.running[place].request);
            let followers = std::mem::take(&mut schedule.running[place].followers);
            let free = schedule.most_running - schedule.running.len();
            let (now, later) = followers.split_at(free.min(followers.len()));
            for &sample in now {
                let mut it = Sequence::new(Arc::clone(&request), sample, kind);
                it.table = schedule.blocks.fork(&schedule.running[place].table);
                it.known = Some(it.table.len);
                picking.push((schedule.running.len(), row));
                schedule.running.push(it);
            }
            for &sample in later.iter().rev() {
                let it = Sequence::new(Arc::clone(&request), sample, kind);
                schedule.waiting.push_front(it);
            }
        }
    }

    /// Gives a sequence its token; says whether and why it ends.
    fn take(
        &mut self,
        place: usize,
        pick: Pick,
        watch: &mut dyn FnMut(Token) -> Flow,
    ) -> (usize, Option<Finish>) {
        self.counts.sampled += 1;
        let it = &mut self.schedule.running[place];
        let token = Token {
            row: it.request.row,
            sample: it.sample,
            place: it.output().len(),
            id: pick.id,
            log_probability: pick.log_probability,
        };
        let finish = it.push(pick);
        let flow = watch(token);
        (place, finish.or((flow == Flow::Stop).then_some(Finish::Asked)))
    }

    /// Takes out the sequences that ended.
    fn remove(&mut self, mut finishes: Vec<(usize, Option<Finish>)>, ended: &mut Vec<Ended>) {
        finishes.sort_by_key(|it| it.0);
        for (place, finish) in finishes.into_iter().rev() {
            let Some(finish) = finish else { continue };
            let mut it = self.schedule.running.remove(place);
            self.schedule.blocks.release(std::mem::take(&mut it.table));
            self.counts.known += it.known.unwrap_or(0);
            ended.push((it.request.number, it.into_output(finish)));
        }
    }
}
