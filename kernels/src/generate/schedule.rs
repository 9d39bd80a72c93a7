//! Continuous batching: decoding rows first, then prompts in chunks, then new sequences.
//!
//! Sequences run in the order in which they arrived. When the KV cache runs out of blocks, the youngest sequence is
//! preempted: it returns to the queue with the tokens it has, and its keys and values are recomputed later, by the
//! same kernels and so with the same bits. A part of a step is prefill or decode, never both. Nothing that is
//! decided here shows in a result, only in when it comes.

use std::collections::VecDeque;

use super::blocks::{Blocks, Copy, Full};
use super::sequence::Sequence;

/// Sequences, queued and running, and the blocks they share.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) waiting: VecDeque<Sequence>,
    /// The oldest first.
    pub(crate) running: Vec<Sequence>,
    pub(crate) blocks: Blocks,
    /// How many may run.
    pub(crate) most_running: usize,
    /// How many tokens a step computes.
    pub(crate) step_tokens: usize,
    /// How often a sequence was preempted.
    pub(crate) preempted: usize,
}

/// Rows of a running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its place among the running ones.
    pub(crate) sequence: usize,
    /// How many of its pending tokens.
    pub(crate) rows: usize,
}

/// What a step does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In the order in which they must be done, before anything is computed.
    pub(crate) copies: Vec<Copy>,
    pub(crate) parts: Vec<Part>,
}

impl Plan {
    /// How many tokens it computes.
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|it| it.rows).sum()
    }
}

impl Schedule {
    /// The next step. There is always something in it, as long as there are sequences.
    pub(crate) fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let before = self.preempted;
        self.plan_decoding(&mut plan);
        self.plan_prompts(&mut plan);
        // A preempted sequence goes first, but not in the step that had no blocks for it.
        if self.preempted == before {
            self.admit(&mut plan);
        }
        plan
    }

    /// One row for everybody who has one pending.
    fn plan_decoding(&mut self, plan: &mut Plan) {
        let mut i = 0;
        while i < self.running.len() && plan.rows() < self.step_tokens {
            if self.running[i].pending() == 1 {
                while i < self.running.len() && self.take(i, 1, plan) == Err(Full) {
                    self.send_back(plan);
                }
            }
            i += 1;
        }
    }

    /// Chunks of prompts, as far as there is room; the oldest gets room if nobody else has a part.
    fn plan_prompts(&mut self, plan: &mut Plan) {
        let mut i = 0;
        while i < self.running.len() && plan.rows() < self.step_tokens {
            if self.running[i].pending() > 1 {
                let rows = self.running[i].next().min(self.step_tokens - plan.rows());
                while i < self.running.len() && self.take(i, rows, plan) == Err(Full) {
                    if !plan.parts.is_empty() {
                        return;
                    }
                    self.send_back(plan);
                }
            }
            i += 1;
        }
    }

    /// Lets sequences of the queue in, while there is room for all their tokens and one more.
    fn admit(&mut self, plan: &mut Plan) {
        while self.running.len() < self.most_running && plan.rows() < self.step_tokens {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let n_ids = sequence.ids.len();
            let table = self.blocks.find_with_border(&sequence.ids, n_ids - 1, sequence.border());
            let more = self.blocks.needed(n_ids + 1) - table.blocks.len();
            // Alone it fits without the one more: it was checked.
            if more > self.blocks.available() && !(self.running.is_empty() && plan.parts.is_empty())
            {
                self.blocks.release(table);
                self.waiting.push_front(sequence);
                return;
            }
            sequence.known.get_or_insert(table.len.min(sequence.request.prompt.len()));
            sequence.table = table;
            let rows = sequence.next().min(self.step_tokens - plan.rows());
            self.running.push(sequence);
            let last = self.running.len() - 1;
            if self.take(last, rows, plan) == Err(Full) {
                self.send_back(plan);
                return;
            }
        }
    }

    /// Makes room for rows of a sequence and plans them.
    fn take(&mut self, sequence: usize, rows: usize, plan: &mut Plan) -> Result<(), Full> {
        let copy = self.blocks.extend(&mut self.running[sequence].table, rows)?;
        plan.copies.extend(copy);
        plan.parts.push(Part { sequence, rows });
        Ok(())
    }

    /// Sends the youngest back to the queue.
    fn send_back(&mut self, plan: &mut Plan) {
        let Some(mut sequence) = self.running.pop() else { return };
        let place = self.running.len();
        plan.parts.retain(|it| it.sequence != place);
        self.blocks.release(std::mem::take(&mut sequence.table));
        self.waiting.push_front(sequence);
        self.preempted += 1;
    }
}
