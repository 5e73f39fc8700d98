//! Hypervolume: how much a set of points dominates, up to a reference point.
//!
//! Two losses: one sweep, O(n log n). Three: a sweep in the third loss over the staircase of the first two, O(n log n)
//! (Beume, Fonseca, Lopez-Ibanez, Paquete and Vahrenhold 2009, DOI 10.1109/TEVC.2009.2015575). Four: a sweep in the
//! fourth loss that adds to a volume of three what each point alone contributes to it (Guerreiro, Fonseca and Emmerich
//! 2012, "A Fast Dimension-Sweep Algorithm for the Hypervolume Indicator in Four Dimensions"), O(n^2). More: the sum of
//! exclusive volumes of WFG (While, Bradstreet and Barone 2012, DOI 10.1109/TEVC.2010.2077298), taken in order of the
//! last loss, so that each one is a hypervolume of one loss fewer.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::{Score, front};

/// The volume dominated by `points` (smaller is better) and not worse than `reference`; points that are not better than
/// the reference everywhere add nothing.
#[must_use]
pub fn hypervolume<P: AsRef<[f64]>>(points: &[P], reference: &[f64]) -> f64 {
    let inside: Vec<&[f64]> = points
        .iter()
        .map(AsRef::as_ref)
        .filter(|point| point.iter().zip(reference).all(|(x, bound)| x < bound))
        .collect();
    if inside.is_empty() { 0.0 } else { volume(inside, reference) }
}

/// The hypervolume of the feasible scores.
#[must_use]
pub fn feasible_hypervolume<S: Borrow<Score>>(scores: &[S], reference: &[f64]) -> f64 {
    let feasible: Vec<&[f64]> = scores
        .iter()
        .map(Borrow::borrow)
        .filter(|score| score.violation <= 0.0)
        .map(|score| &*score.losses)
        .collect();
    hypervolume(&feasible, reference)
}

fn volume(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    let last = reference.len().saturating_sub(1);
    match last {
        0 => points.iter().map(|point| reference[0] - point[0]).fold(0.0, f64::max),
        1 => {
            points.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]));
            area(&points, reference)
        }
        2 => {
            points.sort_unstable_by(|a, b| a[2].total_cmp(&b[2]));
            sweep(&points, reference)
        }
        3 => {
            points.sort_unstable_by(|a, b| a[3].total_cmp(&b[3]));
            sweep_of_volumes(&points, reference)
        }
        _ => {
            points.sort_by(|a, b| a[last].total_cmp(&b[last]));
            let mut sum = 0.0;
            let mut limits: Vec<Vec<f64>> = Vec::new();
            for (i, point) in points.iter().enumerate() {
                let base = &point[..last];
                limits.clear();
                limits.extend(
                    points[..i]
                        .iter()
                        .map(|q| q.iter().zip(base).map(|(a, b)| a.max(*b)).collect::<Vec<f64>>()),
                );
                // An earlier point that is nowhere worse leaves nothing.
                if limits.iter().any(|limit| limit == base) {
                    continue;
                }
                let whole: f64 = base.iter().zip(reference).map(|(x, bound)| bound - x).product();
                let shared = if limits.is_empty() {
                    0.0
                } else {
                    let kept = front(&limits);
                    volume(kept.into_iter().map(|k| &*limits[k]).collect(), &reference[..last])
                };
                sum += (whole - shared) * (reference[last] - point[last]);
            }
            sum
        }
    }
}

/// Two losses, the first ascending.
fn area(points: &[&[f64]], reference: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut height = reference[1];
    for point in points {
        if point[1] < height {
            sum += (reference[0] - point[0]) * (height - point[1]);
            height = point[1];
        }
    }
    sum
}

/// A number with the order of `f64::total_cmp`, as a key.
#[derive(Clone, Copy, PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Three losses, the third ascending.
fn sweep(points: &[&[f64]], reference: &[f64]) -> f64 {
    // The minimal (first, second) so far: the second falls as the first rises.
    let mut stairs: BTreeMap<Ordered, f64> = BTreeMap::new();
    let (mut volume, mut area, mut floor) = (0.0, 0.0, points[0][2]);
    let mut covered: Vec<Ordered> = Vec::new();
    for point in points {
        let (x, y) = (point[0], point[1]);
        if stairs.range(..=Ordered(x)).next_back().is_some_and(|(_, &left)| left <= y) {
            continue;
        }
        volume += area * (point[2] - floor);
        floor = point[2];
        let mut height = stairs.range(..Ordered(x)).next_back().map_or(reference[1], |(_, &left)| left);
        let mut from = x;
        let mut open = true;
        covered.clear();
        for (&key, &below) in stairs.range(Ordered(x)..) {
            area += (key.0 - from) * (height - y);
            if below < y {
                open = false;
                break;
            }
            covered.push(key);
            (from, height) = (key.0, below);
        }
        if open {
            area += (reference[0] - from) * (height - y);
        }
        for key in &covered {
            stairs.remove(key);
        }
        stairs.insert(Ordered(x), y);
    }
    volume + area * (reference[2] - floor)
}

/// Four losses, the fourth ascending.
fn sweep_of_volumes(points: &[&[f64]], reference: &[f64]) -> f64 {
    let mut met = Met::default();
    let mut corner = Corner::default();
    let (mut sum, mut volume, mut floor) = (0.0, 0.0, points[0][3]);
    for point in points {
        let new = [point[0], point[1], point[2]];
        let gain = corner.gain(new, &met, reference);
        if gain <= 0.0 {
            continue;
        }
        sum += volume * (point[3] - floor);
        (floor, volume) = (point[3], volume + gain);
        met.insert(new);
    }
    sum + volume * (reference[3] - floor)
}

/// Values that are looked at together, without a branch.
const LANES: usize = 8;

/// The first three losses of what a sweep met, none of them dominated, the third ascending; each loss by itself, so that
/// the scans, which are nearly all the work, are vectors to the compiler.
#[derive(Default)]
struct Met([Vec<f64>; 3]);

impl Met {
    /// The number of those whose third loss is not above `z`.
    fn count(&self, z: f64) -> usize {
        self.0[2].partition_point(|&other| other <= z)
    }

    /// Of the first `count`: the least first loss where the second is at most `y`, and the least second loss where the
    /// first is at most `x`; not above `bounds`.
    fn nearest(&self, count: usize, [x, y]: [f64; 2], bounds: [f64; 2]) -> [f64; 2] {
        let least = |a: f64, b: f64| if a < b { a } else { b };
        let pick = |keep: bool, value: f64| if keep { value } else { f64::INFINITY };
        let (xs, ys) = (&self.0[0][..count], &self.0[1][..count]);
        let (mut right, mut high) = ([bounds[0]; LANES], [bounds[1]; LANES]);
        let whole = count - count % LANES;
        for (xs, ys) in xs.chunks_exact(LANES).zip(ys.chunks_exact(LANES)) {
            for lane in 0..LANES {
                right[lane] = least(pick(ys[lane] <= y, xs[lane]), right[lane]);
                high[lane] = least(pick(xs[lane] <= x, ys[lane]), high[lane]);
            }
        }
        for (&other_x, &other_y) in xs[whole..].iter().zip(&ys[whole..]) {
            right[0] = least(pick(other_y <= y, other_x), right[0]);
            high[0] = least(pick(other_x <= x, other_y), high[0]);
        }
        [right.into_iter().fold(bounds[0], least), high.into_iter().fold(bounds[1], least)]
    }

    /// Calls `visit` with those of `range` for which `inside` holds, in order, until it says no.
    fn visit(
        &self,
        range: Range<usize>,
        inside: impl Fn(f64, f64) -> bool,
        mut visit: impl FnMut([f64; 3]) -> bool,
    ) -> bool {
        let [xs, ys, zs] = &self.0;
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + LANES);
            let (near_xs, near_ys) = (&xs[start..end], &ys[start..end]);
            if near_xs.iter().zip(near_ys).fold(false, |any, (&x, &y)| any | inside(x, y)) {
                for i in start..end {
                    if inside(xs[i], ys[i]) && !visit([xs[i], ys[i], zs[i]]) {
                        return false;
                    }
                }
            }
            start = end;
        }
        true
    }

    /// Adds a point that none dominates; those that it dominates, which are behind it, go.
    fn insert(&mut self, [x, y, z]: [f64; 3]) {
        let [xs, ys, zs] = &mut self.0;
        let at = zs.partition_point(|&other| other < z);
        let mut end = at;
        for i in at..xs.len() {
            (xs[end], ys[end], zs[end]) = (xs[i], ys[i], zs[i]);
            end += usize::from(xs[i] < x || ys[i] < y);
        }
        for (values, value) in self.0.iter_mut().zip([x, y, z]) {
            values.truncate(end);
            values.insert(at, value);
        }
    }
}

/// The quadrant of one point, and what others cover of it.
#[derive(Default)]
struct Corner {
    /// The minimal (first, second) of the others: the first ascending, the second descending.
    stairs: Vec<(f64, f64)>,
}

impl Corner {
    /// The volume that a point of three losses dominates and none of the others does.
    #[expect(clippy::needless_bitwise_bool, reason = "without branches the scans are vectors")]
    fn gain(&mut self, [x, y, z]: [f64; 3], others: &Met, reference: &[f64]) -> f64 {
        self.stairs.clear();
        let lower = others.count(z);
        // What is free lies within this box, which those that are below the point in one of the first two bound.
        let bounds = others.nearest(lower, [x, y], [reference[0], reference[1]]);
        let [mut right, mut high] = bounds;
        if right <= x || high <= y {
            return 0.0;
        }
        let mut free = (right - x) * (high - y);
        // The other lower ones are above the point in both.
        others.visit(
            0..lower,
            |other_x, other_y| (other_x > x) & (other_y > y) & (other_x < right) & (other_y < high),
            |[left, low, _]| {
                free -= self.cover(left, low, bounds);
                true
            },
        );
        let (mut gain, mut floor) = (0.0, z);
        let open = others.visit(
            lower..others.0[0].len(),
            |other_x, other_y| (other_x < bounds[0]) & (other_y < bounds[1]),
            |[other_x, other_y, other_z]| {
                if other_x >= right || other_y >= high {
                    return true;
                }
                let (left, low) = (other_x.max(x), other_y.max(y));
                gain += free * (other_z - floor);
                floor = other_z;
                match (left <= x, low <= y) {
                    (true, true) => return false,
                    (true, false) => high = low,
                    (false, true) => right = left,
                    (false, false) => {}
                }
                free -= self.cover(left, low, bounds);
                true
            },
        );
        if open { gain + free * (reference[2] - floor) } else { gain }
    }

    /// Adds a pair; the area below the bounds that it covers anew.
    fn cover(&mut self, x: f64, y: f64, bounds: [f64; 2]) -> f64 {
        let start = self.stairs.partition_point(|stair| stair.0 < x);
        let covers = |stair: &(f64, f64)| stair.0 <= x && stair.1 <= y;
        if self.stairs[..start].last().is_some_and(covers) || self.stairs.get(start).is_some_and(covers) {
            return 0.0;
        }
        let (mut area, mut from) = (0.0, x);
        let mut height = if start > 0 { self.stairs[start - 1].1 } else { bounds[1] };
        let mut end = start;
        while let Some(&(next, below)) = self.stairs.get(end) {
            area += (next - from) * (height - y);
            if below < y {
                break;
            }
            (from, height) = (next, below);
            end += 1;
        }
        if end == self.stairs.len() {
            area += (bounds[0] - from) * (height - y);
        }
        self.stairs.splice(start..end, [(x, y)]);
        area
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of unit cells of `[0, side)^m` that a point dominates.
    fn brute(points: &[Vec<f64>], side: u32, m: usize) -> f64 {
        let dominated = |cell: u32| {
            let corner: Vec<f64> = (0..m as u32).map(|k| f64::from(cell / side.pow(k) % side)).collect();
            points.iter().any(|p| p.iter().zip(&corner).all(|(x, c)| x <= c))
        };
        (0..side.pow(m as u32)).filter(|&cell| dominated(cell)).count() as f64
    }

    proptest! {
        #[test]
        fn it_counts_the_dominated_cells(
            points in (1_usize..6).prop_flat_map(|m| {
                proptest::collection::vec(proptest::collection::vec((0_u8..7).prop_map(f64::from), m), 1..14)
            })
        ) {
            let m = points[0].len();
            let found = hypervolume(&points, &vec![5.0; m]);
            prop_assert!((found - brute(&points, 5, m)).abs() < 1e-9, "{} {}", found, brute(&points, 5, m));
        }
    }

    #[test]
    fn only_feasible_and_better_ones_count() {
        let score = |violation: f64, losses: [f64; 2]| Score { violation, losses: losses.into() };
        let scores = [score(0.0, [0.0, 1.0]), score(1.0, [0.0, 0.0]), score(0.0, [f64::NAN, 0.0])];
        assert_eq!(feasible_hypervolume(&scores, &[2.0, 2.0]), 2.0);
        assert_eq!(hypervolume::<[f64; 2]>(&[], &[1.0, 1.0]), 0.0);
    }

    #[test]
    fn the_sphere_in_three_and_four_losses() {
        // Points on the negative orthant's sphere nearly fill its volume: pi/6 and pi^2/32.
        let mut points = Vec::new();
        let steps = 40;
        for i in 0..=steps {
            for j in 0..=steps {
                let (a, b) = (f64::from(i) / f64::from(steps), f64::from(j) / f64::from(steps));
                let (a, b) = (a * std::f64::consts::FRAC_PI_2, b * std::f64::consts::FRAC_PI_2);
                points.push(vec![-a.cos() * b.cos(), -a.cos() * b.sin(), -a.sin()]);
            }
        }
        let found = hypervolume(&points, &[0.0; 3]);
        let whole = std::f64::consts::PI / 6.0;
        assert!(found < whole && found > 0.93 * whole, "{found}");
        let padded: Vec<Vec<f64>> = points.iter().map(|p| [&p[..], &[-0.5]].concat()).collect();
        assert!((hypervolume(&padded, &[0.0; 4]) - found / 2.0).abs() < 1e-12);
    }
}
