//! Threshold: a trial ends as soon as a reported metric is out of bounds or not a number.
//!
//! For losses that diverge and for memory or time that runs away. Bounds are compared with the last report alone, whatever
//! others did; settings are those of Optuna's `ThresholdPruner`, with the name of a metric besides (default: the first
//! objective).

use serde::Deserialize;

use super::{View, is_due, require};
use crate::error::Result;

/// See the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Threshold {
    /// An objective or a constrained metric; the first objective if not given.
    pub metric: Option<String>,
    /// The least value that goes on.
    pub lower: Option<f64>,
    /// The greatest value that goes on.
    pub upper: Option<f64>,
    /// No trial is pruned before this step.
    pub warmup_steps: u64,
    /// A trial is looked at once in so many steps.
    pub interval_steps: u64,
}

impl Default for Threshold {
    fn default() -> Self {
        Threshold { metric: None, lower: None, upper: None, warmup_steps: 0, interval_steps: 1 }
    }
}

impl Threshold {
    pub(super) fn check(&self) -> Result<()> {
        require(self.lower.is_some() || self.upper.is_some(), "threshold", || {
            "neither lower nor upper is given; give at least one".into()
        })?;
        require(self.interval_steps > 0, "threshold", || "interval_steps is 0, expected 1 or more".into())
    }

    pub(super) fn prunes(&self, view: &View<'_>) -> bool {
        let curve = view.curve();
        let Some(last) = curve.last().filter(|_| is_due(curve, self.warmup_steps, self.interval_steps))
        else {
            return false;
        };
        let metrics = view.goals.metrics();
        let column = self.metric.as_ref().map_or(Some(0), |name| metrics.iter().position(|m| m == name));
        let reported = column.and_then(|column| last.values.iter().find(|(one, _)| *one == column));
        reported.is_some_and(|&(_, value)| {
            value.is_nan()
                || self.lower.is_some_and(|lower| value < lower)
                || self.upper.is_some_and(|upper| value > upper)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{least, loss, prunes};
    use crate::trial::{Constraint, Goals};

    #[test]
    fn what_is_out_of_bounds_ends() {
        let rule = json!({"name": "threshold", "lower": 0.0, "upper": 2.0, "warmup_steps": 1});
        let at = |step, value: f64| prunes(&rule, &loss(), &[&[(step, &[value])]]);
        assert!(at(1, 2.1) && at(1, -0.1) && at(1, f64::NAN));
        assert!(!at(1, 2.0) && !at(1, 0.0) && !at(0, 9.0));
        let limit = Constraint { metric: "mb".into(), low: None, high: Some(10.0) };
        let goals = Goals::new(vec![least("loss")], vec![limit]).unwrap();
        let rule = json!({"name": "threshold", "metric": "mb", "upper": 8.0});
        assert!(prunes(&rule, &goals, &[&[(0, &[0.0, 9.0])]]));
        assert!(!prunes(&rule, &goals, &[&[(0, &[0.0])]]), "not reported");
    }
}
