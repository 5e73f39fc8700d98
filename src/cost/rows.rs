//! Rows of numbers, each kept once: how equal states of a dynamic program meet.
//!
//! An open-addressed hash table of row numbers over one flat array: no allocation a row, which is what the layers of a
//! diagram spend their time on. Rows are numbered in the order of their first appearance, so results do not depend on
//! hashes.

const EMPTY: u32 = u32::MAX;

/// Different rows of one width. Equality is that of bits; 0.0 and -0.0 are made equal on entry.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    width: usize,
    cells: Vec<f64>,
    len: usize,
    table: Vec<u32>,
}

impl Rows {
    pub(super) fn new(width: usize) -> Self {
        Rows { width, cells: Vec::new(), len: 0, table: vec![EMPTY; 64] }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.cells[i * self.width..(i + 1) * self.width]
    }

    pub(super) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.cells[i * self.width..(i + 1) * self.width]
    }

    /// The number of this row; a new one if it is new.
    pub(super) fn number(&mut self, row: &mut [f64]) -> u32 {
        for x in row.iter_mut() {
            *x += 0.0;
        }
        if 2 * (self.len + 1) > self.table.len() {
            self.grow();
        }
        let slot = self.slot(row);
        if self.table[slot] == EMPTY {
            self.table[slot] = self.len as u32;
            self.len += 1;
            self.cells.extend_from_slice(row);
        }
        self.table[slot]
    }

    /// Appends a row that has a number of its own, whatever its cells.
    pub(super) fn push(&mut self, row: &[f64]) {
        self.cells.extend_from_slice(row);
        self.len += 1;
    }

    /// Where a row is in the table, or would be.
    fn slot(&self, row: &[f64]) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = hash(row) as usize & mask;
        loop {
            let found = self.table[slot];
            let same = |known: &[f64]| known.iter().zip(row).all(|(a, b)| a.to_bits() == b.to_bits());
            if found == EMPTY || same(self.row(found as usize)) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.table = vec![EMPTY; 4 * self.table.len()];
        for i in 0..self.len {
            let slot = self.slot(self.row(i));
            self.table[slot] = i as u32;
        }
    }
}

fn hash(row: &[f64]) -> u64 {
    let mixed = row.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, x| {
        (hash ^ x.to_bits()).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29)
    });
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_have_one_number_in_order_of_appearance() {
        let mut rows = Rows::new(2);
        for i in 0..1_000 {
            assert_eq!(rows.number(&mut [f64::from(i % 100), -0.0]), (i % 100) as u32);
        }
        assert_eq!((rows.len(), rows.number(&mut [3.0, 0.0])), (100, 3));
        assert_eq!(rows.row(7), [7.0, 0.0]);
    }
}
