//! The laws of this room, checked for every registered algorithm with its default settings.
//!
//! A new algorithm passes them by being registered. Python's `modularnas.testing` checks the same laws through a
//! study, for users' algorithms as well.

use rand::Rng as _;

use super::{ALGORITHMS, Context, Entry, Random, SearchAlgorithm, Settings};
use crate::error::Error;
use crate::rng::stream;
use crate::space::tests::mixed;
use crate::space::{Decision, Domain, Label, Point, SearchSpace};
use crate::trial::{
    Constraint, Direction, Goals, Measurement, Objective, Outcome, Proposal, Trial, hypervolume,
};

/// One objective to be minimised.
pub(crate) fn one_loss() -> Goals {
    Goals::new(vec![Objective { metric: "loss".into(), direction: Direction::Minimize }], vec![]).unwrap()
}

/// `n` categorical decisions of `k` values.
pub(crate) fn grid(n: usize, k: i64) -> SearchSpace {
    let domain = Domain::Categorical((0..k).map(Label::Int).collect());
    SearchSpace::new((0..n).map(|i| Decision::new(format!("d{i}"), domain.clone())).collect()).unwrap()
}

/// Reals and integers, one of them conditional: a space for algorithms that take numbers only.
pub(crate) fn numeric() -> SearchSpace {
    SearchSpace::new(vec![
        Decision::new("x", Domain::Real { low: -5.0, high: 5.0, log: false }),
        Decision::new("n", Domain::Integer { low: 1, high: 20, step: 1 }),
        Decision::new("k", Domain::Integer { low: 0, high: 8, step: 2 }).active_if("n", vec![Label::Int(3)]),
        Decision::new("lr", Domain::Real { low: 1e-4, high: 1e-1, log: true }),
    ])
    .unwrap()
}

pub(crate) fn create(entry: &Entry, space: &SearchSpace, goals: &Goals) -> Box<dyn SearchAlgorithm> {
    (entry.create)(&serde_json::json!({}), space, goals).unwrap()
}

/// The spaces that an algorithm takes; it may refuse some, naming a decision, but not all.
fn spaces(entry: &Entry) -> Vec<SearchSpace> {
    let (mut taken, goals) = (Vec::new(), one_loss());
    for space in [mixed(), grid(5, 4), numeric()] {
        match (entry.create)(&serde_json::json!({}), &space, &goals) {
            Ok(_) => taken.push(space),
            Err(Error::Search(why)) => assert!(why.contains("decision '"), "{why}"),
            Err(other) => panic!("{}: {other}", entry.name),
        }
    }
    assert!(!taken.is_empty(), "{} takes no space", entry.name);
    taken
}

/// Asks for one trial at a time, `trials` times, and tells each the losses of its point.
pub(crate) fn search(
    settings: impl Settings,
    space: &SearchSpace,
    losses: impl Fn(&Point) -> Vec<f64>,
    trials: u64,
    seed: u64,
) -> Vec<Trial> {
    let count = losses(&space.sample(0, 0)).len();
    let objectives = (0..count)
        .map(|k| Objective { metric: format!("loss{k}"), direction: Direction::Minimize })
        .collect();
    let goals = Goals::new(objectives, vec![]).unwrap();
    let mut algorithm = settings.build(space, &goals).unwrap();
    let mut told = Vec::new();
    for next in 0..trials {
        let cx = Context { space, goals: &goals, seed, next, running: &[], feasible: None };
        let Some(proposal) = algorithm.ask(&cx, 1).unwrap().pop() else { break };
        space.check(&proposal.point).unwrap();
        let outcome = Some(Outcome::Complete(Measurement { values: losses(&proposal.point).into() }));
        let (point, fidelity, parent) = (proposal.point, proposal.fidelity, proposal.parent);
        told.push(Trial { id: next, point, fidelity, parent, outcome });
        algorithm.tell(&cx, &told[told.len() - 1..]).unwrap();
    }
    told
}

/// Mean over five seeds of the least loss after `trials` trials.
pub(crate) fn mean_best<S: Settings + Clone>(
    settings: &S,
    space: &SearchSpace,
    loss: impl Fn(&Point) -> f64,
    trials: u64,
) -> f64 {
    let best = |seed| {
        let told = search(settings.clone(), space, |point| vec![loss(point)], trials, seed);
        told.iter().map(|trial| trial.measurement().unwrap().values[0]).fold(f64::INFINITY, f64::min)
    };
    (0..5).map(best).sum::<f64>() / 5.0
}

/// The digit sum of a point, negated: separable, smooth, and hopeless for random search with many digits.
pub(crate) fn digit_loss(point: &Point) -> f64 {
    -point.codes().iter().map(|&code| f64::from(code)).sum::<f64>()
}

/// How much lower than random search's the mean best loss is.
pub(crate) fn gain_over_random<S: Settings + Clone>(
    settings: &S,
    space: &SearchSpace,
    loss: impl Fn(&Point) -> f64,
    trials: u64,
) -> f64 {
    mean_best(&Random {}, space, &loss, trials) - mean_best(settings, space, &loss, trials)
}

/// The gain on a sphere of labels, a real and an integer, the best of which lies at 0.
pub(crate) fn mixed_gain<S: Settings + Clone>(settings: &S, trials: u64) -> f64 {
    let labels = Domain::Categorical((0..6).map(Label::Int).collect());
    let mut decisions: Vec<Decision> =
        (0..4).map(|i| Decision::new(format!("c{i}"), labels.clone())).collect();
    decisions.push(Decision::new("x", Domain::Real { low: -2.0, high: 3.0, log: false }));
    decisions.push(Decision::new("n", Domain::Integer { low: 0, high: 30, step: 1 }));
    let sphere = |point: &Point| {
        let labels: f64 = point.codes()[..4].iter().map(|&code| f64::from((code * 5 + 1) % 6)).sum();
        0.2 * labels + point.reals()[0].powi(2) + (f64::from(point.codes()[5] - 11) / 10.0).powi(2)
    };
    gain_over_random(settings, &SearchSpace::new(decisions).unwrap(), sphere, trials)
}

/// Two losses that compete, both shared by `4^n` codes of [`grid`]`(n, k)`: ones and threes, each wanted many, with
/// everything else wasted.
pub(crate) fn two_losses(point: &Point) -> Vec<f64> {
    let share = |wanted: i32| {
        let found = point.codes().iter().filter(|&&code| code == wanted).count() as f64;
        1.0 - found / point.codes().len() as f64
    };
    vec![share(1), share(3)]
}

/// Mean over five seeds of the hypervolume of all trials, up to one in every loss.
pub(crate) fn mean_hypervolume<S: Settings + Clone>(
    settings: &S,
    space: &SearchSpace,
    losses: impl Fn(&Point) -> Vec<f64>,
    trials: u64,
) -> f64 {
    let volume = |seed| {
        let told = search(settings.clone(), space, &losses, trials, seed);
        let values: Vec<Box<[f64]>> =
            told.iter().map(|trial| trial.measurement().unwrap().values.clone()).collect();
        hypervolume(&values, &vec![1.0 + 1e-9; values[0].len()])
    };
    (0..5).map(volume).sum::<f64>() / 5.0
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
        let cx = Context { space, goals, seed, next, running: &running, feasible: None };
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
            let cx = Context { space, goals, seed, next, running: &running, feasible: None };
            algorithm.tell(&cx, std::slice::from_ref(&trial)).unwrap();
            told.push(trial);
        }
    }
    told
}

#[test]
fn proposals_are_points_and_a_run_is_a_function_of_its_seed() {
    for entry in ALGORITHMS {
        for space in spaces(entry) {
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
        for space in spaces(entry) {
            let goals = one_loss();
            let mut original = create(entry, &space, &goals);
            let told = run(&mut *original, &space, &goals, 5, 50, 0);
            let cx = Context {
                space: &space,
                goals: &goals,
                seed: 5,
                next: told.len() as u64,
                running: &[],
                feasible: None,
            };
            let expected = original.ask(&cx, 3).unwrap();
            assert_eq!(expected, original.ask(&cx, 3).unwrap(), "{}: ask changed the state", entry.name);
            let mut into = Proposal { parent: Some(7), ..Proposal::new(space.sample(0, 0)) };
            let some = original.ask_into(&cx, &mut into).unwrap();
            assert_eq!(some.then_some(&into), expected.first(), "{}: ask_into is not ask", entry.name);
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
    let point = SearchSpace::new(vec![
        Decision::new("a", Domain::Integer { low: 3, high: 3, step: 1 }),
        Decision::new("b", Domain::Real { low: 1.0, high: 1.0, log: false }),
    ])
    .unwrap();
    for entry in ALGORITHMS {
        let goals = one_loss();
        for space in [&grid(2, 1), &point] {
            if let Ok(mut algorithm) = (entry.create)(&serde_json::json!({}), space, &goals) {
                run(&mut *algorithm, space, &goals, 0, 30, 0);
            }
        }
    }
}

#[test]
fn several_objectives_under_a_constraint_are_taken() {
    for entry in ALGORITHMS {
        for space in spaces(entry) {
            let objective =
                |metric: &str| Objective { metric: metric.into(), direction: Direction::Minimize };
            let bound = Constraint { metric: "size".into(), low: None, high: Some(2.0) };
            let goals = Goals::new(["a", "b", "c"].map(objective).to_vec(), vec![bound]).unwrap();
            let Ok(mut algorithm) = (entry.create)(&serde_json::json!({}), &space, &goals) else { continue };
            let mut row = Vec::new();
            for round in 0..70_u64 {
                let cx = Context {
                    space: &space,
                    goals: &goals,
                    seed: 3,
                    next: round * 5,
                    running: &[],
                    feasible: None,
                };
                let trials: Vec<Trial> = (cx.next..)
                    .zip(algorithm.ask(&cx, 5).unwrap())
                    .map(|(id, Proposal { point, fidelity, parent })| {
                        space.check(&point).unwrap();
                        row.clear();
                        space.encode(&point, &mut row);
                        let half = row.len() / 2;
                        let (a, b): (f64, f64) = (row[..half].iter().sum(), row[half..].iter().sum());
                        let values = [a, -b, a * b, a + b].into();
                        let outcome = if id % 7 == 3 {
                            Outcome::Failed("as planned".into())
                        } else {
                            Outcome::Complete(Measurement { values })
                        };
                        Trial { id, point, fidelity, parent, outcome: Some(outcome) }
                    })
                    .collect();
                algorithm.tell(&cx, &trials).unwrap();
            }
        }
    }
}

/// The best of the loss lies out of bounds: whoever looks at the loss alone leaves the feasible set, and whoever compares
/// the feasible first stays in it.
#[test]
fn feasible_trials_come_first() {
    /// These draw their points without looking at what was found, or look at all neighbours of a point.
    const BLIND: [&str; 6] = ["asha", "grid", "hyperband", "local_search", "random", "successive_halving"];
    /// These learn from the order that `history.rs` makes and tests, or (`gp_bo`) test it themselves: many fits.
    const MODELS: [&str; 6] = ["bananas", "gp_bo", "model_based", "npenas", "predictor_local", "smac"];
    const TRIALS: u64 = 400;
    let digit = Domain::Integer { low: 0, high: 4, step: 1 };
    let space =
        SearchSpace::new((0..6).map(|i| Decision::new(format!("d{i}"), digit.clone())).collect()).unwrap();
    let objective = Objective { metric: "loss".into(), direction: Direction::Minimize };
    let bound = Constraint { metric: "size".into(), low: None, high: Some(9.0) };
    let goals = Goals::new(vec![objective], vec![bound]).unwrap();
    // A draw is feasible with a probability of 0.23.
    for entry in ALGORITHMS.iter().filter(|entry| ![&BLIND[..], &MODELS].concat().contains(&entry.name)) {
        let share = |seed| {
            let mut algorithm = create(entry, &space, &goals);
            let mut feasible = 0_u32;
            for next in 0..TRIALS {
                let cx = Context { space: &space, goals: &goals, seed, next, running: &[], feasible: None };
                let Some(Proposal { point, fidelity, parent }) = algorithm.ask(&cx, 1).unwrap().pop() else {
                    break;
                };
                let size = point.codes().iter().map(|&code| f64::from(code)).sum::<f64>();
                let outcome = Some(Outcome::Complete(Measurement { values: [-size, size].into() }));
                feasible += u32::from(next >= TRIALS / 2 && size <= 9.0);
                algorithm.tell(&cx, &[Trial { id: next, point, fidelity, parent, outcome }]).unwrap();
            }
            f64::from(feasible) / (TRIALS / 2) as f64
        };
        let share = (0..3).map(share).sum::<f64>() / 3.0;
        assert!(share > 0.3, "{}: {share:.2} of its later points are feasible", entry.name);
    }
}
