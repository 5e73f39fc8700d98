//! NAS-Bench-Graph: graph neural networks of four layers on nine node and graph data sets; 26,206 unique ones trained.
//!
//! Qin et al. 2022, "NAS-Bench-Graph: Benchmarking Graph Neural Architecture Search", arXiv 2206.09166. Each layer
//! takes its input from one earlier layer (nine "links") and is one of nine operations. Skip connections can be moved
//! along a chain and equal branches exchanged without changing the function, so the 9 x 9^4 points are 26,206
//! architectures; a point finds the row of its canonical form (section 3.1 and the published package's `architecture.py`).
//! The architecture of four skip connections was not trained and is refused.

use std::collections::HashMap;

use super::Benchmark;
use super::dense::Dense;
use super::table::{Column, Table};
use crate::error::{Error, Result};
use crate::space::{Decision, Domain, Label, SearchSpace};

/// The layers of a network.
const LAYERS: usize = 4;

/// The arrays of the published table.
pub struct Graph<'a> {
    /// The kinds of links: for each of four layers the layer it reads, 0 the input; row after row.
    pub links: &'a [u8],
    /// The names of the operations, "skip" among them.
    pub op_names: &'a [String],
    /// The kind of link of each row.
    pub link: &'a [u8],
    /// Four operations a row.
    pub ops: &'a [u8],
    /// The metrics, "valid_accuracy" and "test_accuracy" among them.
    pub columns: Vec<Column>,
}

/// The benchmark of these rows. Operations that no row has are left out of the space.
///
/// # Errors
/// [`Error::Evaluation`] for a table that is not what it should be.
pub fn nasbench_graph(graph: Graph<'_>) -> Result<Benchmark> {
    let Graph { links, op_names, link, ops, columns } = graph;
    let wrong = |why: String| Error::Evaluation(format!("the NAS-Bench-Graph table {why}"));
    let skip = op_names.iter().position(|name| name == "skip");
    let skip = skip.ok_or_else(|| wrong("has no operation 'skip'".into()))? as u8;
    if links.len() % LAYERS != 0
        || links.chunks(LAYERS).any(|l| l.iter().enumerate().any(|(i, &f)| f as usize > i))
    {
        return Err(wrong("has links that do not lead from an earlier layer".into()));
    }
    let kinds: Vec<[u8; LAYERS]> = links.chunks_exact(LAYERS).map(|l| [l[0], l[1], l[2], l[3]]).collect();
    if ops.len() != link.len() * LAYERS {
        return Err(wrong(format!(
            "has {} links and {} operations; expected 4 a link",
            link.len(),
            ops.len()
        )));
    }
    let used: Vec<u8> = (0..op_names.len() as u8).filter(|op| ops.contains(op)).collect();

    let mut rows = HashMap::with_capacity(link.len());
    for (row, (&kind, ops)) in link.iter().zip(ops.chunks_exact(LAYERS)).enumerate() {
        let fathers = kinds.get(usize::from(kind)).ok_or_else(|| wrong(format!("has no link {kind}")))?;
        let form = canonical(*fathers, [ops[0], ops[1], ops[2], ops[3]], skip);
        if let Some(other) = rows.insert(form, row) {
            return Err(wrong(format!("has one architecture twice, in rows {other} and {row}")));
        }
    }

    let label =
        |fathers: &[u8; LAYERS]| Label::List(fathers.iter().map(|&f| Label::Int(i64::from(f))).collect());
    let mut decisions = vec![Decision::new("link", Domain::Categorical(kinds.iter().map(label).collect()))];
    let names = used.iter().map(|&op| Label::Text(op_names[usize::from(op)].clone()));
    let domain = Domain::Categorical(names.collect());
    decisions.extend((1..=LAYERS).map(|i| Decision::new(format!("op_{i}"), domain.clone())));
    let space = SearchSpace::new(decisions)?;

    let mut found = Vec::new();
    for fathers in &kinds {
        for place in 0..used.len().pow(LAYERS as u32) {
            let op = |i: usize| used[place / used.len().pow((LAYERS - 1 - i) as u32) % used.len()];
            found.push(rows.get(&canonical(*fathers, [op(0), op(1), op(2), op(3)], skip)).copied());
        }
    }
    let dense = Dense::from_rows(&space, found)?;
    Table::new(dense, vec![1.0], columns)?.benchmark(
        "nasbench_graph",
        space,
        "valid_accuracy",
        "test_accuracy",
    )
}

/// A text that is the same for architectures of the same function.
fn canonical(mut fathers: [u8; LAYERS], mut ops: [u8; LAYERS], skip: u8) -> String {
    for i in 0..LAYERS {
        if ops[i] != skip {
            continue;
        }
        let me = i as u8 + 1;
        let son = fathers.contains(&me);
        let brother = fathers.iter().enumerate().any(|(j, &father)| j != i && father == fathers[i]);
        // A skip connection of the input itself, however long, is the input.
        let mut of_input = true;
        let mut at = i;
        loop {
            of_input &= ops[at] == skip;
            match fathers[at] {
                0 => break,
                father => at = usize::from(father) - 1,
            }
        }
        if son || !brother || of_input {
            to_the_front(i, &mut fathers, &mut ops);
        }
    }
    subtree(0, fathers, ops)
}

/// Moves layer `i` between the input and everything that reads the input; its readers read what it read.
fn to_the_front(i: usize, fathers: &mut [u8; LAYERS], ops: &mut [u8; LAYERS]) {
    let me = i as u8 + 1;
    let mine = fathers[i];
    for father in fathers.iter_mut() {
        if *father == me {
            *father = mine;
        }
        // All layers before this one are now one place later, and the new front takes the place of the input.
        if *father < me {
            *father += 1;
        }
    }
    fathers[..=i].rotate_right(1);
    ops[..=i].rotate_right(1);
    fathers[0] = 0;
}

/// The layers that read layer `at` (0: the input), with theirs, in an order that does not depend on their numbers.
fn subtree(at: u8, fathers: [u8; LAYERS], ops: [u8; LAYERS]) -> String {
    let mut sons: Vec<String> = (0..LAYERS)
        .filter(|&i| fathers[i] == at)
        .map(|i| format!("{}({})", ops[i], subtree(i as u8 + 1, fathers, ops)))
        .collect();
    sons.sort_unstable();
    sons.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_branches_and_moved_skips_are_one_architecture() {
        let form = |fathers, ops| canonical(fathers, ops, 8);
        assert_eq!(form([0, 0, 0, 0], [1, 2, 3, 4]), form([0, 0, 0, 0], [4, 3, 2, 1]));
        assert_eq!(form([0, 0, 1, 2], [1, 2, 3, 4]), form([0, 0, 1, 2], [2, 1, 4, 3]));
        assert_ne!(form([0, 0, 1, 2], [1, 2, 3, 4]), form([0, 0, 1, 2], [2, 1, 3, 4]));
        assert_eq!(form([0, 1, 2, 3], [1, 8, 2, 3]), form([0, 1, 2, 3], [8, 1, 2, 3]));
        assert_eq!(form([0, 1, 2, 3], [1, 2, 3, 8]), form([0, 1, 2, 3], [1, 8, 2, 3]));
        // A skip beside another branch adds the father's output to the result, which is not nothing.
        assert_ne!(form([0, 1, 1, 1], [1, 2, 3, 8]), form([0, 1, 1, 1], [8, 1, 2, 3]));
    }

    #[test]
    fn points_find_the_row_of_their_canonical_form() {
        let names: Vec<String> = ["a", "b", "skip"].map(String::from).to_vec();
        let columns = || {
            ["valid_accuracy", "test_accuracy"]
                .map(|name| Column::constant(super::super::Metric::max(name), [0.5, 0.6]))
                .to_vec()
        };
        let graph =
            |ops| Graph { links: &[0, 1, 2, 3], op_names: &names, link: &[0, 0], ops, columns: columns() };
        let benchmark = nasbench_graph(graph(&[0, 2, 1, 0, 0, 0, 0, 0])).unwrap();
        let query = |codes: [i32; 5]| {
            benchmark.query(&crate::space::Point::new(codes, []), crate::trial::Fidelity::Full)
        };
        assert_eq!(query([0, 2, 0, 1, 0]).unwrap(), [0.5, 0.5]);
        assert_eq!(query([0, 0, 0, 0, 0]).unwrap(), [0.6, 0.6]);
        assert!(query([0, 2, 2, 2, 2]).is_err());
        let twice = nasbench_graph(graph(&[0, 2, 1, 0, 2, 0, 1, 0])).err().unwrap().to_string();
        assert_eq!(twice, "the NAS-Bench-Graph table has one architecture twice, in rows 0 and 1");
    }
}
