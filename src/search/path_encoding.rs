//! Path encoding: a cell as the set of its ways from input to output.
//!
//! White, Neiswanger and Savani 2019, arXiv 1910.11858, section 4: one column for each path, which is the sequence of
//! labels met from the input vertex to the output vertex. A column is made for every path of the rows learnt from and for
//! no other (most of the possible ones are in no cell; the paper cuts off rare ones too, section 4.1).
//!
//! Deviation: the decisions keep their own columns beside those of the paths. Few rows share a path, all share the edges,
//! and different cells may have the same paths: on NAS-Bench-101 the regret of BANANAS after 150 cells falls from 0.19 to
//! 0.14.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::predict::Rows;
use crate::space::{Columns, INACTIVE, Label, Point, SearchSpace};

/// Paths of a cell, at most: twelve vertices with every edge.
const MAX_PATHS: usize = 1024;

/// How decisions make a cell. Vertices are numbers; the input is 0, the output the largest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// For each decision that is an edge the vertices that it joins, the smaller first.
    edges: BTreeMap<String, [usize; 2]>,
    /// For each decision that is the operation of a vertex that vertex.
    #[serde(default)]
    vertices: BTreeMap<String, usize>,
    /// Labels of an edge that is not there; an inactive edge is not there either.
    #[serde(default)]
    #[schemars(with = "Vec<serde_json::Value>")]
    absent: Vec<Label>,
}

/// A cell with its decisions found in a space.
pub(super) struct Graph {
    /// For each vertex its operation, if that is a decision.
    operations: Vec<Option<usize>>,
    /// For each vertex the edges that leave it: decision and end.
    leaving: Vec<Vec<(usize, usize)>>,
    /// For each decision of the cell, by code, a number for its label; `None` where the edge is absent.
    tokens: HashMap<usize, Vec<Option<u32>>>,
}

/// The columns that some points taught.
pub(super) struct Encoding<'a> {
    graph: &'a Graph,
    paths: HashMap<Vec<u32>, usize>,
}

impl Cell {
    /// # Errors
    /// [`Error::Search`] for decisions that the space does not have or that are no choice of labels, and edges that do
    /// not lead from input to output.
    pub(super) fn graph(&self, space: &SearchSpace, algorithm: &str) -> Result<Graph> {
        let wrong = |why: String| Error::Search(format!("search algorithm '{algorithm}': cell: {why}"));
        let output = self.edges.values().map(|ends| ends[1]).max().unwrap_or_default();
        let mut graph = Graph {
            operations: vec![None; output + 1],
            leaving: vec![Vec::new(); output + 1],
            tokens: HashMap::new(),
        };
        let mut labels: Vec<Label> = Vec::new();
        let mut learn = |name: &str, graph: &mut Graph, absent: &[Label]| {
            let decision = space.decision_index(name).map_err(|error| wrong(error.to_string()))?;
            let domain = &space.decisions()[decision].domain;
            let count = space.count(decision);
            if domain.is_real() {
                return Err(wrong(format!("decision '{name}' is real; expected one with labels")));
            }
            let token = |code| {
                let label = domain.label(code).filter(|label| !absent.contains(label))?;
                let known = labels.iter().position(|other| *other == label);
                Some(known.unwrap_or_else(|| {
                    labels.push(label);
                    labels.len() - 1
                }) as u32)
            };
            graph.tokens.insert(decision, (0..count).map(token).collect());
            Ok(decision)
        };
        for (name, &[from, to]) in &self.edges {
            if from >= to {
                return Err(wrong(format!(
                    "edge '{name}' leads from {from} to {to}; expected a larger number"
                )));
            }
            let decision = learn(name, &mut graph, &self.absent)?;
            graph.leaving[from].push((decision, to));
        }
        for (name, &vertex) in &self.vertices {
            if vertex > output {
                return Err(wrong(format!("'{name}' is of vertex {vertex}; expected 0 to {output}")));
            }
            graph.operations[vertex] = Some(learn(name, &mut graph, &[])?);
        }
        let mut ways = vec![0_usize; output + 1];
        ways[0] = 1;
        for vertex in 0..=output {
            for &(_, to) in &graph.leaving[vertex] {
                ways[to] = ways[to].saturating_add(ways[vertex]);
            }
        }
        match ways[output] {
            1..=MAX_PATHS if output > 0 => Ok(graph),
            count => Err(wrong(format!(
                "the edges make {} paths from vertex 0 to {output}; expected 1 to {MAX_PATHS}",
                if output > 0 { count } else { 0 }
            ))),
        }
    }
}

impl Graph {
    fn each_path(&self, point: &Point, mut found: impl FnMut(&[u32])) {
        self.walk(point, 0, &mut Vec::new(), &mut found);
    }

    fn walk(&self, point: &Point, vertex: usize, path: &mut Vec<u32>, found: &mut impl FnMut(&[u32])) {
        let length = path.len();
        path.extend(self.operations[vertex].and_then(|decision| self.token(point, decision)));
        if vertex + 1 == self.leaving.len() {
            found(path);
        }
        for &(decision, to) in &self.leaving[vertex] {
            if let Some(token) = self.token(point, decision) {
                path.push(token);
                self.walk(point, to, path, found);
                path.pop();
            }
        }
        path.truncate(length);
    }

    fn token(&self, point: &Point, decision: usize) -> Option<u32> {
        let code = point.codes()[decision];
        if code == INACTIVE { None } else { self.tokens[&decision][code as usize] }
    }

    /// A number that isomorphic cells share if they agree outside the cell too; loose ends do not count.
    ///
    /// Vertices take on their neighbours' labels for as many rounds as there are vertices (Weisfeiler and Lehman), as in
    /// the hash of NAS-Bench-101. Cells of the same paths are no such thing: two paths may share a vertex or not.
    pub(super) fn signature(&self, point: &Point) -> u64 {
        let mix = |hash: u64, word: u64| {
            let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        };
        let end = self.leaving.len() - 1;
        // Edges lead to larger vertices, so one pass either way finds what lies between input and output.
        let mut edges = Vec::new();
        let mut reached = vec![false; end + 1];
        reached[0] = true;
        for from in 0..=end {
            for &(decision, to) in &self.leaving[from] {
                if let Some(token) = self.token(point, decision).filter(|_| reached[from]) {
                    reached[to] = true;
                    edges.push((from, u64::from(token) + 1, to));
                }
            }
        }
        let mut leads = vec![false; end + 1];
        leads[end] = true;
        for &(from, _, to) in edges.iter().rev() {
            leads[from] |= leads[to];
        }
        edges.retain(|&(_, _, to)| leads[to]);
        let operation = |vertex: usize| {
            let token = self.operations[vertex].and_then(|decision| self.token(point, decision));
            token.map_or(0, |token| u64::from(token) + 1)
        };
        let mut labels: Vec<u64> = (0..=end)
            .map(|vertex| match vertex {
                _ if !(reached[vertex] && leads[vertex]) => 0,
                0 => mix(1, operation(0)),
                _ if vertex == end => mix(2, operation(end)),
                _ => mix(3, operation(vertex)),
            })
            .collect();
        for _ in 0..=end {
            let (mut before, mut after) = (vec![0_u64; end + 1], vec![0_u64; end + 1]);
            for &(from, token, to) in &edges {
                before[to] = before[to].wrapping_add(mix(mix(labels[from], token), 4));
                after[from] = after[from].wrapping_add(mix(mix(labels[to], token), 5));
            }
            for ((label, before), after) in
                labels.iter_mut().zip(before).zip(after).filter(|((l, _), _)| **l != 0)
            {
                *label = mix(mix(*label, before), after);
            }
        }
        let cell = labels.into_iter().fold(0_u64, u64::wrapping_add);
        let codes = point.codes().iter().enumerate().filter(|(i, _)| !self.tokens.contains_key(i));
        let rest = codes.map(|(_, &code)| code as u64).chain(point.reals().iter().map(|real| real.to_bits()));
        rest.fold(cell, mix)
    }

    /// The columns for the paths of these points.
    pub(super) fn learn<'a>(&self, points: impl IntoIterator<Item = &'a Point>) -> Encoding<'_> {
        let mut paths = HashMap::new();
        for point in points {
            self.each_path(point, |path| {
                if !paths.contains_key(path) {
                    paths.insert(path.to_vec(), paths.len());
                }
            });
        }
        Encoding { graph: self, paths }
    }
}

impl Encoding<'_> {
    /// What a surrogate is told about the columns: paths, then decisions.
    pub(super) fn columns(&self, space: &SearchSpace) -> Vec<Columns> {
        let count = self.paths.len();
        let paths = (0..count).map(|i| Columns { range: i..i + 1, numeric: true });
        let decisions = space.encoded_columns().into_iter().map(|Columns { range, numeric }| Columns {
            range: range.start + count..range.end + count,
            numeric,
        });
        paths.chain(decisions).collect()
    }

    /// The rows of these points.
    pub(super) fn rows<'a>(
        &self,
        space: &SearchSpace,
        points: impl IntoIterator<Item = &'a Point>,
    ) -> Result<Rows> {
        let mut rows = Rows::new(self.paths.len() + space.encoded_width());
        let mut row = Vec::new();
        for point in points {
            row.clear();
            row.resize(self.paths.len(), 0.0);
            self.graph.each_path(point, |path| {
                if let Some(&column) = self.paths.get(path) {
                    row[column] = 1.0;
                }
            });
            space.encode(point, &mut row);
            rows.push(&row)?;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Decision, Domain};

    /// Edges 0-1, 1-2 and 0-2 with an operation each, of which "none" is no edge, and a number outside the cell.
    fn space() -> SearchSpace {
        let ops = Domain::Categorical(["none", "skip", "conv"].map(|op| Label::Text(op.into())).to_vec());
        let mut decisions: Vec<Decision> =
            ["a", "b", "c"].map(|name| Decision::new(name, ops.clone())).to_vec();
        decisions.insert(1, Decision::new("n", Domain::Integer { low: 0, high: 4, step: 1 }));
        SearchSpace::new(decisions).unwrap()
    }

    fn cell(json: &str) -> Cell {
        serde_json::from_str(json).unwrap()
    }

    fn triangle() -> Cell {
        cell(r#"{"edges": {"a": [0, 1], "b": [1, 2], "c": [0, 2]}, "absent": ["none"]}"#)
    }

    #[test]
    fn a_row_says_which_paths_a_point_has() {
        let space = space();
        let graph = triangle().graph(&space, "bananas").unwrap();
        let known = [Point::new([1, 0, 2, 2], []), Point::new([2, 4, 0, 1], [])];
        let encoding = graph.learn(&known);
        // skip-conv and conv of the first, skip of the second, whose way through vertex 1 ends there.
        assert_eq!(encoding.paths.len(), 3);
        let asked = [Point::new([1, 2, 2, 1], []), Point::new([2, 2, 2, 2], [])];
        let rows = encoding.rows(&space, &asked).unwrap();
        let column = |path: &[u32]| encoding.paths[path];
        let (skip, conv) = (0, 1);
        assert_eq!(rows.row(0)[column(&[skip, conv])], 1.0);
        assert_eq!(rows.row(0)[column(&[skip])], 1.0);
        assert_eq!(rows.row(0)[column(&[conv])], 0.0);
        // conv-conv is in no known point.
        assert_eq!(rows.row(1)[..3].iter().sum::<f64>(), 1.0);
        let mut own = Vec::new();
        space.encode(&asked[1], &mut own);
        assert_eq!(rows.row(1)[3..], own, "the decisions follow");
        let columns = encoding.columns(&space);
        assert_eq!(columns.len(), 3 + 4);
        assert_eq!((columns[3].range.clone(), columns[3].numeric), (3..6, false));
        assert_eq!((columns[4].range.clone(), columns[4].numeric), (6..7, true));
        assert_eq!(columns[6].range.end, rows.width());
    }

    #[test]
    fn operations_of_vertices_are_on_the_path() {
        let bit = Domain::Categorical(vec![Label::Int(0), Label::Int(1)]);
        let op = Domain::Categorical(vec![Label::Int(1), Label::Int(3)]);
        let edges = ["e01", "e12", "e02"].map(|name| Decision::new(name, bit.clone()));
        let mut decisions = edges.to_vec();
        decisions.push(Decision::new("op1", op));
        let space = SearchSpace::new(decisions).unwrap();
        let text = r#"{"edges": {"e01": [0, 1], "e12": [1, 2], "e02": [0, 2]}, "vertices": {"op1": 1}, "absent": [0]}"#;
        let graph = cell(text).graph(&space, "bananas").unwrap();
        let paths = |codes: [i32; 4]| {
            let mut found = 0;
            graph.each_path(&Point::new(codes, []), |_| found += 1);
            (found, graph.learn(&[Point::new(codes, [])]).paths)
        };
        assert_eq!(paths([1, 1, 0, 0]).0, 1);
        assert_ne!(paths([1, 1, 0, 0]).1, paths([1, 1, 0, 1]).1);
        assert_eq!(paths([1, 0, 1, 0]).1, paths([0, 1, 1, 1]).1, "loose ends do not count");
        assert_eq!(paths([1, 0, 0, 0]).0, 0);
    }

    #[test]
    fn isomorphic_cells_have_one_signature() {
        let bit = Domain::Categorical(vec![Label::Int(0), Label::Int(1)]);
        let op = Domain::Categorical(vec![Label::Int(1), Label::Int(3)]);
        let pairs: Vec<(usize, usize)> = (1..6).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        let name = |(from, to): &(usize, usize)| format!("e{from}{to}");
        let mut decisions: Vec<Decision> =
            pairs.iter().map(|pair| Decision::new(name(pair), bit.clone())).collect();
        decisions.extend((1..5).map(|vertex| Decision::new(format!("op{vertex}"), op.clone())));
        decisions.push(Decision::new("n", Domain::Integer { low: 0, high: 4, step: 1 }));
        let space = SearchSpace::new(decisions).unwrap();
        let cell = Cell {
            edges: pairs.iter().map(|&(from, to)| (name(&(from, to)), [from, to])).collect(),
            vertices: (1..5).map(|vertex| (format!("op{vertex}"), vertex)).collect(),
            absent: vec![Label::Int(0)],
        };
        let graph = cell.graph(&space, "bananas").unwrap();
        let point = |edges: &[(usize, usize)], ops: [i32; 4], n: i32| {
            let bits = pairs.iter().map(|pair| i32::from(edges.contains(pair)));
            Point::new(bits.chain(ops).chain([n]).collect::<Vec<_>>(), [])
        };
        let signature = |edges: &[(usize, usize)], ops, n| graph.signature(&point(edges, ops, n));
        // Two branches, their vertices numbered otherwise, and a loose end.
        let branches = signature(&[(0, 1), (1, 2), (2, 5), (0, 3), (3, 5)], [0, 1, 1, 0], 0);
        let other = signature(&[(0, 2), (2, 3), (3, 5), (0, 1), (1, 5), (0, 4)], [1, 0, 1, 1], 0);
        assert_eq!(branches, other);
        assert_ne!(branches, signature(&[(0, 1), (1, 2), (2, 5), (0, 3), (3, 5)], [0, 1, 1, 0], 1));
        assert_ne!(branches, signature(&[(0, 1), (1, 2), (2, 5), (0, 3), (3, 5)], [0, 0, 1, 0], 0));
        // The same two paths, once with a vertex in common and once without.
        let shared = ([(0, 1), (1, 2), (1, 3), (2, 5), (3, 5)], [0, 0, 1, 0]);
        let apart = ([(0, 1), (1, 2), (2, 5), (0, 3), (3, 4), (4, 5)], [0, 0, 0, 1]);
        let paths = |edges: &[(usize, usize)], ops| graph.learn(&[point(edges, ops, 0)]).paths.len();
        assert_eq!((paths(&shared.0, shared.1), paths(&apart.0, apart.1)), (2, 2));
        assert_ne!(signature(&shared.0, shared.1, 0), signature(&apart.0, apart.1, 0));
        // No path at all.
        assert_eq!(signature(&[(0, 1)], [0; 4], 0), signature(&[(2, 5)], [1; 4], 0));
    }

    #[test]
    fn wrong_cells_are_explained() {
        let message = |json: &str| cell(json).graph(&space(), "bananas").err().unwrap().to_string();
        assert_eq!(
            message(r#"{"edges": {"a": [1, 1]}}"#),
            "search algorithm 'bananas': cell: edge 'a' leads from 1 to 1; expected a larger number"
        );
        assert_eq!(
            message(r#"{"edges": {"a": [0, 1]}, "vertices": {"b": 2}}"#),
            "search algorithm 'bananas': cell: 'b' is of vertex 2; expected 0 to 1"
        );
        assert_eq!(
            message(r#"{"edges": {"a": [1, 2]}}"#),
            "search algorithm 'bananas': cell: the edges make 0 paths from vertex 0 to 2; expected 1 to 1024"
        );
        assert!(message(r#"{"edges": {"zz": [0, 1]}}"#).contains("'zz'"));
    }
}
