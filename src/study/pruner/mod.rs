//! Pruners: which running trials are not worth finishing, by what they and others reported so far.
//!
//! One rule is one file: a struct of settings and a pure function of a [`View`]. A pruner has no state, so a decision is
//! the same after a restart, and in every process that works on the file. Trials are compared by what they reported: by
//! one objective in its order, by several by non-dominated sorting; what was reported of constrained metrics counts
//! before that, feasible before infeasible (Deb et al. 2002, section VI-A).

mod hyperband;
mod patience;
mod percentile;
mod successive_halving;
mod threshold;

use serde::Deserialize;
use serde_json::Value;

pub use hyperband::Hyperband;
pub use patience::Patience;
pub use percentile::Percentile;
pub use successive_halving::SuccessiveHalving;
pub use threshold::Threshold;

use super::reports::{Report, Reports};
use crate::error::{Error, Result};
use crate::trial::{Goals, Score, TrialId, constrained_ranks};

/// A pruning rule with its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Pruner {
    /// Against the others at the same step.
    Percentile(Percentile),
    /// Against itself, earlier.
    Patience(Patience),
    /// Against fixed bounds.
    Threshold(Threshold),
    /// Against the others at every rung.
    SuccessiveHalving(SuccessiveHalving),
    /// Successive halving from several first rungs.
    Hyperband(Hyperband),
}

impl Pruner {
    /// The rule of this JSON object: `name` and settings.
    ///
    /// # Errors
    /// [`Error::Study`] for an unknown name or setting, or one that is out of range.
    pub fn read(settings: &Value) -> Result<Pruner> {
        let pruner: Pruner =
            serde_json::from_value(settings.clone()).map_err(|e| Error::Study(format!("pruner: {e}")))?;
        pruner.check()?;
        Ok(pruner)
    }

    fn check(&self) -> Result<()> {
        match self {
            Pruner::Percentile(rule) => rule.check(),
            Pruner::Patience(rule) => rule.check(),
            Pruner::Threshold(rule) => rule.check(),
            Pruner::SuccessiveHalving(rule) => rule.check(),
            Pruner::Hyperband(rule) => rule.check(),
        }
    }

    /// Whether to end the trial now.
    pub(super) fn prunes(&self, view: &View<'_>) -> bool {
        match self {
            Pruner::Percentile(rule) => rule.prunes(view),
            Pruner::Patience(rule) => rule.prunes(view),
            Pruner::Threshold(rule) => rule.prunes(view),
            Pruner::SuccessiveHalving(rule) => rule.prunes(view),
            Pruner::Hyperband(rule) => rule.prunes(view),
        }
    }
}

/// What a pruner decides from.
pub(super) struct View<'a> {
    /// What the study is after.
    pub(super) goals: &'a Goals,
    /// The seed of the study.
    pub(super) seed: u64,
    /// The trial in question.
    pub(super) trial: TrialId,
    /// What all trials reported.
    pub(super) reports: &'a Reports,
    /// Whether a trial is complete.
    pub(super) is_complete: &'a dyn Fn(TrialId) -> bool,
}

impl<'a> View<'a> {
    /// What the trial reported so far.
    fn curve(&self) -> &'a [Report] {
        self.reports.curve(self.trial)
    }

    /// A report as a score of the metrics that `like` reported; `None` if it lacks one of them.
    fn score(&self, report: &Report, like: &Report) -> Option<Score> {
        let value = |column: &usize| report.values.iter().find(|(one, _)| one == column).copied();
        let known: Vec<(usize, f64)> =
            like.values.iter().map(|(column, _)| value(column)).collect::<Option<_>>()?;
        Some(self.goals.partial_score(&known))
    }

    /// The best of the trial's reports if one objective says which, else the last.
    fn standing(&self, last: &Report) -> Score {
        let own = self.goals.partial_score(&last.values);
        if own.losses.len() != 1 {
            return own;
        }
        let earlier = self.curve().iter().filter_map(|report| self.score(report, last));
        earlier.fold(own, |best, score| if score.compare(&best).is_lt() { score } else { best })
    }
}

/// The ranks of a score and of others, 0 the best.
fn ranks(own: Score, mut others: Vec<Score>) -> (u32, Vec<u32>) {
    others.push(own);
    let mut ranks = constrained_ranks(&others);
    (ranks.pop().unwrap_or(0), ranks)
}

/// Whether the last report is the first one of its interval; intervals begin at `warmup`.
fn is_due(curve: &[Report], warmup: u64, interval: u64) -> bool {
    let Some(last) = curve.last() else { return false };
    let Some(since) = last.step.checked_sub(warmup) else { return false };
    let begin = warmup + since / interval * interval;
    curve.len() < 2 || curve[curve.len() - 2].step < begin
}

fn require(holds: bool, pruner: &str, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Study(format!("pruner {pruner}: {}", message()))) }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::trial::{Constraint, Direction, Objective};

    type Curve<'a> = &'a [(u64, &'a [f64])];

    /// Curves by trial, all complete but the last, which is asked about.
    pub(crate) fn prunes(rule: &Value, goals: &Goals, curves: &[&[(u64, &[f64])]]) -> bool {
        let mut reports = Reports::default();
        for (trial, curve) in (0..).zip(curves) {
            for (step, values) in *curve {
                let values = values.iter().copied().enumerate().collect();
                reports.enter(trial, Report { step: *step, values });
            }
        }
        let trial = curves.len() as u64 - 1;
        let view = View { goals, seed: 0, trial, reports: &reports, is_complete: &|id| id != trial };
        Pruner::read(rule).unwrap().prunes(&view)
    }

    pub(crate) fn least(metric: &str) -> Objective {
        Objective { metric: metric.into(), direction: Direction::Minimize }
    }

    pub(crate) fn loss() -> Goals {
        Goals::new(vec![least("loss")], vec![]).unwrap()
    }

    #[test]
    fn constraints_come_first_and_several_objectives_by_domination() {
        let rule = json!({"name": "percentile", "percentile": 50, "startup_trials": 2});
        let limit = Constraint { metric: "macs".into(), low: None, high: Some(10.0) };
        let limited = Goals::new(vec![least("loss")], vec![limit]).unwrap();
        let (small, large): (Curve<'_>, Curve<'_>) = (&[(0, &[9.0, 5.0])], &[(0, &[1.0, 50.0])]);
        assert!(prunes(&rule, &limited, &[small, small, large]), "infeasible, though its loss is less");
        assert!(!prunes(&rule, &limited, &[large, large, small]));
        let two = Goals::new(vec![least("loss"), least("ms")], vec![]).unwrap();
        let (a, b): (Curve<'_>, Curve<'_>) = (&[(0, &[1.0, 5.0])], &[(0, &[5.0, 1.0])]);
        assert!(!prunes(&rule, &two, &[a, a, b]), "neither dominates");
        assert!(prunes(&rule, &two, &[a, b, &[(0, &[6.0, 6.0])]]));
    }

    #[test]
    fn intervals_begin_after_the_warm_up() {
        let at = |steps: &[u64]| {
            steps.iter().map(|&step| Report { step, values: Box::new([]) }).collect::<Vec<_>>()
        };
        assert!(!is_due(&at(&[]), 0, 1) && !is_due(&at(&[1]), 2, 3));
        assert!(is_due(&at(&[2]), 2, 3) && !is_due(&at(&[2, 4]), 2, 3));
        assert!(is_due(&at(&[2, 6]), 2, 3) && is_due(&at(&[4, 5]), 2, 3));
    }

    #[test]
    fn settings_are_checked() {
        let refusal = |rule: Value| Pruner::read(&rule).unwrap_err().to_string();
        assert!(refusal(json!({"name": "magic"})).starts_with("pruner: unknown variant `magic`"));
        assert!(refusal(json!({"name": "percentile", "percentil": 3})).contains("unknown field `percentil`"));
        assert_eq!(
            refusal(json!({"name": "percentile", "percentile": 0})),
            "pruner percentile: percentile is 0, expected above 0 and below 100"
        );
        assert_eq!(
            refusal(json!({"name": "threshold"})),
            "pruner threshold: neither lower nor upper is given; give at least one"
        );
        let inner = json!({"name": "patience", "pruner": {"name": "hyperband", "max_steps": 0}});
        assert!(refusal(inner).starts_with("pruner hyperband: "));
    }
}
