//! Encoding: points as rows of numbers in `[0, 1]`, for surrogates and plots.
//!
//! A category is one column a label (one-hot), a subset one column a label (multi-hot), an integer or real one column
//! scaled to `[0, 1]` (in the logarithm on a log scale). A numeric decision that can be inactive has a further column
//! that is 1 while it is active, so that "inactive" and "lowest" differ. Inactive decisions are all zeros.

use std::ops::Range;

use super::{Domain, INACTIVE, Point, SearchSpace};

/// The columns of one decision in an encoded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Where they stand.
    pub range: Range<usize>,
    /// Whether they hold a number (and, if there is a second column, whether it is active) and not marks of labels.
    pub numeric: bool,
}

impl SearchSpace {
    /// The columns of every decision, in declared order.
    #[must_use]
    pub fn encoded_columns(&self) -> Vec<Columns> {
        let mut start = 0;
        (0..self.len())
            .map(|i| {
                let range = start..start + self.columns(i);
                start = range.end;
                Columns { range, numeric: self.is_numeric(i) }
            })
            .collect()
    }

    /// The number of columns of [`SearchSpace::encode`].
    #[must_use]
    pub fn encoded_width(&self) -> usize {
        (0..self.len()).map(|i| self.columns(i)).sum()
    }

    /// Appends the row of one point to `row`.
    pub fn encode(&self, point: &Point, row: &mut Vec<f64>) {
        for i in 0..self.len() {
            let start = row.len();
            let width = self.columns(i);
            row.resize(start + width, 0.0);
            let code = point.codes[i];
            if code == INACTIVE {
                continue;
            }
            let cells = &mut row[start..];
            let domain = &self.decisions[i].domain;
            match domain {
                Domain::Categorical(_) => cells[usize::try_from(code).unwrap_or_default()] = 1.0,
                Domain::Subset { .. } => {
                    for position in domain.subset(code).unwrap_or_default() {
                        cells[position] = 1.0;
                    }
                }
                Domain::Integer { .. } => {
                    cells[0] = f64::from(code) / f64::from((self.counts[i] - 1).max(1));
                }
                Domain::Real { .. } => {
                    cells[0] = self.real_slots[i].map_or(0.0, |slot| domain.to_unit(point.reals[slot]));
                }
            }
            if width == 2 && self.gates[i].is_some() && self.is_numeric(i) {
                cells[1] = 1.0;
            }
        }
    }

    fn is_numeric(&self, i: usize) -> bool {
        matches!(self.decisions[i].domain, Domain::Integer { .. } | Domain::Real { .. })
    }

    fn columns(&self, i: usize) -> usize {
        match &self.decisions[i].domain {
            Domain::Categorical(labels) | Domain::Subset { from: labels, .. } => labels.len(),
            Domain::Integer { .. } | Domain::Real { .. } => 1 + usize::from(self.gates[i].is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::super::tests::{any_space, mixed};

    proptest! {
        #[test]
        fn different_points_have_different_rows(space in any_space()) {
            let size = u64::try_from(space.size().unwrap()).unwrap();
            prop_assume!(size <= 500);
            let mut rows = HashSet::new();
            for rank in 0..size {
                let mut row = Vec::new();
                space.encode(&space.unrank(&BigUint::from(rank)).unwrap(), &mut row);
                prop_assert_eq!(row.len(), space.encoded_width());
                prop_assert!(row.iter().all(|x| (0.0..=1.0).contains(x)));
                prop_assert!(rows.insert(row.iter().map(|x| x.to_bits()).collect::<Vec<_>>()));
            }
        }
    }

    #[test]
    fn columns_lie_side_by_side() {
        let columns = mixed().encoded_columns();
        let ranges: Vec<_> = columns.iter().map(|c| c.range.clone()).collect();
        assert_eq!(ranges, [0..2, 2..5, 5..6, 6..7]);
        assert_eq!(columns.iter().map(|c| c.numeric).collect::<Vec<_>>(), [false, false, true, true]);
    }

    #[test]
    fn a_row_by_hand() {
        let space = mixed();
        let point = space.point_from_json(r#"{"op":"conv","k":5,"n":8,"lr":0.1}"#).unwrap();
        let mut row = Vec::new();
        space.encode(&point, &mut row);
        assert_eq!(row, [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
    }
}
