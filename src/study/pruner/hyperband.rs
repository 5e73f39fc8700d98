//! Hyperband: asynchronous successive halving in several brackets, the later of which begin to prune later.
//!
//! Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
//! Optimization", arXiv 1603.06560, algorithm 1: a hedge against early reports that mislead. Bracket b of
//! B = floor(log_eta(max_steps / min_steps)) + 1 has its first rung at `min_steps` eta^b and gets a share of the trials
//! proportional to ceil(B eta^(B-1-b) / (B-b)), the paper's number of configurations.
//!
//! Deviations, as in Optuna's `HyperbandPruner`: the brackets run at once, and a trial's bracket is drawn, here from the
//! stream of (seed, trial). Trials compete within their bracket. Default eta is 3 (section 3.6 of the paper).

use rand::Rng as _;
use serde::Deserialize;

use super::{SuccessiveHalving, View, require};
use crate::error::Result;
use crate::rng::stream;
use crate::trial::TrialId;

/// See the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperband {
    /// The step of the first rung of the first bracket, 1 or more.
    pub min_steps: u64,
    /// The step of a whole evaluation.
    pub max_steps: u64,
    /// One of `eta` trials goes on, for `eta` times as many steps; 2 or more.
    pub eta: u64,
}

impl Default for Hyperband {
    fn default() -> Self {
        Hyperband { min_steps: 1, max_steps: 81, eta: 3 }
    }
}

impl Hyperband {
    pub(super) fn check(&self) -> Result<()> {
        require(self.min_steps > 0, "hyperband", || "min_steps is 0, expected 1 or more".into())?;
        require(self.max_steps >= self.min_steps, "hyperband", || {
            format!("max_steps is {}, expected min_steps ({}) or more", self.max_steps, self.min_steps)
        })?;
        require(self.eta > 1, "hyperband", || format!("eta is {}, expected 2 or more", self.eta))
    }

    /// The first rung of every bracket.
    fn first_rungs(&self) -> Vec<u64> {
        std::iter::successors(Some(self.min_steps), |rung| rung.checked_mul(self.eta))
            .take_while(|&rung| rung <= self.max_steps)
            .collect()
    }

    fn bracket(&self, n: usize, seed: u64, trial: TrialId) -> usize {
        let share = |bracket: usize| {
            let halvings = (n - 1 - bracket) as i32;
            (n as f64 * (self.eta as f64).powi(halvings) / f64::from(halvings + 1)).ceil()
        };
        let whole: f64 = (0..n).map(share).sum();
        let mut left = stream(seed, trial, "hyperband pruner").random::<f64>() * whole;
        (0..n)
            .find(|&bracket| {
                left -= share(bracket);
                left < 0.0
            })
            .unwrap_or(n - 1)
    }

    pub(super) fn prunes(&self, view: &View<'_>) -> bool {
        let rungs = self.first_rungs();
        let bracket = |trial| self.bracket(rungs.len(), view.seed, trial);
        let own = bracket(view.trial);
        let halving = SuccessiveHalving { min_steps: rungs[own], eta: self.eta };
        halving.prunes_among(view, |other| bracket(other) == own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_have_the_shares_of_the_paper() {
        let hyperband = Hyperband { min_steps: 1, max_steps: 27, eta: 3 };
        assert_eq!(hyperband.first_rungs(), [1, 3, 9, 27]);
        let mut counts = [0_u32; 4];
        for trial in 0..49_000 {
            counts[hyperband.bracket(4, 7, trial)] += 1;
        }
        for (count, share) in counts.into_iter().zip([27.0, 12.0, 6.0, 4.0]) {
            assert!((f64::from(count) / 1000.0 - share).abs() < 1.0, "{counts:?}");
        }
    }

    #[test]
    fn a_trial_competes_within_its_bracket_alone() {
        use super::super::tests::{loss, prunes};
        let rule = serde_json::json!({"name": "hyperband", "min_steps": 1, "max_steps": 9, "eta": 3});
        let hyperband = Hyperband { min_steps: 1, max_steps: 9, eta: 3 };
        let good: &[(u64, &[f64])] = &[(1, &[1.0])];
        let bad: &[(u64, &[f64])] = &[(1, &[9.0])];
        let mut curves = vec![good; 30];
        for trial in 30..60 {
            curves.push(bad);
            assert_eq!(prunes(&rule, &loss(), &curves), hyperband.bracket(3, 0, trial) == 0, "trial {trial}");
        }
    }
}
