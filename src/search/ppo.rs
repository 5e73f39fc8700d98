//! PPO: a policy that learns from a batch several times, but never moves far from what drew it.
//!
//! Schulman, Wolski, Dhariwal, Radford and Klimov 2017, "Proximal Policy Optimization Algorithms", arXiv 1707.06347,
//! algorithm 1 with the clipped objective (equation 7). The policy is one softmax a decision (as in `reinforce.rs`). After
//! every `batch` trials it makes `epochs` steps up the gradient of mean(min(r A, clip(r, 1 - clip, 1 + clip) A)) + entropy
//! H, where r is the ratio of the trial's probability to that before the update.
//!
//! Deviations: there is one state and one step, so no discount and no value network: A is the reward above the batch's
//! mean in its standard deviations. Trials that were asked for before the last update count as drawn after it. Numbers
//! are cut into bins; several objectives, constraints and failures become a reward in `reward.rs`. Defaults: clip 0.2 is
//! the paper's, the others were chosen on NAS-Bench-201. An ask costs O(sum of choices), the last tell of a batch O(epochs
//! x batch x sum of choices); the memory is the logits and a batch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Choices, Policy};
use super::reward::Rewards;
use super::{Context, SearchAlgorithm, Settings, require};
use crate::error::Result;
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Trial};

/// PPO (Schulman et al. 2017, arXiv 1707.06347): a probability for each value of each decision, improved in batches by
/// steps that stay near.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ppo {
    /// Trials between two updates; 2 or more.
    pub batch: usize,
    /// Gradient steps of an update; 1 or more.
    pub epochs: usize,
    /// The step of the logits; above 0.
    pub learning_rate: f64,
    /// How far a trial's probability may move in an update, as a ratio; above 0 and below 1.
    pub clip: f64,
    /// The weight of the policy's entropy, which keeps it from settling early; 0 or more.
    pub entropy: f64,
}

impl Default for Ppo {
    fn default() -> Self {
        Ppo { batch: 10, epochs: 4, learning_rate: 0.3, clip: 0.2, entropy: 0.01 }
    }
}

impl Settings for Ppo {
    const NAME: &'static str = "ppo";

    fn build(self, space: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let Ppo { batch, epochs, learning_rate, clip, entropy } = self;
        require(batch >= 2, Self::NAME, || format!("batch is {batch}, expected 2 or more"))?;
        require(epochs >= 1, Self::NAME, || format!("epochs is {epochs}, expected 1 or more"))?;
        require(learning_rate > 0.0 && learning_rate.is_finite(), Self::NAME, || {
            format!("learning_rate is {learning_rate}, expected above 0")
        })?;
        require(clip > 0.0 && clip < 1.0, Self::NAME, || {
            format!("clip is {clip}, expected above 0 and below 1")
        })?;
        require(entropy >= 0.0 && entropy.is_finite(), Self::NAME, || {
            format!("entropy is {entropy}, expected 0 or more")
        })?;
        let policy = Policy::new(space);
        Ok(Box::new(Learner { settings: self, policy, rewards: Rewards::default(), batch: Vec::new() }))
    }
}

struct Learner {
    settings: Ppo,
    policy: Policy,
    rewards: Rewards,
    /// Told since the last update, with their rewards.
    batch: Vec<(Choices, f64)>,
}

impl Learner {
    fn update(&mut self) {
        let Ppo { epochs, learning_rate, clip, entropy, .. } = self.settings;
        let batch = std::mem::take(&mut self.batch);
        let n = batch.len() as f64;
        let mean = batch.iter().map(|(_, reward)| reward).sum::<f64>() / n;
        let deviation = (batch.iter().map(|(_, reward)| (reward - mean).powi(2)).sum::<f64>() / n).sqrt();
        let before: Vec<f64> =
            batch.iter().map(|(choices, _)| self.policy.log_probability(choices)).collect();
        for _ in 0..epochs {
            let mut gradient = self.policy.zeros();
            for ((choices, reward), before) in batch.iter().zip(&before) {
                let advantage = if deviation > 0.0 { (reward - mean) / deviation } else { 0.0 };
                let ratio = (self.policy.log_probability(choices) - before).exp();
                // Where the clipped term is the smaller one, it is constant.
                let clipped =
                    (advantage > 0.0 && ratio > 1.0 + clip) || (advantage < 0.0 && ratio < 1.0 - clip);
                let weight = if clipped { 0.0 } else { ratio * advantage };
                self.policy.add_gradient(choices, weight / n, entropy / n, &mut gradient);
            }
            self.policy.step(&gradient, learning_rate);
        }
    }
}

impl SearchAlgorithm for Learner {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        Ok((0..count).map(|i| Proposal::new(self.policy.draw(cx.space, &mut cx.rng(i)))).collect())
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            let reward = self.rewards.next(trial, cx.goals);
            self.batch.push((self.policy.choices(cx.space, &trial.point), reward));
            if self.batch.len() == self.settings.batch {
                self.update();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{digit_loss, gain_over_random, grid, one_loss};
    use super::*;

    #[test]
    fn it_beats_random_search() {
        let gain = gain_over_random(&Ppo::default(), &grid(8, 10), digit_loss, 800);
        assert!(gain > 4.0, "{gain}");
    }

    #[test]
    fn an_update_stays_near() {
        let space = grid(4, 5);
        let settings = Ppo { epochs: 100, entropy: 0.0, ..Ppo::default() };
        let policy = Policy::new(&space);
        let batch: Vec<(Choices, f64)> =
            (0..10).map(|i| (policy.choices(&space, &space.sample(0, i)), i as f64)).collect();
        let before: Vec<f64> = batch.iter().map(|(choices, _)| policy.log_probability(choices)).collect();
        let mut learner = Learner { settings, policy, rewards: Rewards::default(), batch: batch.clone() };
        learner.update();
        for ((choices, _), before) in batch.iter().zip(before) {
            // The last step of a trial may pass the clip, and steps of others that share its choices move it further.
            let moved = (learner.policy.log_probability(choices) - before).abs();
            assert!(moved < 1.0, "{moved}");
        }
        let message =
            Ppo { clip: 1.0, ..Ppo::default() }.build(&space, &one_loss()).err().unwrap().to_string();
        assert_eq!(message, "search algorithm 'ppo': clip is 1, expected above 0 and below 1");
    }
}
