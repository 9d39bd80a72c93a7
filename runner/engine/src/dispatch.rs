//! The dispatcher: one task that owns the state of a run. Units of work run beside it and talk to
//! it by messages; everything that happens is decided here, one thing after another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plan::{Gatherer, Input, Key, Known, Parts};
use store::{Committed, Holder, Isolation, Lock, Object, Record, RecordOutput};
use tokio::sync::{mpsc, watch};

use crate::attempt::Prepared;
use crate::commit::{Committer, Outcome, Pending};
use crate::error::{EngineError, chain};
use crate::events::{End, Event, Reuse};
use crate::heads::Heads;
use crate::orphan::{holder_text, host};
use crate::planning::{Stale, Standing};
use crate::run::{Ended, Setup, Speaker};
use crate::scrub::{self, Inputs};
use crate::signals::Signals;
use crate::slots::{Held, Slots};
use crate::spending::{Spending, until};
use crate::unit::{Said, Shared, Stop, UnitNews};

/// How often a key that another process holds is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Where an instance stands.
pub(crate) enum Node {
    /// Its result is there, or nothing needs it.
    Settled,
    /// It waits for so many instances.
    Waiting(usize),
    /// It can start as soon as there are slots.
    Ready,
    /// Another process is at it.
    Elsewhere,
    /// Another instance of this run has the same key and is at it.
    Follows,
    /// It runs.
    Running(Box<Active>),
    /// It ended well and its result is on its way to the disk.
    Committing(Box<Done>),
    /// It failed, or was stopped, or cannot run.
    Lost,
}

/// A running instance.
pub(crate) struct Active {
    pub(crate) key: Key,
    pub(crate) parts: Parts,
    pub(crate) family: plan::Digest,
    pub(crate) lock: Arc<Lock>,
    pub(crate) prepared: Rc<Prepared>,
    pub(crate) began: Instant,
    pub(crate) began_ms: u64,
    pub(crate) units_left: usize,
    pub(crate) said: Said,
    pub(crate) attempts: u32,
}

/// What is said of an instance when its result is on the disk.
pub(crate) struct Done {
    pub(crate) key: Key,
    pub(crate) took_ms: u64,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) outputs: BTreeMap<String, plan::Digest>,
}

/// What units and the committer tell the dispatcher.
pub(crate) enum News {
    Unit { id: usize, piece: Piece, news: UnitNews },
    Ended { id: usize, piece: Piece, held: Held, result: UnitResult },
    Committed(Outcome),
}

/// How a unit ended, as the dispatcher sees it.
pub(crate) enum UnitResult {
    /// The outputs are in the store.
    Taken {
        objects: BTreeMap<String, Object>,
        said: Said,
        attempts: u32,
    },
    /// A shard is kept.
    Kept {
        said: Said,
        attempts: u32,
    },
    Failed {
        reason: String,
        log: String,
        tail: Vec<String>,
    },
    Stopped,
}

/// Which piece of an instance's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Piece {
    /// To find out what there is to do.
    Begin,
    /// All of it.
    Whole,
    /// One shard.
    Shard { index: usize, count: usize },
    /// To join the shards.
    Join,
}

impl Piece {
    /// The shard, where it is one.
    pub(crate) fn shard(self) -> Option<(usize, usize)> {
        match self {
            Piece::Shard { index, count } => Some((index, count)),
            Piece::Begin | Piece::Whole | Piece::Join => None,
        }
    }
}

/// Sorted so that the most urgent comes first.
pub(crate) type Ticket = (Reverse<u64>, usize, Piece);

pub(crate) struct Dispatcher<'a, 's, 't, 'u> {
    pub(crate) setup: &'a Setup<'a>,
    pub(crate) speaker: &'s mut Speaker<'t, 'u>,
    pub(crate) shared: Rc<Shared>,
    pub(crate) slots: Slots,
    pub(crate) heads: Heads,
    pub(crate) nodes: Vec<Node>,
    pub(crate) dependents: Vec<Vec<usize>>,
    pub(crate) urgency: Vec<u64>,
    /// Instances whose inputs have come to be known.
    pub(crate) due: VecDeque<usize>,
    pub(crate) ready: BTreeSet<Ticket>,
    /// Outputs of what this run made or found.
    pub(crate) outputs: HashMap<usize, BTreeMap<String, Object>>,
    pub(crate) keys: HashMap<usize, (Key, Parts, plan::Digest)>,
    /// What was reused and is not noted yet.
    pub(crate) reused: Vec<(usize, Key)>,
    /// What this run made.
    pub(crate) own: HashSet<Key>,
    pub(crate) at_work: HashMap<Key, usize>,
    pub(crate) followers: HashMap<usize, Vec<usize>>,
    pub(crate) waiting_for: BTreeSet<usize>,
    /// Who was said to be waited for.
    pub(crate) told: HashMap<usize, String>,
    pub(crate) n_running: usize,
    pub(crate) n_committing: usize,
    pub(crate) draining: bool,
    pub(crate) spending: Spending,
    pub(crate) stop: watch::Sender<Stop>,
    pub(crate) news: mpsc::UnboundedSender<News>,
    pub(crate) inbox: mpsc::UnboundedReceiver<News>,
    pub(crate) committer: Committer,
    pub(crate) ended: Ended,
    pub(crate) trouble: Option<EngineError>,
}

impl<'a, 's, 't, 'u> Dispatcher<'a, 's, 't, 'u> {
    pub(crate) fn new(
        setup: &'a Setup<'a>,
        slots: Slots,
        heads: Heads,
        speaker: &'s mut Speaker<'t, 'u>,
        isolation: Isolation,
    ) -> Self {
        let n = setup.graph.instances.len();
        let (news, inbox) = mpsc::unbounded_channel();
        let to_me = news.clone();
        let committer = Committer::start(setup.store.clone(), move |outcome| {
            // The dispatcher is gone only when the run is over.
            let _ = to_me.send(News::Committed(outcome));
        });
        let shared = Shared {
            store: setup.store.clone(),
            executor: Rc::clone(&setup.executor),
            grace: setup.options.grace,
            isolation,
        };
        let ended = Ended {
            end: End::Good,
            n_ran: 0,
            n_reused: 0,
            n_failed: 0,
            n_skipped: 0,
            n_stopped: 0,
            made: BTreeMap::new(),
            forgotten: BTreeSet::new(),
        };
        Self {
            setup,
            speaker,
            shared: Rc::new(shared),
            slots,
            heads,
            nodes: (0..n).map(|_| Node::Settled).collect(),
            dependents: vec![vec![]; n],
            urgency: vec![0; n],
            due: VecDeque::new(),
            ready: BTreeSet::new(),
            outputs: HashMap::new(),
            keys: HashMap::new(),
            reused: vec![],
            own: HashSet::new(),
            at_work: HashMap::new(),
            followers: HashMap::new(),
            waiting_for: BTreeSet::new(),
            told: HashMap::new(),
            n_running: 0,
            n_committing: 0,
            draining: false,
            spending: Spending::new(setup.options.budget),
            stop: watch::Sender::new(Stop::No),
            news,
            inbox,
            committer,
            ended,
            trouble: None,
        }
    }

    /// Runs until nothing is left to do.
    pub(crate) async fn run(mut self) -> Result<Ended, EngineError> {
        self.remember_cached();
        self.wire();
        let mut signals = Signals::new(&self.setup.home)?;
        loop {
            self.schedule();
            self.note_reused();
            if self.n_running == 0 && self.n_committing == 0 && self.waiting_for.is_empty() {
                break;
            }
            if self.n_running == 0 && self.n_committing > 0 {
                self.committer.flush();
            }
            self.check_budget();
            let time_is_up = self.spending.deadline.filter(|_| !self.draining);
            tokio::select! {
                Some(news) = self.inbox.recv() => self.hear(news),
                () = signals.next() => self.interrupt(),
                () = until(time_is_up), if time_is_up.is_some() => {}
                () = tokio::time::sleep(ASK_AGAIN), if !self.waiting_for.is_empty() => self.ask_again(),
            }
        }
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        self.account();
        Ok(self.ended)
    }

    /// Names and keys of what is there belong to this run as well: for reasons, and against `gc`.
    fn remember_cached(&mut self) {
        let mut cached = vec![];
        for (i, key) in self.setup.planned.keys.iter().enumerate() {
            if let Some(key) = key {
                cached.push((self.name(i), *key));
            }
        }
        self.remember(cached);
    }

    pub(crate) fn remember(&mut self, named: Vec<(String, Key)>) {
        if let Some(record) = &mut self.speaker.record {
            record.keep(named.iter().map(|(name, key)| (name.as_str(), *key)));
        }
        if let Err(error) = self.heads.add(named) {
            let text = format!(
                "reasons will be missing: `{}`: {error}",
                self.setup.home.heads().display()
            );
            self.speaker.say(&Event::Warning { text });
        }
    }

    /// Who waits for whom, and how long the longest way down from each is.
    fn wire(&mut self) {
        let (graph, planned) = (self.setup.graph, self.setup.planned);
        for (i, instance) in graph.instances.iter().enumerate() {
            if !planned.standings[i].may_run() {
                continue;
            }
            let mut above = BTreeSet::new();
            for input in instance.inputs.values().flatten() {
                if let Input::Output { instance, .. } = input
                    && planned.standings[instance.0].may_run()
                {
                    above.insert(instance.0);
                }
            }
            self.nodes[i] = Node::Waiting(above.len());
            for it in above {
                self.dependents[it].push(i);
            }
        }
        for i in (0..graph.instances.len()).rev() {
            let below = self.dependents[i].iter().map(|it| self.urgency[*it]).max().unwrap_or(0);
            self.urgency[i] = below + self.expected_ms(i);
        }
        let free = |it: &usize| matches!(self.nodes[*it], Node::Waiting(0));
        self.due = (0..graph.instances.len()).filter(free).collect();
    }

    /// Looks at everything whose inputs have come to be known. A queue, not a recursion: a cut-off
    /// at the head of a long chain settles all of it.
    pub(crate) fn resolve_due(&mut self) {
        while let Some(i) = self.due.pop_front() {
            self.resolve(i);
        }
    }

    /// What a step took last time; a second where nobody knows.
    fn expected_ms(&self, i: usize) -> u64 {
        if !self.setup.planned.standings[i].may_run() {
            return 0;
        }
        let entry = self.heads.get(&self.name(i)).and_then(|key| self.setup.index.entry(&key));
        entry.map_or(1000, |it| it.took_ms.max(1))
    }

    pub(crate) fn name(&self, i: usize) -> String {
        self.setup.graph.instances[i].address.to_string()
    }

    pub(crate) fn unit_name(&self, i: usize, piece: Piece) -> String {
        match piece.shard() {
            Some((index, count)) => format!("{} shard {}/{count}", self.name(i), index + 1),
            None => self.name(i),
        }
    }

    /// Everything above an instance is there: its key is known. Looks whether its result is, too.
    fn resolve(&mut self, i: usize) {
        let mut gatherer = Gatherer::default();
        let instance = &self.setup.graph.instances[i];
        let facts = &self.setup.gathered.facts;
        gatherer.gather(instance, facts, &mut |input| self.known(input));
        let (key, parts, family) = (gatherer.key(), gatherer.parts(), gatherer.family());
        self.keys.insert(i, (key, parts, family));
        // What another process made meanwhile is found when the key is locked. A plan is kept to:
        // a step whose result was lost runs, also where something else brought the bytes back.
        if !self.is_lost(i)
            && (self.setup.index.has(&key) || self.own.contains(&key))
            && let Some(found) = self.find(&key)
        {
            return self.reuse(i, key, found, Reuse::CutOff);
        }
        self.nodes[i] = Node::Ready;
        self.ready.insert((Reverse(self.urgency[i]), i, Piece::Begin));
    }

    /// Whether the plan found the result of an instance known and its bytes gone.
    pub(crate) fn is_lost(&self, i: usize) -> bool {
        matches!(self.setup.planned.standings[i], Standing::Stale(Stale::Lost { .. }))
    }

    pub(crate) fn known(&self, input: &Input) -> Known {
        match input {
            Input::Source(i) => {
                self.setup.gathered.facts.sources[*i].map_or(Known::Absent, Known::Content)
            }
            Input::Output { instance, slot } => self
                .object(instance.0, slot)
                .map_or(Known::Absent, |object| Known::Content(object.digest)),
        }
    }

    /// An output of an instance that is there.
    pub(crate) fn object(&self, i: usize, slot: &str) -> Option<Object> {
        if let Some(outputs) = self.outputs.get(&i) {
            return outputs.get(slot).copied();
        }
        self.setup.index.output(&self.setup.planned.keys[i]?, slot)
    }

    /// A whole result of a key, as it is on the disk now.
    pub(crate) fn find(&mut self, key: &Key) -> Option<BTreeMap<String, RecordOutput>> {
        let record = match self.setup.store.claim(key) {
            Ok(record) => record?,
            Err(error) => {
                self.speaker.say(&Event::Warning { text: chain(&error) });
                return None;
            }
        };
        let store = &self.setup.store;
        let look = |it: &Object| match self.setup.options.scrub.inputs {
            Inputs::All => store.reread(it),
            Inputs::Budget => store.present(it),
        };
        let whole = record.outputs.values().all(|it| look(&it.object) == store::Presence::Present);
        self.put_damaged_aside();
        whole.then_some(record.outputs)
    }

    /// What was found damaged, and what was made from it, is not to be reused by what comes next.
    pub(crate) fn put_damaged_aside(&mut self) {
        match scrub::found(&self.setup.store) {
            Ok(None) => {}
            Ok(Some(found)) => {
                self.speaker.say(&Event::Warning { text: scrub::said(&found) });
                self.ended.forgotten.extend(found.derived.keys());
            }
            Err(error) => {
                self.trouble.get_or_insert(error);
                self.draining = true;
            }
        }
    }

    pub(crate) fn reuse(
        &mut self,
        i: usize,
        key: Key,
        outputs: BTreeMap<String, RecordOutput>,
        how: Reuse,
    ) {
        self.ended.n_reused += 1;
        let step = self.name(i);
        self.speaker.say(&Event::StepReused { step: step.clone(), key, how });
        self.reused.push((i, key));
        let objects = outputs.into_iter().map(|(slot, it)| (slot, it.object)).collect();
        self.nodes[i] = Node::Settled;
        self.ended.made.insert(i, key);
        self.there(i, objects);
    }

    /// Notes what was reused since the last time, in one write for all.
    fn note_reused(&mut self) {
        let reused = std::mem::take(&mut self.reused);
        if reused.is_empty() {
            return;
        }
        let pairs: Vec<_> =
            reused.iter().map(|(i, key)| (self.setup.planned.recursive[*i], *key)).collect();
        if let Err(error) = self.setup.index.remember(&pairs) {
            self.speaker.say(&Event::Warning { text: chain(&error) });
        }
        let named = reused.iter().map(|(i, key)| (self.name(*i), *key)).collect();
        self.remember(named);
    }

    /// The outputs of an instance are there: whoever waited for them may go on.
    pub(crate) fn there(&mut self, i: usize, objects: BTreeMap<String, Object>) {
        self.outputs.insert(i, objects);
        for below in &self.dependents[i] {
            if let Node::Waiting(n) = &mut self.nodes[*below] {
                *n -= 1;
                if *n == 0 {
                    self.due.push_back(*below);
                }
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Unit { id, piece, news } => self.pass_on(id, piece, news),
            News::Ended { id, piece, held, result } => {
                self.slots.release(held);
                self.n_running -= 1;
                self.unit_ended(id, piece, result);
            }
            News::Committed(outcome) => self.committed(outcome),
        }
    }

    fn committed(&mut self, outcome: Outcome) {
        self.n_committing -= outcome.ids.len();
        let committed = match outcome.committed {
            Ok(committed) => committed,
            Err(error) => {
                // Nothing can be published any more: what runs is killed.
                self.trouble.get_or_insert(error.into());
                self.draining = true;
                self.waiting_for.clear();
                self.stop.send_replace(Stop::Kill);
                return;
            }
        };
        let mut named = vec![];
        for (i, how) in outcome.ids.into_iter().zip(committed) {
            let Node::Committing(done) = std::mem::replace(&mut self.nodes[i], Node::Settled)
            else {
                continue;
            };
            let step = self.name(i);
            if let Committed::Diverged { .. } = how {
                let text = format!(
                    "`{step}` came out different on another machine with the same key; the first result is kept"
                );
                self.speaker.say(&Event::Warning { text });
            }
            named.push((step.clone(), done.key));
            if let Err(error) = self.setup.store.drop_part(&done.key) {
                self.speaker.say(&Event::Warning { text: chain(&error) });
            }
            self.at_work.remove(&done.key);
            self.own.insert(done.key);
            self.ended.n_ran += 1;
            self.ended.made.insert(i, done.key);
            let Done { key, took_ms, counts, outputs } = *done;
            self.speaker.say(&Event::StepDone { step, key, took_ms, counts, outputs });
            self.wake_followers(i);
        }
        self.remember(named);
    }

    /// Hands a result to the committer, and lets go on who waited for it.
    pub(crate) fn publish(&mut self, i: usize, active: Active, objects: BTreeMap<String, Object>) {
        let took_ms = active.began.elapsed().as_millis() as u64;
        let instance = &active.prepared.instance;
        let outputs: BTreeMap<String, RecordOutput> = instance
            .outputs
            .iter()
            .filter_map(|(slot, output)| {
                let object = *objects.get(slot)?;
                let (form, file) = (output.form, output.file.clone());
                Some((slot.clone(), RecordOutput { object, form, file }))
            })
            .collect();
        let done = Done {
            key: active.key,
            took_ms,
            counts: active.said.counts.clone(),
            outputs: crate::run::digests(&outputs),
        };
        let record = Record {
            format: store::RECORD_FORMAT,
            key: active.key,
            recursive: self.setup.planned.recursive[i],
            family: active.family,
            address: self.name(i),
            parts: active.parts.0,
            outputs,
            counts: active.said.counts,
            started: active.began_ms,
            took_ms,
            cpu_ms: active.said.cpu_ms,
            peak_bytes: active.said.peak_bytes,
            host: host(),
            kun: env!("CARGO_PKG_VERSION").to_owned(),
            attempts: active.attempts,
            read: active.prepared.sizes(),
            work: active.said.work,
        };
        self.nodes[i] = Node::Committing(Box::new(done));
        self.n_committing += 1;
        self.committer.commit(Pending { id: i, record, lock: active.lock });
        self.there(i, objects);
    }

    fn interrupt(&mut self) {
        let now = *self.stop.borrow() != Stop::No;
        self.speaker.say(&Event::Stopping { now });
        self.draining = true;
        self.ended.end = End::Interrupted;
        self.waiting_for.clear();
        self.stop.send_replace(if now { Stop::Kill } else { Stop::Ask });
    }

    /// What never came to run is counted.
    fn account(&mut self) {
        let unfinished = |it: &&Node| {
            matches!(it, Node::Waiting(_) | Node::Ready | Node::Elsewhere | Node::Follows)
        };
        self.ended.n_skipped += self.nodes.iter().filter(unfinished).count();
        let Ended { end, n_failed, n_stopped, n_skipped, .. } = &mut self.ended;
        match (*end, *n_failed) {
            (End::Good, 1..) => *end = End::Failed,
            // What was running came to its end, and nothing is left.
            (End::Budget, 0) if *n_stopped + *n_skipped == 0 => *end = End::Good,
            _ => {}
        }
    }

    pub(crate) fn waits(&mut self, i: usize, holder: &Holder) {
        let text = holder_text(holder);
        let orphan = crate::orphan::is_orphan(holder);
        self.waiting_for.insert(i);
        if self.told.insert(i, text.clone()).as_ref() != Some(&text) {
            let step = self.name(i);
            self.speaker.say(&Event::StepWaiting { step, holder: text, orphan });
        }
        if orphan && self.setup.options.break_orphans {
            crate::orphan::end(self.shared.executor.as_ref(), holder);
        }
        self.nodes[i] = Node::Elsewhere;
    }

    fn ask_again(&mut self) {
        for i in std::mem::take(&mut self.waiting_for) {
            self.ready.insert((Reverse(self.urgency[i]), i, Piece::Begin));
        }
    }
}
