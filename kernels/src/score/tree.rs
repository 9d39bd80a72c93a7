//! What is computed for a score: a prompt, and continuations that branch off behind it.

use std::ops::Range;

use crate::generate::{Blocks, Refusal, Table, check_ids};

/// A prompt with continuations, as somebody asked for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    pub(crate) prompt: &'a [u32],
    pub(crate) branches: &'a [Vec<u32>],
}

/// Some of a tree's branches, few enough to fit into the cache together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) tree: usize,
    pub(crate) branches: Range<usize>,
    /// How many blocks it needs at most.
    pub(crate) cost: usize,
}

/// Tokens on their way through the model.
#[derive(Debug)]
pub(crate) struct Chain<'a> {
    pub(crate) parcel: usize,
    pub(crate) role: Role,
    /// The tokens before its own.
    pub(crate) prompt: &'a [u32],
    /// All tokens that are computed: `prompt` and more.
    pub(crate) ids: Vec<u32>,
    pub(crate) table: Table,
}

/// What a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The prompt; its last row has the first losses of all branches.
    Stem,
    /// A branch, whose rows have its other losses.
    Branch(usize),
}

impl Chain<'_> {
    pub(crate) fn pending(&self) -> usize {
        self.ids.len() - self.table.len
    }
}

impl Tree<'_> {
    /// That all of it is the model's, and that it has a place for every token.
    pub(crate) fn check(&self, row: u64, vocab: usize, context: usize) -> Result<(), Refusal> {
        check_ids(row, self.prompt, vocab)?;
        for branch in self.branches {
            check_ids(row, branch, vocab)?;
            let tokens = self.prompt.len() + branch.len();
            if tokens > context {
                return Err(Refusal::Context { row, tokens, context });
            }
        }
        Ok(())
    }

    /// How many tokens of a branch go through the model: the last one predicts nothing.
    fn computed(branch: &[u32]) -> usize {
        branch.len().saturating_sub(1)
    }

    /// Parcels of as many branches as fit into the cache.
    pub(crate) fn parcels(&self, tree: usize, blocks: &Blocks) -> Result<Vec<Parcel>, Refusal> {
        let stem = blocks.needed(self.prompt.len());
        let shared = self.prompt.len() / blocks.size();
        let mut parcels = Vec::new();
        let mut open = Parcel { tree, branches: 0..0, cost: stem };
        let mut own = 0;
        for (i, branch) in self.branches.iter().enumerate() {
            let tokens = self.prompt.len() + Self::computed(branch);
            // From the prompt's last, partial block on, a branch has blocks of its own. The stem is
            // gone by then, so one of the branches has that block itself.
            let more = match Self::computed(branch) {
                0 => 0,
                _ => blocks.needed(tokens) - shared,
            };
            if stem.max(shared + more) > blocks.count() {
                let (row, cache) = (tree as u64, blocks.count() * blocks.size());
                return Err(Refusal::Cache { row, tokens, cache });
            }
            if shared + own + more > blocks.count() {
                let next = Parcel { tree, branches: i..i, cost: stem };
                parcels.push(std::mem::replace(&mut open, next));
                own = 0;
            }
            own += more;
            open.branches.end = i + 1;
            open.cost = stem.max(shared + own);
        }
        if !open.branches.is_empty() {
            parcels.push(open);
        }
        Ok(parcels)
    }
}
