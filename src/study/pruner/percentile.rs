//! Percentile pruning: a trial ends if it is not among the best `percentile` per cent at its step. The median rule is 50.
//!
//! Golovin, Solnik, Moitra, Kochanski, Karro and Sculley 2017, "Google Vizier: A Service for Black-Box Optimization",
//! KDD, section 3.2.2 ("median automated stopping rule"): end a trial at step s if its best objective value by step s is
//! strictly worse than the median of the others. As in Optuna's `PercentilePruner`, the others are the complete trials
//! that reported at s, by their report at s (Vizier: by their running average).
//!
//! Deviations: the percentile is the nearest rank, not interpolated, since ranks are all that several objectives have.
//! Defaults are those of Optuna (5 complete trials first, no warm-up, every step).

use serde::Deserialize;

use super::{View, is_due, ranks, require};
use crate::error::Result;

/// See the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Percentile {
    /// How many per cent go on, above 0 and below 100.
    pub percentile: f64,
    /// How many trials must be complete before any is pruned.
    pub startup_trials: usize,
    /// No trial is pruned before this step.
    pub warmup_steps: u64,
    /// A trial is looked at once in so many steps.
    pub interval_steps: u64,
    /// How many others must have reported at the step.
    pub min_trials: usize,
}

impl Default for Percentile {
    fn default() -> Self {
        Percentile { percentile: 50.0, startup_trials: 5, warmup_steps: 0, interval_steps: 1, min_trials: 1 }
    }
}

impl Percentile {
    pub(super) fn check(&self) -> Result<()> {
        require(self.percentile > 0.0 && self.percentile < 100.0, "percentile", || {
            format!("percentile is {}, expected above 0 and below 100", self.percentile)
        })?;
        require(self.interval_steps > 0, "percentile", || "interval_steps is 0, expected 1 or more".into())?;
        require(self.min_trials > 0, "percentile", || "min_trials is 0, expected 1 or more".into())
    }

    pub(super) fn prunes(&self, view: &View<'_>) -> bool {
        let curve = view.curve();
        let Some(last) = curve.last().filter(|_| is_due(curve, self.warmup_steps, self.interval_steps))
        else {
            return false;
        };
        let mut complete = 0;
        let mut others = Vec::new();
        for (_, theirs) in view.reports.curves().filter(|(id, _)| (view.is_complete)(*id)) {
            complete += 1;
            if let Ok(i) = theirs.binary_search_by_key(&last.step, |report| report.step) {
                others.extend(view.score(&theirs[i], last));
            }
        }
        if complete < self.startup_trials || others.len() < self.min_trials {
            return false;
        }
        let (own, mut others) = ranks(view.standing(last), others);
        others.sort_unstable();
        let kept = (self.percentile / 100.0 * others.len() as f64).ceil() as usize;
        own > others[kept.clamp(1, others.len()) - 1]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{loss, prunes};

    #[test]
    fn the_worse_half_ends_and_the_best_so_far_counts() {
        let rule = json!({"name": "percentile", "percentile": 50.0, "startup_trials": 3});
        let others: [&[(u64, &[f64])]; 3] = [&[(1, &[1.0])], &[(1, &[2.0])], &[(1, &[3.0])]];
        let last =
            |curve: &[(u64, &[f64])]| prunes(&rule, &loss(), &[others[0], others[1], others[2], curve]);
        assert!(!last(&[(1, &[2.0])]) && last(&[(1, &[2.1])]));
        assert!(!last(&[(0, &[1.5]), (1, &[9.0])]), "its best so far is good");
        assert!(last(&[(1, &[f64::NAN])]));
        assert!(!last(&[(2, &[9.0])]), "nobody reported at step 2");
        assert!(!prunes(&rule, &loss(), &[others[0], others[1], &[(1, &[9.0])]]), "too few");
        let quarter = json!({"name": "percentile", "percentile": 25.0, "startup_trials": 0});
        assert!(prunes(&quarter, &loss(), &[others[0], others[1], others[2], &[(1, &[1.5])]]));
    }
}
