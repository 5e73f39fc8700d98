//! Regression trees on binned columns: what forests and boosting grow.
//!
//! Columns are cut once into at most 255 bins (Ke et al. 2017, "LightGBM"; exact where a column has fewer values, as
//! every one-hot column has), so a split is found by one pass over the rows of a node a column, or, where columns have two
//! values, a pass for several of them. A split maximises the
//! gain of the regularised squared loss (Chen and Guestrin 2016, arXiv 1603.02754, equation 7 with unit hessians);
//! with `penalty` 0 that is the reduction of variance of CART.

use rand::Rng as _;

use super::Rows;
use crate::rng::Rng;

const MAX_BINS: usize = 255;
/// Columns of two values that are summed in one pass: sums that do not wait for one another.
const LANES: usize = 8;

/// Rows with every column cut into bins.
pub(super) struct Binned {
    /// For each column the cuts between its bins, ascending.
    cuts: Vec<Vec<f64>>,
    /// Row after row, the bin of every column.
    bins: Vec<u8>,
}

impl Binned {
    pub(super) fn new(rows: &Rows) -> Self {
        let mut cuts = Vec::with_capacity(rows.width());
        let mut bins = vec![0; rows.len() * rows.width()];
        for column in 0..rows.width() {
            let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            let gaps = values.len().saturating_sub(1);
            let wanted = gaps.min(MAX_BINS - 1);
            let edges: Vec<f64> = (1..=wanted)
                .map(|k| {
                    let right = k * gaps / wanted;
                    f64::midpoint(values[right - 1], values[right])
                })
                .collect();
            for (bins, row) in bins.chunks_exact_mut(rows.width()).zip(rows.iter()) {
                bins[column] = edges.partition_point(|&cut| cut < row[column]) as u8;
            }
            cuts.push(edges);
        }
        Binned { cuts, bins }
    }

    fn bin(&self, row: usize, column: usize) -> u8 {
        self.bins[row * self.cuts.len() + column]
    }

    /// For each of these columns of two values, the sum and the number of the rows in its first bin.
    fn first_bins(&self, columns: [usize; LANES], rows: &[usize], targets: &[f64]) -> [(f64, usize); LANES] {
        let (mut sums, mut second) = ([0.0; LANES], [0_usize; LANES]);
        for &row in rows {
            let bins = &self.bins[row * self.cuts.len()..][..self.cuts.len()];
            let target = targets[row].to_bits();
            for ((sum, second), &column) in sums.iter_mut().zip(&mut second).zip(&columns) {
                let bin = bins[column];
                // Without a branch: the target in bin 0, nothing in bin 1.
                *sum += f64::from_bits(target & u64::from(bin).wrapping_sub(1));
                *second += usize::from(bin);
            }
        }
        std::array::from_fn(|lane| (sums[lane], rows.len() - second[lane]))
    }
}

/// How a tree is grown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// Splits from the root to a leaf, at most.
    pub(super) depth: usize,
    /// Rows in a leaf, at least.
    pub(super) leaf: usize,
    /// The fraction of the columns that are looked at for a split.
    pub(super) columns: f64,
    /// Weight of the squared leaf values.
    pub(super) penalty: f64,
}

enum Node {
    Leaf {
        value: f64,
        variance: f64,
    },
    /// The left child, for rows up to the cut, is the next node.
    Split {
        column: usize,
        cut: f64,
        right: usize,
    },
}

/// A binary tree with a value in every leaf.
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// A tree for the targets of these rows (a row may be named several times).
    pub(super) fn grow(
        binned: &Binned,
        targets: &[f64],
        mut rows: Vec<usize>,
        growth: Growth,
        rng: &mut Rng,
    ) -> Tree {
        let usable: Vec<usize> = (0..binned.cuts.len()).filter(|&c| !binned.cuts[c].is_empty()).collect();
        let tried = ((usable.len() as f64 * growth.columns).round() as usize).clamp(1, usable.len().max(1));
        let mut grower = Grower {
            binned,
            targets,
            growth,
            columns: usable,
            tried,
            firsts: vec![(0.0, 0); tried],
            sums: [0.0; MAX_BINS],
            counts: [0; MAX_BINS],
            nodes: Vec::new(),
        };
        grower.node(&mut rows, growth.depth, rng);
        Tree { nodes: grower.nodes }
    }

    /// Value and variance of the leaf that a row falls into.
    pub(super) fn leaf(&self, row: &[f64]) -> (f64, f64) {
        let mut at = 0;
        loop {
            match &self.nodes[at] {
                Node::Leaf { value, variance } => return (*value, *variance),
                Node::Split { column, cut, right } => at = if row[*column] <= *cut { at + 1 } else { *right },
            }
        }
    }
}

struct Grower<'a> {
    binned: &'a Binned,
    targets: &'a [f64],
    growth: Growth,
    columns: Vec<usize>,
    tried: usize,
    /// For each column that is tried and has two values, the sum and the number of the rows in its first bin.
    firsts: Vec<(f64, usize)>,
    sums: [f64; MAX_BINS],
    counts: [usize; MAX_BINS],
    nodes: Vec<Node>,
}

impl Grower<'_> {
    fn node(&mut self, rows: &mut [usize], depth: usize, rng: &mut Rng) {
        let n = rows.len() as f64;
        let sum: f64 = rows.iter().map(|&i| self.targets[i]).sum();
        let split =
            if depth > 0 && rows.len() >= 2 * self.growth.leaf { self.split(rows, sum, rng) } else { None };
        let Some((column, bin)) = split else {
            let mean = sum / n;
            let variance = rows.iter().map(|&i| (self.targets[i] - mean).powi(2)).sum::<f64>() / n;
            self.nodes.push(Node::Leaf { value: sum / (n + self.growth.penalty), variance });
            return;
        };
        let mut middle = 0;
        for i in 0..rows.len() {
            if self.binned.bin(rows[i], column) <= bin {
                rows.swap(i, middle);
                middle += 1;
            }
        }
        let (left, right) = rows.split_at_mut(middle);
        let here = self.nodes.len();
        self.nodes.push(Node::Leaf { value: 0.0, variance: 0.0 });
        self.node(left, depth - 1, rng);
        self.nodes[here] =
            Node::Split { column, cut: self.binned.cuts[column][usize::from(bin)], right: self.nodes.len() };
        self.node(right, depth - 1, rng);
    }

    /// The column and last left bin of the best split, if any improves on no split.
    fn split(&mut self, rows: &[usize], sum: f64, rng: &mut Rng) -> Option<(usize, u8)> {
        let n = rows.len();
        let strength = |sum: f64, n: usize| sum * sum / (n as f64 + self.growth.penalty);
        let whole = strength(sum, n);
        let tried = self.tried.min(self.columns.len());
        if self.tried < self.columns.len() {
            for k in 0..tried {
                let swap = rng.random_range(k..self.columns.len());
                self.columns.swap(k, swap);
            }
        }
        let binary: Vec<usize> =
            (0..tried).filter(|&k| self.binned.cuts[self.columns[k]].len() == 1).collect();
        for lanes in binary.chunks(LANES) {
            // The last chunk names its first column again where it has fewer.
            let columns = std::array::from_fn(|lane| self.columns[*lanes.get(lane).unwrap_or(&lanes[0])]);
            let firsts = self.binned.first_bins(columns, rows, self.targets);
            for (&k, first) in lanes.iter().zip(firsts) {
                self.firsts[k] = first;
            }
        }
        let mut best = None;
        // Of equal targets no split gains more than rounding errors.
        let mut best_gain = 1e-12 * whole.abs() + f64::MIN_POSITIVE;
        for k in 0..tried {
            let column = self.columns[k];
            let cuts = self.binned.cuts[column].len();
            if cuts == 1 {
                (self.sums[0], self.counts[0]) = self.firsts[k];
            } else {
                self.sums[..=cuts].fill(0.0);
                self.counts[..=cuts].fill(0);
                for &i in rows {
                    let bin = usize::from(self.binned.bin(i, column));
                    self.sums[bin] += self.targets[i];
                    self.counts[bin] += 1;
                }
            }
            let (mut left_sum, mut left_n) = (0.0, 0);
            for bin in 0..cuts {
                left_sum += self.sums[bin];
                left_n += self.counts[bin];
                if self.counts[bin] == 0 || left_n < self.growth.leaf {
                    continue;
                }
                if n - left_n < self.growth.leaf.max(1) {
                    break;
                }
                let gain = strength(left_sum, left_n) + strength(sum - left_sum, n - left_n) - whole;
                if gain > best_gain {
                    best_gain = gain;
                    best = Some((column, bin as u8));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn a_full_tree_remembers_every_distinct_row() {
        let mut rows = Rows::new(2);
        let mut targets = Vec::new();
        for i in 0..600 {
            rows.push(&[f64::from(i % 20), f64::from(i / 20) * 0.37]).unwrap();
            targets.push(f64::from((i * 7919) % 601));
        }
        let growth = Growth { depth: 40, leaf: 1, columns: 1.0, penalty: 0.0 };
        let tree =
            Tree::grow(&Binned::new(&rows), &targets, (0..600).collect(), growth, &mut stream(0, 0, "test"));
        for (row, target) in rows.iter().zip(&targets) {
            assert_eq!(tree.leaf(row), (*target, 0.0));
        }
    }

    #[test]
    fn a_stump_cuts_in_the_middle_of_the_step() {
        let mut rows = Rows::new(1);
        let mut targets = Vec::new();
        for i in 0..1000 {
            rows.push(&[f64::from(i)]).unwrap();
            targets.push(if i < 400 { 1.0 } else { 5.0 });
        }
        let growth = Growth { depth: 1, leaf: 1, columns: 1.0, penalty: 0.0 };
        let tree =
            Tree::grow(&Binned::new(&rows), &targets, (0..1000).collect(), growth, &mut stream(0, 0, "test"));
        assert!(tree.leaf(&[390.0]).0 < 1.1 && tree.leaf(&[410.0]).0 > 4.9);
    }
}
