//! Where the things of a picture stand: layers from left to right, few crossings.
//!
//! Longest-path layering, then a fixed number of barycentre sweeps. Linear in nodes and edges but
//! for sorting; edges over several layers are drawn as one curve and get no nodes of their own.
//! Deterministic: ties keep the order in which things were given.

use crate::graph::Picture;

/// A place for each thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The layer of each node, from 0.
    pub layer: Vec<usize>,
    /// The place of each node in its layer, from 0.
    pub place: Vec<usize>,
    /// The nodes of each layer, in order.
    pub layers: Vec<Vec<usize>>,
}

/// Back and forth; more changes little.
const SWEEPS: usize = 8;

/// Places all nodes. Edges of a cycle that go backwards do not push.
pub fn layout(picture: &Picture) -> Layout {
    let edges = picture.good_edges();
    let n = picture.nodes.len();
    let (mut above, mut below) = (vec![Vec::new(); n], vec![Vec::new(); n]);
    for &(from, to) in &edges {
        below[from].push(to);
        above[to].push(from);
    }
    let layer = longest_path(&above, &below);
    let mut layers = vec![Vec::new(); layer.iter().max().map_or(0, |it| it + 1)];
    for (node, layer) in layer.iter().enumerate() {
        layers[*layer].push(node);
    }
    let mut place = vec![0; n];
    for nodes in &layers {
        settle(nodes, &mut place);
    }
    for sweep in 0..SWEEPS {
        let forth = sweep % 2 == 0;
        let neighbours = if forth { &above } else { &below };
        let mut order: Vec<usize> = (0..layers.len()).collect();
        if !forth {
            order.reverse();
        }
        for i in order {
            arrange(&mut layers[i], neighbours, &place);
            settle(&layers[i], &mut place);
        }
    }
    Layout { layer, place, layers }
}

/// The number of edges on the longest way to each node.
fn longest_path(above: &[Vec<usize>], below: &[Vec<usize>]) -> Vec<usize> {
    let mut layer = vec![0; above.len()];
    let mut waits: Vec<usize> = above.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..above.len()).filter(|it| waits[*it] == 0).collect();
    let mut next = 0;
    while next < ready.len() {
        let node = ready[next];
        next += 1;
        for &it in &below[node] {
            layer[it] = layer[it].max(layer[node] + 1);
            waits[it] -= 1;
            if waits[it] == 0 {
                ready.push(it);
            }
        }
    }
    layer
}

/// Sorts a layer by the mean place of each node's neighbours; one without keeps its place.
fn arrange(nodes: &mut [usize], neighbours: &[Vec<usize>], place: &[usize]) {
    let weight = |node: usize| {
        let near = &neighbours[node];
        if near.is_empty() {
            return place[node] as u64 * 1024;
        }
        near.iter().map(|it| place[*it] as u64 * 1024).sum::<u64>() / near.len() as u64
    };
    nodes.sort_by_cached_key(|it| weight(*it));
}

fn settle(nodes: &[usize], place: &mut [usize]) {
    for (i, node) in nodes.iter().enumerate() {
        place[*node] = i;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Class, Node};

    fn picture(n: usize, edges: &[(usize, usize)]) -> Picture {
        let node = |it: usize| Node { label: it.to_string(), class: Class::Step };
        Picture { nodes: (0..n).map(node).collect(), edges: edges.to_vec(), ..Picture::default() }
    }

    #[test]
    fn an_edge_always_goes_to_a_later_layer() {
        let edges = [(0, 1), (1, 2), (0, 2), (3, 2)];
        let it = layout(&picture(4, &edges));
        assert_eq!(it.layer, [0, 1, 2, 0]);
    }

    #[test]
    fn crossed_edges_are_uncrossed() {
        let it = layout(&picture(4, &[(0, 3), (1, 2)]));
        assert_eq!(it.layers, [vec![0, 1], vec![3, 2]]);
    }

    #[test]
    fn a_cycle_is_placed_and_does_not_hang() {
        assert_eq!(layout(&picture(3, &[(0, 1), (1, 0), (1, 2)])).place.len(), 3);
    }
}
