//! Asynchronous successive halving: at each rung, a trial goes on if it is among the best 1/eta that got there so far.
//!
//! Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar 2020, "A System for Massively Parallel
//! Hyperparameter Tuning", arXiv 1810.05934, algorithm 2, in the stopping variant that Optuna's
//! `SuccessiveHalvingPruner` has too: a trial is not paused and promoted later but decided once, when it crosses a rung.
//! Rungs are at steps `min_steps` eta^k. A trial counts at a rung with its first report at or past it; of n that got there,
//! max(1, n / eta) go on.
//!
//! Deviations: a rung's trials are found in the reports, so nothing is stored besides. Defaults: eta 3 as in the search
//! algorithms of that name here (the paper uses 4), first rung at step 1.

use serde::Deserialize;

use super::{View, ranks, require};
use crate::error::Result;
use crate::study::reports::Report;
use crate::trial::TrialId;

/// See the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessiveHalving {
    /// The step of the first rung, 1 or more.
    pub min_steps: u64,
    /// One of `eta` trials goes on, for `eta` times as many steps; 2 or more.
    pub eta: u64,
}

impl Default for SuccessiveHalving {
    fn default() -> Self {
        SuccessiveHalving { min_steps: 1, eta: 3 }
    }
}

impl SuccessiveHalving {
    pub(super) fn check(&self) -> Result<()> {
        require(self.min_steps > 0, "successive_halving", || "min_steps is 0, expected 1 or more".into())?;
        require(self.eta > 1, "successive_halving", || format!("eta is {}, expected 2 or more", self.eta))
    }

    pub(super) fn prunes(&self, view: &View<'_>) -> bool {
        self.prunes_among(view, |_| true)
    }

    /// As if only some trials took part.
    pub(super) fn prunes_among(&self, view: &View<'_>, takes_part: impl Fn(TrialId) -> bool) -> bool {
        let curve = view.curve();
        let Some(last) = curve.last() else { return false };
        let before = curve.len().checked_sub(2).map(|i| curve[i].step);
        let rungs = std::iter::successors(Some(self.min_steps), |rung| rung.checked_mul(self.eta));
        let crossed =
            rungs.take_while(|&rung| rung <= last.step).filter(|&rung| before.is_none_or(|step| step < rung));
        for rung in crossed {
            let at = |curve: &'_ [Report]| curve.partition_point(|report| report.step < rung);
            let others: Vec<_> = view
                .reports
                .curves()
                .filter(|(id, _)| *id != view.trial && takes_part(*id))
                .filter_map(|(_, theirs)| view.score(theirs.get(at(theirs))?, last))
                .collect();
            let kept = ((others.len() as u64 + 1) / self.eta).max(1);
            let (own, others) = ranks(view.goals.partial_score(&last.values), others);
            if others.iter().filter(|&&rank| rank < own).count() as u64 >= kept {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{loss, prunes};

    #[test]
    fn a_third_passes_each_rung() {
        let rule = json!({"name": "successive_halving", "min_steps": 2, "eta": 3});
        let ends = |others: &[f64], curve: &[(u64, &[f64])]| {
            let others: Vec<[(u64, &[f64]); 1]> = others.chunks(1).map(|value| [(2, value)]).collect();
            let mut curves: Vec<&[(u64, &[f64])]> = others.iter().map(<[_; 1]>::as_slice).collect();
            curves.push(curve);
            prunes(&rule, &loss(), &curves)
        };
        assert!(!ends(&[], &[(2, &[9.0])]), "the first one passes");
        assert!(ends(&[1.0], &[(2, &[2.0])]) && !ends(&[2.0], &[(2, &[1.0])]));
        assert!(!ends(&[1.0], &[(1, &[9.0])]), "below the first rung");
        assert!(!ends(&[1.0], &[(2, &[9.0]), (3, &[9.0])]), "between rungs");
        assert!(ends(&[1.0], &[(1, &[9.0]), (5, &[9.0])]), "the first report past a rung counts there");
        assert!(!ends(&[1.0, 2.0, 3.0, 4.0, 5.0], &[(2, &[1.5])]), "two of six");
        assert!(ends(&[1.0, 2.0, 3.0, 4.0, 5.0], &[(2, &[2.5])]));
    }
}
