//! Makes results durable, many at a time: one thread that owns the commit.
//!
//! A result waits until sixty-four are ready, or twenty milliseconds have passed, or the engine
//! has nothing else to wait for; one that took a second or more does not wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::{Committed, Error, Lock, Record, Store};

const GROUP: usize = 64;
const WAIT: Duration = Duration::from_millis(20);
const LONG_STEP_MS: u64 = 1000;

/// A result on its way to the disk. Its lock is let go when it is there.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The engine's number for the step.
    pub(crate) id: usize,
    /// What is committed.
    pub(crate) record: Record,
    /// The lock of its key.
    pub(crate) lock: Arc<Lock>,
}

/// What became of a group.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The engine's numbers of the steps.
    pub(crate) ids: Vec<usize>,
    /// What became of each.
    pub(crate) committed: Result<Vec<Committed>, Error>,
}

enum Order {
    Commit(Box<Pending>),
    Flush,
}

/// The thread that commits.
#[derive(Debug)]
pub(crate) struct Committer {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread; `done` is called on it after every group.
    pub(crate) fn start(store: Store, done: impl Fn(Outcome) + Send + 'static) -> Self {
        let (orders, inbox) = channel();
        let thread = std::thread::spawn(move || work(&store, &inbox, &done));
        Self { orders: Some(orders), thread: Some(thread) }
    }

    /// Hands over a result.
    pub(crate) fn commit(&self, pending: Pending) {
        self.order(Order::Commit(Box::new(pending)));
    }

    /// Says that there is nothing to wait for.
    pub(crate) fn flush(&self) {
        self.order(Order::Flush);
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after this sender is dropped, or by a panic that join reports.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(store: &Store, inbox: &Receiver<Order>, done: &impl Fn(Outcome)) {
    while let Ok(order) = inbox.recv() {
        let Order::Commit(first) = order else { continue };
        let mut group = vec![*first];
        let end = Instant::now() + WAIT;
        while group.len() < GROUP && group.iter().all(|it| it.record.took_ms < LONG_STEP_MS) {
            match inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Order::Commit(next)) => group.push(*next),
                Ok(Order::Flush)
                | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    break;
                }
            }
        }
        let ids: Vec<usize> = group.iter().map(|it| it.id).collect();
        let (records, locks): (Vec<Record>, Vec<Arc<Lock>>) =
            group.into_iter().map(|it| (it.record, it.lock)).unzip();
        let committed = store.commit(&records);
        drop(locks); // after the record exists: who waits for the lock finds it
        done(Outcome { ids, committed });
    }
}
