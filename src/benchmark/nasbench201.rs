//! NAS-Bench-201: cells of four nodes, one of five operations on each of the six edges; all 15,625 trained.
//!
//! Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", arXiv
//! 2001.00326. Accuracies in percent: "valid_accuracy" is what a search sees, "test_accuracy" what it is judged by,
//! both the mean of the published seeds. The fidelities are 12 of 200 epochs (trained with a schedule of its own) and
//! all 200.

use super::Benchmark;
use super::dense::Dense;
use super::table::{Column, Table};
use crate::error::Result;
use crate::space::{Decision, Domain, Label, SearchSpace};

/// The edges in the order of the published codes: (from, to).
const EDGES: [(u8, u8); 6] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

/// The benchmark of these rows: the names of the operations, six codes a row, and its columns, "valid_accuracy" and
/// "test_accuracy" among them, at 12 and at 200 epochs or at all the same.
///
/// # Errors
/// [`crate::error::Error::Evaluation`] for a table that is not what it should be.
pub fn nasbench201(op_names: &[String], ops: &[u8], mut columns: Vec<Column>) -> Result<Benchmark> {
    let domain = Domain::Categorical(op_names.iter().map(|op| Label::Text(op.clone())).collect());
    let edge = |(from, to)| Decision::new(format!("edge_{from}_{to}"), domain.clone());
    let space = SearchSpace::new(EDGES.map(edge).to_vec())?;
    let dense = Dense::new(&space, ops, &mut columns)?;
    let table = Table::new(dense, vec![12.0 / 200.0, 1.0], columns)?;
    table.benchmark("nasbench201", space, "valid_accuracy", "test_accuracy")
}
