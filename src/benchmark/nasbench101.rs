//! NAS-Bench-101: cells of up to seven vertices and nine edges; all 423,624 different ones trained on CIFAR-10.
//!
//! Ying et al. 2019, "NAS-Bench-101: Towards Reproducible Neural Architecture Search", arXiv 1902.09635. The space is
//! that of the paper's own experiments (section 4.1, and `random_spec` of its code): 21 binary edges and five ternary
//! operations, 509,607,936 points. A point is pruned and found by its key, so equal cells are one; a quarter of
//! all points is no cell (no path, or more than nine edges after pruning) and is refused, as in the paper's search code.

use std::collections::HashMap;

use super::cell::{Cell, MAX_VERTICES};
use super::table::{Column, Locate, Table};
use super::{Benchmark, Refusal};
use crate::error::{Error, Result};
use crate::space::{Decision, Domain, Label, Point, SearchSpace};

/// The operations in the order of the published codes.
const OPS: [&str; 3] = ["conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"];
/// Edges of seven vertices.
const EDGES: usize = MAX_VERTICES * (MAX_VERTICES - 1) / 2;

/// The space: decisions "edge_x_y" (0 or 1), then "op_1" to "op_5".
pub fn nasbench101_space() -> Result<SearchSpace> {
    let bit = Domain::Categorical(vec![Label::Int(0), Label::Int(1)]);
    let op = Domain::Categorical(OPS.map(|op| Label::Text(op.into())).to_vec());
    let mut decisions = Vec::with_capacity(EDGES + MAX_VERTICES - 2);
    for y in 1..MAX_VERTICES {
        decisions.extend((0..y).map(|x| Decision::new(format!("edge_{x}_{y}"), bit.clone())));
    }
    decisions.extend((1..MAX_VERTICES - 1).map(|v| Decision::new(format!("op_{v}"), op.clone())));
    SearchSpace::new(decisions)
}

/// The cell of a point, not pruned. `None` for a point of another space.
#[must_use]
pub fn cell_of(point: &Point) -> Option<Cell> {
    from_codes(point.codes())
}

fn from_codes(codes: &[i32]) -> Option<Cell> {
    let (edges, ops) = codes.split_at_checked(EDGES)?;
    let bits = edges.iter().enumerate().fold(0, |bits, (i, &code)| bits | u32::from(code == 1) << i);
    Cell::new(MAX_VERTICES, bits, ops.iter().map(|&code| code as u8))
}

struct Cells(HashMap<u64, u32>);

impl Locate for Cells {
    fn row(&self, codes: &[i32]) -> std::result::Result<usize, Refusal> {
        let cell = from_codes(codes).ok_or("the point is of another space")?.pruned()?;
        let row = self.0.get(&cell.short_key()).ok_or("the benchmark has no such cell")?;
        Ok(*row as usize)
    }
}

/// The benchmark of these cells and their metrics; a search is after `objective`.
///
/// # Errors
/// [`Error::Evaluation`] for a table that is not what it should be.
pub fn nasbench101(
    cells: &[Cell],
    fidelities: Vec<f64>,
    columns: Vec<Column>,
    objective: &str,
) -> Result<Benchmark> {
    let mut rows = HashMap::with_capacity(cells.len());
    for (row, cell) in cells.iter().enumerate() {
        let pruned = cell
            .pruned()
            .map_err(|why| Error::Evaluation(format!("row {row} of the NAS-Bench-101 table: {why}")))?;
        if let Some(other) = rows.insert(pruned.short_key(), row as u32) {
            return Err(Error::Evaluation(format!(
                "rows {other} and {row} of the NAS-Bench-101 table are the same cell"
            )));
        }
    }
    let space = nasbench101_space()?;
    Table::new(Cells(rows), fidelities, columns)?.benchmark("nasbench101", space, objective, "test_accuracy")
}

#[cfg(test)]
mod tests {
    use super::super::Metric;
    use super::*;
    use crate::trial::Fidelity;

    #[test]
    fn a_point_finds_its_cell_whatever_dangles_from_it() {
        let conv = Cell::new(3, 0b101, [0]).unwrap();
        let direct = Cell::new(2, 1, []).unwrap();
        let accuracy = Column::constant(Metric::max("test_accuracy"), [90.0, 80.0]);
        let benchmark =
            nasbench101(&[conv, direct], vec![1.0], vec![accuracy.clone()], "test_accuracy").unwrap();
        let space = benchmark.space();
        assert_eq!(space.size().unwrap().to_string(), "509607936");
        let query = |edges: &[(usize, usize)], ops: [i32; 5]| {
            let mut codes = vec![0; 21];
            for &(x, y) in edges {
                codes[x + y * (y - 1) / 2] = 1;
            }
            codes.extend(ops);
            let point = Point::new(codes, []);
            space.check(&point).unwrap();
            benchmark.query(&point, Fidelity::Full)
        };
        assert_eq!(query(&[(0, 6)], [2; 5]), Ok(vec![80.0]));
        assert_eq!(query(&[(0, 3), (3, 6), (0, 1), (2, 6)], [2, 2, 0, 2, 2]), Ok(vec![90.0]));
        assert_eq!(query(&[(0, 3), (3, 6)], [0, 0, 1, 0, 0]), Err("the benchmark has no such cell"));
        assert_eq!(query(&[(0, 3)], [0; 5]), Err("no path leads from the input to the output of the cell"));

        let message = nasbench101(&[conv, conv], vec![1.0], vec![accuracy], "test_accuracy").err().unwrap();
        assert_eq!(message.to_string(), "rows 0 and 1 of the NAS-Bench-101 table are the same cell");
    }
}
