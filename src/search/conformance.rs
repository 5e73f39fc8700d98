//! The laws of this room, checked for every registered algorithm with its default settings.
//!
//! A new algorithm passes them by being registered. Python's `modularnas.testing` checks the same laws through a
//! study, for users' algorithms as well.

use rand::Rng as _;

use super::{ALGORITHMS, Context, Entry, SearchAlgorithm};
use crate::rng::stream;
use crate::space::tests::mixed;
use crate::space::{Decision, Domain, Label, SearchSpace};
use crate::trial::{Direction, Goals, Measurement, Objective, Outcome, Trial};

/// One objective to be minimised.
pub(crate) fn one_loss() -> Goals {
    Goals::new(vec![Objective { metric: "loss".into(), direction: Direction::Minimize }], vec![]).unwrap()
}

/// `n` categorical decisions of `k` values.
pub(crate) fn grid(n: usize, k: i64) -> SearchSpace {
    let domain = Domain::Categorical((0..k).map(Label::Int).collect());
    SearchSpace::new((0..n).map(|i| Decision::new(format!("d{i}"), domain.clone())).collect()).unwrap()
}

pub(crate) fn create(entry: &Entry, space: &SearchSpace, goals: &Goals) -> Box<dyn SearchAlgorithm> {
    (entry.create)(&serde_json::json!({}), space, goals).unwrap()
}

/// A loss for any point: the sum of its encoded columns; some trials fail.
fn evaluate(space: &SearchSpace, trial: &Trial) -> Outcome {
    if stream(9, trial.id, "failure").random_bool(0.1) {
        return Outcome::Failed("as planned".into());
    }
    let mut row = Vec::new();
    space.encode(&trial.point, &mut row);
    Outcome::Complete(Measurement { values: [row.iter().sum()].into() })
}

/// Runs `trials` trials, `pending` of which are always asked for and not yet told; the trials in order of their tell.
pub(crate) fn run(
    algorithm: &mut dyn SearchAlgorithm,
    space: &SearchSpace,
    goals: &Goals,
    seed: u64,
    trials: u64,
    pending: usize,
) -> Vec<Trial> {
    let (mut running, mut told): (Vec<Trial>, Vec<Trial>) = (Vec::new(), Vec::new());
    let mut next = 0;
    while (told.len() as u64) < trials {
        let cx = Context { space, goals, seed, next, running: &running };
        let proposals = algorithm.ask(&cx, 1).unwrap();
        assert!(proposals.len() <= 1, "more proposals than asked for");
        let dry = proposals.is_empty();
        for proposal in proposals {
            space.check(&proposal.point).unwrap();
            assert!(proposal.parent.is_none_or(|parent| parent < next), "a parent from the future");
            running.push(Trial {
                id: next,
                point: proposal.point,
                fidelity: proposal.fidelity,
                parent: proposal.parent,
                outcome: None,
            });
            next += 1;
        }
        if running.is_empty() {
            break; // exhausted
        }
        if running.len() > pending || dry {
            let mut trial = running.remove(0);
            trial.outcome = Some(evaluate(space, &trial));
            let cx = Context { space, goals, seed, next, running: &running };
            algorithm.tell(&cx, std::slice::from_ref(&trial)).unwrap();
            told.push(trial);
        }
    }
    told
}

#[test]
fn proposals_are_points_and_a_run_is_a_function_of_its_seed() {
    for entry in ALGORITHMS {
        for space in [mixed(), grid(5, 4)] {
            let goals = one_loss();
            let points = |seed, pending| -> Vec<_> {
                let mut algorithm = create(entry, &space, &goals);
                run(&mut *algorithm, &space, &goals, seed, 60, pending).into_iter().map(|t| t.point).collect()
            };
            for pending in [0, 3] {
                assert_eq!(points(1, pending), points(1, pending), "{} is not deterministic", entry.name);
            }
            let exhaustive = points(1, 0).len() < 60;
            assert!(exhaustive || points(1, 0) != points(2, 0), "{} ignores the seed", entry.name);
        }
    }
}

#[test]
fn replaying_the_told_trials_restores_an_algorithm() {
    for entry in ALGORITHMS {
        for space in [mixed(), grid(5, 4)] {
            let goals = one_loss();
            let mut original = create(entry, &space, &goals);
            let told = run(&mut *original, &space, &goals, 5, 50, 0);
            let cx = Context { space: &space, goals: &goals, seed: 5, next: told.len() as u64, running: &[] };
            let expected = original.ask(&cx, 3).unwrap();
            assert_eq!(expected, original.ask(&cx, 3).unwrap(), "{}: ask changed the state", entry.name);
            for chunk in [1, 7, 50] {
                let mut restored = create(entry, &space, &goals);
                for trials in told.chunks(chunk) {
                    restored.tell(&cx, trials).unwrap();
                }
                let found = restored.ask(&cx, 3).unwrap();
                assert_eq!(found, expected, "{} replayed by {chunk} proposes otherwise", entry.name);
            }
        }
    }
}

#[test]
fn a_space_of_one_point_neither_hangs_nor_fails() {
    for entry in ALGORITHMS {
        let (space, goals) = (grid(2, 1), one_loss());
        let mut algorithm = create(entry, &space, &goals);
        run(&mut *algorithm, &space, &goals, 0, 30, 0);
    }
}
