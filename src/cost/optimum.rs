//! The best point within bounds, and the whole trade-off of a score against a cost: exact.
//!
//! Labels (partial points) go through the layers of the diagram, as in constrained shortest paths (Handler and Zang
//! 1980, "A dual algorithm for the constrained shortest path problem"; Irnich and Desaulniers 2005). A label is dropped
//! if it cannot end within the bounds, if another one in its node is as good in all that still counts, or if an upper
//! bound of what it can reach is no more than a known point has. That bound is the Lagrangian one: bounds are priced,
//! and the best rest of a path under the prices is known for every node; the prices come from subgradient steps (Held,
//! Wolfe and Crowder 1974), whose paths and one narrow pass give the first known point. Sums of real scores are exact
//! to their rounding, a relative 1e-12.

use std::sync::Arc;

use super::diagram::{Diagram, Extreme, dot};
use super::feasible::infeasible;
use super::{Bound, Costs, Metric, Poll, Term};
use crate::error::{Error, Result};
use crate::space::{INACTIVE, Point};

/// Labels of all layers together that fit the memory (about 1 GB).
const LABELS: usize = 1 << 24;

/// Labels a layer of the narrow pass.
const NARROW: usize = 256;

/// Labels that a label is compared with when more than one cost still counts; more would be slower than they drop.
const COMPARED: usize = 256;

/// Steps of the prices.
const STEPS: u32 = 300;

/// Which end of a score is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The largest.
    Maximize,
    /// The smallest.
    Minimize,
}

/// A best point and its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The point.
    pub point: Point,
    /// Its score.
    pub score: f64,
}

impl Costs {
    /// The point within the bounds whose score is best.
    ///
    /// # Errors
    /// [`Error::Space`] if there is none, if the space has a real decision, or if the problem is too large.
    pub fn optimum(
        self: &Arc<Self>,
        score: &Metric,
        direction: Direction,
        bounds: &[Bound],
        poll: Poll<'_>,
    ) -> Result<Solution> {
        let problem = Problem::new(self, score, direction, bounds, None, poll)?;
        let prices = problem.prices();
        let mut best = prices.known.clone();
        for width in [NARROW, usize::MAX] {
            let found = problem.search(&prices, best.as_ref().map(|(score, _)| *score), width, poll)?;
            // What was found may be reached by the bound without being better.
            best = found.into_iter().chain(best).reduce(|a, b| if b.0 > a.0 { b } else { a });
        }
        match best {
            Some((_, codes)) => Ok(problem.solution(codes)),
            None => Err(infeasible(self, bounds, &problem.costs_alone(poll)?)),
        }
    }

    /// All best compromises between a score and a metric (the lower the better) within the bounds, cheapest first: each
    /// is the best score at its cost or less.
    ///
    /// # Errors
    /// As [`Costs::optimum`].
    pub fn sweep(
        self: &Arc<Self>,
        score: &Metric,
        direction: Direction,
        metric: usize,
        bounds: &[Bound],
        poll: Poll<'_>,
    ) -> Result<Vec<Solution>> {
        let problem = Problem::new(self, score, direction, bounds, Some(metric), poll)?;
        let prices = Prices::none(&problem);
        let found = problem.search(&prices, None, usize::MAX, poll)?;
        if found.is_empty() {
            return Err(infeasible(self, bounds, &problem.costs_alone(poll)?));
        }
        Ok(found.into_iter().map(|(_, codes)| problem.solution(codes)).collect())
    }
}

/// A score to maximise over a diagram whose metrics are the score, the bounded ones, and the swept one if any.
struct Problem<'a> {
    costs: &'a Arc<Costs>,
    score: &'a Metric,
    bounds: &'a [Bound],
    swept: bool,
    diagram: Diagram,
    tolerance: f64,
    /// Extremes of what is to come, by bound, layer and node.
    low: Vec<Vec<Vec<f64>>>,
    high: Vec<Vec<Vec<f64>>>,
}

/// A price a bounded metric: what a unit of it takes from the score, so that the best path keeps the bounds.
struct Prices {
    /// Of score, costs and swept metric: the combination that paths maximise.
    combination: Vec<f64>,
    constant: f64,
    to_go: Vec<Vec<f64>>,
    /// A point within the bounds, with its score to maximise.
    known: Option<(f64, Vec<i32>)>,
}

impl Prices {
    fn none(problem: &Problem<'_>) -> Prices {
        let mut combination = vec![0.0; problem.diagram.base.len()];
        combination[0] = 1.0;
        let to_go = problem.diagram.to_go(&combination, Extreme::High);
        Prices { combination, constant: 0.0, to_go, known: None }
    }

    /// An upper bound of the score that a path with these sums can have at the end.
    fn reach(&self, values: &[f64], layer: usize, node: u32) -> f64 {
        dot(&self.combination, values) + self.constant + self.to_go[layer][node as usize]
    }
}

/// The partial points of one layer.
#[derive(Default)]
struct Labels {
    nodes: Vec<u32>,
    /// Score, costs and swept metric of each, one after the other.
    values: Vec<f64>,
    /// The label before, and the code taken.
    steps: Vec<(u32, i32)>,
}

impl<'a> Problem<'a> {
    fn new(
        costs: &'a Arc<Costs>,
        score: &'a Metric,
        direction: Direction,
        bounds: &'a [Bound],
        swept: Option<usize>,
        poll: Poll<'_>,
    ) -> Result<Self> {
        if let Some(real) = costs.space.decisions().iter().find(|decision| decision.domain.is_real()) {
            return Err(Error::Space(format!(
                "decision '{}' is real; the exact search needs discrete ones",
                real.name
            )));
        }
        super::check(&costs.space, score)?;
        let sign = if direction == Direction::Maximize { 1.0 } else { -1.0 };
        let signed: Vec<Term> = score
            .terms
            .iter()
            .map(|term| Term { coefficient: sign * term.coefficient, ..term.clone() }.sorted())
            .collect();
        let of = |metric: usize| costs.metrics[metric].terms.as_slice();
        let mut metrics = vec![signed.as_slice()];
        metrics.extend(bounds.iter().map(|bound| of(bound.metric)));
        metrics.extend(swept.map(of));
        let diagram = Diagram::new(&costs.space, &metrics, poll)?;
        let to_go = |extreme| -> Vec<_> {
            let unit =
                |m: usize| -> Vec<f64> { (0..metrics.len()).map(|i| f64::from(u8::from(i == m))).collect() };
            (0..bounds.len()).map(|b| diagram.to_go(&unit(b + 1), extreme)).collect()
        };
        let (low, high) = (to_go(Extreme::Low), to_go(Extreme::High));
        let tolerance = score.magnitude() * 1e-12;
        Ok(Problem { costs, score, bounds, swept: swept.is_some(), diagram, tolerance, low, high })
    }

    /// The diagram of the bounded metrics, to say what is in reach.
    fn costs_alone(&self, poll: Poll<'_>) -> Result<Diagram> {
        let terms: Vec<&[Term]> =
            self.bounds.iter().map(|bound| self.costs.metrics[bound.metric].terms.as_slice()).collect();
        Diagram::new(&self.costs.space, &terms, poll)
    }

    fn solution(&self, codes: Vec<i32>) -> Solution {
        let point = self.costs.completed(codes);
        let score = self.score.value(point.codes());
        Solution { point, score }
    }

    /// Whether a point with these costs is within bounds; as a user gets them, to the last bit.
    fn holds(&self, codes: &[i32]) -> bool {
        let values = self.costs.of(&self.costs.completed(codes.to_vec()));
        values.is_ok_and(|values| self.bounds.iter().all(|bound| bound.holds(values[bound.metric])))
    }

    /// The prices with the least upper bound that subgradient steps find, in units of the range of each metric.
    fn prices(&self) -> Prices {
        let mut best = Prices::none(self);
        if self.bounds.is_empty() {
            return best;
        }
        let n = self.diagram.base.len();
        let range = |m: usize| {
            let unit: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == m))).collect();
            let end = |extreme| self.diagram.to_go(&unit, extreme)[0][0];
            (end(Extreme::High) - end(Extreme::Low)).max(f64::MIN_POSITIVE)
        };
        let ranges: Vec<f64> = (0..n).map(range).collect();
        let mut known: Option<(f64, Vec<i32>)> = None;
        let mut least = f64::INFINITY;
        // One price for the low and one for the high end of each metric.
        let mut prices = vec![(0.0_f64, 0.0_f64); self.bounds.len()];
        for step in 0..STEPS {
            let mut combination = vec![0.0; n];
            combination[0] = 1.0;
            let mut constant = 0.0;
            for (m, (bound, (low, high))) in self.bounds.iter().zip(&prices).enumerate() {
                combination[m + 1] = low - high;
                constant += if *high > 0.0 { high * bound.high } else { 0.0 };
                constant -= if *low > 0.0 { low * bound.low } else { 0.0 };
            }
            let codes = self.diagram.best(&combination, Extreme::High);
            let values = self.along(&codes);
            let upper = dot(&combination, &values) + constant;
            if upper < least {
                least = upper;
                let to_go = self.diagram.to_go(&combination, Extreme::High);
                best = Prices { combination, constant, to_go, known: None };
            }
            if known.as_ref().is_none_or(|(score, _)| values[0] > *score) && self.holds(&codes) {
                known = Some((values[0], codes));
            }
            for (m, (bound, (low, high))) in self.bounds.iter().zip(&mut prices).enumerate() {
                let rate = ranges[0] / ranges[m + 1] * 2.0 / f64::from(step + 1);
                let over =
                    |by: f64| if by.is_finite() { (by / ranges[m + 1]).clamp(-1.0, 1.0) } else { -1.0 };
                *high = (*high + rate * over(values[m + 1] - bound.high)).max(0.0);
                *low = (*low + rate * over(bound.low - values[m + 1])).max(0.0);
            }
        }
        Prices { known, ..best }
    }

    /// Score and costs along a path.
    fn along(&self, codes: &[i32]) -> Vec<f64> {
        let mut values = self.diagram.base.clone();
        let mut node = 0;
        for layer in &self.diagram.layers {
            if let Some(arc) = layer.arcs_of(node).find(|&arc| layer.arcs[arc].code == codes[layer.decision])
            {
                values.iter_mut().zip(layer.weights(arc)).for_each(|(value, weight)| *value += weight);
                node = layer.arcs[arc].to;
            }
        }
        values
    }

    /// The best paths (score and codes) that are better than `known`: one, or the whole sweep. With a finite `width`
    /// only so many labels a layer are followed.
    fn search(
        &self,
        prices: &Prices,
        known: Option<f64>,
        width: usize,
        poll: Poll<'_>,
    ) -> Result<Vec<(f64, Vec<i32>)>> {
        let n = self.diagram.base.len();
        let mut layers: Vec<Vec<(u32, i32)>> = Vec::with_capacity(self.diagram.layers.len());
        let mut kept = 0;
        let mut labels = Labels { nodes: vec![0], values: self.diagram.base.clone(), steps: vec![(0, 0)] };
        for (i, layer) in self.diagram.layers.iter().enumerate() {
            poll()?;
            let mut next = Labels::default();
            let mut values = vec![0.0; n];
            for label in 0..labels.nodes.len() {
                for arc in layer.arcs_of(labels.nodes[label]) {
                    let before = &labels.values[label * n..(label + 1) * n];
                    let sums = values.iter_mut().zip(before).zip(layer.weights(arc));
                    sums.for_each(|((value, before), weight)| *value = before + weight);
                    let to = layer.arcs[arc].to;
                    if self.may_hold(&values, i + 1, to) && self.may_win(&values, prices, i + 1, to, known) {
                        next.nodes.push(to);
                        next.values.extend_from_slice(&values);
                        next.steps.push((label as u32, layer.arcs[arc].code));
                    }
                }
                if next.nodes.len() > LABELS {
                    return Err(too_many());
                }
            }
            let order = self.undominated(&next, i + 1, prices, width);
            let mut reduced = Labels::default();
            for label in order {
                reduced.nodes.push(next.nodes[label]);
                reduced.values.extend_from_slice(&next.values[label * n..(label + 1) * n]);
                reduced.steps.push(next.steps[label]);
            }
            layers.push(std::mem::take(&mut reduced.steps));
            kept += layers[i].len();
            if kept > LABELS {
                return Err(too_many());
            }
            labels = reduced;
        }
        let mut found: Vec<(f64, Vec<i32>)> = Vec::new();
        for end in 0..labels.nodes.len() {
            let mut codes = vec![INACTIVE; self.diagram.decisions];
            let mut label = end;
            for (layer, steps) in self.diagram.layers.iter().zip(&layers).rev() {
                let (before, code) = steps[label];
                codes[layer.decision] = code;
                label = before as usize;
            }
            if self.holds(&codes) {
                found.push((labels.values[end * n], codes));
                if !self.swept {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Whether a path with these sums can end within the bounds; with a margin for rounding.
    fn may_hold(&self, values: &[f64], layer: usize, node: u32) -> bool {
        self.bounds.iter().enumerate().all(|(m, bound)| {
            let slack = self.costs.metrics[bound.metric].tolerance();
            values[m + 1] + self.low[m][layer][node as usize] <= bound.high + slack
                && values[m + 1] + self.high[m][layer][node as usize] >= bound.low - slack
        })
    }

    /// Whether a path with these sums can end better than the known one.
    fn may_win(&self, values: &[f64], prices: &Prices, layer: usize, node: u32, known: Option<f64>) -> bool {
        known.is_none_or(|known| prices.reach(values, layer, node) > known + self.tolerance)
    }

    /// What still counts of a label's costs, the lower the better: minus infinity for a bound that it cannot miss.
    fn counts(&self, values: &[f64], layer: usize, node: u32, counts: &mut Vec<f64>) {
        counts.clear();
        for (m, bound) in self.bounds.iter().enumerate() {
            let slack = self.costs.metrics[bound.metric].tolerance();
            let (value, node) = (values[m + 1], node as usize);
            let safe = value + self.high[m][layer][node] <= bound.high - slack;
            counts.push(if safe { f64::NEG_INFINITY } else { value });
            let safe = value + self.low[m][layer][node] >= bound.low + slack;
            counts.push(if safe { f64::NEG_INFINITY } else { -value });
        }
        if self.swept {
            counts.extend(values.last());
        }
    }

    /// The labels that no other one in their node makes needless, by node and then best first; the `width` with the
    /// best prospects.
    fn undominated(&self, labels: &Labels, layer: usize, prices: &Prices, width: usize) -> Vec<usize> {
        let n = self.diagram.base.len();
        let values = |label: usize| &labels.values[label * n..(label + 1) * n];
        let mut counts = Vec::new();
        let mut all_counts: Vec<f64> = Vec::new();
        for label in 0..labels.nodes.len() {
            self.counts(values(label), layer, labels.nodes[label], &mut counts);
            all_counts.extend_from_slice(&counts);
        }
        let columns = 2 * self.bounds.len() + usize::from(self.swept);
        let of = |label: usize| &all_counts[label * columns..(label + 1) * columns];
        let mut order: Vec<usize> = (0..labels.nodes.len()).collect();
        order.sort_by(|&a, &b| {
            labels.nodes[a]
                .cmp(&labels.nodes[b])
                .then_with(|| values(b)[0].total_cmp(&values(a)[0]))
                .then_with(|| {
                    let pairs = of(a).iter().zip(of(b));
                    pairs.map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(a.cmp(&b))
                })
        });
        let mut kept: Vec<usize> = Vec::new();
        // The labels of the current node start here; the least of each column among them.
        let mut start = 0;
        let mut least = vec![f64::INFINITY; columns];
        for &label in &order {
            if kept.get(start).is_none_or(|&first| labels.nodes[first] != labels.nodes[label]) {
                start = kept.len();
                least.fill(f64::INFINITY);
            }
            // Scores only fall, so one that is not below the least of some column is new there.
            let new = of(label).iter().zip(&least).any(|(x, least)| x < least);
            let as_good = |&other: &usize| of(other).iter().zip(of(label)).all(|(a, b)| a <= b);
            let single = of(label).iter().filter(|x| **x > f64::NEG_INFINITY).count() <= 1;
            let dominated = if new {
                false
            } else if single && columns == 1 {
                true
            } else {
                kept[start..].iter().rev().take(COMPARED).any(as_good)
                    || kept[start..].iter().take(COMPARED).any(as_good)
            };
            if !dominated {
                kept.push(label);
                least.iter_mut().zip(of(label)).for_each(|(least, x)| *least = least.min(*x));
            }
        }
        if kept.len() > width {
            let prospect = |&label: &usize| prices.reach(values(label), layer, labels.nodes[label]);
            kept.sort_by(|a, b| prospect(b).total_cmp(&prospect(a)));
            kept.truncate(width);
        }
        if self.swept && layer == self.diagram.layers.len() {
            kept.reverse(); // by score, which along a front is by cost
        }
        kept
    }
}

fn too_many() -> Error {
    Error::Space(format!(
        "the exact search needs more than {LABELS} partial points; give fewer constraints, round the scores and costs to \
         fewer digits, or search with mn.Study"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_costs, chain, every_point};
    use super::*;
    use crate::rng::{below, stream};

    fn bounds(costs: &Costs, cuts: [u8; 4]) -> Vec<Bound> {
        let range = |m: usize, low: u8, high: u8| {
            let [from, to] = costs.extremes(m, &|| Ok(())).unwrap();
            let at = |cut: u8| from.0 + (to.0 - from.0) * f64::from(cut) / 255.0;
            Bound { metric: m, low: at(low.min(high)), high: at(low.max(high)) }
        };
        vec![range(0, cuts[0], cuts[1]), range(1, cuts[2], cuts[3])]
    }

    /// A score of every decision alone, with eighths, so that sums are exact.
    fn score(costs: &Costs, seed: u64) -> Metric {
        let mut rng = stream(seed, 0, "score");
        let mut term = |i: usize| {
            let table = (0..costs.space.count(i)).map(|_| below(&mut rng, 64) as f64 / 8.0).collect();
            Term { coefficient: 1.0, factors: vec![(i, table)] }
        };
        Metric { name: "score".into(), terms: (0..costs.space.len()).map(&mut term).collect() }
    }

    proptest! {
        #[test]
        fn the_optimum_is_that_of_enumeration(costs in any_costs(), cuts in any::<[u8; 4]>(), seed in any::<u64>()) {
            let costs = Arc::new(costs);
            let bounds = bounds(&costs, cuts);
            let score = score(&costs, seed);
            let within = |p: &Point| bounds.iter().all(|b| b.holds(costs.metrics[b.metric].value(p.codes())));
            let scores = every_point(&costs.space).into_iter().filter(within).map(|p| score.value(p.codes()));
            let scores: Vec<f64> = scores.collect();
            for (direction, expected) in [
                (Direction::Maximize, scores.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
                (Direction::Minimize, scores.iter().copied().fold(f64::INFINITY, f64::min)),
            ] {
                match costs.optimum(&score, direction, &bounds, &|| Ok(())) {
                    Ok(solution) => {
                        prop_assert_eq!(solution.score, expected);
                        costs.space.check(&solution.point).unwrap();
                        prop_assert!(within(&solution.point));
                    }
                    Err(error) => {
                        prop_assert!(scores.is_empty(), "{}", error);
                        prop_assert!(error.to_string().starts_with("no point has"));
                    }
                }
            }
        }

        #[test]
        fn the_sweep_is_the_front_of_enumeration(costs in any_costs(), cuts in any::<[u8; 2]>(), seed in any::<u64>()) {
            let costs = Arc::new(costs);
            let bounds = bounds(&costs, [cuts[0], cuts[1], 0, 255])[..1].to_vec();
            let score = score(&costs, seed);
            let within = |p: &Point| bounds.iter().all(|b| b.holds(costs.metrics[b.metric].value(p.codes())));
            let points = every_point(&costs.space).into_iter().filter(within);
            let mut values: Vec<(f64, f64)> =
                points.map(|p| (costs.metrics[1].value(p.codes()), score.value(p.codes()))).collect();
            values.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
            let mut front: Vec<(f64, f64)> = Vec::new();
            for value in values {
                if front.last().is_none_or(|last| value.1 > last.1) {
                    front.push(value);
                }
            }
            let found = costs.sweep(&score, Direction::Maximize, 1, &bounds, &|| Ok(()));
            let found: Vec<(f64, f64)> = found
                .unwrap_or_default()
                .iter()
                .map(|s| (costs.metrics[1].value(s.point.codes()), s.score))
                .collect();
            prop_assert_eq!(found, front);
        }
    }

    #[test]
    fn a_large_problem_with_two_budgets_is_solved() {
        let costs = Arc::new(chain(25));
        let at = |m: usize, share: f64| {
            let [low, high] = costs.extremes(m, &|| Ok(())).unwrap();
            Bound { metric: m, low: 0.0, high: low.0 + (high.0 - low.0) * share }
        };
        let score = score(&costs, 3);
        let solve =
            |bounds: &[Bound]| costs.optimum(&score, Direction::Maximize, bounds, &|| Ok(())).unwrap();
        let (free, tight) = (solve(&[]), solve(&[at(0, 0.2), at(1, 0.15)]));
        assert!(tight.score < free.score);
        assert!(costs.of(&tight.point).unwrap()[1] <= at(1, 0.15).high);
        let front = costs.sweep(&score, Direction::Maximize, 1, &[], &|| Ok(())).unwrap();
        assert_eq!(front.last().unwrap().score, free.score);
        let macs: Vec<f64> = front.iter().map(|s| costs.of(&s.point).unwrap()[1]).collect();
        assert!(macs.is_sorted());
    }
}
