//! Puts texts through the model, as many at a time as a step and the cache hold.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tree::{Chain, Parcel, Role, Tree};
use super::{Choices, Scored, Text};
use crate::decode::Decode;
use crate::generate::{Batch, Blocks, Error, Model, Settings, Stage};
use crate::ops::sample::log_sum_exp;

/// Scores texts with a model.
pub struct Scorer<D: Decode> {
    stage: Stage<D>,
    blocks: Blocks,
    step_tokens: usize,
    computed: usize,
}

/// A row whose logits are wanted, and for which tokens.
struct Wanted {
    row: u32,
    /// Tree, branch, place among the branch's losses, token.
    targets: Vec<(usize, usize, usize, u32)>,
}

/// What is under way.
struct State<'a> {
    trees: Vec<Tree<'a>>,
    parcels: Vec<Parcel>,
    /// Parcels that have not begun.
    queue: VecDeque<usize>,
    chains: Vec<Chain<'a>>,
    /// How many chains of each parcel are left.
    left: Vec<usize>,
    /// Blocks that the parcels under way may come to.
    reserved: usize,
    scores: Vec<Vec<Scored>>,
}

impl<D: Decode> Scorer<D> {
    /// A scorer; of the settings, `rows` has no meaning here.
    pub fn new(model: Arc<Model<D>>, settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let n_blocks = settings.blocks::<D>();
        let stage = Stage::new(model, settings.step_tokens, n_blocks)?;
        let blocks = Blocks::new(n_blocks, D::BLOCK);
        Ok(Self { stage, blocks, step_tokens: settings.step_tokens, computed: 0 })
    }

    /// The model.
    pub fn model(&self) -> &Model<D> {
        self.stage.model()
    }

    /// How many tokens went through the model so far.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// The losses of texts. The number in an error is the text's place.
    pub fn texts(&mut self, texts: &[Text]) -> Result<Vec<Scored>, Error> {
        let branch = |it: &Text| std::slice::from_ref(&it.ids).to_vec();
        let branches: Vec<Vec<Vec<u32>>> = texts.iter().map(branch).collect();
        let trees = texts.iter().zip(&branches);
        let trees = trees.map(|(it, branches)| Tree { prompt: &it.prompt, branches }).collect();
        Ok(self.score(trees)?.into_iter().flatten().collect())
    }

    /// The losses of the candidates of each prompt. The number in an error is the prompt's place.
    pub fn choices(&mut self, choices: &[Choices]) -> Result<Vec<Vec<Scored>>, Error> {
        let trees = choices.iter().map(|it| Tree { prompt: &it.prompt, branches: &it.candidates });
        self.score(trees.collect())
    }

    fn score(&mut self, trees: Vec<Tree<'_>>) -> Result<Vec<Vec<Scored>>, Error> {
        let mut state = self.begin(trees)?;
        let device = Arc::clone(self.model().device());
        let done = device.run(|| {
            while !(state.queue.is_empty() && state.chains.is_empty()) {
                self.step(&mut state)?;
            }
            Ok(())
        });
        // After an error too: the cache is used again.
        for chain in state.chains {
            self.blocks.release(chain.table);
        }
        done.map(|()| state.scores)
    }

    /// Checks everything before anything is computed.
    fn begin<'a>(&self, trees: Vec<Tree<'a>>) -> Result<State<'a>, Error> {
        let (vocab, context) = (self.model().config().vocab, self.model().context());
        let mut parcels = Vec::new();
        let mut scores = Vec::new();
        for (i, tree) in trees.iter().enumerate() {
            tree.check(i as u64, vocab, context)?;
            parcels.extend(tree.parcels(i, &self.blocks)?);
            let none = usize::from(tree.prompt.is_empty());
            let empty = |it: &Vec<u32>| Scored {
                tokens: it.len(),
                nll: vec![0.0; it.len().saturating_sub(none)],
            };
            scores.push(tree.branches.iter().map(empty).collect());
        }
        let (queue, left) = ((0..parcels.len()).collect(), vec![0; parcels.len()]);
        Ok(State { trees, parcels, queue, chains: Vec::new(), left, reserved: 0, scores })
    }

    fn step(&mut self, state: &mut State<'_>) -> Result<(), Error> {
        let mut batch = Batch::default();
        let mut parts = Vec::new();
        let mut next = 0;
        while batch.ids.len() < self.step_tokens {
            if next == state.chains.len() && !self.admit(state) {
                break;
            }
            let chain = &mut state.chains[next];
            let rows = chain.pending().min(self.step_tokens - batch.ids.len());
            let (past, table) = (chain.table.len, &mut chain.table);
            let copy = self.blocks.extend(table, rows);
            let copy = copy.expect("parcels under way have reserved all their blocks");
            self.stage.copy(copy.as_slice())?;
            batch.push(&chain.ids[past..past + rows], past, &table.blocks);
            parts.push((next, rows));
            next += 1;
        }
        self.computed += batch.ids.len();
        if !batch.ids.is_empty() {
            self.stage.forward(&batch)?;
        }
        let mut wanted = Vec::new();
        for (&(place, rows), run) in parts.iter().zip(&batch.runs) {
            let chain = &mut state.chains[place];
            let len = chain.table.len + rows;
            self.blocks.advance(&mut chain.table, &chain.ids, len);
            wanted.extend(wants(&state.trees, &state.parcels, &state.chains[place], run));
        }
        self.measure(&wanted, &mut state.scores)?;
        self.end_chains(state);
        Ok(())
    }

    /// Begins the next parcel, if there is one and room for it.
    fn admit(&mut self, state: &mut State<'_>) -> bool {
        while let Some(&place) = state.queue.front() {
            let parcel = &state.parcels[place];
            if state.reserved + parcel.cost > self.blocks.count() {
                return false;
            }
            state.queue.pop_front();
            state.reserved += parcel.cost;
            let prompt = state.trees[parcel.tree].prompt;
            // The last row's logits are wanted, so it is computed in any case.
            let table = self.blocks.find(prompt, prompt.len().saturating_sub(1));
            let ids = prompt.to_vec();
            let stem = Chain { parcel: place, role: Role::Stem, prompt, ids, table };
            state.left[place] = 1;
            if stem.pending() > 0 {
                state.chains.push(stem);
                return true;
            }
            let before = state.chains.len();
            self.branch(state, &stem);
            self.close(state, stem);
            if state.chains.len() > before {
                return true;
            }
        }
        false
    }

    /// Losses of the tokens that are wanted.
    fn measure(&mut self, wanted: &[Wanted], scores: &mut [Vec<Scored>]) -> Result<(), Error> {
        let rows: Vec<u32> = wanted.iter().map(|it| it.row).collect();
        let losses = self.stage.each_row(
            &rows,
            || (),
            |(), i, logits| {
                let all = log_sum_exp(logits);
                let loss = |id: u32| (all - f64::from(logits[id as usize])) as f32;
                wanted[i].targets.iter().map(|it| loss(it.3)).collect::<Vec<f32>>()
            },
        )?;
        for (it, losses) in wanted.iter().zip(losses) {
            for (&(tree, branch, place, _), loss) in it.targets.iter().zip(losses) {
                scores[tree][branch].nll[place] = loss;
            }
        }
        Ok(())
    }

    /// Lets branches go on from stems that are computed, and gives back what is done.
    fn end_chains(&mut self, state: &mut State<'_>) {
        let (done, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.chains).into_iter().partition(|it| it.pending() == 0);
        state.chains = going;
        for chain in done {
            if chain.role == Role::Stem {
                self.branch(state, &chain);
            }
            self.close(state, chain);
        }
    }

    /// The branches of a parcel whose stem is computed.
    fn branch<'a>(&mut self, state: &mut State<'a>, stem: &Chain<'a>) {
        let parcel = &state.parcels[stem.parcel];
        let tree = state.trees[parcel.tree];
        for i in parcel.branches.clone() {
            let [most @ .., _] = tree.branches[i].as_slice() else { continue };
            if most.is_empty() {
                continue;
            }
            let ids = [tree.prompt, most].concat();
            let table = self.blocks.fork(&stem.table);
            let (parcel, prompt) = (stem.parcel, tree.prompt);
            state.left[parcel] += 1;
            state.chains.push(Chain { parcel, role: Role::Branch(i), prompt, ids, table });
        }
    }

    /// Gives a chain's blocks back, and with the last one the parcel's reservation.
    fn close(&mut self, state: &mut State<'_>, chain: Chain<'_>) {
        self.blocks.release(chain.table);
        state.left[chain.parcel] -= 1;
        if state.left[chain.parcel] == 0 {
            state.reserved -= state.parcels[chain.parcel].cost;
        }
    }
}

/// The rows of a chain's run whose logits are wanted.
fn wants(
    trees: &[Tree<'_>],
    parcels: &[Parcel],
    chain: &Chain<'_>,
    run: &crate::ops::paged::Run,
) -> Vec<Wanted> {
    let parcel = &parcels[chain.parcel];
    let branches = trees[parcel.tree].branches;
    let none = usize::from(chain.prompt.is_empty());
    match chain.role {
        Role::Stem if chain.pending() > 0 => Vec::new(),
        Role::Stem => {
            let first = |i: usize| branches[i].first().map(|id| (parcel.tree, i, 0, *id));
            let targets = parcel.branches.clone().filter_map(first).collect();
            vec![Wanted { row: (run.first_row + run.rows - 1) as u32, targets }]
        }
        Role::Branch(branch) => (0..run.rows)
            .map(|i| {
                // The row of the branch's token k has the loss of token k + 1.
                let k = run.past + i - chain.prompt.len();
                let target = (parcel.tree, branch, k + 1 - none, branches[branch][k + 1]);
                Wanted { row: (run.first_row + i) as u32, targets: vec![target] }
            })
            .collect(),
    }
}
