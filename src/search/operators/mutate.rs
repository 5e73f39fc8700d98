//! Mutation: random changes of a point.

use rand::Rng as _;

use super::unit;
use crate::rng::Rng;
use crate::space::{Domain, Label, Point, SearchSpace};

/// Distribution index of polynomial mutation in NSGA-II (Deb et al. 2002, section V).
pub const POLYNOMIAL_INDEX: f64 = 20.0;

/// Changes one decision, drawn uniformly among the active ones that have another value, to another value.
///
/// Decisions that become active through the change are drawn anew (Real et al. 2018, arXiv 1802.01548, section
/// "Evolutionary Algorithm", does the same for the operation and the hidden-state mutation). A point that nothing can
/// change is returned as it is; the original library looped for ever there.
#[must_use]
pub fn one_decision(space: &SearchSpace, point: &Point, rng: &mut Rng) -> Point {
    let mut mutant = point.clone();
    one_by(space, &mut mutant, rng, other_value);
    mutant
}

/// [`one_decision`] on the point itself.
pub fn one_decision_in(space: &SearchSpace, point: &mut Point, rng: &mut Rng) {
    one_by(space, point, rng, other_value);
}

/// Changes one decision, drawn as in [`one_decision`], to a value near its own: a number by polynomial mutation of this
/// `index`, a subset by one swap, a category to any other.
#[must_use]
pub fn one_step(space: &SearchSpace, point: &Point, index: f64, rng: &mut Rng) -> Point {
    let mut mutant = point.clone();
    one_by(space, &mut mutant, rng, |space, point, i, rng| near_value(space, point, i, index, rng));
    mutant
}

/// Changes each active decision with probability `rate` to any other value.
#[must_use]
pub fn each(space: &SearchSpace, point: Point, rate: f64, rng: &mut Rng) -> Point {
    each_by(space, point, rate, rng, other_value)
}

/// Changes each active decision with probability `rate` to a value near its own, as [`one_step`] does.
#[must_use]
pub fn each_near(space: &SearchSpace, point: Point, rate: f64, index: f64, rng: &mut Rng) -> Point {
    each_by(space, point, rate, rng, |space, point, i, rng| near_value(space, point, i, index, rng))
}

fn one_by(
    space: &SearchSpace,
    point: &mut Point,
    rng: &mut Rng,
    change: impl Fn(&SearchSpace, &mut Point, usize, &mut Rng),
) {
    let changeable = |i: usize| point.is_active(i) && space.spreads(i);
    let n = (0..space.len()).filter(|&i| changeable(i)).count();
    if n == 0 {
        return;
    }
    let pick = rng.random_range(0..n);
    let Some(decision) = (0..space.len()).filter(|&i| changeable(i)).nth(pick) else { return };
    change(space, point, decision, rng);
    if space.decides(decision) {
        space.settle(point, rng);
    }
}

fn each_by(
    space: &SearchSpace,
    mut point: Point,
    rate: f64,
    rng: &mut Rng,
    change: impl Fn(&SearchSpace, &mut Point, usize, &mut Rng),
) -> Point {
    if rate <= 0.0 {
        return point;
    }
    // One draw a change instead of one a decision: the gap to the next changed decision is geometric.
    let per_skip = if rate < 1.0 { (1.0 - rate).ln().recip() } else { 0.0 };
    let gap = |rng: &mut Rng| ((1.0 - rng.random::<f64>()).ln() * per_skip) as usize;
    let mut unsettled = false;
    let mut i = gap(rng);
    while i < space.len() {
        // Nothing is settled before the end, so activity is still that of the given point.
        if point.is_active(i) && space.spreads(i) {
            change(space, &mut point, i, rng);
            unsettled |= space.decides(i);
        }
        i = i.saturating_add(1).saturating_add(gap(rng));
    }
    if unsettled {
        space.settle(&mut point, rng);
    }
    point
}

/// Another value of a decision that has one, uniform over the others.
fn other_value(space: &SearchSpace, point: &mut Point, decision: usize, rng: &mut Rng) {
    if space.real_slot(decision).is_some() {
        space.redraw(point, decision, rng);
    } else {
        // Draw from one fewer and step over the current one.
        let code = rng.random_range(0..space.count(decision) - 1);
        point.codes[decision] = code + i32::from(code >= point.codes[decision]);
    }
}

/// Another value of a decision that has one, near its own.
fn near_value(space: &SearchSpace, point: &mut Point, decision: usize, index: f64, rng: &mut Rng) {
    match &space.decisions()[decision].domain {
        Domain::Categorical(_) => other_value(space, point, decision, rng),
        domain @ Domain::Subset { from, .. } => {
            let mut picked = domain.subset(point.codes[decision]).unwrap_or_default();
            let out = rng.random_range(0..picked.len());
            let free = rng.random_range(0..from.len() - picked.len());
            let Some(into) = (0..from.len()).filter(|i| !picked.contains(i)).nth(free) else { return };
            picked[out] = into;
            let labels = picked.into_iter().map(|i| from[i].clone()).collect();
            if let Some(code) = domain.code(&Label::List(labels)) {
                point.codes[decision] = code;
            }
        }
        Domain::Integer { .. } | Domain::Real { .. } => {
            let before = point.codes[decision];
            let at = unit::of(space, point, decision);
            unit::set(space, point, decision, at + polynomial(at, index, rng));
            if space.real_slot(decision).is_none() && point.codes[decision] == before {
                let up = before == 0 || (before + 1 < space.count(decision) && rng.random());
                point.codes[decision] = if up { before + 1 } else { before - 1 };
            }
        }
    }
}

/// The step of bounded polynomial mutation from `at` in `[0, 1]` (Deb and Goyal 1996; Deb's NSGA-II code).
fn polynomial(at: f64, index: f64, rng: &mut Rng) -> f64 {
    let u = rng.random::<f64>();
    let power = index + 1.0;
    if u < 0.5 {
        (2.0 * u + (1.0 - 2.0 * u) * (1.0 - at).powf(power)).powf(1.0 / power) - 1.0
    } else {
        1.0 - (2.0 * (1.0 - u) + (2.0 * u - 1.0) * at.powf(power)).powf(1.0 / power)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::stream;
    use crate::space::tests::{any_space, mixed};
    use crate::space::{Decision, Domain, Label};

    proptest! {
        #[test]
        fn a_mutant_is_a_point_that_differs_by_one_decision_and_its_children(space in any_space(), seed in any::<u64>()) {
            let point = space.sample(seed, 0);
            let mutants = [
                one_decision(&space, &point, &mut stream(seed, 1, "test")),
                one_step(&space, &point, 20.0, &mut stream(seed, 1, "test")),
            ];
            for mutant in mutants {
                space.check(&mutant).unwrap();
                let changed = (0..space.len())
                    .filter(|&i| point.is_active(i) && mutant.is_active(i) && point.codes()[i] != mutant.codes()[i])
                    .count();
                prop_assert!(changed <= 1);
                let movable = (0..space.len()).any(|i| point.is_active(i) && space.count(i) > 1);
                prop_assert_eq!(mutant != point, movable);
            }
        }

        #[test]
        fn mutants_of_every_rate_are_points(space in any_space(), seed in any::<u64>(), rate in 0.0..=1.0) {
            let point = space.sample(seed, 0);
            space.check(&each(&space, point.clone(), rate, &mut stream(seed, 1, "test"))).unwrap();
            space.check(&each_near(&space, point.clone(), rate, 20.0, &mut stream(seed, 1, "test"))).unwrap();
            prop_assert_eq!(&each(&space, point.clone(), 0.0, &mut stream(seed, 1, "test")), &point);
            let all = each(&space, point.clone(), 1.0, &mut stream(seed, 1, "test"));
            let unchanged = (0..space.len()).any(|i| {
                point.is_active(i) && all.is_active(i) && space.spreads(i) && point.codes()[i] == all.codes()[i]
            });
            prop_assert!(!unchanged);
        }
    }

    #[test]
    fn the_rate_is_the_chance_of_each_decision() {
        let domain = Domain::Categorical((0..5).map(Label::Int).collect());
        let space =
            SearchSpace::new((0..10).map(|i| Decision::new(format!("d{i}"), domain.clone())).collect())
                .unwrap();
        let point = space.sample(0, 0);
        let mut counts = [0; 10];
        for trial in 0..4_000 {
            let mutant = each(&space, point.clone(), 0.25, &mut stream(0, trial, "test"));
            for (i, count) in counts.iter_mut().enumerate() {
                *count += i32::from(mutant.codes()[i] != point.codes()[i]);
            }
        }
        assert!(counts.iter().all(|n| (880..1120).contains(n)), "{counts:?}");
    }

    #[test]
    fn near_reals_are_near_and_inside() {
        let space = mixed();
        let point = space.point_from_json(r#"{"op":"pool","n":1,"lr":0.0001}"#).unwrap();
        for trial in 0..500 {
            let mutant = one_step(&space, &point, 20.0, &mut stream(0, trial, "test"));
            space.check(&mutant).unwrap();
            assert!(mutant.reals()[0] < 1e-2, "{mutant:?}");
        }
    }

    #[test]
    fn a_space_of_one_point_does_not_hang() {
        let space = SearchSpace::new(vec![
            Decision::new("a", Domain::Categorical(vec![Label::Int(1)])),
            Decision::new("b", Domain::Real { low: 1.0, high: 1.0, log: false }),
        ])
        .unwrap();
        let point = space.sample(0, 0);
        assert_eq!(one_decision(&space, &point, &mut stream(0, 0, "test")), point);
        assert_eq!(each(&space, point.clone(), 1.0, &mut stream(0, 0, "test")), point);
    }
}
