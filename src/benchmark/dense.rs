//! Rows that are found by arithmetic: a point's codes are a number in mixed radix.
//!
//! Of an array of points the numbers of sixteen are made together and their codes checked on the way, with vector
//! instructions where the processor has them. For that the compiler must know the number of decisions: up to eight.

use super::Refusal;
use super::table::{Column, Locate};
use crate::error::{Error, Result};
use crate::space::SearchSpace;

/// Rows found by the point's codes as a number in mixed radix, its place.
pub(super) struct Dense {
    /// How far apart two places are whose code of a decision differs by one.
    strides: Box<[u32]>,
    /// The largest code of each decision.
    last: Box<[i32]>,
    /// Whether every combination of codes is a point.
    unconditional: bool,
    /// The number of places.
    size: usize,
    /// The row of each place; empty where that is the place itself.
    rows: Vec<u32>,
}

const NO_ROW: u32 = u32::MAX;
/// Points whose places are worked out together.
const BLOCK: usize = 16;

impl Dense {
    fn of(space: &SearchSpace, rows: Vec<u32>) -> Self {
        let counts: Vec<u32> = (0..space.len()).map(|i| space.count(i).unsigned_abs()).collect();
        Dense {
            strides: (0..counts.len()).map(|i| counts[i + 1..].iter().product()).collect(),
            last: (0..space.len()).map(|i| space.count(i) - 1).collect(),
            unconditional: space.decisions().iter().all(|decision| decision.active_if.is_none()),
            size: rows.len(),
            rows,
        }
    }

    /// Rows whose codes are given row after row. Columns with a row for every point are put in the order of the places.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for codes out of range or given twice.
    pub(super) fn new(space: &SearchSpace, codes: &[u8], columns: &mut [Column]) -> Result<Self> {
        let counts: Box<[u32]> = (0..space.len()).map(|i| space.count(i).unsigned_abs()).collect();
        let size = counts.iter().map(|&n| n as usize).product();
        if counts.is_empty() || !codes.len().is_multiple_of(counts.len()) {
            return Err(Error::Evaluation(format!(
                "the table has {} codes; expected a multiple of {} (one for each decision)",
                codes.len(),
                counts.len()
            )));
        }
        let mut rows = vec![NO_ROW; size];
        for (row, codes) in codes.chunks_exact(counts.len()).enumerate() {
            let mut place = 0;
            for (&code, &count) in codes.iter().zip(&counts) {
                if u32::from(code) >= count {
                    return Err(Error::Evaluation(format!(
                        "row {row} of the table has code {code}; expected less than {count}"
                    )));
                }
                place = place * count as usize + usize::from(code);
            }
            if rows[place] != NO_ROW {
                return Err(Error::Evaluation(format!(
                    "rows {} and {row} of the table are the same point",
                    rows[place]
                )));
            }
            rows[place] = row as u32;
        }
        let mut dense = Dense::of(space, rows);
        let mut levels = columns.iter().flat_map(|column| &column.levels);
        if dense.rows.iter().all(|&row| row != NO_ROW) && levels.all(|level| level.len() == size) {
            for level in columns.iter_mut().flat_map(|column| &mut column.levels) {
                *level = dense.rows.iter().map(|&row| level[row as usize]).collect();
            }
            dense.rows.clear();
        }
        Ok(dense)
    }

    /// The row of every point, in lexicographic order.
    ///
    /// # Errors
    /// [`Error::Evaluation`] unless there is one entry a point.
    pub(super) fn from_rows(
        space: &SearchSpace,
        rows: impl IntoIterator<Item = Option<usize>>,
    ) -> Result<Self> {
        let rows: Vec<u32> = rows.into_iter().map(|row| row.map_or(NO_ROW, |row| row as u32)).collect();
        let size: usize = (0..space.len()).map(|i| space.count(i).unsigned_abs() as usize).product();
        if rows.len() != size {
            return Err(Error::Evaluation(format!("{} rows are given for {size} points", rows.len())));
        }
        Ok(Dense::of(space, rows))
    }

    /// The row of a place, which may be past the end; then and where there is none, a number past the last row.
    #[inline]
    fn row_at(&self, place: u32) -> u32 {
        if self.rows.is_empty() { place } else { self.rows.get(place as usize).copied().unwrap_or(NO_ROW) }
    }

    #[allow(clippy::inline_always)] // into functions of more features, so that its loops get their vectors
    #[inline(always)]
    fn look_up_rows<const WIDTH: usize>(&self, codes: &[i32], column: &[f64], values: &mut [f64]) -> bool {
        let strides: [u32; WIDTH] = std::array::from_fn(|i| self.strides.get(i).copied().unwrap_or(0));
        let last: [i32; WIDTH] = std::array::from_fn(|i| self.last.get(i).copied().unwrap_or(0));
        let value = |place| column.get(self.row_at(place) as usize).copied().unwrap_or(f64::NAN);
        let (blocks, rest) = codes.as_chunks::<WIDTH>().0.as_chunks::<BLOCK>();
        let (out, out_rest) = values.as_chunks_mut::<BLOCK>();
        // The sign says what is wrong: a code is negative, or what is left up to the largest one is.
        let mut signs = [0_i32; BLOCK];
        for (block, out) in blocks.iter().zip(out) {
            let mut places = [0_u32; BLOCK];
            for ((place, sign), codes) in places.iter_mut().zip(&mut signs).zip(block) {
                for ((&code, &stride), &last) in codes.iter().zip(&strides).zip(&last) {
                    *place = place.wrapping_add((code as u32).wrapping_mul(stride));
                    *sign |= code | last.wrapping_sub(code);
                }
            }
            for (out, place) in out.iter_mut().zip(places) {
                *out = value(place);
            }
        }
        for (out, codes) in out_rest.iter_mut().zip(rest) {
            let place = codes.iter().zip(&strides).fold(0, add);
            signs[0] |=
                codes.iter().zip(&last).fold(0, |s, (&code, &last)| s | code | last.wrapping_sub(code));
            *out = value(place);
        }
        signs.into_iter().fold(0, |a, b| a | b) >= 0
    }

    /// [`Dense::look_up_rows`], compiled for each set of vector instructions.
    fn vectorised<const WIDTH: usize>(&self, codes: &[i32], column: &[f64], values: &mut [f64]) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
            fn v4<const WIDTH: usize>(
                table: &Dense,
                codes: &[i32],
                column: &[f64],
                values: &mut [f64],
            ) -> bool {
                table.look_up_rows::<WIDTH>(codes, column, values)
            }

            #[target_feature(enable = "avx2")]
            fn v3<const WIDTH: usize>(
                table: &Dense,
                codes: &[i32],
                column: &[f64],
                values: &mut [f64],
            ) -> bool {
                table.look_up_rows::<WIDTH>(codes, column, values)
            }

            if is_x86_feature_detected!("avx2") {
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has every feature that the function is compiled with.
                    return unsafe { v4::<WIDTH>(self, codes, column, values) };
                }
                // SAFETY: as above.
                return unsafe { v3::<WIDTH>(self, codes, column, values) };
            }
        }
        self.look_up_rows::<WIDTH>(codes, column, values)
    }
}

#[inline]
fn add(place: u32, (&code, &stride): (&i32, &u32)) -> u32 {
    place.wrapping_add((code as u32).wrapping_mul(stride))
}

impl Locate for Dense {
    #[inline]
    fn row(&self, codes: &[i32]) -> std::result::Result<usize, Refusal> {
        let place = codes.iter().zip(&self.strides).fold(0, add);
        match self.row_at(place) {
            row if row != NO_ROW && (place as usize) < self.size => Ok(row as usize),
            _ => Err("the benchmark has no such architecture"),
        }
    }

    fn look_up(&self, codes: &[i32], column: &[f64], values: &mut [f64]) -> bool {
        self.unconditional
            && codes.len() == values.len() * self.strides.len()
            && match self.strides.len() {
                1 => self.vectorised::<1>(codes, column, values),
                2 => self.vectorised::<2>(codes, column, values),
                3 => self.vectorised::<3>(codes, column, values),
                4 => self.vectorised::<4>(codes, column, values),
                5 => self.vectorised::<5>(codes, column, values),
                6 => self.vectorised::<6>(codes, column, values),
                7 => self.vectorised::<7>(codes, column, values),
                8 => self.vectorised::<8>(codes, column, values),
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Metric;
    use super::*;
    use crate::space::{Decision, Domain, Label};

    fn space(counts: &[i64]) -> SearchSpace {
        let domain = |n| Domain::Categorical((0..n).map(Label::Int).collect());
        let decisions = counts.iter().enumerate().map(|(i, &n)| Decision::new(format!("d{i}"), domain(n)));
        SearchSpace::new(decisions.collect()).unwrap()
    }

    #[test]
    fn wrong_codes_are_refused() {
        let message = |codes: &[u8]| Dense::new(&space(&[2, 3]), codes, &mut []).err().unwrap().to_string();
        assert_eq!(
            message(&[0, 1, 0]),
            "the table has 3 codes; expected a multiple of 2 (one for each decision)"
        );
        assert_eq!(message(&[0, 1, 2, 0]), "row 1 of the table has code 2; expected less than 2");
        assert_eq!(message(&[0, 1, 0, 1]), "rows 0 and 1 of the table are the same point");
    }

    #[test]
    fn a_whole_table_is_put_in_order() {
        let mut columns = [Column::constant(Metric::max("a"), [0.0, 1.0, 2.0, 3.0])];
        let dense = Dense::new(&space(&[2, 2]), &[1, 1, 0, 1, 1, 0, 0, 0], &mut columns).unwrap();
        assert_eq!(*columns[0].levels[0], [3.0, 1.0, 2.0, 0.0]);
        assert_eq!((dense.row(&[0, 1]), dense.row(&[1, 1])), (Ok(1), Ok(3)));
        assert!(dense.row(&[2, 0]).is_err());
    }

    proptest! {
        /// Whatever the width and the number of points, a look-up of many is that of each, and codes out of range are
        /// told, wherever they are.
        #[test]
        fn many_are_looked_up_as_one_by_one(
            counts in prop::collection::vec(1_i64..4, 1..11), n in 0_usize..70, holes in any::<bool>(),
            wild in prop::option::of((any::<prop::sample::Index>(), any::<i32>())), seed in any::<u64>(),
        ) {
            let space = space(&counts);
            let size: usize = counts.iter().map(|&n| n as usize).product();
            let mut next = 0;
            let rows = (0..size).map(|i| (!holes || i % 3 != 1).then(|| { next += 1; next - 1 }));
            let dense = Dense::from_rows(&space, rows).unwrap();
            let column: Vec<f64> = (0..next).map(|i| i as f64 + 0.5).collect();
            let mut codes: Vec<i32> =
                (0..n).flat_map(|i| space.sample(seed, i as u64).codes().to_vec()).collect();
            if let Some((index, code)) = wild.filter(|_| n > 0) {
                let at = index.index(codes.len());
                codes[at] = code;
            }
            let mut values = vec![-1.0; n];
            let whole = dense.look_up(&codes, &column, &mut values);
            prop_assert_eq!(whole, counts.len() <= 8 && space.check_codes(&codes).is_ok());
            for (codes, value) in codes.chunks_exact(counts.len()).zip(&values).filter(|_| whole) {
                let alone = dense.row(codes).map_or(f64::NAN, |row| column[row]);
                prop_assert_eq!(value.to_bits(), alone.to_bits());
            }
        }
    }
}
