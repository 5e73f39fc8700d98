//! Evenly spread weights: how decomposition (MOEA/D) and reference points (NSGA-III) cover several objectives.
//!
//! Das and Dennis 1998, "Normal-Boundary Intersection", DOI 10.1137/S1052623496307510: all vectors of multiples of
//! 1 / divisions that sum to one.

/// All weights of `objectives` entries that are multiples of `1 / divisions` and sum to 1, in lexicographic order.
#[must_use]
pub fn simplex(objectives: usize, divisions: usize) -> Vec<Vec<f64>> {
    fn extend(prefix: &mut Vec<usize>, entries: usize, left: usize, found: &mut Vec<Vec<usize>>) {
        if entries <= 1 {
            prefix.push(left);
            found.push(prefix.clone());
            prefix.pop();
            return;
        }
        for part in 0..=left {
            prefix.push(part);
            extend(prefix, entries - 1, left - part, found);
            prefix.pop();
        }
    }
    let mut parts = Vec::new();
    extend(&mut Vec::new(), objectives, divisions, &mut parts);
    let unit = divisions.max(1) as f64;
    parts.into_iter().map(|row| row.into_iter().map(|part| part as f64 / unit).collect()).collect()
}

/// At most `limit` evenly spread weights, but at least one an objective.
///
/// The finest simplex that fits. One so coarse that it has no inner point (fewer divisions than objectives) gets a second
/// layer, one division coarser and halfway to the centre, if that fits too (Deb and Jain 2014, section IV-A).
#[must_use]
pub fn directions(objectives: usize, limit: usize) -> Vec<Vec<f64>> {
    if objectives <= 1 {
        return vec![vec![1.0; objectives]];
    }
    let mut divisions = 1;
    while count(objectives, divisions + 1).is_some_and(|n| n <= limit) {
        divisions += 1;
    }
    let mut found = simplex(objectives, divisions);
    let inner = divisions.saturating_sub(1).max(1);
    if divisions < objectives && count(objectives, inner).is_some_and(|n| found.len() + n <= limit) {
        let centre = 1.0 / objectives as f64;
        let halfway = |row: Vec<f64>| row.into_iter().map(|x| 0.5 * (x + centre)).collect();
        found.extend(simplex(objectives, inner).into_iter().map(halfway));
    }
    found
}

/// `(divisions + objectives - 1)` over `divisions`; `None` when it does not fit.
fn count(objectives: usize, divisions: usize) -> Option<usize> {
    (1..objectives).try_fold(1_usize, |n, k| Some(n.checked_mul(divisions + k)? / k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simplex_has_its_known_sizes() {
        for (objectives, divisions, size) in [(2, 99, 100), (3, 12, 91), (5, 6, 210), (8, 3, 120), (1, 4, 1)]
        {
            let weights = simplex(objectives, divisions);
            assert_eq!(weights.len(), size);
            assert_eq!(count(objectives, divisions), Some(size));
            assert!(weights.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        }
    }

    #[test]
    fn directions_fit_and_cover_the_corners_and_the_inside() {
        for (objectives, limit) in [(1, 50), (2, 100), (3, 100), (5, 100), (8, 160), (10, 30), (4, 1)] {
            let found = directions(objectives, limit);
            assert!(found.len() <= limit.max(objectives), "{}", found.len());
            assert!(found.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
            assert!((0..objectives).all(|k| found.iter().any(|row| row[k] == 1.0)));
        }
        // Section V of the paper: 120 on the boundary and 36 inside.
        assert_eq!(directions(8, 156).len(), 156);
    }
}
