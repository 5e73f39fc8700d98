//! NAS-Bench-Macro: eight stacked layers, each an identity or an inverted residual block; CIFAR-10, all 6,561 trained.
//!
//! Su et al. 2021, "Prioritized Architecture Sampling with Monto-Carlo Tree Search", arXiv 2103.11922.
//! The accuracy is the mean of three runs; the benchmark has no validation accuracy, so the search is after the test
//! accuracy itself.

use super::Benchmark;
use super::dense::Dense;
use super::table::{Column, Table};
use crate::error::Result;
use crate::space::{Decision, Domain, Label, SearchSpace};

/// The candidates of a layer, in the order of the published codes.
const OPS: [&str; 3] = ["identity", "mb3_k3", "mb6_k5"];

/// The benchmark of these rows: eight codes a row, and its columns, "test_accuracy" among them.
///
/// # Errors
/// [`crate::error::Error::Evaluation`] for a table that is not what it should be.
pub fn nasbench_macro(arch: &[u8], mut columns: Vec<Column>) -> Result<Benchmark> {
    let domain = Domain::Categorical(OPS.map(|op| Label::Text(op.into())).to_vec());
    let space =
        SearchSpace::new((0..8).map(|i| Decision::new(format!("layer_{i}"), domain.clone())).collect())?;
    let dense = Dense::new(&space, arch, &mut columns)?;
    Table::new(dense, vec![1.0], columns)?.benchmark(
        "nasbench_macro",
        space,
        "test_accuracy",
        "test_accuracy",
    )
}
