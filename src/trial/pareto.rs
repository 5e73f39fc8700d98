//! Pareto dominance: the front, the ranks of non-dominated sorting, and the crowding distance.
//!
//! Sorting is the efficient non-dominated sort with binary search (ENS-BS; Zhang, Tian, Cheng and Jin 2015, DOI
//! 10.1109/TEVC.2014.2308305): in lexicographic order a point can only be dominated by an earlier one, and the layers
//! that dominate it are the first ones. What a layer must remember for that test is its least second loss for two
//! losses and a staircase for three, so both take O(n log n) comparisons; with four and more a layer is a list, at
//! worst O(n x front). Distances are those of NSGA-II (Deb et al. 2002, DOI 10.1109/4235.996017, section III-B).
//!
//! Losses are compared in their total order: NaN dominates nothing and is dominated by everything without NaN.

use std::borrow::Borrow;
use std::cmp::Ordering;

use super::Score;

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
    let rows = Rows::new(points);
    let mut layer: Option<Layer> = None;
    let mut kept: Vec<usize> = Vec::new();
    let mut last: Option<usize> = None;
    for i in rows.lexicographic() {
        let row = rows.get(i);
        // The equal of a kept point directly follows it; the equal of a dropped one is dominated by the layer too.
        if last.is_some_and(|last| rows.get(last) == row) {
            kept.push(i);
            continue;
        }
        match &mut layer {
            None => layer = Some(Layer::new(row)),
            Some(layer) if layer.dominates(row) => continue,
            Some(layer) => layer.insert(row),
        }
        kept.push(i);
        last = Some(i);
    }
    kept.sort_unstable();
    kept
}

/// The rank of every point: 0 on the front, 1 on the front of what is left without it, and so on.
#[must_use]
pub fn ranks<P: AsRef<[f64]>>(points: &[P]) -> Vec<u32> {
    let mut ranks = vec![0; points.len()];
    if points.iter().all(|point| point.as_ref().len() == 2) {
        planar_ranks(points, |i, rank| ranks[i] = rank as u32);
        return ranks;
    }
    let rows = Rows::new(points);
    let mut layers: Vec<Layer> = Vec::new();
    let mut last: Option<usize> = None;
    for i in rows.lexicographic() {
        let row = rows.get(i);
        ranks[i] = match last {
            Some(last) if rows.get(last) == row => ranks[last],
            _ => {
                let rank = layers.partition_point(|layer| layer.dominates(row));
                match layers.get_mut(rank) {
                    Some(layer) => layer.insert(row),
                    None => layers.push(Layer::new(row)),
                }
                rank as u32
            }
        };
        last = Some(i);
    }
    ranks
}

/// The ranks under constrained domination (Deb et al. 2002, section VI-A): feasible scores as in [`ranks`], the
/// infeasible ones after them, in order of their violation.
#[must_use]
pub fn constrained_ranks<S: Borrow<Score>>(scores: &[S]) -> Vec<u32> {
    let losses = |i: usize| -> &[f64] { &scores[i].borrow().losses };
    let (feasible, mut infeasible): (Vec<usize>, Vec<usize>) =
        (0..scores.len()).partition(|&i| scores[i].borrow().violation <= 0.0);
    if infeasible.is_empty() {
        let losses: Vec<&[f64]> = (0..scores.len()).map(losses).collect();
        return ranks(&losses);
    }
    let mut found = vec![0; scores.len()];
    let mut next = 0;
    let feasible_losses: Vec<&[f64]> = feasible.iter().map(|&i| losses(i)).collect();
    for (i, rank) in feasible.into_iter().zip(ranks(&feasible_losses)) {
        found[i] = rank;
        next = next.max(rank + 1);
    }
    let violation = |i: usize| scores[i].borrow().violation;
    infeasible.sort_by(|&i, &j| violation(i).total_cmp(&violation(j)));
    for level in infeasible.chunk_by(|&i, &j| violation(i) == violation(j)) {
        for &i in level {
            found[i] = next;
        }
        next += 1;
    }
    found
}

/// How lonely every point of one front is: the sum over the losses of the gap between its two neighbours, in units
/// of the front's extent; infinite for the first and the last of a loss.
#[must_use]
pub fn crowding<P: AsRef<[f64]>>(points: &[P]) -> Vec<f64> {
    let n = points.len();
    let mut distance = vec![0.0; n];
    if n <= 2 {
        return vec![f64::INFINITY; n];
    }
    let losses = points[0].as_ref().len();
    let mut order: Vec<(i64, u32)> = Vec::with_capacity(n);
    for k in 0..losses {
        order.clear();
        order.extend(points.iter().zip(0..).map(|(point, i)| (ordered(point.as_ref()[k]), i)));
        order.sort_unstable();
        let value = |at: usize| points[order[at].1 as usize].as_ref()[k];
        let extent = value(n - 1) - value(0);
        distance[order[0].1 as usize] = f64::INFINITY;
        distance[order[n - 1].1 as usize] = f64::INFINITY;
        if extent > 0.0 && extent.is_finite() {
            for at in 1..n - 1 {
                distance[order[at].1 as usize] += (value(at + 1) - value(at - 1)) / extent;
            }
        }
    }
    distance
}

/// Indices of the best `keep` scores, best first: by rank, within a rank the lonelier first (NSGA-II's crowded
/// comparison; with one loss simply in order).
#[must_use]
pub fn crowded_order<S: Borrow<Score>>(scores: &[S], keep: usize) -> Vec<usize> {
    let score = |i: usize| scores[i].borrow();
    let mut order: Vec<usize> = Vec::with_capacity(scores.len());
    if scores.first().is_some_and(|score| score.borrow().losses.len() == 1) {
        order.extend(0..scores.len());
        order.sort_by(|&i, &j| score(i).compare(score(j)));
        order.truncate(keep);
        return order;
    }
    for members in fronts(scores) {
        let losses: Vec<&[f64]> = members.iter().map(|&i| &*score(i).losses).collect();
        let distances = crowding(&losses);
        let mut lonely: Vec<(i64, usize)> =
            distances.iter().zip(&members).map(|(&distance, &i)| (ordered(-distance), i)).collect();
        lonely.sort_unstable();
        order.extend(lonely.into_iter().map(|(_, i)| i));
        if order.len() >= keep {
            break;
        }
    }
    order.truncate(keep);
    order
}

/// The members of every rank; with two losses and nothing infeasible in lexicographic order, which spares [`crowding`]
/// its sorting, else ascending.
fn fronts<S: Borrow<Score>>(scores: &[S]) -> Vec<Vec<usize>> {
    let planar =
        scores.iter().all(|score| score.borrow().violation <= 0.0 && score.borrow().losses.len() == 2);
    if !planar {
        return by_rank(&constrained_ranks(scores));
    }
    let losses: Vec<&[f64]> = scores.iter().map(|score| &*score.borrow().losses).collect();
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    planar_ranks(&losses, |i, rank| match fronts.get_mut(rank) {
        Some(front) => front.push(i),
        None => fronts.push(vec![i]),
    });
    fronts
}

/// The members of every rank, ascending.
#[must_use]
pub fn by_rank(ranks: &[u32]) -> Vec<Vec<usize>> {
    let mut fronts = vec![Vec::new(); ranks.iter().max().map_or(0, |&rank| rank as usize + 1)];
    for (i, &rank) in ranks.iter().enumerate() {
        fronts[rank as usize].push(i);
    }
    fronts
}

/// An integer that orders as `f64::total_cmp` does, so that sorting compares integers.
#[inline]
pub(super) fn ordered(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Gives every point of two losses its rank, in lexicographic order; no rank comes before a lesser one did.
fn planar_ranks<P: AsRef<[f64]>>(points: &[P], mut give: impl FnMut(usize, usize)) {
    let mut order: Vec<(i64, i64, u32)> = points
        .iter()
        .zip(0..)
        .map(|(point, i)| (ordered(point.as_ref()[0]), ordered(point.as_ref()[1]), i))
        .collect();
    order.sort_unstable();
    // The least second loss of every layer; ascending, since every layer dominates all that the next one holds.
    let mut least: Vec<i64> = Vec::new();
    let (mut last, mut rank) = (None, 0);
    for &(x, y, i) in &order {
        if last != Some((x, y)) {
            rank = least.partition_point(|&smallest| smallest <= y);
            match least.get_mut(rank) {
                Some(smallest) => *smallest = y,
                None => least.push(y),
            }
            last = Some((x, y));
        }
        give(i as usize, rank);
    }
}

/// Points as rows of ordered integers.
struct Rows {
    width: usize,
    cells: Vec<i64>,
}

impl Rows {
    fn new<P: AsRef<[f64]>>(points: &[P]) -> Self {
        let cells = points.iter().flat_map(|point| point.as_ref().iter().map(|&x| ordered(x))).collect();
        Rows { width: points.first().map_or(0, |point| point.as_ref().len()), cells }
    }

    fn get(&self, i: usize) -> &[i64] {
        &self.cells[i * self.width..(i + 1) * self.width]
    }

    fn lexicographic(&self) -> Vec<usize> {
        let n = self.cells.len().checked_div(self.width).unwrap_or(0);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&i, &j| self.get(i).cmp(self.get(j)));
        order
    }
}

/// What is asked of a layer whose points come in lexicographic order: whether one of them dominates a later, different
/// point. The first loss never decides that.
enum Layer {
    /// One loss: any earlier, different point dominates.
    Any,
    /// Two losses: the least second loss.
    Least(i64),
    /// Three losses: the minimal (second, third), the second ascending and the third descending.
    Stairs(Vec<(i64, i64)>),
    /// More: all losses from the second on, row after row.
    All { width: usize, cells: Vec<i64> },
}

impl Layer {
    fn new(row: &[i64]) -> Self {
        match row {
            [] | [_] => Layer::Any,
            [_, y] => Layer::Least(*y),
            [_, y, z] => Layer::Stairs(vec![(*y, *z)]),
            [_, rest @ ..] => Layer::All { width: rest.len(), cells: rest.to_vec() },
        }
    }

    fn dominates(&self, row: &[i64]) -> bool {
        match self {
            Layer::Any => true,
            Layer::Least(y) => *y <= row[1],
            Layer::Stairs(stairs) => {
                let left = stairs.partition_point(|stair| stair.0 <= row[1]);
                left > 0 && stairs[left - 1].1 <= row[2]
            }
            // Later rows are nearer in the first loss, hence likelier to dominate.
            Layer::All { width, cells } => {
                cells.rchunks_exact(*width).any(|other| other.iter().zip(&row[1..]).all(|(a, b)| a <= b))
            }
        }
    }

    /// Adds a row that the layer does not dominate.
    fn insert(&mut self, row: &[i64]) {
        match self {
            Layer::Any => {}
            Layer::Least(y) => *y = row[1],
            Layer::Stairs(stairs) => {
                let start = stairs.partition_point(|stair| stair.0 < row[1]);
                let covered = stairs[start..].iter().take_while(|stair| stair.1 >= row[2]).count();
                stairs.splice(start..start + covered, [(row[1], row[2])]);
            }
            Layer::All { cells, .. } => cells.extend_from_slice(&row[1..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_points() -> impl Strategy<Value = Vec<Vec<f64>>> {
        (1_usize..6).prop_flat_map(|m| {
            proptest::collection::vec(proptest::collection::vec((0_u8..6).prop_map(f64::from), m), 0..60)
        })
    }

    proptest! {
        #[test]
        fn the_front_is_what_nobody_dominates(points in any_points()) {
            let brute: Vec<usize> = (0..points.len())
                .filter(|&i| !points.iter().any(|other| dominates(other, &points[i])))
                .collect();
            prop_assert_eq!(front(&points), brute);
        }

        #[test]
        fn ranks_are_the_fronts_peeled_one_by_one(points in any_points()) {
            let found = ranks(&points);
            let mut left: Vec<usize> = (0..points.len()).collect();
            let mut rank = 0;
            while !left.is_empty() {
                let (peeled, rest): (Vec<usize>, Vec<usize>) =
                    left.iter().partition(|&&i| !left.iter().any(|&j| dominates(&points[j], &points[i])));
                prop_assert!(peeled.iter().all(|&i| found[i] == rank), "{:?}", found);
                left = rest;
                rank += 1;
            }
        }

        #[test]
        fn constrained_ranks_agree_with_constrained_domination(
            points in proptest::collection::vec((0_u8..4, 0_u8..5, 0_u8..5), 0..50)
        ) {
            let scores: Vec<Score> = points
                .iter()
                .map(|&(v, x, y)| Score {
                    violation: f64::from(v.saturating_sub(1)),
                    losses: [f64::from(x), f64::from(y)].into(),
                })
                .collect();
            let found = constrained_ranks(&scores);
            for i in 0..scores.len() {
                let above = (0..scores.len()).filter(|&j| scores[j].dominates(&scores[i])).map(|j| found[j]).max();
                prop_assert_eq!(found[i], above.map_or(0, |rank| rank + 1));
            }
        }
    }

    #[test]
    fn a_point_is_not_dominated_by_its_equal() {
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 3.0], &[2.0, 2.0]));
        assert_eq!(front(&[[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]]), [0, 1]);
    }

    #[test]
    fn nan_ranks_behind_numbers() {
        assert_eq!(ranks(&[[f64::NAN, 0.0], [1.0, 0.0], [f64::INFINITY, 0.0]]), [2, 0, 1]);
        assert_eq!(front(&[[f64::NAN], [1.0]]), [1]);
    }

    #[test]
    fn crowding_by_hand() {
        let distance = crowding(&[[0.0, 4.0], [4.0, 0.0], [1.0, 2.0], [2.0, 1.0]]);
        assert_eq!(distance, [f64::INFINITY, f64::INFINITY, 0.5 + 0.75, 0.75 + 0.5]);
        assert_eq!(crowding(&[[1.0], [1.0], [1.0]])[1], 0.0);
    }

    #[test]
    fn the_crowded_order_puts_the_ends_of_the_front_first() {
        let score = |x: f64, y: f64| Score { violation: 0.0, losses: [x, y].into() };
        let scores = [score(5.0, 5.0), score(1.0, 2.0), score(1.1, 1.9), score(0.0, 4.0), score(4.0, 0.0)];
        assert_eq!(crowded_order(&scores, 9), [3, 4, 2, 1, 0]);
        assert_eq!(crowded_order(&scores, 2), [3, 4]);
    }
}
