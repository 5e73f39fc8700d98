//! Costs in closed form: functions of a point that need no network to be known.
//!
//! A metric is a sum of terms, a term a coefficient times one table look-up for each decision it depends on: exact for
//! sizes that multiply, and for any table of latencies. An inactive decision makes its terms vanish. What follows from
//! that alone is here, one capability a file: values of many points (`joint`), exact bounds, the points within given
//! bounds, counted and drawn (`feasible`), and the best of them (`optimum`). All but the first work on one structure,
//! the layered graph of `diagram`. The room knows the space and nothing of networks or algorithms.
//!
//! All numbers are f64. Whole costs are exact, since [`Costs::new`] refuses any that could leave the whole numbers
//! that f64 holds (2^53 ≈ 9e15).

mod diagram;
mod feasible;
mod joint;
mod optimum;
mod rows;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use feasible::{Count, Feasible};
pub use optimum::{Direction, Solution};

use crate::error::{Error, Result, suggest};
use crate::space::{INACTIVE, Point, SearchSpace};
use diagram::{Diagram, Extreme};
use joint::Joint;

/// The largest sum of whole numbers that f64 adds exactly in any order.
const WHOLE_LIMIT: f64 = 9_007_199_254_740_992.0;

/// Called between the steps of long work; its error ends the work.
pub type Poll<'a> = &'a dyn Fn() -> Result<()>;

/// `coefficient` times the product of one table entry for each of its decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// The constant factor.
    pub coefficient: f64,
    /// For each decision that it depends on: index and a value a code.
    pub factors: Vec<(usize, Box<[f64]>)>,
}

impl Term {
    /// A bound of its absolute value.
    fn magnitude(&self) -> f64 {
        let largest = |table: &[f64]| table.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        self.factors.iter().fold(self.coefficient.abs(), |product, (_, table)| product * largest(table))
    }

    /// The same with one factor a decision, in the order of the decisions.
    fn sorted(mut self) -> Term {
        self.factors.sort_by_key(|(decision, _)| *decision);
        self.factors.dedup_by(|(later, extra), (first, table)| {
            let same = later == first;
            if same {
                table.iter_mut().zip(extra.iter()).for_each(|(x, y)| *x *= y);
            }
            same
        });
        self
    }
}

/// A named cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, with the unit.
    pub name: String,
    /// What adds up to it.
    pub terms: Vec<Term>,
}

impl Metric {
    /// Whether every value is a whole number.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let whole = |x: &f64| x.fract() == 0.0;
        self.terms.iter().all(|term| {
            whole(&term.coefficient) && term.factors.iter().all(|(_, table)| table.iter().all(whole))
        })
    }

    /// The value of one point.
    fn value(&self, codes: &[i32]) -> f64 {
        let factor = |(decision, table): &(usize, Box<[f64]>)| match codes[*decision] {
            INACTIVE => 0.0,
            code => table[code as usize],
        };
        let terms = self.terms.iter();
        terms
            .map(|term| term.factors.iter().map(factor).fold(term.coefficient, |a, b| a * b))
            .fold(0.0, |a, b| a + b)
    }

    fn magnitude(&self) -> f64 {
        self.terms.iter().map(Term::magnitude).sum()
    }

    /// A bound of the rounding of its values, whatever the order of its sums; 0 for a whole one.
    fn tolerance(&self) -> f64 {
        if self.is_whole() { 0.0 } else { self.magnitude() * 1e-12 }
    }
}

/// Lowest and highest value that a metric may have; both included.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The index of the metric.
    metric: usize,
    low: f64,
    high: f64,
}

impl Bound {
    fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Metrics of the points of a space.
#[derive(Clone, Debug)]
pub struct Costs {
    space: Arc<SearchSpace>,
    metrics: Vec<Metric>,
    joint: Joint,
}

impl Costs {
    /// These metrics of a space.
    ///
    /// # Errors
    /// [`Error::Space`] for a name given twice, a factor that does not fit its decision, a value that is not finite, or
    /// whole values beyond 2^53.
    pub fn new(space: Arc<SearchSpace>, metrics: Vec<Metric>) -> Result<Costs> {
        let sorted = |metric: Metric| Metric {
            terms: metric
                .terms
                .into_iter()
                .filter(|term| term.coefficient != 0.0)
                .map(Term::sorted)
                .collect(),
            ..metric
        };
        let metrics: Vec<Metric> = metrics.into_iter().map(sorted).collect();
        for (i, metric) in metrics.iter().enumerate() {
            if metrics[..i].iter().any(|earlier| earlier.name == metric.name) {
                return Err(Error::Space(format!("cost '{}' is given twice; rename one", metric.name)));
            }
            check(&space, metric)?;
        }
        let joint = Joint::new(&space, &metrics);
        Ok(Costs { space, metrics, joint })
    }

    /// These costs and one more.
    ///
    /// # Errors
    /// As [`Costs::new`].
    pub fn with(&self, metric: Metric) -> Result<Costs> {
        let mut metrics = self.metrics.clone();
        metrics.push(metric);
        Costs::new(Arc::clone(&self.space), metrics)
    }

    /// The costs of a point of a joined space: the sum of the costs of its parts. `other` may be of another space.
    ///
    /// # Errors
    /// As [`Costs::new`], or if the joined space lacks a decision of either.
    pub fn joined(&self, other: &Costs, space: Arc<SearchSpace>) -> Result<Costs> {
        let mut metrics: Vec<Metric> = Vec::new();
        for costs in [self, other] {
            let decisions = costs.space.decisions();
            let places: Vec<usize> = decisions
                .iter()
                .map(|decision| space.decision_index(&decision.name))
                .collect::<Result<_>>()?;
            for metric in &costs.metrics {
                let moved = |(decision, table): &(usize, Box<[f64]>)| (places[*decision], table.clone());
                let terms = metric.terms.iter().map(|term| Term {
                    coefficient: term.coefficient,
                    factors: term.factors.iter().map(moved).collect(),
                });
                match metrics.iter_mut().find(|known| known.name == metric.name) {
                    Some(known) => known.terms.extend(terms),
                    None => metrics.push(Metric { name: metric.name.clone(), terms: terms.collect() }),
                }
            }
        }
        Costs::new(space, metrics)
    }

    /// The space.
    #[must_use]
    pub fn space(&self) -> &Arc<SearchSpace> {
        &self.space
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The index of a metric.
    ///
    /// # Errors
    /// [`Error::Space`] with near matches.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.metrics.iter().position(|metric| metric.name == name).ok_or_else(|| {
            let known = self.metrics.iter().map(|metric| metric.name.as_str());
            Error::Space(format!(
                "the space has no cost '{name}'{}; attach one by with_cost",
                suggest(name, known)
            ))
        })
    }

    /// Bounds of a metric, open where `None`.
    ///
    /// # Errors
    /// [`Error::Space`] for an unknown metric, or bounds that are no interval.
    pub fn bound(&self, name: &str, low: Option<f64>, high: Option<f64>) -> Result<Bound> {
        let metric = self.index(name)?;
        let (low, high) = (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY));
        if low <= high {
            return Ok(Bound { metric, low, high });
        }
        Err(Error::Space(format!(
            "constraint '{name}' is ({low}, {high}); expected (low, high) with low <= high"
        )))
    }

    /// The values of points given as rows of codes: one column a metric.
    ///
    /// # Errors
    /// [`Error::Space`] if the rows do not have one code a decision, or a code is out of range.
    pub fn evaluate(&self, rows: &[i32]) -> Result<Vec<Vec<f64>>> {
        self.joint.evaluate(rows)
    }

    /// The values of one point.
    ///
    /// # Errors
    /// As [`Costs::evaluate`].
    pub fn of(&self, point: &Point) -> Result<Vec<f64>> {
        let columns = self.evaluate(point.codes())?;
        Ok(columns.into_iter().map(|column| column.first().copied().unwrap_or_default()).collect())
    }

    /// The exact minimum and maximum of a metric, each with a point that attains it.
    ///
    /// # Errors
    /// [`Error::Space`] if the metric couples too many decisions at once.
    pub fn extremes(&self, metric: usize, poll: Poll<'_>) -> Result<[(f64, Point); 2]> {
        let diagram = Diagram::new(&self.space, &[&self.metrics[metric].terms], poll)?;
        let extreme = |extreme| -> Result<(f64, Point)> {
            let point = self.completed(diagram.best(&[1.0], extreme));
            Ok((self.of(&point)?[metric], point))
        };
        Ok([extreme(Extreme::Low)?, extreme(Extreme::High)?])
    }

    /// The point with these codes; decisions that no diagram decided take their first value, a real one its lowest.
    fn completed(&self, codes: Vec<i32>) -> Point {
        let mut point = Point::new(codes, vec![0.0; self.space.n_reals()]);
        self.space.settle_with(&mut point, |point, i| {
            point.codes[i] = 0;
            if let Some(slot) = self.space.real_slot(i) {
                point.reals[slot] = self.space.decisions()[i].domain.from_unit(0.0) + 0.0;
            }
        });
        point
    }
}

/// Whether a metric fits the space.
fn check(space: &SearchSpace, metric: &Metric) -> Result<()> {
    let fail = |why: String| Err(Error::Space(format!("cost '{}' {why}", metric.name)));
    for term in &metric.terms {
        for (decision, table) in &term.factors {
            let Some(of) = space.decisions().get(*decision) else {
                return fail(format!("names decision number {decision}; the space has {}", space.len()));
            };
            if of.domain.is_real() {
                return fail(format!(
                    "depends on '{}', which is real; only discrete ones have tables",
                    of.name
                ));
            }
            if table.len() != space.count(*decision) as usize {
                return fail(format!(
                    "has {} values for decision '{}'; expected {}, one for each of {}",
                    table.len(),
                    of.name,
                    space.count(*decision),
                    of.domain
                ));
            }
        }
        let finite = |(_, table): &(usize, Box<[f64]>)| table.iter().all(|value| value.is_finite());
        if !term.magnitude().is_finite() || !term.factors.iter().all(finite) {
            return fail("has a value that is not finite; give finite ones".to_string());
        }
    }
    if metric.is_whole() && metric.magnitude() > WHOLE_LIMIT {
        return fail(
            "can exceed 2^53, beyond which whole numbers are not exact; give it in a larger unit".to_string(),
        );
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;
    use crate::space::tests::{any_space, mixed};

    pub(crate) fn every_point(space: &SearchSpace) -> Vec<Point> {
        let size = u64::try_from(space.size().unwrap()).unwrap();
        (0..size).map(|rank| space.unrank(&BigUint::from(rank)).unwrap()).collect()
    }

    /// Polynomials with small whole tables, products of up to three decisions, on random conditional spaces.
    pub(crate) fn any_costs() -> impl Strategy<Value = Costs> {
        let term = (any::<i8>(), proptest::collection::vec((any::<u8>(), 0_u64..1_000), 0..4));
        let metric = || proptest::collection::vec(term.clone(), 0..9);
        (any_space(), metric(), metric())
            .prop_filter("small enough to list", |(space, _, _)| {
                space.size().unwrap() <= BigUint::from(600_u32)
            })
            .prop_map(|(space, first, second)| {
                let metric = |name: &str, rows: Vec<(i8, Vec<(u8, u64)>)>| {
                    let terms = rows.into_iter().map(|(coefficient, factors)| Term {
                        coefficient: f64::from(coefficient),
                        factors: factors
                            .into_iter()
                            .map(|(decision, seed)| {
                                let decision = usize::from(decision) % space.len();
                                let value = |code| ((seed + 7) * (code + 3) % 5) as f64 - 1.0;
                                (decision, (0..space.count(decision) as u64).map(value).collect())
                            })
                            .collect(),
                    });
                    Metric { name: name.into(), terms: terms.collect() }
                };
                let metrics = vec![metric("a", first), metric("b", second)];
                Costs::new(Arc::new(space), metrics).unwrap()
            })
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_definition(costs in any_costs()) {
            let points = every_point(&costs.space);
            let rows: Vec<i32> = points.iter().flat_map(|p| p.codes().to_vec()).collect();
            let columns = costs.evaluate(&rows).unwrap();
            for (i, point) in points.iter().enumerate() {
                for (metric, column) in costs.metrics.iter().zip(&columns) {
                    prop_assert_eq!(column[i], metric.value(point.codes()));
                }
            }
        }

        #[test]
        fn bounds_are_attained_and_never_passed(costs in any_costs()) {
            for metric in 0..2 {
                let values: Vec<f64> =
                    every_point(&costs.space).iter().map(|p| costs.metrics[metric].value(p.codes())).collect();
                let [low, high] = costs.extremes(metric, &|| Ok(())).unwrap();
                prop_assert_eq!(low.0, values.iter().copied().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(high.0, values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                costs.space.check(&low.1).unwrap();
                prop_assert_eq!(costs.metrics[metric].value(low.1.codes()), low.0);
                prop_assert_eq!(costs.metrics[metric].value(high.1.codes()), high.0);
            }
        }
    }

    /// Three kernels and two widths of a chain of convolutions: what `rewrite` makes of a small network.
    pub(crate) fn chain(n: usize) -> Costs {
        use crate::space::{Decision, Domain, Label};
        let choice =
            |name: String| Decision::new(name, Domain::Categorical((0..3).map(Label::Int).collect()));
        let decisions = (0..n).flat_map(|i| [choice(format!("k{i}")), choice(format!("w{i}"))]).collect();
        let width = |i: usize| (2 * i + 1, vec![8.0, 12.0, 16.0].into());
        let kernel = |i: usize| (2 * i, vec![9.0, 25.0, 49.0].into());
        let conv = |i: usize, size: f64| {
            let mut factors = vec![kernel(i), width(i)];
            factors.extend((i > 0).then(|| width(i - 1)));
            Term { coefficient: size, factors }
        };
        let metric = |name: &str, size: f64| Metric {
            name: name.into(),
            terms: (0..n).map(|i| conv(i, size * (n - i) as f64)).collect(),
        };
        let space = Arc::new(SearchSpace::new(decisions).unwrap());
        Costs::new(space, vec![metric("params", 1.0), metric("macs", 64.0)]).unwrap()
    }

    #[test]
    fn a_chain_of_many_coupled_widths_is_bounded_exactly() {
        let costs = chain(40);
        let [low, high] = costs.extremes(0, &|| Ok(())).unwrap();
        let expected =
            |w: f64, k: f64| (0..40).map(|i| f64::from(40 - i) * k * w * if i > 0 { w } else { 1.0 }).sum();
        assert_eq!((low.0, high.0), (expected(8.0, 9.0), expected(16.0, 49.0)));
        assert_eq!(high.1.codes().iter().collect::<HashSet<_>>().len(), 1);
    }

    #[test]
    fn joined_costs_add_up() {
        let both = chain(1);
        let renamed =
            SearchSpace::from_json(&both.space.to_json().replace("k0", "a").replace("w0", "b")).unwrap();
        let other = Costs::new(Arc::new(renamed), both.metrics[..1].to_vec()).unwrap();
        let space = Arc::new(other.space.join(&both.space).unwrap());
        let joined = both.joined(&other, space).unwrap();
        assert_eq!(joined.evaluate(&[0, 1, 2, 0]).unwrap(), [[9.0 * 12.0 + 49.0 * 8.0], [64.0 * 49.0 * 8.0]]);
    }

    #[test]
    fn wrong_metrics_are_explained() {
        let space = Arc::new(mixed());
        let fail = |coefficient: f64, factors: Vec<(usize, Box<[f64]>)>| {
            let terms = vec![Term { coefficient, factors }];
            Costs::new(Arc::clone(&space), vec![Metric { name: "ms".into(), terms }]).unwrap_err().to_string()
        };
        assert_eq!(
            fail(1.0, vec![(1, vec![1.0, 2.0].into())]),
            "cost 'ms' has 2 values for decision 'k'; expected 3, one for each of one of (3, 5, 7)"
        );
        assert_eq!(
            fail(1.0, vec![(3, vec![].into())]),
            "cost 'ms' depends on 'lr', which is real; only discrete ones have tables"
        );
        assert!(fail(f64::NAN, vec![]).contains("not finite"));
        assert!(fail(1.0, vec![(0, vec![1.0, f64::NAN].into())]).contains("not finite"));
        assert!(fail(1e16, vec![]).contains("2^53"));
        let costs = chain(2);
        assert_eq!(
            costs.index("mac").unwrap_err().to_string(),
            "the space has no cost 'mac'; did you mean 'macs'?; attach one by with_cost"
        );
        assert!(costs.bound("macs", Some(2.0), Some(1.0)).unwrap_err().to_string().contains("low <= high"));
        assert!(costs.with(costs.metrics()[0].clone()).unwrap_err().to_string().contains("given twice"));
    }
}
