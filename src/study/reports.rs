//! Reports: what running trials said of themselves on the way, for pruners and for whoever looks on.

use std::collections::BTreeMap;

use crate::trial::TrialId;

/// What a trial reported at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// When; the evaluator knows of what (epochs, batches).
    pub step: u64,
    /// Column and value of what was reported, by column.
    pub values: Box<[(usize, f64)]>,
}

/// The reports of all trials.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<TrialId, Vec<Report>>);

impl Reports {
    /// The reports of a trial, by step.
    pub(super) fn curve(&self, trial: TrialId) -> &[Report] {
        self.0.get(&trial).map_or(&[], Vec::as_slice)
    }

    /// The trials that reported something, by number, with their reports.
    pub(super) fn curves(&self) -> impl Iterator<Item = (TrialId, &[Report])> {
        self.0.iter().map(|(&trial, curve)| (trial, curve.as_slice()))
    }

    /// Enters a report; a later one of the same step takes its place.
    pub(super) fn enter(&mut self, trial: TrialId, report: Report) {
        let curve = self.0.entry(trial).or_default();
        match curve.binary_search_by_key(&report.step, |known| known.step) {
            Ok(i) => curve[i] = report,
            Err(i) => curve.insert(i, report),
        }
    }

    /// Forgets what a trial reported: it starts over.
    pub(super) fn forget(&mut self, trial: TrialId) {
        self.0.remove(&trial);
    }
}
