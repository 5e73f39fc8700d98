//! ASHA: successive halving that promotes as soon as a trial is among the best third, without waiting for its rung.
//!
//! Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934, algorithm 2. Whoever asks
//! gets, from the highest rung down, the best trial that is among the best 1 / eta of its rung and was not promoted
//! yet; if there is none, a random point on the lowest rung.
//!
//! Deviations: failed and pruned trials do not count in a rung; with several objectives a rung is ordered by
//! non-dominated rank, then by crowding distance (as MO-ASHA, Schmucker et al. 2021, arXiv 2106.12639, does with
//! NSGA-II's sort). Defaults: eta 3 and four rungs; the paper uses eta 4. With one objective ask and tell cost O(log
//! trials); with several a tell sorts its rung. The memory is one point a completed trial.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brackets::best_first;
use super::individual::Individual;
use super::rungs::{MIN_FIDELITY, Rungs};
use super::{Context, SearchAlgorithm, Settings};
use crate::error::Result;
use crate::space::SearchSpace;
use crate::trial::{Goals, Proposal, Score, Trial, TrialId};

/// ASHA (Li et al. 2020, arXiv 1810.05934): successive halving that never waits, for many workers. For evaluators that
/// obey `fidelity`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Asha {
    /// The least fraction of a full evaluation, above 0 and up to 1.
    pub min_fidelity: f64,
    /// One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    pub eta: usize,
}

impl Default for Asha {
    fn default() -> Self {
        Asha { min_fidelity: MIN_FIDELITY, eta: 3 }
    }
}

impl Settings for Asha {
    const NAME: &'static str = "asha";

    fn build(self, _: &SearchSpace, _: &Goals) -> Result<Box<dyn SearchAlgorithm>> {
        let rungs = Rungs::new(self.min_fidelity, self.eta, Self::NAME)?;
        let levels = (0..rungs.len()).map(|_| Level::default()).collect();
        Ok(Box::new(Promotion { rungs, levels }))
    }
}

struct Promotion {
    rungs: Rungs,
    levels: Vec<Level>,
}

/// The completed trials of one rung, in the order of their worth.
#[derive(Default)]
struct Level {
    members: Vec<Individual>,
    /// The best of them, as many as may be promoted so far, and the others.
    top: BTreeSet<Place>,
    rest: BTreeSet<Place>,
    /// Those not promoted yet.
    waiting: BTreeSet<Place>,
}

/// A member by its worth, best first.
#[derive(Clone, Debug)]
struct Place {
    /// With several objectives its position in the sorted rung.
    worth: Score,
    id: TrialId,
    member: usize,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.worth.compare(&other.worth).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

impl Level {
    /// Those that may be promoted, best first.
    fn promotable(&self) -> impl Iterator<Item = &Individual> {
        let last = self.top.last();
        let places = self.waiting.iter().take_while(move |place| last.is_some_and(|last| *place <= last));
        places.map(|place| &self.members[place.member])
    }

    fn add(&mut self, one: Individual, eta: usize) {
        let member = self.members.len();
        let several = one.score.losses.len() > 1;
        let place = Place { worth: one.score.clone(), id: one.id, member };
        self.members.push(one);
        if several {
            self.sort_again(place);
        } else {
            self.waiting.insert(place.clone());
            self.rest.insert(place);
            // Whatever is better than the worst of the top belongs there.
            while let (Some(best), Some(worst)) = (self.rest.first(), self.top.last()) {
                if best > worst {
                    break;
                }
                self.top.extend(self.rest.pop_first());
                self.rest.extend(self.top.pop_last());
            }
        }
        while self.top.len() < self.members.len() / eta {
            self.top.extend(self.rest.pop_first());
        }
    }

    fn sort_again(&mut self, new: Place) {
        let mut waits: Vec<bool> = vec![false; self.members.len()];
        waits[new.member] = true;
        for place in &self.waiting {
            waits[place.member] = true;
        }
        let order = best_first(&self.members, self.members.len());
        let places = order.into_iter().enumerate().map(|(position, member)| {
            let worth = Score { violation: 0.0, losses: [position as f64].into() };
            Place { worth, id: self.members[member].id, member }
        });
        self.rest = places.collect();
        self.top.clear();
        self.waiting = self.rest.iter().filter(|place| waits[place.member]).cloned().collect();
    }

    fn promoted(&mut self, id: TrialId) {
        // Promoted ones are near the best, so this looks at few.
        if let Some(place) = self.waiting.iter().find(|place| place.id == id).cloned() {
            self.waiting.remove(&place);
        }
    }
}

impl SearchAlgorithm for Promotion {
    fn ask(&self, cx: &Context<'_>, count: usize) -> Result<Vec<Proposal>> {
        let mut proposals: Vec<Proposal> = Vec::with_capacity(count);
        for (rung, level) in self.levels.iter().enumerate().rev().skip(1) {
            for one in level.promotable() {
                if proposals.len() == count {
                    break;
                }
                if cx.running.iter().all(|trial| trial.parent != Some(one.id)) {
                    let (point, fidelity) = (one.point.clone(), self.rungs.fidelity(rung + 1));
                    proposals.push(Proposal { point, fidelity, parent: Some(one.id) });
                }
            }
        }
        for i in proposals.len()..count {
            let point = cx.draw(&mut cx.rng(i));
            proposals.push(Proposal { fidelity: self.rungs.fidelity(0), ..Proposal::new(point) });
        }
        Ok(proposals)
    }

    fn tell(&mut self, cx: &Context<'_>, finished: &[Trial]) -> Result<()> {
        for trial in finished {
            let rung = self.rungs.rung(trial.fidelity);
            if let (Some(parent), Some(below)) = (trial.parent, rung.checked_sub(1)) {
                self.levels[below].promoted(parent);
            }
            // Nothing is promoted from the last rung.
            if rung + 1 < self.levels.len()
                && let Some(one) = Individual::of(trial, cx.goals)
            {
                self.levels[rung].add(one, self.rungs.eta());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conformance::{digit_loss, grid, search};
    use super::*;
    use crate::space::Point;
    use crate::trial::Fidelity;

    proptest! {
        #[test]
        fn the_top_of_a_rung_is_its_best_third(losses in proptest::collection::vec((0_u8..9, 0_u8..9), 1..40), two: bool) {
            let mut level = Level::default();
            for (id, &(a, b)) in losses.iter().enumerate() {
                let all = [f64::from(a), f64::from(b)];
                let score = Score { violation: 0.0, losses: all[..=usize::from(two)].into() };
                level.add(Individual { id: id as u64, point: Point::new([], []), score }, 3);
                if id % 4 == 3 {
                    let first = level.promotable().next().map(|one| one.id);
                    if let Some(id) = first {
                        level.promoted(id);
                    }
                }
            }
            let best = best_first(&level.members, losses.len() / 3);
            let top: Vec<usize> = level.top.iter().map(|place| place.member).collect();
            prop_assert_eq!(&top, &best);
            let waiting: Vec<TrialId> = level.waiting.iter().map(|place| place.id).collect();
            let expected: Vec<TrialId> =
                best.iter().map(|&i| level.members[i].id).filter(|id| waiting.contains(id)).collect();
            prop_assert_eq!(level.promotable().map(|one| one.id).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn rungs_shrink_by_eta_and_the_good_ones_arrive() {
        let told = search(Asha::default(), &grid(8, 10), |p| vec![digit_loss(p)], 400, 0);
        let rungs = Rungs::new(MIN_FIDELITY, 3, "x").unwrap();
        let mut counts = [0; 4];
        for trial in &told {
            counts[rungs.rung(trial.fidelity)] += 1;
        }
        assert!(counts[0] > 240 && (70..=95).contains(&counts[1]) && counts[3] >= 7, "{counts:?}");
        let loss = |trial: &Trial| trial.measurement().unwrap().values[0];
        let best = told.iter().map(loss).fold(f64::INFINITY, f64::min);
        assert!(told.iter().any(|trial| trial.fidelity == Fidelity::Full && loss(trial) == best));
    }
}
