//! Values of many points at once, column by column.
//!
//! Terms are grouped by the decisions they depend on; groups that share decisions or are small together become one
//! joint table with the sum of all their terms for every combination of codes. A point then costs one look-up a table,
//! not one product a term: 200 terms of 50 decisions become a dozen look-ups. Products too large for a table stay terms.

use super::{Metric, Term};
use crate::error::{Error, Result};
use crate::space::{INACTIVE, SearchSpace};

/// Entries of a joint table: with three metrics it stays in the first-level cache.
const ENTRIES: usize = 1024;

/// Rows worked on at once, so that a column of each decision stays in the cache.
const BLOCK: usize = 256;

/// Sums of terms as tables.
#[derive(Clone, Debug)]
pub(super) struct Joint {
    columns: usize,
    metrics: usize,
    constant: Vec<f64>,
    tables: Vec<Table>,
    loose: Vec<(usize, Term)>,
    /// Values of each decision and whether it can be inactive; 0 values: anything goes, nothing depends on it.
    counts: Vec<(i32, bool)>,
}

/// The sums of terms for every combination of codes of some decisions.
#[derive(Clone, Debug)]
struct Table {
    /// Decision and stride; the code of a decision that can be inactive counts from 1.
    decisions: Vec<(usize, u32)>,
    /// One value a metric for each combination.
    cells: Vec<f64>,
}

/// Decisions, and terms of them with their metric.
type Group<'a> = (Vec<usize>, Vec<(usize, &'a Term)>);

impl Joint {
    pub(super) fn new(space: &SearchSpace, metrics: &[Metric]) -> Self {
        let counts: Vec<(i32, bool)> =
            (0..space.len()).map(|i| (space.count(i), space.parent(i).is_some())).collect();
        let codes = |i: usize| counts[i].0 as usize + usize::from(counts[i].1);
        let size = |decisions: &[usize]| decisions.iter().fold(1_usize, |n, &i| n.saturating_mul(codes(i)));
        let mut constant = vec![0.0; metrics.len()];
        let mut loose = Vec::new();
        let mut placed: Vec<(Vec<usize>, usize, &Term)> = Vec::new();
        for (m, metric) in metrics.iter().enumerate() {
            for term in &metric.terms {
                let decisions: Vec<usize> = term.factors.iter().map(|(decision, _)| *decision).collect();
                match decisions.len() {
                    0 => constant[m] += term.coefficient,
                    _ if size(&decisions) > ENTRIES => loose.push((m, term.clone())),
                    _ => placed.push((decisions, m, term)),
                }
            }
        }
        // Wide groups first: narrow ones then find a table that has their decisions already.
        placed.sort_by(|(a, ..), (b, ..)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (decisions, m, term) in placed {
            let grown = |group: &[usize]| {
                let mut union = group.to_vec();
                union.extend(decisions.iter().filter(|decision| !group.contains(decision)));
                union
            };
            let cheapest = groups
                .iter_mut()
                .map(|(group, terms)| (size(&grown(group)) / size(group), size(&grown(group)), group, terms))
                .filter(|(_, entries, ..)| *entries <= ENTRIES)
                .min_by_key(|(growth, entries, ..)| (*growth, *entries));
            match cheapest {
                Some((_, _, group, terms)) => {
                    *group = grown(group);
                    terms.push((m, term));
                }
                None => groups.push((decisions, vec![(m, term)])),
            }
        }
        let tables =
            groups.into_iter().map(|(group, terms)| table(&group, &terms, &counts, metrics.len())).collect();
        Joint { columns: space.len(), metrics: metrics.len(), constant, tables, loose, counts }
    }

    pub(super) fn evaluate(&self, rows: &[i32]) -> Result<Vec<Vec<f64>>> {
        if self.columns == 0 {
            return Ok(self.constant.iter().map(|&value| vec![value]).collect());
        }
        if !rows.len().is_multiple_of(self.columns) {
            return Err(Error::Space(format!(
                "the indices have {} codes; expected a multiple of the {} decisions",
                rows.len(),
                self.columns
            )));
        }
        let n = rows.len() / self.columns;
        let mut values: Vec<Vec<f64>> = self.constant.iter().map(|&value| vec![value; n]).collect();
        let mut codes = vec![0_u32; self.columns * BLOCK];
        for start in (0..n).step_by(BLOCK) {
            let len = BLOCK.min(n - start);
            let block = &rows[start * self.columns..(start + len) * self.columns];
            self.transpose(block, start, &mut codes)?;
            self.add_tables(&codes, start..start + len, &mut values);
            self.add_loose(&codes, start..start + len, &mut values);
        }
        Ok(values)
    }

    /// Rows to columns, codes of decisions that can be inactive counted from 1.
    fn transpose(&self, block: &[i32], start: usize, codes: &mut [u32]) -> Result<()> {
        for (i, &(count, optional)) in self.counts.iter().enumerate() {
            let offset = i32::from(optional);
            let limit = if count == 0 { u32::MAX } else { (count + offset) as u32 };
            let column = &mut codes[i * BLOCK..(i + 1) * BLOCK];
            let mut fits = true;
            for (row, code) in block.chunks_exact(self.columns).zip(column.iter_mut()) {
                *code = row[i].wrapping_add(offset) as u32; // a negative code is a large one here
                fits &= *code < limit;
            }
            if !fits {
                let out = |row: &[i32]| row[i].wrapping_add(offset) as u32 >= limit;
                let row = block.chunks_exact(self.columns).position(out).unwrap_or_default();
                return Err(Error::Space(format!(
                    "row {} has code {} for decision {i}; expected {} to {}",
                    start + row,
                    block[row * self.columns + i],
                    if optional { INACTIVE } else { 0 },
                    count - 1
                )));
            }
        }
        Ok(())
    }

    fn add_tables(&self, codes: &[u32], rows: std::ops::Range<usize>, values: &mut [Vec<f64>]) {
        let mut entries = [0_u32; BLOCK];
        for table in &self.tables {
            entries.fill(0);
            for &(decision, stride) in &table.decisions {
                let column = &codes[decision * BLOCK..(decision + 1) * BLOCK];
                entries
                    .iter_mut()
                    .zip(column)
                    .for_each(|(entry, code)| *entry = entry.wrapping_add(code * stride));
            }
            for (m, column) in values.iter_mut().enumerate() {
                for (value, &entry) in column[rows.clone()].iter_mut().zip(&entries) {
                    *value += table.cells[entry as usize * self.metrics + m];
                }
            }
        }
    }

    fn add_loose(&self, codes: &[u32], rows: std::ops::Range<usize>, values: &mut [Vec<f64>]) {
        for (m, term) in &self.loose {
            for (row, value) in values[*m][rows.clone()].iter_mut().enumerate() {
                let factor = |(decision, table): &(usize, Box<[f64]>)| {
                    let code = codes[decision * BLOCK + row] as usize;
                    match self.counts[*decision].1 {
                        false => table[code],
                        true if code == 0 => 0.0,
                        true => table[code - 1],
                    }
                };
                *value += term.factors.iter().map(factor).fold(term.coefficient, |a, b| a * b);
            }
        }
    }
}

fn table(group: &[usize], terms: &[(usize, &Term)], counts: &[(i32, bool)], metrics: usize) -> Table {
    let mut entries = 1;
    let mut decisions = Vec::with_capacity(group.len());
    for &decision in group {
        decisions.push((decision, entries as u32));
        entries *= counts[decision].0 as usize + usize::from(counts[decision].1);
    }
    let mut cells = vec![0.0; entries * metrics];
    for (entry, cell) in cells.chunks_exact_mut(metrics).enumerate() {
        let factor = |(decision, table): &(usize, Box<[f64]>)| {
            let stride =
                decisions.iter().find(|(known, _)| known == decision).map_or(1, |(_, stride)| *stride);
            let (count, optional) = counts[*decision];
            let code = entry / stride as usize % (count as usize + usize::from(optional));
            code.checked_sub(usize::from(optional)).map_or(0.0, |code| table[code])
        };
        for (m, term) in terms {
            cell[*m] += term.factors.iter().map(factor).fold(term.coefficient, |a, b| a * b);
        }
    }
    Table { decisions, cells }
}
