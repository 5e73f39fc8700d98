//! The reward of a policy: one number a trial, larger is better, made of any goals.
//!
//! One objective: its loss, negated. Several: their augmented Chebyshev value with equal weights, each scaled by its range
//! so far. Infeasible trials get less than every feasible one so far, failed ones as little as the worst.

use crate::trial::{Goals, Trial};

/// The part of the sum in the augmented Chebyshev value (Knowles 2006, ParEGO, section III-B).
const AUGMENTATION: f64 = 0.05;

/// What it takes to compare a trial with those before.
#[derive(Debug, Default)]
pub(super) struct Rewards {
    /// The least and the largest of each loss.
    ranges: Vec<(f64, f64)>,
    /// The least and the largest reward of a feasible trial.
    feasible: Option<(f64, f64)>,
}

impl Rewards {
    /// The reward of the next told trial.
    pub(super) fn next(&mut self, trial: &Trial, goals: &Goals) -> f64 {
        let (worst, best) = self.feasible.unwrap_or_default();
        let score = trial.measurement().map(|measurement| goals.score(measurement));
        let Some(score) = score.filter(|score| score.losses.iter().all(|loss| loss.is_finite())) else {
            return worst;
        };
        if score.violation > 0.0 {
            // From 0 to 1, so that no single trial outweighs all others.
            let share =
                if score.violation.is_finite() { score.violation / (1.0 + score.violation) } else { 1.0 };
            let extent = if best > worst { best - worst } else { worst.abs().max(1.0) };
            return worst - share * extent;
        }
        let reward = match *score.losses {
            [loss] => -loss,
            ref losses => self.chebyshev(losses),
        };
        let (low, high) = self.feasible.unwrap_or((reward, reward));
        self.feasible = Some((low.min(reward), high.max(reward)));
        reward
    }

    fn chebyshev(&mut self, losses: &[f64]) -> f64 {
        self.ranges.resize(losses.len(), (f64::INFINITY, f64::NEG_INFINITY));
        let (mut largest, mut sum) = (0.0_f64, 0.0);
        for ((low, high), &loss) in self.ranges.iter_mut().zip(losses) {
            (*low, *high) = (low.min(loss), high.max(loss));
            let scaled = if high > low { (loss - *low) / (*high - *low) } else { 0.5 };
            largest = largest.max(scaled);
            sum += scaled;
        }
        -(largest + AUGMENTATION * sum)
    }
}

/// A mean and a spread that forget exponentially.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    mean: Option<f64>,
    variance: f64,
}

impl Baseline {
    /// How much better than the mean so far a reward is, in standard deviations that count it; then enters it.
    pub(super) fn advantage(&mut self, reward: f64, decay: f64) -> f64 {
        let mean = *self.mean.get_or_insert(reward);
        let above = reward - mean;
        self.variance = decay * self.variance + (1.0 - decay) * above * above;
        self.mean = Some(mean + (1.0 - decay) * above);
        if self.variance > 0.0 { above / self.variance.sqrt() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Point;
    use crate::trial::{Constraint, Direction, Fidelity, Measurement, Objective, Outcome};

    fn goals(objectives: &[&str]) -> Goals {
        let objective =
            |metric: &&str| Objective { metric: (*metric).into(), direction: Direction::Minimize };
        let size = Constraint { metric: "size".into(), low: None, high: Some(1.0) };
        Goals::new(objectives.iter().map(objective).collect(), vec![size]).unwrap()
    }

    fn told(outcome: Outcome) -> Trial {
        let (point, fidelity) = (Point::new([], []), Fidelity::Full);
        Trial { id: 0, point, fidelity, parent: None, outcome: Some(outcome) }
    }

    fn complete(values: &[f64]) -> Trial {
        told(Outcome::Complete(Measurement { values: values.into() }))
    }

    #[test]
    fn the_infeasible_and_the_failed_get_less_than_the_feasible() {
        let (goals, mut rewards) = (goals(&["loss"]), Rewards::default());
        assert_eq!(rewards.next(&complete(&[3.0, 0.5]), &goals), -3.0);
        assert_eq!(rewards.next(&complete(&[7.0, 1.0]), &goals), -7.0);
        assert_eq!(rewards.next(&told(Outcome::Failed(String::new())), &goals), -7.0);
        assert_eq!(rewards.next(&complete(&[0.0, 2.0]), &goals), -9.0);
        assert_eq!(rewards.next(&complete(&[0.0, f64::NAN]), &goals), -11.0);
        assert_eq!(rewards.next(&complete(&[f64::NAN, 0.0]), &goals), -7.0);
    }

    #[test]
    fn of_several_objectives_the_worst_counts_most() {
        let (goals, mut rewards) = (goals(&["a", "b"]), Rewards::default());
        let mut next = |a, b| rewards.next(&complete(&[a, b, 0.0]), &goals);
        next(0.0, 100.0);
        next(1.0, 0.0);
        assert!(next(0.5, 50.0) > next(0.0, 100.0));
        assert!(next(0.5, 40.0) > next(0.5, 50.0));
    }

    #[test]
    fn advantages_are_bounded_and_have_no_unit() {
        let run = |scale: f64| {
            let mut baseline = Baseline::default();
            [1.0, 2.0, 0.0, 1000.0, 3.0].map(|reward| baseline.advantage(reward * scale, 0.9))
        };
        assert_eq!(run(1.0)[0], 0.0);
        assert!(run(1.0)[3] > 3.0 && run(1.0).iter().all(|a| a.abs() < 3.2));
        assert!(run(1.0).iter().zip(run(1e6)).all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
