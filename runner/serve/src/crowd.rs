//! The connections that are open, and who must go where there are too many.
//!
//! A new connection is always let in. Where that is one too many, the oldest goes that we are not just
//! making an answer for: who sends a request byte by byte, or nothing, is older than anybody who means it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// So many may be open at once.
pub(crate) const MAX_CONNECTIONS: usize = 256;

/// Connections that can be ended, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd(Arc<Mutex<Members>>);

#[derive(Debug, Default)]
struct Members {
    next: u64,
    /// The tasks that may be ended; nothing where an answer is being made.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

/// A connection's place among the others, given up when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    crowd: Crowd,
    number: u64,
}

impl Crowd {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection that is about to start.
    pub(crate) fn join(&self) -> Arc<Member> {
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        members.tasks.insert(number, None);
        Arc::new(Member { crowd: self.clone(), number })
    }

    /// Says which task a connection is, and ends the oldest where there are too many.
    pub(crate) fn started(&self, number: u64, task: AbortHandle) {
        let mut members = self.members();
        if let Some(place) = members.tasks.get_mut(&number) {
            *place = Some(task);
        }
        if members.tasks.len() > MAX_CONNECTIONS
            && let Some(task) = members.tasks.values_mut().find_map(Option::take)
        {
            task.abort();
        }
    }
}

impl Member {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Runs until there is an answer, and is not ended meanwhile.
    pub(crate) async fn undisturbed<T>(&self, answer: impl Future<Output = T>) -> T {
        let take = || self.crowd.members().tasks.get_mut(&self.number).and_then(Option::take);
        let task = take();
        let answer = answer.await;
        if let (Some(task), Some(place)) = (task, self.crowd.members().tasks.get_mut(&self.number))
        {
            *place = Some(task);
        }
        answer
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.members().tasks.remove(&self.number);
    }
}
