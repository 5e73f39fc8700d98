//! Pareto dominance and the non-dominated front.
//!
//! Two losses: one sort and one sweep, O(n log n). More: each point against the front found so far in lexicographic
//! order, O(n x front) (Kung, Luccio and Preparata 1975 do better only in the worst case). NaN dominates nothing and
//! is dominated by everything without NaN.

use std::cmp::Ordering;

/// Whether `a` is nowhere worse than `b` and somewhere better; smaller is better.
#[must_use]
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let mut better = false;
    for (x, y) in a.iter().zip(b) {
        match x.total_cmp(y) {
            Ordering::Greater => return false,
            Ordering::Less => better = true,
            Ordering::Equal => {}
        }
    }
    better
}

/// Indices of the points that no other point dominates, ascending; equal points are all kept.
#[must_use]
pub fn front<P: AsRef<[f64]>>(points: &[P]) -> Vec<usize> {
    let lexicographic = |a: &[f64], b: &[f64]| {
        a.iter().zip(b).map(|(x, y)| x.total_cmp(y)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&i, &j| lexicographic(points[i].as_ref(), points[j].as_ref()));
    // In lexicographic order a point can only be dominated by an earlier one.
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let point = points[i].as_ref();
        let dominated = if point.len() == 2 {
            // The last kept point has the smallest second loss so far.
            kept.last().is_some_and(|&j| dominates(points[j].as_ref(), point))
        } else {
            kept.iter().any(|&j| dominates(points[j].as_ref(), point))
        };
        if !dominated {
            kept.push(i);
        }
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_front_is_what_nobody_dominates(
            points in (1_usize..5).prop_flat_map(|m| {
                proptest::collection::vec(proptest::collection::vec((0_u8..6).prop_map(f64::from), m), 0..60)
            })
        ) {
            let brute: Vec<usize> = (0..points.len())
                .filter(|&i| !points.iter().any(|other| dominates(other, &points[i])))
                .collect();
            prop_assert_eq!(front(&points), brute);
        }
    }

    #[test]
    fn a_point_is_not_dominated_by_its_equal() {
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 3.0], &[2.0, 2.0]));
        assert_eq!(front(&[[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]]), [0, 1]);
    }
}
