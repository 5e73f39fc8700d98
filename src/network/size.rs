//! The size of a dimension as a function of decisions, and products of such sizes as terms of a cost.

use super::cost::Term;

/// A constant plus, for each decision that the size depends on, a table with an entry a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// What is there for every point.
    pub constant: i64,
    /// What a decision adds.
    pub parts: Vec<(usize, Box<[i64]>)>,
}

impl Size {
    /// A size that depends on nothing.
    #[must_use]
    pub fn constant(value: u64) -> Self {
        Size { constant: value as i64, parts: Vec::new() }
    }

    /// A size that one decision alone decides.
    #[must_use]
    pub fn table(decision: usize, table: &[i64]) -> Self {
        Size { constant: 0, parts: vec![(decision, table.into())] }
    }

    /// Divides by a number that divides every part of it.
    pub fn divide(&mut self, by: i64) {
        self.constant /= by;
        for value in self.parts.iter_mut().flat_map(|(_, table)| table.iter_mut()) {
            *value /= by;
        }
    }

    /// Adds what a decision contributes.
    pub fn add(&mut self, decision: usize, table: &[i64]) {
        match self.parts.iter_mut().find(|(known, _)| *known == decision) {
            Some((_, sum)) => sum.iter_mut().zip(table).for_each(|(a, b)| *a += b),
            None => self.parts.push((decision, table.into())),
        }
    }
}

/// `coefficient` times the sizes, while the conditions hold: the expanded polynomial.
#[must_use]
pub fn product(
    metric: usize,
    coefficient: i64,
    sizes: &[Size],
    conditions: &[(usize, Box<[i64]>)],
) -> Vec<Term> {
    let mut coefficient = coefficient;
    let mut terms = vec![Term { metric, coefficient: 1, factors: Vec::new() }];
    for (decision, table) in conditions {
        multiply(&mut terms[0], *decision, table);
    }
    for size in sizes {
        if size.parts.is_empty() {
            coefficient *= size.constant;
            continue;
        }
        let mut next = Vec::new();
        for term in &terms {
            if size.constant != 0 {
                let mut one = term.clone();
                one.coefficient *= size.constant;
                next.push(one);
            }
            for (decision, table) in &size.parts {
                let mut one = term.clone();
                multiply(&mut one, *decision, table);
                next.push(one);
            }
        }
        terms = next;
    }
    for term in &mut terms {
        term.coefficient *= coefficient;
    }
    terms
}

fn multiply(term: &mut Term, decision: usize, table: &[i64]) {
    match term.factors.iter_mut().find(|(known, _)| *known == decision) {
        Some((_, factor)) => factor.iter_mut().zip(table).for_each(|(a, b)| *a *= b),
        None => term.factors.push((decision, table.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cost::CostModel;
    use super::*;

    #[test]
    fn sums_multiply_out() {
        // (3 + a) (a + b) 5, where a and b are tables of two codes.
        let (a, b) = ([1, 2], [10, 20]);
        let mut left = Size::constant(3);
        left.add(0, &a);
        let mut right = Size::default();
        right.add(0, &a);
        right.add(1, &b);
        let mut model = CostModel::new(2);
        for term in product(1, 5, &[left, right], &[]) {
            model.push(term);
        }
        for (i, a) in a.into_iter().enumerate() {
            for (j, b) in b.into_iter().enumerate() {
                let macs = model.evaluate(&[i as i32, j as i32]).unwrap()[1][0];
                assert_eq!(macs, 5 * (3 + a) * (a + b));
            }
        }
    }
}
