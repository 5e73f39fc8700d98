//! A table: a benchmark whose answers are rows that somebody measured.
//!
//! Metrics lie in columns, one for each fidelity that has values of its own, so a query touches only what it asks for.

use std::sync::Arc;

use super::{Answers, Benchmark, Metric, Refusal};
use crate::error::{Error, Result};
use crate::space::{Point, SearchSpace};
use crate::trial::Fidelity;

/// One metric of a table.
#[derive(Clone)]
pub struct Column {
    /// What it is.
    pub metric: Metric,
    /// One value a row for each fidelity of the table, or for all fidelities the same.
    pub levels: Vec<Arc<[f64]>>,
}

impl Column {
    /// A column whose values are the same at every fidelity.
    pub fn constant(metric: Metric, values: impl Into<Arc<[f64]>>) -> Self {
        Column { metric, levels: vec![values.into()] }
    }
}

/// The row of a point.
pub trait Locate: Send + Sync {
    /// The row of the point with these codes.
    ///
    /// # Errors
    /// A [`Refusal`] for a point without one.
    fn row(&self, codes: &[i32]) -> std::result::Result<usize, Refusal>;

    /// What stands in a column of the rows of many points, row after row of codes that nobody has checked; NaN for a
    /// point without a row. `false`: not done, or not all codes are in range, and the values mean nothing.
    fn look_up(&self, _codes: &[i32], _column: &[f64], _values: &mut [f64]) -> bool {
        false
    }
}

/// Measured rows.
pub struct Table<L> {
    locate: L,
    fidelities: Vec<f64>,
    columns: Vec<Column>,
}

impl<L: Locate + 'static> Table<L> {
    /// Rows in these columns; `fidelities` are ascending fractions, the last one 1.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for columns of different lengths or too few levels.
    pub fn new(locate: L, fidelities: Vec<f64>, columns: Vec<Column>) -> Result<Self> {
        let rows = columns.first().and_then(|column| column.levels.first()).map_or(0, |values| values.len());
        for Column { metric, levels } in &columns {
            if levels.len() != 1 && levels.len() != fidelities.len() {
                return Err(Error::Evaluation(format!(
                    "metric '{}' has values at {} fidelities; expected 1 or {}",
                    metric.name,
                    levels.len(),
                    fidelities.len()
                )));
            }
            if let Some(values) = levels.iter().find(|values| values.len() != rows) {
                return Err(Error::Evaluation(format!(
                    "metric '{}' has {} values; expected {rows}, as many as the first one",
                    metric.name,
                    values.len()
                )));
            }
        }
        Ok(Table { locate, fidelities, columns })
    }

    /// The benchmark of this table.
    ///
    /// # Errors
    /// [`Error::Evaluation`] if there is no metric of the name `objective` or `reported`.
    pub fn benchmark(
        self,
        name: &str,
        space: SearchSpace,
        objective: &str,
        reported: &str,
    ) -> Result<Benchmark> {
        let find = |metric: &str| {
            self.columns.iter().position(|column| column.metric.name == metric).ok_or_else(|| {
                Error::Evaluation(format!("the table of benchmark '{name}' has no metric '{metric}'"))
            })
        };
        let goal = (find(objective)?, find(reported)?);
        let best = |column: &Column| {
            let values = column.levels.last().map_or(&[][..], |values| &values[..]);
            values.iter().copied().filter(|x| x.is_finite()).fold(f64::NAN, |a, b| column.metric.better(a, b))
        };
        let optimum = self.columns.iter().map(best).collect();
        let metrics = self.columns.iter().map(|column| column.metric.clone()).collect();
        let fidelities = self.fidelities.clone();
        Ok(Benchmark::new(name, space, metrics, goal, optimum, fidelities, Box::new(self)))
    }

    /// The highest level that does not ask for more than was wanted, else the lowest.
    fn level(&self, fidelity: Fidelity) -> usize {
        match fidelity {
            Fidelity::Full => self.fidelities.len().saturating_sub(1),
            Fidelity::Partial(wanted) => {
                self.fidelities.partition_point(|&level| level <= wanted + 1e-9).saturating_sub(1)
            }
        }
    }
}

impl<L: Locate + 'static> Answers for Table<L> {
    fn answer(
        &self,
        point: &Point,
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) -> std::result::Result<(), Refusal> {
        let row = self.locate.row(point.codes())?;
        let level = self.level(fidelity);
        for (value, &column) in values.iter_mut().zip(columns) {
            let levels = &self.columns[column].levels;
            *value = levels[level.min(levels.len() - 1)][row];
        }
        Ok(())
    }

    fn identity(&self, point: &Point) -> u64 {
        self.locate.row(point.codes()).map_or(u64::MAX, |row| row as u64)
    }

    fn answer_unchecked(
        &self,
        codes: &[i32],
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) -> bool {
        let [column] = *columns else { return false };
        let levels = &self.columns[column].levels;
        self.locate.look_up(codes, &levels[self.level(fidelity).min(levels.len() - 1)], values)
    }

    fn answer_all(
        &self,
        codes: &[i32],
        width: usize,
        fidelity: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) {
        let level = self.level(fidelity);
        let levels: Vec<&[f64]> = columns
            .iter()
            .map(|&column| {
                let levels = &self.columns[column].levels;
                &*levels[level.min(levels.len() - 1)]
            })
            .collect();
        for (codes, values) in codes.chunks_exact(width).zip(values.chunks_exact_mut(columns.len())) {
            match self.locate.row(codes) {
                Ok(row) => values.iter_mut().zip(&levels).for_each(|(value, level)| *value = level[row]),
                Err(_) => values.fill(f64::NAN),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dense::Dense;
    use super::*;
    use crate::space::{Decision, Domain, Label};

    fn space() -> SearchSpace {
        let domain = |n| Domain::Categorical((0..n).map(Label::Int).collect());
        SearchSpace::new(vec![Decision::new("a", domain(2)), Decision::new("b", domain(3))]).unwrap()
    }

    fn table() -> Benchmark {
        let mut columns = vec![
            Column {
                metric: Metric::max("accuracy"),
                levels: vec![[1.0, 2.0, 3.0].into(), [10.0, 20.0, f64::NAN].into()],
            },
            Column::constant(Metric::min("params"), [7.0, 8.0, 9.0]),
        ];
        let dense = Dense::new(&space(), &[0, 2, 1, 1, 0, 0], &mut columns).unwrap();
        let table = Table::new(dense, vec![0.25, 1.0], columns).unwrap();
        table.benchmark("t", space(), "accuracy", "accuracy").unwrap()
    }

    #[test]
    fn rows_are_found_by_code_and_levels_by_fraction() {
        let table = table();
        let query = |codes: [i32; 2], fidelity| table.query(&Point::new(codes, []), fidelity);
        assert_eq!(query([1, 1], Fidelity::Full).unwrap(), [20.0, 8.0]);
        assert_eq!(query([1, 1], Fidelity::Partial(0.9)).unwrap(), [2.0, 8.0]);
        assert_eq!(query([1, 1], Fidelity::Partial(0.25)).unwrap(), [2.0, 8.0]);
        assert_eq!(query([1, 1], Fidelity::Partial(0.01)).unwrap(), [2.0, 8.0]);
        assert_eq!(query([0, 1], Fidelity::Full).unwrap_err(), "the benchmark has no such architecture");
        assert_eq!(table.optimum(), [20.0, 7.0]);
    }

    #[test]
    fn wrong_tables_are_refused() {
        let uneven =
            vec![Column::constant(Metric::max("a"), [1.0]), Column::constant(Metric::max("b"), [1.0, 2.0])];
        let dense = Dense::new(&space(), &[0, 0], &mut []).unwrap();
        let message = Table::new(dense, vec![1.0], uneven).err().unwrap().to_string();
        assert_eq!(message, "metric 'b' has 2 values; expected 1, as many as the first one");
    }
}
