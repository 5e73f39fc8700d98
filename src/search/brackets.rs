//! Brackets of successive halving: many trials on a low rung, the best of them once more on the next, and so on.
//!
//! Several brackets are open at once, so that nobody waits for a rung to be complete: who asks when the open ones have
//! nothing to give opens the next one. A trial belongs to the bracket of the trial that it continues
//! ([`Proposal::parent`]); one that continues nothing belongs to the first bracket that starts on its rung and has room,
//! so the told trials alone say which bracket each is in.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Context;
use super::individual::Individual;
use super::rungs::Rungs;
use crate::space::Point;
use crate::trial::{Proposal, Trial, TrialId, crowded_order};

/// The shape of a bracket: its first rung, and how many trials on it and on each rung above.
pub(super) type Shape = (usize, Vec<usize>);

/// Brackets of the given shapes, opened in turns for ever.
pub(super) struct Brackets {
    rungs: Rungs,
    shapes: Vec<Shape>,
    /// By the order in which they were opened.
    open: BTreeMap<usize, Bracket>,
    opened: usize,
    /// Of the open brackets those whose first rung has room, by that rung, oldest first.
    filling: Vec<VecDeque<usize>>,
    /// Trials that are to go on and were not told on the next rung, and the bracket of each.
    promoted: HashMap<TrialId, usize>,
}

struct Bracket {
    shape: usize,
    /// Rungs above the first that it has climbed.
    level: usize,
    /// Trials that it wants told on this level.
    wanted: usize,
    told: usize,
    /// Completed on this level.
    done: Vec<Individual>,
    /// Which trials of the level below go on, best first.
    promoted: Vec<(TrialId, Point)>,
}

impl Brackets {
    pub(super) fn new(rungs: Rungs, shapes: Vec<Shape>) -> Self {
        let filling = vec![VecDeque::new(); rungs.len()];
        Brackets { rungs, shapes, open: BTreeMap::new(), opened: 0, filling, promoted: HashMap::new() }
    }

    /// The next `count` trials; `fresh` makes the point of one that starts anew, from its number in this ask.
    pub(super) fn ask(
        &self,
        cx: &Context<'_>,
        count: usize,
        mut fresh: impl FnMut(usize) -> Point,
    ) -> Vec<Proposal> {
        let mut proposals = Vec::with_capacity(count);
        // Running trials that continue nothing, by rung: they hold room in the brackets from the oldest on.
        let mut holding = vec![0; self.rungs.len()];
        for trial in cx.running.iter().filter(|trial| trial.parent.is_none()) {
            holding[self.rungs.rung(trial.fidelity)] += 1;
        }
        for bracket in self.open.values() {
            if proposals.len() == count {
                return proposals;
            }
            let rung = self.shapes[bracket.shape].0 + bracket.level;
            for (id, point) in &bracket.promoted {
                let told = !self.promoted.contains_key(id);
                if proposals.len() < count && !told && cx.running.iter().all(|t| t.parent != Some(*id)) {
                    let (point, fidelity) = (point.clone(), self.rungs.fidelity(rung));
                    proposals.push(Proposal { point, fidelity, parent: Some(*id) });
                }
            }
            if bracket.level == 0 {
                self.start(
                    rung,
                    bracket.wanted - bracket.told,
                    count,
                    &mut holding,
                    &mut proposals,
                    &mut fresh,
                );
            }
        }
        for next in self.opened.. {
            if proposals.len() == count {
                break;
            }
            let (rung, sizes) = &self.shapes[next % self.shapes.len()];
            self.start(*rung, sizes[0], count, &mut holding, &mut proposals, &mut fresh);
        }
        proposals
    }

    /// Proposes fresh points into the room of a bracket's first rung.
    fn start(
        &self,
        rung: usize,
        room: usize,
        count: usize,
        holding: &mut [usize],
        proposals: &mut Vec<Proposal>,
        fresh: &mut impl FnMut(usize) -> Point,
    ) {
        let held = holding[rung].min(room);
        holding[rung] -= held;
        for _ in 0..(room - held).min(count - proposals.len()) {
            let fidelity = self.rungs.fidelity(rung);
            proposals.push(Proposal { fidelity, ..Proposal::new(fresh(proposals.len())) });
        }
    }

    /// Enters a finished trial; returns its rung.
    pub(super) fn tell(&mut self, cx: &Context<'_>, trial: &Trial) -> usize {
        let rung = self.rungs.rung(trial.fidelity);
        let Some(at) = self.bracket_of(trial, rung) else { return rung };
        let Some(bracket) = self.open.get_mut(&at) else { return rung };
        bracket.told += 1;
        bracket.done.extend(Individual::of(trial, cx.goals));
        if bracket.told == bracket.wanted {
            if bracket.level == 0 {
                self.filling[rung].pop_front();
            }
            let sizes = &self.shapes[bracket.shape].1;
            let best = match sizes.get(bracket.level + 1) {
                Some(&size) => best_first(&bracket.done, size),
                None => Vec::new(),
            };
            if best.is_empty() {
                self.open.remove(&at);
            } else {
                bracket.level += 1;
                (bracket.wanted, bracket.told) = (best.len(), 0);
                let done = std::mem::take(&mut bracket.done);
                bracket.promoted = best.iter().map(|&i| (done[i].id, done[i].point.clone())).collect();
                self.promoted.extend(bracket.promoted.iter().map(|(id, _)| (*id, at)));
            }
        }
        rung
    }

    /// The bracket that a told trial belongs to.
    fn bracket_of(&mut self, trial: &Trial, rung: usize) -> Option<usize> {
        if let Some(parent) = trial.parent {
            return self.promoted.remove(&parent);
        }
        for _ in 0..self.shapes.len() {
            if let Some(&at) = self.filling[rung].front() {
                return Some(at);
            }
            let shape = self.opened % self.shapes.len();
            let (first, sizes) = &self.shapes[shape];
            self.filling[*first].push_back(self.opened);
            let bracket =
                Bracket { shape, level: 0, wanted: sizes[0], told: 0, done: vec![], promoted: vec![] };
            self.open.insert(self.opened, bracket);
            self.opened += 1;
        }
        self.filling[rung].front().copied()
    }
}

/// Positions of the best `keep`, best first: feasible ones first, with several objectives by non-dominated rank.
pub(super) fn best_first(individuals: &[Individual], keep: usize) -> Vec<usize> {
    let scores: Vec<_> = individuals.iter().map(|individual| &individual.score).collect();
    crowded_order(&scores, keep)
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{grid, one_loss};
    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;
    use crate::trial::{Fidelity, Measurement, Outcome};

    /// Runs with `pending` trials in flight; the told trials, in order.
    fn run(pending: usize, trials: usize, fails: impl Fn(&Trial) -> bool) -> Vec<Trial> {
        let (space, goals) = (grid(5, 4), one_loss());
        let rungs = Rungs::new(1.0 / 9.0, 3, "x").unwrap();
        let shapes = rungs.brackets();
        assert_eq!(shapes, [(0, vec![9, 3, 1]), (1, vec![5, 1]), (2, vec![3])]);
        let mut brackets = Brackets::new(rungs, shapes);
        let (mut running, mut told) = (Vec::<Trial>::new(), Vec::<Trial>::new());
        let mut next = 0;
        while told.len() < trials {
            let cx =
                Context { space: &space, goals: &goals, seed: 1, next, running: &running, feasible: None };
            let asked = brackets.ask(&cx, pending + 1 - running.len(), |i| space.draw(&mut cx.rng(i)));
            assert_eq!(asked.len(), pending + 1 - running.len(), "somebody has to wait");
            for Proposal { point, fidelity, parent } in asked {
                running.push(Trial { id: next, point, fidelity, parent, outcome: None });
                next += 1;
            }
            let mut trial = running.remove(next as usize * 7 % running.len());
            let loss = trial.point.codes().iter().map(|&code| f64::from(code)).sum();
            let done = Outcome::Complete(Measurement { values: [loss].into() });
            trial.outcome = Some(if fails(&trial) { Outcome::Failed(String::new()) } else { done });
            brackets.tell(
                &Context { space: &space, goals: &goals, seed: 1, next, running: &running, feasible: None },
                &trial,
            );
            told.push(trial);
        }
        told
    }

    #[test]
    fn alone_it_is_successive_halving() {
        let told = run(0, 22, |_| false);
        let fidelities: Vec<Fidelity> = told.iter().map(|trial| trial.fidelity).collect();
        let (low, middle) = (Fidelity::Partial(1.0 / 9.0), Fidelity::Partial(1.0 / 3.0));
        assert!(fidelities[..9].iter().all(|f| *f == low) && fidelities[9..12].iter().all(|f| *f == middle));
        assert!(fidelities[12] == Fidelity::Full && fidelities[13..18].iter().all(|f| *f == middle));
        assert!(fidelities[18..].iter().all(|f| *f == Fidelity::Full));
        let loss = |trial: &Trial| trial.measurement().unwrap().values[0];
        let mut first: Vec<f64> = told[..9].iter().map(loss).collect();
        first.sort_by(f64::total_cmp);
        assert_eq!(told[9..12].iter().map(loss).collect::<Vec<_>>(), first[..3]);
        assert_eq!(loss(&told[12]), first[0]);
        assert_eq!(told[12].parent, Some(told[9].id));
    }

    #[test]
    fn in_parallel_nobody_waits_and_no_trial_is_promoted_twice() {
        for pending in [1, 4, 30] {
            let told = run(pending, 300, |trial| stream(3, trial.id, "failure").random_bool(0.3));
            let mut parents: Vec<TrialId> = told.iter().filter_map(|trial| trial.parent).collect();
            let n = parents.len();
            parents.sort_unstable();
            parents.dedup();
            assert_eq!(parents.len(), n);
            assert!(n > 40, "{n}");
            for trial in told.iter().filter(|trial| trial.parent.is_some()) {
                let parent = told.iter().find(|t| Some(t.id) == trial.parent).unwrap();
                assert_eq!(parent.point, trial.point);
                assert!(parent.measurement().is_some());
            }
        }
    }

    #[test]
    fn a_bracket_whose_trials_all_fail_ends() {
        let told = run(0, 40, |_| true);
        assert!(told.iter().all(|trial| trial.parent.is_none()));
    }
}
