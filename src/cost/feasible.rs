//! The points within bounds of their costs: counted, and drawn without searching for them.
//!
//! Dynamic programming over the diagram, with the partial costs of each metric as a second axis: a state is a node and
//! an interval that holds the exact partial costs of all paths that lead to it. Exact minima and maxima of what can
//! still come drop states that cannot end within the bounds, and forget a metric that can no longer leave them; so few
//! states are left in the tails. As long as a layer has no more than `cap` states, an interval is one number and
//! everything is exact (whole costs of networks have few different sums). Beyond, states in one cell of a grid over
//! the costs are merged, and their interval is the hull. Then paths within the bounds are a subset of the paths kept,
//! known to lie between two counts; a path drawn is checked exactly and redrawn if it is outside, so the law stays
//! exact, and few are: merging costs accuracy only at the edges of the bounds. (Knapsack counting by rounding: Dyer
//! 2003, "Approximate counting by dynamic programming"; backward weights and forward draws: the standard sampler for
//! chains.)
//!
//! The law of a draw is that of [`SearchSpace::draw`], given the bounds: each decision uniform over its values, so
//! what it gives is what drawing and discarding would give.

use std::sync::Arc;

use num_bigint::BigUint;
use rand::Rng as _;

use super::diagram::{Diagram, Extreme};
use super::rows::Rows;
use super::{Bound, Costs, Poll, Term};
use crate::error::{Error, Result};
use crate::rng::{Rng, stream};
use crate::space::{INACTIVE, Point, SearchSpace};

/// States a layer, tried one after the other until enough of the draws are within the bounds.
const CAPS: [usize; 3] = [1 << 13, 1 << 15, 1 << 17];

/// Draws that tell how many are within, and how many of them must be.
const PROBES: (u64, usize) = (1024, 8);

/// Draws for a point before the known one is given.
const DRAWS: usize = 100_000;

/// "This arc leads out of the bounds."
const OUT: u32 = u32::MAX;

/// The points of a space within bounds. There is at least one.
#[derive(Clone, Debug)]
pub struct Feasible {
    costs: Arc<Costs>,
    bounds: Vec<Bound>,
    diagram: Diagram,
    states: States,
    /// The probability of ending within, for each state of each layer, up to a factor a layer.
    masses: Vec<Vec<f64>>,
    witness: Point,
}

/// How many points there are within bounds: `low <= n <= high`, proven; `value` is estimated if they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The best estimate.
    pub value: BigUint,
    /// No fewer.
    pub low: BigUint,
    /// No more.
    pub high: BigUint,
}

/// The states of each layer and where their arcs lead.
#[derive(Clone, Debug)]
struct States {
    layers: Vec<StateLayer>,
    /// For each final state whether all its points are within; else at least one may be.
    sure: Vec<bool>,
}

#[derive(Clone, Debug, Default)]
struct StateLayer {
    nodes: Vec<u32>,
    /// The arcs of state `s` start at `first[s]` of `to`.
    first: Vec<u32>,
    /// The state of the next layer, or [`OUT`].
    to: Vec<u32>,
}

impl Feasible {
    /// The points of a space whose costs are within these bounds.
    ///
    /// # Errors
    /// [`Error::Space`] if there is none, with the exact bounds of each cost.
    pub fn new(costs: Arc<Costs>, bounds: Vec<Bound>, poll: Poll<'_>) -> Result<Feasible> {
        let terms: Vec<&[Term]> =
            bounds.iter().map(|bound| costs.metrics[bound.metric].terms.as_slice()).collect();
        let diagram = Diagram::new(&costs.space, &terms, poll)?;
        let mut found: Option<Feasible> = None;
        for cap in CAPS {
            let states = States::new(&costs, &bounds, &diagram, cap, poll)?;
            if states.sure.is_empty() {
                return Err(infeasible(&costs, &bounds, &diagram));
            }
            let exact = states.is_exact();
            let masses = states.masses(&diagram, &law(&costs.space), |_| 1.0);
            let witness = Point::new([], []);
            let mut feasible = Feasible {
                costs: Arc::clone(&costs),
                bounds: bounds.clone(),
                diagram: diagram.clone(),
                states,
                masses,
                witness,
            };
            let probe = |trial| feasible.attempt(&mut stream(0, trial, "feasible"));
            let within: Vec<Vec<i32>> = (0..PROBES.0).filter_map(probe).collect();
            if let Some(first) = within.first() {
                feasible.witness = costs.completed(first.clone());
                let enough = exact || within.len() >= PROBES.1;
                found = Some(feasible);
                if enough {
                    break;
                }
            } else if cap == CAPS[CAPS.len() - 1] && found.is_none() {
                let probe = |trial| feasible.attempt(&mut stream(1, trial, "feasible"));
                if let Some(first) = (0..DRAWS as u64).find_map(probe) {
                    feasible.witness = costs.completed(first);
                    found = Some(feasible);
                }
            }
        }
        found.ok_or_else(|| {
            Error::Space(format!(
                "no point was found within {}, though none of them is out of reach alone; widen one. {}",
                described(&costs, &bounds),
                reach(&costs, &bounds, &diagram)
            ))
        })
    }

    /// How many points there are within bounds.
    ///
    /// # Errors
    /// [`Error::Space`] if a real decision makes them infinitely many.
    pub fn count(costs: &Arc<Costs>, bounds: Vec<Bound>, poll: Poll<'_>) -> Result<Count> {
        if let (None, Some(real)) =
            (costs.space.size(), costs.space.decisions().iter().find(|decision| decision.domain.is_real()))
        {
            return Err(Error::Space(format!(
                "the points cannot be counted: decision '{}' is real",
                real.name
            )));
        }
        let terms: Vec<&[Term]> =
            bounds.iter().map(|bound| costs.metrics[bound.metric].terms.as_slice()).collect();
        let diagram = Diagram::new(&costs.space, &terms, poll)?;
        let mut counted = None;
        for cap in &CAPS[..2] {
            let states = States::new(costs, &bounds, &diagram, *cap, poll)?;
            let exact = states.is_exact();
            counted = Some(states);
            if exact {
                break;
            }
        }
        let Some(states) = counted else { return Err(Error::Internal("no cap".into())) };
        let low = states.points(&costs.space, &diagram, |sure| sure)?;
        let high = states.points(&costs.space, &diagram, |_| true)?;
        if low == high {
            return Ok(Count { value: low.clone(), low, high });
        }
        // Of the paths that may be within or not, the share that is, by uniform draws.
        let sizes = free_sizes(&costs.space, &diagram)?;
        let masses =
            states.masses(&diagram, &|layer, _, code| float(&sizes[layer][(code + 1) as usize]), |sure| {
                f64::from(u8::from(!sure))
            });
        let witness = Point::new([], []);
        let unsure = Feasible { costs: Arc::clone(costs), bounds, diagram, states, masses, witness };
        let within =
            (0..DRAWS as u64 / 10).filter_map(|i| unsure.attempt(&mut stream(0, i, "count"))).count();
        let value = &low + (&high - &low) * within / (DRAWS / 10);
        Ok(Count { value, low, high })
    }

    /// A random point within the bounds.
    pub fn draw(&self, rng: &mut Rng) -> Point {
        let mut point = (0..DRAWS).find_map(|_| self.attempt(rng)).map_or_else(
            || self.witness.clone(),
            |codes| Point::new(codes, vec![0.0; self.costs.space.n_reals()]),
        );
        self.costs.space.settle(&mut point, rng);
        point
    }

    /// The `index`-th random point of a seed.
    #[must_use]
    pub fn sample(&self, seed: u64, index: u64) -> Point {
        self.draw(&mut stream(seed, index, "sample"))
    }

    /// The costs.
    #[must_use]
    pub fn costs(&self) -> &Arc<Costs> {
        &self.costs
    }

    /// The bounds.
    #[must_use]
    pub fn bounds(&self) -> &[Bound] {
        &self.bounds
    }

    /// One draw: the codes of the diagram's decisions, if they are within the bounds.
    fn attempt(&self, rng: &mut Rng) -> Option<Vec<i32>> {
        let mut codes = vec![INACTIVE; self.costs.space.len()];
        let mut state = 0_usize;
        for (i, (layer, states)) in self.diagram.layers.iter().zip(&self.states.layers).enumerate() {
            let arcs = &layer.arcs[layer.arcs_of(states.nodes[state])];
            let to = &states.to[states.first[state] as usize..][..arcs.len()];
            // All arcs of a state have the same probability, and the masses below are up to a common factor.
            let mass = |to: u32| if to == OUT { 0.0 } else { self.masses[i + 1][to as usize] };
            let total: f64 = to.iter().map(|&to| mass(to)).sum();
            let mut rest = rng.random::<f64>() * total;
            let mut chosen = None;
            for (arc, &to) in arcs.iter().zip(to) {
                if mass(to) > 0.0 {
                    chosen = Some((arc.code, to));
                    rest -= mass(to);
                    if rest < 0.0 {
                        break;
                    }
                }
            }
            let (code, next) = chosen?;
            codes[layer.decision] = code;
            state = next as usize;
        }
        (self.states.sure[state] || self.holds(&codes)).then_some(codes)
    }

    /// Whether the costs of these codes are within the bounds; decisions that are in none may be missing.
    fn holds(&self, codes: &[i32]) -> bool {
        let metric = |bound: &Bound| &self.costs.metrics[bound.metric];
        if self.bounds.iter().all(|bound| metric(bound).is_whole()) {
            return self.bounds.iter().all(|bound| bound.holds(metric(bound).value(codes)));
        }
        // At the edge the last bit decides, so the sum must be taken in the order in which users get it.
        let values = self.costs.of(&self.costs.completed(codes.to_vec()));
        values.is_ok_and(|values| self.bounds.iter().all(|bound| bound.holds(values[bound.metric])))
    }
}

/// The probability of an arc: every value of an active decision alike.
fn law(space: &SearchSpace) -> impl Fn(usize, usize, i32) -> f64 {
    |_, decision, code| if code == INACTIVE { 1.0 } else { 1.0 / f64::from(space.count(decision)) }
}

impl States {
    fn new(costs: &Costs, bounds: &[Bound], diagram: &Diagram, cap: usize, poll: Poll<'_>) -> Result<States> {
        let unit =
            |m: usize| -> Vec<f64> { (0..bounds.len()).map(|i| f64::from(u8::from(i == m))).collect() };
        let to_go =
            |extreme| -> Vec<_> { (0..bounds.len()).map(|m| diagram.to_go(&unit(m), extreme)).collect() };
        let (low, high) = (to_go(Extreme::Low), to_go(Extreme::High));
        // Settles a state (node, then an interval a metric) that enters a layer; false: it cannot end within.
        let settle = |row: &mut [f64], layer: usize| {
            let node = row[0] as usize;
            for (m, bound) in bounds.iter().enumerate() {
                let (from, to) = (row[1 + 2 * m], row[2 + 2 * m]);
                if from == f64::NEG_INFINITY {
                    continue; // the mark of a metric that stays within
                }
                if from + low[m][layer][node] > bound.high || to + high[m][layer][node] < bound.low {
                    return false;
                }
                if from + low[m][layer][node] >= bound.low && to + high[m][layer][node] <= bound.high {
                    (row[1 + 2 * m], row[2 + 2 * m]) = (f64::NEG_INFINITY, f64::INFINITY);
                }
            }
            true
        };
        let mut row = vec![0.0; 1 + 2 * bounds.len()];
        for (m, bound) in bounds.iter().enumerate() {
            let tolerance = costs.metrics[bound.metric].tolerance();
            (row[1 + 2 * m], row[2 + 2 * m]) = (diagram.base[m] - tolerance, diagram.base[m] + tolerance);
        }
        let mut rows = Rows::new(row.len());
        if settle(&mut row, 0) {
            rows.number(&mut row);
        }
        let mut layers = Vec::with_capacity(diagram.layers.len());
        for (i, layer) in diagram.layers.iter().enumerate() {
            poll()?;
            let mut states = StateLayer::default();
            let mut next = Rows::new(row.len());
            for s in 0..rows.len() {
                let state = rows.row(s);
                let node = state[0] as u32;
                states.nodes.push(node);
                states.first.push(states.to.len() as u32);
                for arc in layer.arcs_of(node) {
                    row[0] = f64::from(layer.arcs[arc].to);
                    for (m, weight) in layer.weights(arc).iter().enumerate() {
                        row[1 + 2 * m] = state[1 + 2 * m] + weight;
                        row[2 + 2 * m] = state[2 + 2 * m] + weight;
                    }
                    states.to.push(if settle(&mut row, i + 1) { next.number(&mut row) } else { OUT });
                }
            }
            if next.len() > cap {
                let (merged, numbers) = merge(&next, cap);
                states.to.iter_mut().filter(|to| **to != OUT).for_each(|to| *to = numbers[*to as usize]);
                next = merged;
            }
            layers.push(states);
            rows = next;
        }
        let sure = |s: usize| rows.row(s)[1..].iter().all(|x| x.is_infinite());
        Ok(States { layers, sure: (0..rows.len()).map(sure).collect() })
    }

    fn is_exact(&self) -> bool {
        self.sure.iter().all(|&sure| sure)
    }

    /// For each state the mass of the paths from it, up to a factor a layer that keeps it in range.
    fn masses(
        &self,
        diagram: &Diagram,
        weight: &dyn Fn(usize, usize, i32) -> f64,
        end: impl Fn(bool) -> f64,
    ) -> Vec<Vec<f64>> {
        let mut masses = vec![self.sure.iter().map(|&sure| end(sure)).collect::<Vec<f64>>()];
        for (i, (layer, states)) in diagram.layers.iter().zip(&self.layers).enumerate().rev() {
            let below = &masses[masses.len() - 1];
            let mut here: Vec<f64> = (0..states.nodes.len())
                .map(|s| {
                    let arcs = &layer.arcs[layer.arcs_of(states.nodes[s])];
                    let to = &states.to[states.first[s] as usize..][..arcs.len()];
                    let mass = |(arc, &to): (&super::diagram::Arc, &u32)| {
                        if to == OUT { 0.0 } else { weight(i, layer.decision, arc.code) * below[to as usize] }
                    };
                    arcs.iter().zip(to).map(mass).sum()
                })
                .collect();
            let most = here.iter().copied().fold(0.0, f64::max);
            if most > 0.0 {
                for mass in &mut here {
                    *mass /= most;
                }
            }
            masses.push(here);
        }
        masses.reverse();
        masses
    }

    /// The number of points that end in one of these states.
    fn points(
        &self,
        space: &SearchSpace,
        diagram: &Diagram,
        counts: impl Fn(bool) -> bool,
    ) -> Result<BigUint> {
        let sizes = free_sizes(space, diagram)?;
        let one = BigUint::from(1_u8);
        let mut below: Vec<BigUint> =
            self.sure.iter().map(|&sure| BigUint::from(u8::from(counts(sure)))).collect();
        for (i, (layer, states)) in diagram.layers.iter().zip(&self.layers).enumerate().rev() {
            below = (0..states.nodes.len())
                .map(|s| {
                    let arcs = &layer.arcs[layer.arcs_of(states.nodes[s])];
                    let to = &states.to[states.first[s] as usize..][..arcs.len()];
                    let mut sum = BigUint::ZERO;
                    for (arc, &to) in arcs.iter().zip(to).filter(|(_, to)| **to != OUT) {
                        let size = &sizes[i][(arc.code + 1) as usize];
                        if *size == one {
                            sum += &below[to as usize];
                        } else {
                            sum += &below[to as usize] * size;
                        }
                    }
                    sum
                })
                .collect();
        }
        let mut free = BigUint::from(1_u8);
        for root in free_roots(space, diagram) {
            free *= space.tree_size(root)?;
        }
        Ok(below.first().cloned().unwrap_or_default() * free)
    }
}

/// Decisions that are always active and in no layer.
fn free_roots(space: &SearchSpace, diagram: &Diagram) -> Vec<usize> {
    let within = layered(space, diagram);
    (0..space.len()).filter(|&i| !within[i] && space.parent(i).is_none()).collect()
}

fn layered(space: &SearchSpace, diagram: &Diagram) -> Vec<bool> {
    let mut within = vec![false; space.len()];
    diagram.layers.iter().for_each(|layer| within[layer.decision] = true);
    within
}

/// For each layer and code (from [`INACTIVE`] on): how many ways there are to settle the decisions that it activates
/// and that are in no layer.
fn free_sizes(space: &SearchSpace, diagram: &Diagram) -> Result<Vec<Vec<BigUint>>> {
    let within = layered(space, diagram);
    let one = || BigUint::from(1_u8);
    diagram
        .layers
        .iter()
        .map(|layer| {
            let of_code = |code| {
                let free = space.activated(layer.decision, code).filter(|&child| !within[child]);
                free.map(|child| space.tree_size(child)).try_fold(one(), |product, size| Ok(product * size?))
            };
            std::iter::once(Ok(one())).chain((0..space.count(layer.decision)).map(of_code)).collect()
        })
        .collect()
}

/// A large number, roughly.
fn float(n: &BigUint) -> f64 {
    n.to_string().parse::<f64>().map_or(f64::MAX, |x| x.min(1e200))
}

/// Merges states of one node in one cell of a grid over the costs, until there are no more than `cap` (or one a node
/// and set of metrics that stay within); also the new number of each state.
fn merge(rows: &Rows, cap: usize) -> (Rows, Vec<u32>) {
    let width = rows.row(0).len();
    let metrics = (width - 1) / 2;
    let middle = |row: &[f64], m: usize| f64::midpoint(row[1 + 2 * m], row[2 + 2 * m]);
    let mut nodes = Rows::new(1);
    let mut ranges = vec![(f64::INFINITY, f64::NEG_INFINITY); metrics];
    for s in 0..rows.len() {
        let row = rows.row(s);
        nodes.number(&mut [row[0]]);
        for (m, range) in ranges.iter_mut().enumerate() {
            let at = middle(row, m);
            if at.is_finite() {
                *range = (range.0.min(at), range.1.max(at));
            }
        }
    }
    let mut cells = (2.0 * cap as f64 / nodes.len() as f64).powf(1.0 / metrics as f64) * 2.0;
    loop {
        cells = cells.max(1.0);
        let mut merged = Rows::new(width);
        let mut keys = Rows::new(1 + metrics);
        let mut key = vec![0.0; 1 + metrics];
        let mut numbers = Vec::with_capacity(rows.len());
        for s in 0..rows.len() {
            let row = rows.row(s);
            key[0] = row[0];
            for (m, (from, to)) in ranges.iter().enumerate() {
                let at = middle(row, m);
                let cell = (at - from) / (to - from) * cells;
                key[1 + m] = if !at.is_finite() {
                    -1.0
                } else if cell.is_finite() {
                    cell.floor().min(cells.ceil() - 1.0)
                } else {
                    0.0
                };
            }
            let number = keys.number(&mut key);
            numbers.push(number);
            if number as usize == merged.len() {
                merged.push(row);
            } else {
                let hull = merged.row_mut(number as usize);
                for m in 0..metrics {
                    hull[1 + 2 * m] = hull[1 + 2 * m].min(row[1 + 2 * m]);
                    hull[2 + 2 * m] = hull[2 + 2 * m].max(row[2 + 2 * m]);
                }
            }
            if keys.len() > cap && cells > 1.0 {
                break;
            }
        }
        if numbers.len() == rows.len() {
            return (merged, numbers);
        }
        cells *= 0.75;
    }
}

fn described(costs: &Costs, bounds: &[Bound]) -> String {
    let one = |bound: &Bound| {
        format!("{} of {} to {}", costs.metrics[bound.metric].name, number(bound.low), number(bound.high))
    };
    bounds.iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// The exact bounds of each metric, as a sentence.
fn reach(costs: &Costs, bounds: &[Bound], diagram: &Diagram) -> String {
    let one = |(m, bound): (usize, &Bound)| {
        let unit: Vec<f64> = (0..bounds.len()).map(|i| f64::from(u8::from(i == m))).collect();
        let end = |extreme| number(diagram.base[m] + diagram.to_go(&unit, extreme)[0][0]);
        format!("{} from {} to {}", costs.metrics[bound.metric].name, end(Extreme::Low), end(Extreme::High))
    };
    format!("The space has {}", bounds.iter().enumerate().map(one).collect::<Vec<_>>().join(", "))
}

pub(super) fn infeasible(costs: &Costs, bounds: &[Bound], diagram: &Diagram) -> Error {
    Error::Space(format!(
        "no point has {}; widen the constraints. {}",
        described(costs, bounds),
        reach(costs, bounds, diagram)
    ))
}

/// A cost for people: digits of a whole number, "-inf" for an open side.
fn number(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::tests::{any_costs, chain, every_point};
    use super::*;

    fn within(costs: &Costs, bounds: &[Bound]) -> Vec<Point> {
        let holds = |p: &Point| bounds.iter().all(|b| b.holds(costs.metrics[b.metric].value(p.codes())));
        every_point(&costs.space).into_iter().filter(holds).collect()
    }

    fn any_bounds(costs: &Costs, cuts: [u8; 4]) -> Vec<Bound> {
        let range = |m: usize, low: u8, high: u8| {
            let [from, to] = costs.extremes(m, &|| Ok(())).unwrap();
            let at = |cut: u8| from.0 + (to.0 - from.0) * f64::from(cut) / 255.0;
            Bound { metric: m, low: at(low.min(high)), high: at(low.max(high)) }
        };
        vec![range(0, cuts[0], cuts[1]), range(1, cuts[2], cuts[3])]
    }

    proptest! {
        #[test]
        fn what_is_within_is_counted_and_drawn(costs in any_costs(), cuts in any::<[u8; 4]>(), seed in any::<u64>()) {
            let costs = Arc::new(costs);
            let bounds = any_bounds(&costs, cuts);
            let expected = within(&costs, &bounds);
            let count = Feasible::count(&costs, bounds.clone(), &|| Ok(())).unwrap();
            prop_assert_eq!(&count.value, &BigUint::from(expected.len()));
            prop_assert_eq!(&count.low, &count.high);
            match Feasible::new(Arc::clone(&costs), bounds, &|| Ok(())) {
                Ok(feasible) => {
                    let expected: HashSet<Point> = expected.into_iter().collect();
                    for i in 0..50 {
                        prop_assert!(expected.contains(&feasible.sample(seed, i)));
                    }
                }
                Err(error) => {
                    prop_assert!(expected.is_empty());
                    prop_assert!(error.to_string().contains("The space has a from"), "{}", error);
                }
            }
        }

        #[test]
        fn merged_states_keep_every_point_and_bracket_the_count(costs in any_costs(), cuts in any::<[u8; 4]>()) {
            let bounds = any_bounds(&costs, cuts);
            let expected = BigUint::from(within(&costs, &bounds).len());
            let terms: Vec<&[Term]> = bounds.iter().map(|b| costs.metrics[b.metric].terms.as_slice()).collect();
            let diagram = Diagram::new(&costs.space, &terms, &|| Ok(())).unwrap();
            for cap in [1, 3, 10] {
                let states = States::new(&costs, &bounds, &diagram, cap, &|| Ok(())).unwrap();
                prop_assert!(states.points(&costs.space, &diagram, |sure| sure).unwrap() <= expected);
                prop_assert!(states.points(&costs.space, &diagram, |_| true).unwrap() >= expected);
            }
        }
    }

    #[test]
    fn draws_have_the_law_of_sampling_and_discarding() {
        let costs = Arc::new(chain(3));
        let bounds = vec![costs.bound("params", Some(20_000.0), Some(30_000.0)).unwrap()];
        let feasible = Feasible::new(Arc::clone(&costs), bounds.clone(), &|| Ok(())).unwrap();
        let expected = within(&costs, &bounds).len();
        let n = 200 * expected as u64;
        let mut times = std::collections::HashMap::new();
        (0..n).for_each(|i| *times.entry(feasible.sample(5, i)).or_insert(0_u32) += 1);
        assert_eq!(times.len(), expected);
        assert!(times.values().all(|t| (120..290).contains(t)), "{:?}", times.values());
    }

    #[test]
    fn a_narrow_window_of_a_large_space_is_drawn_from() {
        let costs = Arc::new(chain(25));
        let [low, high] = costs.extremes(1, &|| Ok(())).unwrap();
        let at = |share: f64| low.0 + (high.0 - low.0) * share;
        for (from, to) in [(0.0, 0.03), (0.4, 0.41), (0.9, 1.0)] {
            let bounds = vec![
                costs.bound("macs", Some(at(from)), Some(at(to))).unwrap(),
                costs.bound("params", None, Some(at(to) / 64.0)).unwrap(),
            ];
            let feasible = Feasible::new(Arc::clone(&costs), bounds, &|| Ok(())).unwrap();
            let points: Vec<Point> = (0..100).map(|i| feasible.sample(0, i)).collect();
            assert!(points.iter().collect::<HashSet<_>>().len() > 95);
            for point in points {
                let macs = costs.of(&point).unwrap()[1];
                assert!((at(from)..=at(to)).contains(&macs));
            }
        }
    }

    #[test]
    fn an_estimated_count_lies_between_its_proven_bounds() {
        let costs = Arc::new(chain(30));
        let bounds = vec![costs.bound("macs", Some(2e8), Some(3e8)).unwrap()];
        let count = Feasible::count(&costs, bounds, &|| Ok(())).unwrap();
        assert!(count.low <= count.value && count.value <= count.high);
        assert!(count.value > BigUint::ZERO && &count.high < costs.space.size().as_ref().unwrap());
    }
}
