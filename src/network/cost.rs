//! The exact cost of every candidate, in closed form.
//!
//! A cost is a sum of terms, a term a coefficient times one table look-up a decision it depends on. That is a
//! polynomial in the decided sizes, so sizes that multiply (a kernel within a chosen op, later coupled widths) stay
//! exact. An inactive decision makes its terms vanish. Multiply-accumulates agree with half of what
//! `torch.utils.flop_counter` counts. Evaluating a point costs two or three multiplications a term.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::cost;
use crate::error::{Error, Result};
use crate::space::INACTIVE;

/// The metrics, in the order of their columns.
pub const METRICS: [&str; 3] = ["params", "macs", "activation_bytes"];

/// The column of the bytes of the outputs of all leaf modules.
pub const ACTIVATION_BYTES: usize = 2;

/// For each decision of some: index and a value a code.
type Factors = Vec<(usize, Box<[i64]>)>;

/// `coefficient` times the product of one table entry for each of its decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The metric it adds to, as an index of [`METRICS`].
    pub metric: usize,
    /// The constant factor.
    pub coefficient: i64,
    /// For each decision that it depends on: index and a value a code.
    pub factors: Factors,
}

impl Term {
    fn value(&self, codes: &[i32]) -> i64 {
        let mut product = self.coefficient;
        for (decision, table) in &self.factors {
            let code = codes[*decision];
            if code == INACTIVE {
                return 0;
            }
            product *= table[code as usize];
        }
        product
    }
}

/// The costs of every point of a space.
#[derive(Clone, Debug, Default)]
pub struct CostModel {
    decisions: usize,
    terms: Vec<Term>,
}

impl CostModel {
    /// The model of a space with this many decisions and no cost yet.
    #[must_use]
    pub fn new(decisions: usize) -> Self {
        CostModel { decisions, terms: Vec::new() }
    }

    /// Adds a term; one that is always zero is dropped.
    pub fn push(&mut self, term: Term) {
        if term.coefficient != 0 {
            self.terms.push(term);
        }
    }

    /// Adds terms.
    pub fn extend(&mut self, terms: Vec<Term>) {
        for term in terms {
            self.push(term);
        }
    }

    /// Makes one term of those that differ in nothing but the coefficient.
    pub fn merge(&mut self) {
        let mut merged: Vec<Term> = Vec::new();
        let mut known: HashMap<(usize, Factors), usize> = HashMap::new();
        for term in std::mem::take(&mut self.terms) {
            match known.entry((term.metric, term.factors.clone())) {
                Entry::Occupied(entry) => merged[*entry.get()].coefficient += term.coefficient,
                Entry::Vacant(entry) => {
                    entry.insert(merged.len());
                    merged.push(term);
                }
            }
        }
        self.terms = merged;
    }

    /// The same for `Costs`, which knows bounds, feasible points and optima: one metric for each of [`METRICS`].
    #[must_use]
    pub fn metrics(&self) -> Vec<cost::Metric> {
        let real = |table: &[i64]| table.iter().map(|&x| x as f64).collect();
        let term = |term: &Term| cost::Term {
            coefficient: term.coefficient as f64,
            factors: term.factors.iter().map(|(decision, table)| (*decision, real(table))).collect(),
        };
        let of = |metric| self.terms.iter().filter(move |term| term.metric == metric).map(term).collect();
        METRICS
            .iter()
            .enumerate()
            .map(|(metric, name)| cost::Metric { name: (*name).to_string(), terms: of(metric) })
            .collect()
    }

    /// The costs of points given as rows of codes: one column a metric of [`METRICS`].
    ///
    /// # Errors
    /// [`Error::Network`] if the rows do not have one code a decision, or a code is out of range.
    pub fn evaluate(&self, rows: &[i32]) -> Result<[Vec<i64>; 3]> {
        let n = self.check(rows)?;
        let mut columns = [vec![0; n], vec![0; n], vec![0; n]];
        for (i, codes) in rows.chunks_exact(self.decisions.max(1)).enumerate() {
            for term in &self.terms {
                columns[term.metric][i] += term.value(codes);
            }
        }
        if self.decisions == 0 {
            for term in &self.terms {
                columns[term.metric][0] += term.coefficient;
            }
        }
        Ok(columns)
    }

    /// The number of rows, if every code fits the tables.
    fn check(&self, rows: &[i32]) -> Result<usize> {
        if self.decisions == 0 {
            return Ok(1);
        }
        if !rows.len().is_multiple_of(self.decisions) {
            return Err(Error::Network(format!(
                "the indices have {} codes; expected a multiple of the {} decisions",
                rows.len(),
                self.decisions
            )));
        }
        let mut counts = vec![i32::MAX; self.decisions];
        for (decision, table) in self.terms.iter().flat_map(|term| &term.factors) {
            counts[*decision] = counts[*decision].min(table.len() as i32);
        }
        for (i, &code) in rows.iter().enumerate() {
            if code < INACTIVE || code >= counts[i % self.decisions] {
                return Err(Error::Network(format!(
                    "row {} has code {code} for decision {}; expected -1 to {}",
                    i / self.decisions,
                    i % self.decisions,
                    counts[i % self.decisions] - 1
                )));
            }
        }
        Ok(rows.len() / self.decisions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_multiply_and_vanish_when_inactive() {
        let mut model = CostModel::new(2);
        model.push(Term { metric: 0, coefficient: 4, factors: vec![] });
        model.push(Term { metric: 0, coefficient: 6, factors: vec![] });
        model.push(Term { metric: 1, coefficient: 100, factors: vec![] });
        model.merge();
        assert_eq!(model.terms.len(), 2);
        let kernel = (1, vec![9, 25].into());
        model.push(Term { metric: 0, coefficient: 2, factors: vec![(0, vec![0, 1].into()), kernel] });
        let [params, macs, bytes] = model.evaluate(&[0, INACTIVE, 1, 0, 1, 1]).unwrap();
        assert_eq!(params, [10, 28, 60]);
        assert_eq!(macs, [100; 3]);
        assert_eq!(bytes, [0; 3]);
    }

    #[test]
    fn as_metrics_it_gives_the_same_values() {
        use crate::space::{Decision, Domain, Label, SearchSpace};
        let choice = |name: &str| Decision::new(name, Domain::Categorical([0, 1].map(Label::Int).to_vec()));
        let inner = choice("inner").active_if("outer", vec![Label::Int(1)]);
        let space = SearchSpace::new(vec![choice("outer"), inner]).unwrap();
        let mut model = CostModel::new(2);
        let conditions = [(0, vec![0, 1].into()), (1, vec![9, 25].into()), (0, vec![3, 4].into())];
        for (metric, (inside, outside)) in [(3, 1_000), (70, 10_000), (8, 64)].into_iter().enumerate() {
            model.push(Term { metric, coefficient: -inside, factors: conditions.to_vec() });
            model.push(Term { metric, coefficient: outside, factors: vec![] });
        }
        let costs = cost::Costs::new(space.into(), model.metrics()).unwrap();
        let rows = [0, INACTIVE, 1, 0, 1, 1];
        let whole = |column: Vec<f64>| column.into_iter().map(|x| x as i64).collect::<Vec<i64>>();
        let columns: Vec<Vec<i64>> = costs.evaluate(&rows).unwrap().into_iter().map(whole).collect();
        assert_eq!(columns, model.evaluate(&rows).unwrap());
    }

    #[test]
    fn wrong_rows_are_refused() {
        let mut model = CostModel::new(2);
        model.push(Term { metric: 0, coefficient: 1, factors: vec![(1, vec![1, 2].into())] });
        assert!(model.evaluate(&[0, 0, 0]).unwrap_err().to_string().contains("multiple of the 2 decisions"));
        assert_eq!(
            model.evaluate(&[0, 0, 0, 2]).unwrap_err().to_string(),
            "row 1 has code 2 for decision 1; expected -1 to 1"
        );
    }
}
