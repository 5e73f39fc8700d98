//! A cell of NAS-Bench-101: a directed acyclic graph of at most seven operations, and when two of them are the same.
//!
//! Ying et al. 2019, "NAS-Bench-101: Towards Reproducible Neural Architecture Search", arXiv 1902.09635, section 2. The
//! key of a cell is the benchmark's own iterated hash of neighbourhoods (`graph_util.hash_module`), the same for cells
//! that differ only in the order of their vertices. MD5 is what the published files use and costs 10 µs a cell; the
//! short key repeats the scheme with a 64-bit mixer and sums instead of sorts, and costs 0.3 µs.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};

use super::Refusal;

/// The largest number of vertices, input and output included.
pub const MAX_VERTICES: usize = 7;
/// The largest number of edges.
pub const MAX_EDGES: u32 = 9;

/// Labels of input and output in the hash.
const INPUT: i8 = -1;
const OUTPUT: i8 = -2;

/// A graph whose edges lead from lower to higher vertices; vertex 0 is the input, the last one the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    n: u8,
    /// Bit `x` of `before[y]`: there is an edge from x to y.
    before: [u8; MAX_VERTICES],
    /// 0 conv3x3, 1 conv1x1, 2 maxpool3x3; input and output have -1 and -2.
    labels: [i8; MAX_VERTICES],
}

impl Cell {
    /// A cell of `n` vertices; bit `x + y (y - 1) / 2` of `edges` is the edge from x to y; `ops` label the inner vertices.
    ///
    /// Returns `None` for fewer than 2 or more than 7 vertices, or another number of operations than `n - 2`.
    #[must_use]
    pub fn new(n: usize, edges: u32, ops: impl IntoIterator<Item = u8>) -> Option<Self> {
        if !(2..=MAX_VERTICES).contains(&n) {
            return None;
        }
        let mut cell = Cell { n: n as u8, before: [0; MAX_VERTICES], labels: [INPUT; MAX_VERTICES] };
        for y in 1..n {
            cell.before[y] = (edges >> (y * (y - 1) / 2)) as u8 & ((1 << y) - 1);
        }
        let mut given = 0;
        for op in ops {
            given += 1;
            *cell.labels.get_mut(given)? = i8::try_from(op).ok().filter(|op| *op <= 2)?;
        }
        cell.labels[n - 1] = OUTPUT;
        (given == n - 2).then_some(cell)
    }

    /// The number of vertices.
    #[must_use]
    pub fn vertices(&self) -> usize {
        usize::from(self.n)
    }

    /// The number of edges.
    #[must_use]
    pub fn edges(&self) -> u32 {
        self.before.iter().map(|before| before.count_ones()).sum()
    }

    /// The edges as [`Cell::new`] takes them.
    #[must_use]
    pub fn edge_bits(&self) -> u32 {
        (1..self.vertices()).map(|y| u32::from(self.before[y]) << (y * (y - 1) / 2)).sum()
    }

    /// The operations of the inner vertices.
    pub fn ops(&self) -> impl Iterator<Item = u8> + '_ {
        self.labels[1..self.vertices() - 1].iter().map(|&label| label as u8)
    }

    /// The cell without vertices that are not on a way from input to output.
    ///
    /// # Errors
    /// As the benchmark refuses cells: the output is not reached, or more than nine edges are left.
    pub fn pruned(&self) -> Result<Cell, Refusal> {
        let n = self.vertices();
        let mut reached = 1_u8;
        for y in 1..n {
            reached |= u8::from(self.before[y] & reached != 0) << y;
        }
        let mut useful = 1_u8 << (n - 1);
        for y in (1..n).rev() {
            if useful >> y & 1 == 1 {
                useful |= self.before[y];
            }
        }
        let kept = reached & useful;
        if kept >> (n - 1) & 1 == 0 {
            return Err("no path leads from the input to the output of the cell");
        }
        let mut cell = Cell { n: 0, before: [0; MAX_VERTICES], labels: [INPUT; MAX_VERTICES] };
        for y in (0..n).filter(|y| kept >> y & 1 == 1) {
            for (place, x) in (0..y).filter(|x| kept >> x & 1 == 1).enumerate() {
                cell.before[usize::from(cell.n)] |= (self.before[y] >> x & 1) << place;
            }
            cell.labels[usize::from(cell.n)] = self.labels[y];
            cell.n += 1;
        }
        if cell.edges() > MAX_EDGES {
            return Err("the cell has more than 9 edges");
        }
        Ok(cell)
    }

    fn after(&self, x: usize) -> u8 {
        (x + 1..self.vertices()).map(|y| (self.before[y] >> x & 1) << y).sum()
    }

    /// The benchmark's key: the same for isomorphic cells.
    #[must_use]
    pub fn key(&self) -> String {
        let n = self.vertices();
        let mut hashes: Vec<String> = (0..n)
            .map(|v| {
                let (out, into) = (self.after(v).count_ones(), self.before[v].count_ones());
                hex(&format!("({out}, {into}, {})", self.labels[v]))
            })
            .collect();
        for _ in 0..n {
            let sorted = |vertices: u8| {
                let mut of: Vec<&str> =
                    (0..n).filter(|w| vertices >> w & 1 == 1).map(|w| &*hashes[w]).collect();
                of.sort_unstable();
                of.concat()
            };
            hashes = (0..n)
                .map(|v| hex(&format!("{}|{}|{}", sorted(self.before[v]), sorted(self.after(v)), hashes[v])))
                .collect();
        }
        hashes.sort_unstable();
        hex(&format!("['{}']", hashes.join("', '")))
    }

    /// A number that tells apart what [`Cell::key`] tells apart, up to chance collisions of 64 bits.
    #[must_use]
    pub fn short_key(&self) -> u64 {
        let n = self.vertices();
        let after: [u8; MAX_VERTICES] = std::array::from_fn(|x| if x < n { self.after(x) } else { 0 });
        let mut hashes = [0_u64; MAX_VERTICES];
        for v in 0..n {
            let degrees = after[v].count_ones() << 8 | self.before[v].count_ones();
            hashes[v] = mix(u64::from(degrees) << 8 | u64::from(self.labels[v] as u8));
        }
        for _ in 0..n {
            let sum = |mut vertices: u8, hashes: &[u64; MAX_VERTICES]| {
                let mut sum = 0_u64;
                while vertices != 0 {
                    sum = sum.wrapping_add(hashes[vertices.trailing_zeros() as usize]);
                    vertices &= vertices - 1;
                }
                sum
            };
            let last = hashes;
            for v in 0..n {
                let (into, out) = (sum(self.before[v], &last), sum(after[v], &last));
                hashes[v] = mix(last[v] ^ mix(into ^ 0x9e37_79b9_7f4a_7c15) ^ mix(out).rotate_left(17));
            }
        }
        mix(hashes[..n].iter().fold(n as u64, |sum, &hash| sum.wrapping_add(mix(hash))))
    }
}

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_cell() -> impl Strategy<Value = Cell> {
        (2_usize..=7).prop_flat_map(|n| {
            (0_u32..1 << (n * (n - 1) / 2), proptest::collection::vec(0_u8..3, n - 2))
                .prop_map(move |(edges, ops)| Cell::new(n, edges, ops).unwrap())
        })
    }

    /// The cell with its inner vertices in another order, if edges still lead upwards.
    fn permuted(cell: &Cell, order: &[usize]) -> Option<Cell> {
        let n = cell.vertices();
        let place = |v: usize| if v == 0 || v == n - 1 { v } else { 1 + order[v - 1] };
        let mut edges = 0;
        let mut ops = vec![0; n - 2];
        for y in 1..n {
            for x in (0..y).filter(|x| cell.before[y] >> x & 1 == 1) {
                let (x, y) = (place(x), place(y));
                if x >= y {
                    return None;
                }
                edges |= 1 << (x + y * (y - 1) / 2);
            }
        }
        for (i, op) in cell.ops().enumerate() {
            ops[order[i]] = op;
        }
        Cell::new(n, edges, ops)
    }

    proptest! {
        #[test]
        fn both_keys_see_the_same_cells_as_equal(a in any_cell(), b in any_cell()) {
            prop_assert_eq!(a.key() == b.key(), a.short_key() == b.short_key());
        }

        #[test]
        fn keys_do_not_depend_on_the_order_of_vertices(
            (cell, order) in any_cell().prop_flat_map(|cell| {
                let order: Vec<usize> = (0..cell.vertices() - 2).collect();
                (Just(cell), Just(order).prop_shuffle())
            })
        ) {
            if let Some(other) = permuted(&cell, &order) {
                prop_assert_eq!(cell.key(), other.key());
                prop_assert_eq!(cell.short_key(), other.short_key());
            }
        }

        #[test]
        fn pruning_twice_changes_nothing_more(cell in any_cell()) {
            if let Ok(pruned) = cell.pruned() {
                prop_assert_eq!(pruned.pruned(), Ok(pruned));
                prop_assert!(pruned.edges() <= MAX_EDGES);
                let again = Cell::new(pruned.vertices(), pruned.edge_bits(), pruned.ops());
                prop_assert_eq!(again, Some(pruned));
            }
        }
    }

    #[test]
    fn keys_are_the_published_ones() {
        // The cell with the best mean test accuracy, and the smallest one, as the published file has them.
        let best = Cell::new(7, 1_101_347, [1, 0, 2, 0, 0]).unwrap();
        assert_eq!(best.key(), "02e5a0247bbdcf2860b7e96f74961594");
        assert_eq!(Cell::new(2, 1, []).unwrap().key(), "043721b9c7fe8c5fad811d47d83132ec");
    }

    #[test]
    fn bad_cells_are_refused_as_in_the_paper() {
        let nothing = Cell::new(3, 0, [0]).unwrap();
        assert_eq!(nothing.pruned(), Err("no path leads from the input to the output of the cell"));
        let full = Cell::new(7, (1 << 21) - 1, [0; 5]).unwrap();
        assert_eq!(full.pruned(), Err("the cell has more than 9 edges"));
        // Vertex 1 has no way out, so its edge does not count.
        let dangling = Cell::new(3, 0b011, [2]).unwrap();
        assert_eq!(dangling.pruned(), Ok(Cell::new(2, 1, []).unwrap()));
        assert_eq!(Cell::new(8, 0, [0; 6]), None);
        assert_eq!(Cell::new(3, 0, [3]), None);
        assert_eq!(Cell::new(3, 0, []), None);
    }
}
