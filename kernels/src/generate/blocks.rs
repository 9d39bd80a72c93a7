//! Which blocks of the cache hold which tokens: allocation, sharing, eviction.
//!
//! A sequence's keys and values lie in blocks of a fixed number of tokens; its [`Table`] lists them.
//! A block that is full is known by its tokens and all tokens before them, compared as a whole and
//! never by a digest alone, so that another sequence that begins alike finds and shares it. Where a device
//! decodes in a way of its own, tokens that were sampled are not those of a prompt: [`Table::border`]. A block
//! nobody uses any more stays known until its room is needed; the one that was given back first goes
//! first. A shared block that is not full is copied before somebody writes to it.
//!
//! Nothing here touches the device: who asks does the copies.

use std::collections::BTreeMap;

/// The blocks of one sequence.
#[derive(Debug)]
pub(crate) struct Table {
    /// In the order of the tokens.
    pub(crate) blocks: Vec<u32>,
    /// How many tokens are in them.
    pub(crate) len: usize,
    /// The tokens before this one are computed as a prompt's, the others as such that were sampled.
    border: usize,
    /// The node of the last known block in each chain, as far as blocks are known.
    nodes: Vec<Node>,
}

impl Default for Table {
    /// Nothing, of a sequence that is all prompt.
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0, border: usize::MAX, nodes: Vec::new() }
    }
}

/// A place in the tree of known beginnings. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node(u64);

/// The node before all tokens.
const ROOT: Node = Node(0);

/// What makes a full block known: where it continues, its tokens, and how many of them are a prompt's.
type Key = (Node, Box<[u32]>, usize);

/// A block with its contents to be copied before anything else is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// There are fewer blocks than were asked for; nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What is known of one block.
#[derive(Debug, Default)]
struct Block {
    /// How many tables list it.
    users: u32,
    /// Its key and node, where it is known.
    known: Option<(Key, Node)>,
    /// When it was given back, where nobody uses it and it is known.
    idle_since: Option<u64>,
}

/// All blocks of a cache.
#[derive(Debug)]
pub(crate) struct Blocks {
    size: usize,
    blocks: Vec<Block>,
    /// Used by nobody, and not known.
    free: Vec<u32>,
    /// Used by nobody, but known; by the time they were given back.
    idle: BTreeMap<u64, u32>,
    known: BTreeMap<Key, u32>,
    clock: u64,
    last_node: u64,
}

impl Blocks {
    /// `count` blocks of `size` tokens each.
    pub(crate) fn new(count: usize, size: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            size,
            blocks: (0..count).map(|_| Block::default()).collect(),
            free: (0..count).rev().collect(),
            idle: BTreeMap::new(),
            known: BTreeMap::new(),
            clock: 0,
            last_node: ROOT.0,
        }
    }

    /// How many blocks there are.
    pub(crate) fn count(&self) -> usize {
        self.blocks.len()
    }

    /// How many tokens a block holds.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many could be taken now.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// How many blocks hold this many tokens.
    pub(crate) fn needed(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.size)
    }

    /// A table with the longest known beginning of these tokens, at most `limit` of them, all of a prompt.
    pub(crate) fn find(&mut self, ids: &[u32], limit: usize) -> Table {
        self.find_with_border(ids, limit, usize::MAX)
    }

    /// The same of tokens of which those before the border are a prompt's.
    pub(crate) fn find_with_border(&mut self, ids: &[u32], limit: usize, border: usize) -> Table {
        let mut table = Table { border, ..Table::default() };
        let mut parent = ROOT;
        for (i, tokens) in ids[..limit.min(ids.len())].chunks_exact(self.size).enumerate() {
            let key = (parent, tokens.into(), self.of_prompt(i, border));
            let Some(&block) = self.known.get(&key) else { break };
            let Some((_, node)) = self.blocks[block as usize].known else { break };
            parent = node;
            self.share(block);
            table.blocks.push(block);
            table.nodes.push(node);
            table.len += self.size;
        }
        table
    }

    /// Another table with the same tokens in the same blocks.
    pub(crate) fn fork(&mut self, table: &Table) -> Table {
        for &block in &table.blocks {
            self.share(block);
        }
        let Table { len, border, .. } = *table;
        Table { blocks: table.blocks.clone(), len, border, nodes: table.nodes.clone() }
    }

    /// How many tokens of a sequence's i-th block are a prompt's.
    fn of_prompt(&self, i: usize, border: usize) -> usize {
        border.saturating_sub(i * self.size).min(self.size)
    }

    /// Makes room for more tokens after those in the table. A block that others use too and that
    /// would be written to is replaced by a new one; its content is to be copied.
    pub(crate) fn extend(
        &mut self,
        table: &mut Table,
        tokens: usize,
    ) -> Result<Option<Copy>, Full> {
        let partial = !table.len.is_multiple_of(self.size);
        let writes = table.len / self.size;
        let shared = partial
            && tokens > 0
            && table.blocks.get(writes).is_some_and(|it| self.blocks[*it as usize].users > 1);
        let more = self.needed(table.len + tokens).saturating_sub(table.blocks.len());
        if more + usize::from(shared) > self.available() {
            return Err(Full);
        }
        let mut copy = None;
        if shared {
            let (from, to) = (table.blocks[writes], self.take().ok_or(Full)?);
            table.blocks[writes] = to;
            self.unshare(from);
            copy = Some(Copy { from, to });
        }
        for _ in 0..more {
            table.blocks.push(self.take().ok_or(Full)?);
        }
        Ok(copy)
    }

    /// Notes that the table's blocks now hold the first `len` of these tokens. Blocks that became
    /// full become known; one that another sequence filled with the same is shared instead.
    pub(crate) fn advance(&mut self, table: &mut Table, ids: &[u32], len: usize) {
        table.len = len;
        for i in table.nodes.len()..len / self.size {
            let parent = if i == 0 { ROOT } else { table.nodes[i - 1] };
            let tokens = ids[i * self.size..(i + 1) * self.size].into();
            let key: Key = (parent, tokens, self.of_prompt(i, table.border));
            let ours = table.blocks[i];
            let twin = self.known.get(&key).copied();
            if let Some(twin) = twin.filter(|it| *it != ours) {
                self.share(twin);
                self.unshare(ours);
                table.blocks[i] = twin;
            } else {
                self.last_node += 1;
                let node = Node(self.last_node);
                self.known.insert(key.clone(), ours);
                self.blocks[ours as usize].known = Some((key, node));
            }
            let known = self.blocks[table.blocks[i] as usize].known.as_ref();
            table.nodes.push(known.map_or(ROOT, |it| it.1));
        }
    }

    /// Gives all blocks of a table back.
    pub(crate) fn release(&mut self, table: Table) {
        // The last first: a beginning is worth more than what follows it.
        for &block in table.blocks.iter().rev() {
            self.unshare(block);
        }
    }

    fn share(&mut self, block: u32) {
        let it = &mut self.blocks[block as usize];
        it.users += 1;
        if let Some(since) = it.idle_since.take() {
            self.idle.remove(&since);
        }
    }

    fn unshare(&mut self, block: u32) {
        let it = &mut self.blocks[block as usize];
        it.users -= 1;
        if it.users > 0 {
            return;
        }
        if it.known.is_some() {
            self.clock += 1;
            it.idle_since = Some(self.clock);
            self.idle.insert(self.clock, block);
        } else {
            self.free.push(block);
        }
    }

    /// A block with one user; its old content is forgotten.
    fn take(&mut self) -> Option<u32> {
        let block = self.free.pop().or_else(|| self.idle.pop_first().map(|it| it.1))?;
        let it = &mut self.blocks[block as usize];
        it.users = 1;
        it.idle_since = None;
        if let Some((key, _)) = it.known.take() {
            self.known.remove(&key);
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(blocks: &mut Blocks, ids: &[u32]) -> Table {
        let mut table = blocks.find(ids, ids.len());
        let more = ids.len() - table.len;
        blocks.extend(&mut table, more).unwrap();
        blocks.advance(&mut table, ids, ids.len());
        table
    }

    /// How many tokens of a beginning are known.
    fn known(blocks: &mut Blocks, ids: &[u32], limit: usize) -> usize {
        let table = blocks.find(ids, limit);
        let len = table.len;
        blocks.release(table);
        len
    }

    #[test]
    fn a_known_beginning_is_shared_and_a_different_one_is_not() {
        let mut blocks = Blocks::new(8, 4);
        let one = filled(&mut blocks, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let two = blocks.find(&[1, 2, 3, 4, 5, 6, 7, 0], 8);
        assert_eq!((two.len, &two.blocks), (4, &one.blocks[..1].to_vec()));
        // The same tokens after others are not the same block.
        let three = blocks.find(&[5, 6, 7, 8], 4);
        assert_eq!(three.len, 0);
        // Never more than the limit, in whole blocks.
        assert_eq!(known(&mut blocks, &[1, 2, 3, 4, 5, 6, 7, 8], 7), 4);
        assert_eq!(known(&mut blocks, &[1, 2, 3, 4, 5, 6, 7, 8], 8), 8);
    }

    #[test]
    fn a_block_nobody_uses_is_found_until_its_room_is_needed() {
        let mut blocks = Blocks::new(3, 2);
        let table = filled(&mut blocks, &[1, 2, 3, 4]);
        blocks.release(table);
        assert_eq!((blocks.available(), known(&mut blocks, &[1, 2, 3, 4], 4)), (3, 4));
        // One block is free; the second that is needed is the end of the old sequence.
        let other = filled(&mut blocks, &[7, 8, 9]);
        assert_eq!((other.blocks.len(), known(&mut blocks, &[1, 2, 3, 4], 4)), (2, 2));
    }

    #[test]
    fn a_shared_block_is_copied_before_it_is_written_to_and_only_then() {
        let mut blocks = Blocks::new(5, 4);
        let mut one = filled(&mut blocks, &[1, 2, 3, 4, 5]);
        let mut two = blocks.fork(&one);
        let shared = one.blocks[1];
        let copy = blocks.extend(&mut one, 1).unwrap().unwrap();
        assert_eq!((copy.from, one.blocks[1]), (shared, copy.to));
        // The other one has it for itself now.
        assert_eq!(blocks.extend(&mut two, 1), Ok(None));
        assert_eq!(two.blocks[1], shared);
        // At the border of a block there is nothing to copy.
        let even = filled(&mut blocks, &[9, 9, 9, 9]);
        let mut fork = blocks.fork(&even);
        assert_eq!(blocks.extend(&mut fork, 1), Ok(None));
        assert_eq!(blocks.extend(&mut fork, 5), Err(Full));
    }

    #[test]
    fn two_that_compute_the_same_block_end_with_one() {
        let mut blocks = Blocks::new(4, 2);
        let (mut one, mut two) = (Table::default(), Table::default());
        blocks.extend(&mut one, 2).unwrap();
        blocks.extend(&mut two, 2).unwrap();
        blocks.advance(&mut one, &[1, 2], 2);
        blocks.advance(&mut two, &[1, 2], 2);
        assert_eq!(one.blocks, two.blocks);
        assert_eq!(blocks.available(), 3);
    }

    #[test]
    fn tokens_that_were_picked_are_not_those_of_a_prompt() {
        let mut blocks = Blocks::new(8, 4);
        let ids: Vec<u32> = (0..12).collect();
        let mut table = blocks.find_with_border(&ids, 12, 6);
        blocks.extend(&mut table, 12).unwrap();
        blocks.advance(&mut table, &ids, 12);
        let found = |blocks: &mut Blocks, border| {
            let table = blocks.find_with_border(&ids, 12, border);
            let len = table.len;
            blocks.release(table);
            len
        };
        assert_eq!([6, 5, 3, 12, usize::MAX].map(|it| found(&mut blocks, it)), [12, 4, 0, 4, 4]);
    }

    /// Each block is free, idle or used, its users are the tables that list it, and what is known
    /// is known once.
    fn check(blocks: &Blocks, tables: &[(Vec<u32>, Table)]) {
        for (i, block) in blocks.blocks.iter().enumerate() {
            let i = i as u32;
            let users = tables.iter().flat_map(|it| &it.1.blocks).filter(|it| **it == i).count();
            assert_eq!(block.users as usize, users);
            let free = blocks.free.iter().filter(|it| **it == i).count();
            let idle = blocks.idle.values().filter(|it| **it == i).count();
            assert_eq!(free + idle, usize::from(users == 0));
            assert_eq!(idle == 1, block.idle_since.is_some());
            if let Some((key, _)) = &block.known {
                assert_eq!(blocks.known.get(key), Some(&i));
            }
        }
        let known = blocks.blocks.iter().filter(|it| it.known.is_some()).count();
        assert_eq!(known, blocks.known.len());
    }

    proptest! {
        #[test]
        fn no_block_is_lost_and_none_is_written_by_two(
            steps in prop::collection::vec((0u8..4, 0usize..8, 1usize..7), 1..120),
        ) {
            let mut blocks = Blocks::new(7, 3);
            let mut tables: Vec<(Vec<u32>, Table)> = Vec::new();
            // What each place of each block holds, kept beside: contents must survive sharing.
            let mut memory = [[u32::MAX; 3]; 7];
            for (what, which, n) in steps {
                if what == 0 || tables.is_empty() {
                    let ids: Vec<u32> = (0..n as u32 * 2).map(|it| it % 3 + which as u32 % 2).collect();
                    tables.push((ids.clone(), blocks.find(&ids, ids.len() - 1)));
                } else if what == 1 {
                    let n_tables = tables.len();
                    let (ids, table) = &mut tables[which % n_tables];
                    let len = (table.len + n).min(ids.len());
                    let rows = len - table.len;
                    if let Ok(copy) = blocks.extend(table, rows) {
                        if let Some(Copy { from, to }) = copy {
                            memory[to as usize] = memory[from as usize];
                        }
                        for at in table.len..len {
                            memory[table.blocks[at / 3] as usize][at % 3] = ids[at];
                        }
                        blocks.advance(table, ids, len);
                    }
                } else if what == 2 {
                    let which = which % tables.len();
                    let mut ids = tables[which].0.clone();
                    ids.truncate(tables[which].1.len);
                    ids.extend([90 + n as u32, 91, 92]);
                    let table = blocks.fork(&tables[which].1);
                    tables.push((ids, table));
                } else {
                    let (_, table) = tables.swap_remove(which % tables.len());
                    blocks.release(table);
                }
                check(&blocks, &tables);
                for (ids, table) in &tables {
                    for at in 0..table.len {
                        prop_assert_eq!(memory[table.blocks[at / 3] as usize][at % 3], ids[at]);
                    }
                }
            }
        }
    }
}
