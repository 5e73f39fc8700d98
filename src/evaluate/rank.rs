//! How far scores rank like a reference, with bootstrap intervals.
//!
//! Kendall's tau-b (Kendall 1945, "The Treatment of Ties in Ranking Problems") by Knight's merge sort (1966, doi
//! 10.1080/01621459.1966.10480879) in O(n log n), Spearman's rho as Pearson's correlation of mid-ranks (1904), and the
//! regret of taking the best of the `top` highest scores. Intervals are percentiles over rows drawn with repetition
//! (Efron 1979, "Bootstrap Methods"): tau-b leaves out the pairs that repetition ties, so it is not pulled to zero.
//! Larger is better on both sides.

use rand::Rng as _;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::rng::stream;

/// Statistics of one pairing of scores and references: Kendall, Spearman, regret of the top.
pub type Ranking = [f64; 3];

/// The statistics, and their intervals (low, high).
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Of the rows as given.
    pub value: Ranking,
    /// The ends of the intervals, one pair a statistic.
    pub interval: [(f64, f64); 3],
}

/// Compares `scores` with `reference`.
///
/// # Errors
/// [`Error::Evaluation`] unless there are two rows or more, as many of both, and finite references. Scores may be
/// infinite, not NaN.
pub fn compare(
    scores: &[f64],
    reference: &[f64],
    top: usize,
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Result<Report> {
    if scores.len() != reference.len() || scores.len() < 2 {
        return Err(Error::Evaluation(format!(
            "a rank report is given {} scores and {} references; expected as many of both, two or more",
            scores.len(),
            reference.len()
        )));
    }
    for (what, values) in [("score", scores), ("reference", reference)] {
        if let Some(i) = values.iter().position(|value| value.is_nan()) {
            return Err(Error::Evaluation(format!(
                "{what} {i} is NaN; leave out candidates without a measurement"
            )));
        }
    }
    let best = reference.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let value = ranking(scores, reference, top, best);
    let mut drawn: Vec<Ranking> = (0..resamples as u64)
        .into_par_iter()
        .map(|i| {
            let mut rng = stream(seed, i, "bootstrap");
            let rows: Vec<usize> = scores.iter().map(|_| rng.random_range(0..scores.len())).collect();
            let take = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<_>>();
            ranking(&take(scores), &take(reference), top, best)
        })
        .collect();
    let interval =
        std::array::from_fn(|k| percentiles(&mut drawn, k, confidence).unwrap_or((value[k], value[k])));
    Ok(Report { value, interval })
}

fn ranking(scores: &[f64], reference: &[f64], top: usize, best: f64) -> Ranking {
    [kendall(scores, reference), spearman(scores, reference), regret(scores, reference, top, best)]
}

/// The ends of the middle `confidence` of one statistic; undefined values are left out.
fn percentiles(drawn: &mut [Ranking], k: usize, confidence: f64) -> Option<(f64, f64)> {
    drawn.sort_by(|a, b| a[k].total_cmp(&b[k]));
    let known: Vec<f64> = drawn.iter().map(|row| row[k]).filter(|value| value.is_finite()).collect();
    let last = known.len().checked_sub(1)? as f64;
    let at = |share: f64| {
        let place = share * last;
        let (low, high) = (known[place.floor() as usize], known[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    Some((at(0.5 - confidence / 2.0), at(0.5 + confidence / 2.0)))
}

/// Kendall's tau-b; NaN if one side has only ties.
#[must_use]
pub fn kendall(a: &[f64], b: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..a.len()).collect();
    order.sort_by(|&i, &j| a[i].total_cmp(&a[j]).then(b[i].total_cmp(&b[j])));
    let pairs = |n: usize| (n * n.saturating_sub(1) / 2) as f64;
    let tied_a: f64 = order.chunk_by(|&i, &j| a[i] == a[j]).map(|run| pairs(run.len())).sum();
    let tied_both: f64 =
        order.chunk_by(|&i, &j| a[i] == a[j] && b[i] == b[j]).map(|run| pairs(run.len())).sum();
    let mut values: Vec<f64> = order.into_iter().map(|i| b[i]).collect();
    let mut spare = values.clone();
    let discordant = inversions(&mut values, &mut spare) as f64;
    let tied_b: f64 = values.chunk_by(|x, y| x == y).map(|run| pairs(run.len())).sum();
    let all = pairs(a.len());
    let concordant = all - tied_a - tied_b + tied_both - discordant;
    (concordant - discordant) / ((all - tied_a) * (all - tied_b)).sqrt()
}

/// Sorts by merging, and counts the pairs that were the wrong way round.
fn inversions(values: &mut [f64], spare: &mut [f64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let middle = n / 2;
    let mut count = inversions(&mut values[..middle], &mut spare[..middle])
        + inversions(&mut values[middle..], &mut spare[middle..]);
    let (mut left, mut right) = (0, middle);
    for place in spare.iter_mut() {
        if right == n || (left < middle && values[left] <= values[right]) {
            *place = values[left];
            left += 1;
        } else {
            *place = values[right];
            right += 1;
            count += (middle - left) as u64;
        }
    }
    values.copy_from_slice(spare);
    count
}

/// Spearman's rho; NaN if one side has only ties.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (mid_ranks(a), mid_ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// Ranks from 0; equal values share the middle of theirs.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let middle = below as f64 + (tied.len() as f64 - 1.0) / 2.0;
        below += tied.len();
        for &i in tied {
            ranks[i] = middle;
        }
    }
    ranks
}

/// The best reference less the best among the `top` highest scores; of equal scores the worse comes first.
fn regret(scores: &[f64], reference: &[f64], top: usize, best: f64) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]).then(reference[i].total_cmp(&reference[j])));
    best - order.iter().take(top).map(|&i| reference[i]).fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tau-b from its definition, pair by pair.
    fn by_pairs(a: &[f64], b: &[f64]) -> f64 {
        let sign = |x: f64, y: f64| if x == y { 0.0 } else { (x - y).signum() };
        let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
        for i in 0..a.len() {
            for j in 0..i {
                let (s, t) = (sign(a[i], a[j]), sign(b[i], b[j]));
                both += s * t;
                one += s * s;
                other += t * t;
            }
        }
        both / (one * other).sqrt()
    }

    proptest! {
        #[test]
        fn kendall_is_its_definition(rows in prop::collection::vec((0_i8..6, 0_i8..6), 2..40)) {
            let (a, b): (Vec<f64>, Vec<f64>) = rows.iter().map(|&(a, b)| (f64::from(a), f64::from(b))).unzip();
            let (fast, slow) = (kendall(&a, &b), by_pairs(&a, &b));
            prop_assert!((fast.is_nan() && slow.is_nan()) || (fast - slow).abs() < 1e-12, "{fast} {slow}");
            let (there, back) = (spearman(&a, &b), spearman(&b, &a));
            prop_assert!((there.is_nan() && back.is_nan()) || (there - back).abs() < 1e-12);
        }

        #[test]
        fn a_monotone_map_changes_no_rank(values in prop::collection::vec(-5.0..5.0_f64, 3..30)) {
            let other: Vec<f64> = values.iter().rev().copied().collect();
            let mapped: Vec<f64> = values.iter().map(|x| x.exp()).collect();
            let (before, after) = (kendall(&values, &other), kendall(&mapped, &other));
            prop_assert!((before.is_nan() && after.is_nan()) || (before - after).abs() < 1e-12);
        }
    }

    #[test]
    fn known_values() {
        // scipy.stats.kendalltau and spearmanr of the same rows.
        let (a, b) = ([12.0, 2.0, 1.0, 12.0, 2.0], [1.0, 4.0, 7.0, 1.0, 0.0]);
        assert!((kendall(&a, &b) + 0.471_404_520_791_031_7).abs() < 1e-12);
        assert!((spearman(&a, &b) + 0.540_738_070_435_875_2).abs() < 1e-12);
        assert!(kendall(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
        assert_eq!(regret(&[3.0, 2.0, 1.0], &[0.5, 0.9, 1.0], 2, 1.0), 1.0 - 0.9);
    }

    #[test]
    fn intervals_hold_the_value_and_are_reproducible() {
        let scores: Vec<f64> = (0..60).map(|i| f64::from(i) + 10.0 * f64::from(i * 7919 % 13)).collect();
        let truth: Vec<f64> = (0..60).map(f64::from).collect();
        let found = compare(&scores, &truth, 5, 500, 0.95, 3).unwrap();
        for (value, (low, high)) in found.value.iter().zip(found.interval) {
            assert!(low <= *value && *value <= high, "{found:?}");
        }
        assert_eq!(found, compare(&scores, &truth, 5, 500, 0.95, 3).unwrap());
        let wide = compare(&scores, &truth, 5, 500, 0.99, 3).unwrap().interval[1];
        assert!(wide.0 < found.interval[1].0 && wide.1 > found.interval[1].1);
    }

    #[test]
    fn what_cannot_be_ranked_is_an_error() {
        let error = compare(&[1.0], &[1.0], 1, 0, 0.9, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "a rank report is given 1 scores and 1 references; expected as many of both, two or more"
        );
        let error = compare(&[1.0, f64::NAN], &[1.0, 2.0], 1, 0, 0.9, 0).unwrap_err().to_string();
        assert_eq!(error, "score 1 is NaN; leave out candidates without a measurement");
    }
}
