//! The order of the steps, and the circles where there is none.
//!
//! No recursion: a chain may be as long as a manifest may have steps.

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::mistake::Mistake;
use crate::model::{Link, Step};
use crate::text::Texts;

/// An order in which what is read comes first; the order of the files where that is free. None of
/// all steps where they read each other in circles.
pub(crate) fn order(steps: &[Arc<Step>], texts: &Texts, found: &mut Vec<Mistake>) -> Vec<usize> {
    let mut graph = DiGraph::<(), ()>::with_capacity(steps.len(), steps.len());
    for _ in steps {
        graph.add_node(());
    }
    for (i, step) in steps.iter().enumerate() {
        for link in links(step) {
            graph.add_edge(NodeIndex::new(i), NodeIndex::new(link.step), ());
        }
    }
    match toposort(&graph, None) {
        // Edges lead from what reads to what is read.
        Ok(order) => order.into_iter().rev().map(NodeIndex::index).collect(),
        Err(_) => {
            found.extend(circles(steps, &graph).iter().map(|it| mistake(steps, it, texts)));
            Vec::new()
        }
    }
}

fn links(step: &Step) -> impl Iterator<Item = &Link> {
    step.reads.iter().chain(&step.passes)
}

/// One circle of each set of steps that all read each other, from its first step on.
fn circles<'a>(steps: &'a [Arc<Step>], graph: &DiGraph<(), ()>) -> Vec<Vec<(usize, &'a Link)>> {
    let mut sets: Vec<Vec<usize>> = kosaraju_scc(graph)
        .into_iter()
        .map(|set| set.into_iter().map(NodeIndex::index).collect())
        .collect();
    sets.iter_mut().for_each(|it: &mut Vec<usize>| it.sort_unstable());
    sets.sort_unstable();
    sets.iter().filter_map(|set| circle(steps, set)).collect()
}

/// The circle that one comes into by always taking the first way that stays in the set.
fn circle<'a>(steps: &'a [Arc<Step>], set: &[usize]) -> Option<Vec<(usize, &'a Link)>> {
    let mut path: Vec<(usize, &Link)> = Vec::new();
    let mut position: HashMap<usize, usize> = HashMap::new();
    let mut i = *set.first()?;
    while !position.contains_key(&i) {
        // A step by itself that does not read itself is no circle.
        let link = links(&steps[i]).find(|it| set.binary_search(&it.step).is_ok())?;
        position.insert(i, path.len());
        path.push((i, link));
        i = link.step;
    }
    let mut circle = path.split_off(position[&i]);
    let first = circle.iter().enumerate().min_by_key(|(_, it)| it.0).map_or(0, |(i, _)| i);
    circle.rotate_left(first);
    Some(circle)
}

/// So many steps of a circle are named and shown; nobody follows more, and drawing them takes long.
const MOST_SHOWN: usize = 20;

fn mistake(steps: &[Arc<Step>], path: &[(usize, &Link)], texts: &Texts) -> Mistake {
    let shown = &path[..path.len().min(MOST_SHOWN)];
    let mut names: Vec<String> = shown.iter().map(|it| format!("`{}`", steps[it.0].name)).collect();
    if shown.len() < path.len() {
        names.push(format!("{} more", path.len() - shown.len()));
    }
    names.push(names[0].clone());
    let message = format!("steps read each other in a circle: {}", names.join(" → "));
    let mut mistake = Mistake::new("manifest::cycle", message);
    for (i, link) in shown {
        let label = format!("`{}` reads `{}`", steps[*i].name, steps[link.step].name);
        mistake = mistake.at(texts, link.at, label);
    }
    mistake
}
