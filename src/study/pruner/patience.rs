//! Patience: a trial ends if its last `patience` reports brought nothing new (and `pruner`, if given, agrees).
//!
//! Early stopping as in Prechelt 1998, "Early Stopping - But When?", third class of criteria, and Optuna's
//! `PatientPruner`, which it follows: improvement is less than `min_delta` over the reports before. With several
//! objectives, new is what no earlier report equals or beats in all of them. The default `min_delta` of 0 is Optuna's.

use serde::Deserialize;

use super::{Pruner, View, require};
use crate::error::Result;
use crate::trial::Score;

/// See the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Patience {
    /// How many reports without improvement are borne, 1 or more.
    pub patience: usize,
    /// The least that counts as improvement, 0 or more.
    pub min_delta: f64,
    /// A pruner that must agree.
    pub pruner: Option<Box<Pruner>>,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { patience: 1, min_delta: 0.0, pruner: None }
    }
}

impl Patience {
    pub(super) fn check(&self) -> Result<()> {
        require(self.patience > 0, "patience", || "patience is 0, expected 1 or more".into())?;
        require(self.min_delta >= 0.0, "patience", || {
            format!("min_delta is {}, expected 0 or more", self.min_delta)
        })?;
        self.pruner.as_ref().map_or(Ok(()), |pruner| pruner.check())
    }

    pub(super) fn prunes(&self, view: &View<'_>) -> bool {
        let curve = view.curve();
        let Some(last) = curve.last().filter(|_| curve.len() > self.patience) else { return false };
        let (before, lately) = curve.split_at(curve.len() - self.patience);
        let before: Vec<Score> = before.iter().filter_map(|report| view.score(report, last)).collect();
        let known = |score: &Score| {
            before.iter().any(|old| {
                old.violation <= score.violation
                    && old.losses.iter().zip(&score.losses).all(|(old, new)| *old <= new + self.min_delta)
            })
        };
        let stuck = lately.iter().filter_map(|report| view.score(report, last)).all(|score| known(&score));
        stuck && self.pruner.as_ref().is_none_or(|pruner| pruner.prunes(view))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{least, loss, prunes};
    use crate::trial::Goals;

    #[test]
    fn it_ends_after_reports_that_bring_nothing() {
        let rule = json!({"name": "patience", "patience": 2, "min_delta": 0.1});
        let ends = |losses: &[f64]| {
            let curve: Vec<(u64, &[f64])> = (0..).zip(losses.chunks(1)).collect();
            prunes(&rule, &loss(), &[&curve])
        };
        assert!(!ends(&[3.0, 3.0]) && ends(&[3.0, 3.0, 2.95]) && !ends(&[3.0, 2.8, 2.85]));
        assert!(ends(&[1.0, f64::NAN, f64::NAN]));
        let and = json!({"name": "patience", "patience": 1, "pruner": {"name": "threshold", "upper": 5.0}});
        assert!(!prunes(&and, &loss(), &[&[(0, &[1.0]), (1, &[2.0])]]));
        assert!(prunes(&and, &loss(), &[&[(0, &[1.0]), (1, &[6.0])]]));
        let two = Goals::new(vec![least("loss"), least("ms")], vec![]).unwrap();
        let rule = json!({"name": "patience", "patience": 1});
        assert!(!prunes(&rule, &two, &[&[(0, &[1.0, 2.0]), (1, &[2.0, 1.0])]]));
        assert!(prunes(&rule, &two, &[&[(0, &[1.0, 2.0]), (1, &[2.0, 2.0])]]));
    }
}
