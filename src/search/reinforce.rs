//! REINFORCE: a categorical policy a decision, moved towards what was better than usual.
//!
//! Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", equation 4
//! with a reinforcement baseline; for architectures Zoph and Le 2017, arXiv 1611.01578, section 3.2, and in the form used
//! here (independent softmaxes, no recurrent controller) Ying et al. 2019, arXiv 1902.09635, appendix S3, who found it as
//! good. After each trial: logits += rate (A grad log p + entropy grad H), where A is the reward above its moving average.
//!
//! Deviations: A is divided by the moving standard deviation of the rewards, so the rate does not depend on their unit;
//! the entropy bonus is that of Mnih et al. 2016, arXiv 1602.01783; numbers are cut into bins; several objectives,
//! constraints and failures become a reward in `reward.rs`. Defaults: decay 0.9 and no recurrent part as in Ying et al.;
//! the rate was chosen on NAS-Bench-201. An ask and a tell cost O(sum of choices), the memory is the logits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::reward::{Baseline, Rewards};
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Trial};

/// REINFORCE (Williams 1992; for architectures Zoph and Le 2017, arXiv 1611.01578): a probability for each value of each
/// decision, raised when the result is better than usual.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reinforce {
    /// The step of the logits for a result one standard deviation better than usual; above 0.
    pub learning_rate: f64,
    /// How long the baseline remembers; at least 0 and below 1.
    pub baseline_decay: f64,
    /// The weight of the policy's entropy, which keeps it from settling early; 0 or more.
    pub entropy: f64,
}

impl Default for Reinforce {
    fn default() -> Self {
        Reinforce { learning_rate: 0.1, baseline_decay: 0.9, entropy: 0.01 }
    }
}

impl Settings for Reinforce {
    const NAME: &'static str = "reinforce";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Reinforce { learning_rate, baseline_decay, entropy } = self;
        require(learning_rate > 0.0 && learning_rate.is_finite(), Self::NAME, || {
            format!("learning_rate is {learning_rate}, expected above 0")
        })?;
        require((0.0..1.0).contains(&baseline_decay), Self::NAME, || {
            format!("baseline_decay is {baseline_decay}, expected at least 0 and below 1")
        })?;
        require(entropy >= 0.0 && entropy.is_finite(), Self::NAME, || {
            format!("entropy is {entropy}, expected 0 or more")
        })?;
        let policy = Policy::new(space);
        Ok(Box::new(Learner {
            settings: self,
            policy,
            rewards: Rewards::default(),
            baseline: Baseline::default(),
        }))
    }
}

struct Learner {
    settings: Reinforce,
    policy: Policy,
    rewards: Rewards,
    baseline: Baseline,
}

impl SearchAlgorithm for Learner {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        Ok((0..count).map(|i| Proposal::new(self.policy.draw(cx.space, &mut cx.rng(i)))).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        let Reinforce { learning_rate, baseline_decay, entropy } = self.settings;
        for trial in finished {
            let reward = self.rewards.next(trial, cx.goals);
            let advantage = self.baseline.advantage(reward, baseline_decay);
            let choices = self.policy.choices(cx.space, &trial.point);
            let mut gradient = self.policy.zeros();
            self.policy.add_gradient(&choices, advantage, entropy, &mut gradient);
            self.policy.step(&gradient, learning_rate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{
        digit_loss, gain_over_random, grid, mean_hypervolume, numeric, two_losses,
    };
    use super::super::random::Random;
    use super::*;

    #[test]
    fn it_beats_random_search_on_digits_and_on_numbers() {
        let gain = gain_over_random(&Reinforce::default(), &grid(8, 10), digit_loss, 800);
        assert!(gain > 4.0, "{gain}");
        let far = |point: &crate::space::Point| {
            (point.reals()[0] - 2.0).abs() + (f64::from(point.codes()[1]) - 9.0).abs()
        };
        assert!(gain_over_random(&Reinforce::default(), &numeric(), far, 800) > 0.0);
    }

    #[test]
    fn two_objectives_are_served() {
        let space = grid(12, 4);
        let volume = mean_hypervolume(&Reinforce::default(), &space, two_losses, 600);
        assert!(volume > mean_hypervolume(&Random {}, &space, two_losses, 600), "{volume}");
    }
}
