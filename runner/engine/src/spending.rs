//! What a run has spent of its budget: time, tokens, records. When something of it is used up, the run
//! stops as if it were asked to: steps write their state, and the next run goes on from there.

use std::collections::HashMap;
use std::time::Instant;

use plan::Budget;

use crate::dispatch::{Dispatcher, Piece};
use crate::events::{End, Event};
use crate::forecast::asks_a_model;
use crate::job::Message;
use crate::unit::{Stop, UnitNews};

/// What was spent so far.
#[derive(Debug)]
pub(crate) struct Spending {
    budget: Budget,
    /// When the time is up.
    pub(crate) deadline: Option<Instant>,
    tokens: u64,
    records: u64,
    /// New records of each unit, as it said last.
    of_units: HashMap<(usize, Piece), u64>,
}

impl Spending {
    pub(crate) fn new(budget: Budget) -> Self {
        // A time beyond what the clock can say is never up.
        let deadline = budget.wall.and_then(|it| Instant::now().checked_add(it));
        Self { budget, deadline, tokens: 0, records: 0, of_units: HashMap::new() }
    }

    /// What is used up, if something is: its name and its limit.
    fn used_up(&self) -> Option<(&'static str, String)> {
        let time = self.deadline.is_some_and(|it| Instant::now() >= it);
        let wall = self.budget.wall.filter(|_| time);
        let tokens = self.budget.tokens.filter(|it| self.tokens >= *it);
        let records = self.budget.records.filter(|it| self.records >= *it);
        let wall = wall.map(|it| ("wall", crate::time::duration(it.as_millis() as u64)));
        wall.or(tokens.map(|it| ("tokens", it.to_string())))
            .or(records.map(|it| ("records", it.to_string())))
    }
}

/// Waits for a moment; without one, not at all.
pub(crate) async fn until(moment: Option<Instant>) {
    if let Some(it) = moment {
        tokio::time::sleep_until(it.into()).await;
    }
}

impl Dispatcher<'_, '_, '_, '_> {
    /// What a unit says goes on to whoever wants to know, and what it spends is counted.
    pub(crate) fn pass_on(&mut self, id: usize, piece: Piece, news: UnitNews) {
        let step = self.unit_name(id, piece);
        let event = match news {
            UnitNews::Message(Message::Progress { done, total, unit, skipped }) => {
                self.spend_records(id, piece, done.saturating_sub(skipped));
                Event::StepProgress { step, done, total, unit, skipped }
            }
            UnitNews::Message(Message::Spent { tokens }) => {
                self.spending.tokens += tokens;
                return;
            }
            UnitNews::Message(Message::Note { text }) => Event::StepNote { step, text },
            UnitNews::Message(_) => return,
            UnitNews::Retry { attempt, wait, reason } => {
                let wait_ms = wait.as_millis() as u64;
                Event::StepRetried { step, attempt, wait_ms, reason }
            }
        };
        self.speaker.say(&event);
    }

    /// A unit has worked on so many records that were not known before.
    fn spend_records(&mut self, id: usize, piece: Piece, new: u64) {
        if !asks_a_model(&self.setup.graph.instances[id]) {
            return;
        }
        let last = self.spending.of_units.entry((id, piece)).or_default();
        self.spending.records += new.saturating_sub(*last);
        *last = new;
    }

    /// Stops where something is used up.
    pub(crate) fn check_budget(&mut self) {
        if self.draining {
            return;
        }
        let Some((what, limit)) = self.spending.used_up() else { return };
        self.speaker.say(&Event::BudgetReached { what: what.to_owned(), limit });
        self.draining = true;
        self.ended.end = End::Budget;
        self.waiting_for.clear();
        self.stop.send_replace(Stop::Ask);
    }
}
