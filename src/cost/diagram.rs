//! All points as paths of a layered graph whose arcs carry their share of each cost.
//!
//! A decision diagram (Bergman, Cire, van Hoeve and Hooker 2016, "Decision Diagrams for Optimization"): one layer a
//! decision, one arc a value. Partial points lead to one node if everything still to come costs the same after both:
//! if the polynomials that remain, with the decided tables multiplied in, have equal coefficients. A chain of coupled
//! widths then has as many nodes a layer as one width has values, and a concatenation as many as there are different
//! sums of the widths in it; it is variable elimination (Bertelè and Brioschi 1972) that also sees such sums. Arcs get
//! the terms that their decision completes, so the cost of a point is the sum along its path, for every polynomial.
//!
//! Decisions are ordered so that few stay open: next is the one that leaves the fewest combinations of decided
//! decisions with undecided partners, parents before the decisions they activate. Decisions that no cost depends on,
//! not even through conditions, have no layer.

use std::collections::HashMap;

use super::rows::Rows;
use super::{Poll, Term};
use crate::error::{Error, Result};
use crate::space::{INACTIVE, SearchSpace};

/// Nodes a layer; more mean that the costs couple too many decisions at once.
const NODES: usize = 1 << 18;

/// Which end of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extreme {
    Low,
    High,
}

impl Extreme {
    fn of(self, a: f64, b: f64) -> f64 {
        if self == Extreme::Low { a.min(b) } else { a.max(b) }
    }

    fn worst(self) -> f64 {
        if self == Extreme::Low { f64::INFINITY } else { f64::NEG_INFINITY }
    }
}

/// The graph. The root is node 0 of the first layer, and the last layer leads to one end.
#[derive(Clone, Debug)]
pub(super) struct Diagram {
    pub(super) decisions: usize,
    /// What every point costs, one value a metric.
    pub(super) base: Vec<f64>,
    pub(super) layers: Vec<Layer>,
}

/// The arcs of one decision.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) decision: usize,
    /// The arcs of node `v` are `first[v]..first[v + 1]`.
    pub(super) first: Vec<u32>,
    pub(super) arcs: Vec<Arc>,
    /// One value a metric for each arc.
    weights: Vec<f64>,
    metrics: usize,
}

/// One value of a decision in one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    pub(super) code: i32,
    /// The node of the next layer.
    pub(super) to: u32,
}

impl Layer {
    pub(super) fn nodes(&self) -> usize {
        self.first.len() - 1
    }

    pub(super) fn arcs_of(&self, node: u32) -> std::ops::Range<usize> {
        self.first[node as usize] as usize..self.first[node as usize + 1] as usize
    }

    /// What an arc adds to each metric.
    pub(super) fn weights(&self, arc: usize) -> &[f64] {
        &self.weights[arc * self.metrics..(arc + 1) * self.metrics]
    }
}

/// Where a product goes that a decision has been multiplied into.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// It is complete.
    Metric(usize),
    /// It waits for the rest of its factors.
    Slot(usize),
}

/// The factors that a product still waits for, in the order of the layers: (decision, number of its table).
type Rest = (usize, Vec<(usize, usize)>);

impl Diagram {
    /// The diagram of these metrics.
    ///
    /// # Errors
    /// [`Error::Space`] if a layer has too many nodes, or whatever `poll` reports.
    pub(super) fn new(space: &SearchSpace, metrics: &[&[Term]], poll: Poll<'_>) -> Result<Diagram> {
        let order = order(space, metrics);
        let mut position = vec![usize::MAX; space.len()];
        order.iter().enumerate().for_each(|(i, &decision)| position[decision] = i);
        let mut tables = Tables::default();
        let mut base = vec![0.0; metrics.len()];
        // By the layer of the first factor: coefficient and what it waits for, that factor included.
        let mut fresh: Vec<Vec<(f64, Rest)>> = vec![Vec::new(); order.len()];
        for (m, terms) in metrics.iter().enumerate() {
            for term in *terms {
                let mut factors: Vec<(usize, usize)> =
                    term.factors.iter().map(|(decision, table)| (*decision, tables.number(table))).collect();
                factors.sort_by_key(|(decision, _)| position[*decision]);
                match factors.first() {
                    None => base[m] += term.coefficient,
                    Some((decision, _)) => fresh[position[*decision]].push((term.coefficient, (m, factors))),
                }
            }
        }
        let mut layers = Vec::with_capacity(order.len());
        let mut live = Live::default();
        let mut nodes = Rows::new(0);
        nodes.number(&mut []);
        for (i, &decision) in order.iter().enumerate() {
            poll()?;
            let step = Step::new(space, decision, &position, &mut live, &fresh[i], &tables, metrics.len());
            let (layer, next) = step.run(space, &nodes)?;
            layers.push(layer);
            nodes = next;
        }
        Ok(Diagram { decisions: space.len(), base, layers })
    }

    /// For each layer, and the end: the extreme of what the rest of a path can add to a combination of the metrics.
    pub(super) fn to_go(&self, combination: &[f64], extreme: Extreme) -> Vec<Vec<f64>> {
        let mut to_go = vec![vec![0.0]];
        for layer in self.layers.iter().rev() {
            let below = &to_go[to_go.len() - 1];
            let of_node = |node: usize| {
                layer.arcs_of(node as u32).fold(extreme.worst(), |best, arc| {
                    extreme
                        .of(best, dot(combination, layer.weights(arc)) + below[layer.arcs[arc].to as usize])
                })
            };
            let here = (0..layer.nodes()).map(of_node).collect();
            to_go.push(here);
        }
        to_go.reverse();
        to_go
    }

    /// The codes of a path with the extreme of a combination of the metrics.
    pub(super) fn best(&self, combination: &[f64], extreme: Extreme) -> Vec<i32> {
        let to_go = self.to_go(combination, extreme);
        let mut codes = vec![INACTIVE; self.decisions];
        let mut node = 0;
        for (layer, below) in self.layers.iter().zip(&to_go[1..]) {
            let value =
                |&arc: &usize| dot(combination, layer.weights(arc)) + below[layer.arcs[arc].to as usize];
            let arcs = layer.arcs_of(node);
            let best = match extreme {
                Extreme::Low => arcs.min_by(|a, b| value(a).total_cmp(&value(b))),
                // The first of equals, as for the low end.
                Extreme::High => arcs.min_by(|a, b| value(b).total_cmp(&value(a))),
            };
            let Some(best) = best else { break };
            codes[layer.decision] = layer.arcs[best].code;
            node = layer.arcs[best].to;
        }
        codes
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Tables by number, equal ones once.
#[derive(Default)]
struct Tables {
    values: Vec<Box<[f64]>>,
    numbers: HashMap<Vec<u64>, usize>,
}

impl Tables {
    fn number(&mut self, table: &[f64]) -> usize {
        *self.numbers.entry(table.iter().map(|x| x.to_bits()).collect()).or_insert_with(|| {
            self.values.push(table.into());
            self.values.len() - 1
        })
    }
}

/// What a node remembers between two layers: a coefficient for each unfinished product, then for each undecided
/// decision whose parent is decided whether it is active.
#[derive(Default)]
struct Live {
    slots: Vec<Rest>,
    gates: Vec<usize>,
}

/// How one decision leads from the nodes of its layer to those of the next.
struct Step {
    decision: usize,
    count: i32,
    metrics: usize,
    /// Where among a node's values it stands whether the decision is active; `None`: it always is.
    gate: Option<usize>,
    /// For each slot of a node: where it goes, multiplied by which table (`None`: as it is).
    moves: Vec<(Target, Option<Box<[f64]>>)>,
    /// What terms add that begin here: (target, one value a code).
    begins: Vec<(Target, Vec<f64>)>,
    /// Gates that stay, as places among the values of a node before and after.
    kept: Vec<(usize, usize)>,
    /// Decisions that a value may activate, and their places after.
    opened: Vec<(usize, usize)>,
    width: usize,
}

impl Step {
    fn new(
        space: &SearchSpace,
        decision: usize,
        position: &[usize],
        live: &mut Live,
        fresh: &[(f64, Rest)],
        tables: &Tables,
        metrics: usize,
    ) -> Step {
        let count = space.count(decision);
        let mut next = Live::default();
        let mut numbers: HashMap<Rest, usize> = HashMap::new();
        let mut target = |rest: Rest, slots: &mut Vec<Rest>| {
            if rest.1.is_empty() {
                return Target::Metric(rest.0);
            }
            Target::Slot(*numbers.entry(rest).or_insert_with_key(|rest| {
                slots.push(rest.clone());
                slots.len() - 1
            }))
        };
        let moves = live
            .slots
            .iter()
            .map(|(metric, factors)| match factors.first() {
                Some(&(first, table)) if first == decision => {
                    let rest = (*metric, factors[1..].to_vec());
                    (target(rest, &mut next.slots), Some(tables.values[table].clone()))
                }
                _ => (target((*metric, factors.clone()), &mut next.slots), None),
            })
            .collect();
        let begins = fresh
            .iter()
            .map(|(coefficient, (metric, factors))| {
                let values = tables.values[factors[0].1].iter().map(|x| coefficient * x).collect();
                (target((*metric, factors[1..].to_vec()), &mut next.slots), values)
            })
            .collect();
        let (before, after) = (live.slots.len(), next.slots.len());
        let gate = live.gates.iter().position(|&gated| gated == decision).map(|i| before + i);
        let mut kept = Vec::new();
        for (i, &gated) in live.gates.iter().enumerate() {
            if gated != decision {
                kept.push((before + i, after + next.gates.len()));
                next.gates.push(gated);
            }
        }
        let mut opened = Vec::new();
        for (child, &at) in position.iter().enumerate() {
            if at != usize::MAX && space.parent(child) == Some(decision) {
                opened.push((child, after + next.gates.len()));
                next.gates.push(child);
            }
        }
        let width = after + next.gates.len();
        *live = next;
        Step { decision, count, metrics, gate, moves, begins, kept, opened, width }
    }

    fn run(&self, space: &SearchSpace, nodes: &Rows) -> Result<(Layer, Rows)> {
        let mut next = Rows::new(self.width);
        let mut layer = Layer {
            decision: self.decision,
            first: vec![0],
            arcs: Vec::new(),
            weights: Vec::new(),
            metrics: self.metrics,
        };
        // Which children each code activates.
        let activated: Vec<Vec<usize>> =
            (0..self.count).map(|code| space.activated(self.decision, code).collect()).collect();
        let mut row = vec![0.0; self.width];
        let mut weights = vec![0.0; self.metrics];
        for node in 0..nodes.len() {
            let values = nodes.row(node);
            let active = self.gate.is_none_or(|gate| values[gate] != 0.0);
            for code in if active { 0..self.count } else { INACTIVE..0 } {
                row.fill(0.0);
                weights.fill(0.0);
                let mut add = |target: Target, value: f64| match target {
                    Target::Metric(metric) => weights[metric] += value,
                    Target::Slot(slot) => row[slot] += value,
                };
                for ((target, table), value) in self.moves.iter().zip(values) {
                    match table {
                        None => add(*target, *value),
                        Some(table) if active => add(*target, value * table[code as usize]),
                        Some(_) => {}
                    }
                }
                if active {
                    self.begins.iter().for_each(|(target, of_code)| add(*target, of_code[code as usize]));
                    for (child, place) in &self.opened {
                        row[*place] = f64::from(u8::from(activated[code as usize].contains(child)));
                    }
                }
                self.kept.iter().for_each(|(from, to)| row[*to] = values[*from]);
                let to = next.number(&mut row);
                layer.arcs.push(Arc { code, to });
                layer.weights.extend_from_slice(&weights);
            }
            layer.first.push(layer.arcs.len() as u32);
            if next.len() > NODES {
                return Err(Error::Space(format!(
                    "the costs couple decision '{}' with so many others that there are more than {NODES} different \
                     partial sums; constrain fewer metrics, or open fewer decisions",
                    space.decisions()[self.decision].name
                )));
            }
        }
        Ok((layer, next))
    }
}

/// The decisions that the metrics depend on, directly or through conditions, in the order of the layers.
fn order(space: &SearchSpace, metrics: &[&[Term]]) -> Vec<usize> {
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); space.len()];
    let mut involved = vec![false; space.len()];
    for term in metrics.iter().copied().flatten() {
        for (a, _) in &term.factors {
            involved[*a] = true;
            neighbours[*a].extend(term.factors.iter().map(|(b, _)| *b).filter(|b| b != a));
        }
    }
    for &child in space.parents_first().iter().rev() {
        if let (true, Some(parent)) = (involved[child], space.parent(child)) {
            involved[parent] = true;
            neighbours[parent].push(child);
            neighbours[child].push(parent);
        }
    }
    for of in &mut neighbours {
        of.sort_unstable();
        of.dedup();
    }
    let mut decided = vec![false; space.len()];
    // Undecided neighbours of each decision.
    let mut open: Vec<usize> = neighbours.iter().map(Vec::len).collect();
    let bits = |i: usize| f64::from(space.count(i).max(1)).log2();
    let mut left: Vec<usize> = (0..space.len()).filter(|&i| involved[i]).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        // How much the combinations to remember grow.
        let growth = |&i: &usize| {
            let own = if open[i] > 0 { bits(i) } else { 0.0 };
            let closed = neighbours[i].iter().filter(|&&j| decided[j] && open[j] == 1);
            own - closed.map(|&j| bits(j)).sum::<f64>()
        };
        let ready = |i: &usize| space.parent(*i).is_none_or(|parent| decided[parent]);
        let best = (0..left.len())
            .filter(|&at| ready(&left[at]))
            .min_by(|&a, &b| growth(&left[a]).total_cmp(&growth(&left[b])));
        let Some(best) = best else { break };
        let next = left.remove(best);
        decided[next] = true;
        neighbours[next].iter().for_each(|&j| open[j] -= 1);
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::tests::chain;
    use super::*;

    #[test]
    fn a_chain_has_as_many_nodes_as_a_width_has_values() {
        let costs = chain(30);
        let terms: Vec<&[Term]> = costs.metrics().iter().map(|metric| metric.terms.as_slice()).collect();
        let diagram = Diagram::new(costs.space(), &terms, &|| Ok(())).unwrap();
        let most = diagram.layers.iter().map(Layer::nodes).max().unwrap();
        assert!(most <= 9, "{most}");
    }

    /// Every pair of 24 widths multiplies, as in a dense block; what counts is the sum of the widths before.
    #[test]
    fn a_concatenation_has_as_many_nodes_as_there_are_sums() {
        use crate::space::{Decision, Domain, Label};
        let choice =
            |i| Decision::new(format!("w{i}"), Domain::Categorical([16, 24, 32].map(Label::Int).to_vec()));
        let space = SearchSpace::new((0..24).map(choice).collect()).unwrap();
        let width = |i: usize| (i, vec![16.0, 24.0, 32.0].into());
        let pairs = (0..24).flat_map(|j| (0..j).map(move |i| (i, j)));
        let terms: Vec<Term> =
            pairs.map(|(i, j)| Term { coefficient: 9.0, factors: vec![width(i), width(j)] }).collect();
        let diagram = Diagram::new(&space, &[&terms], &|| Ok(())).unwrap();
        let most = diagram.layers.iter().map(Layer::nodes).max().unwrap();
        assert!(most <= 2 * 24 + 1, "{most}");
        let least: f64 = diagram.to_go(&[1.0], Extreme::Low)[0][0];
        assert_eq!(least, 9.0 * 16.0 * 16.0 * 276.0);
    }
}
