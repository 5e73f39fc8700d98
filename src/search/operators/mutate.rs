//! Mutation: one random change of a point.

use rand::Rng as _;

use crate::rng::Rng;
use crate::space::{Point, SearchSpace};

/// Changes one decision, drawn uniformly among the active ones that have another value, to another value.
///
/// Decisions that become active through the change are drawn anew (Real et al. 2018, arXiv 1802.01548, section
/// "Evolutionary Algorithm", does the same for the operation and the hidden-state mutation). A point that nothing can
/// change is returned as it is; the original library looped for ever there.
#[must_use]
pub fn one_decision(space: &SearchSpace, point: &Point, rng: &mut Rng) -> Point {
    let changeable = |i: usize| point.is_active(i) && space.spreads(i);
    let n = (0..space.len()).filter(|&i| changeable(i)).count();
    let mut mutant = point.clone();
    if n == 0 {
        return mutant;
    }
    let pick = rng.random_range(0..n);
    let Some(decision) = (0..space.len()).filter(|&i| changeable(i)).nth(pick) else { return mutant };
    if space.real_slot(decision).is_some() {
        space.redraw(&mut mutant, decision, rng);
    } else {
        // Uniform over the other values: draw from one fewer and step over the current one.
        let code = rng.random_range(0..space.count(decision) - 1);
        mutant.codes[decision] = code + i32::from(code >= point.codes[decision]);
    }
    space.settle(&mut mutant, rng);
    mutant
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::stream;
    use crate::space::tests::any_space;
    use crate::space::{Decision, Domain, Label};

    proptest! {
        #[test]
        fn a_mutant_is_a_point_that_differs_by_one_decision_and_its_children(space in any_space(), seed in any::<u64>()) {
            let point = space.sample(seed, 0);
            let mutant = one_decision(&space, &point, &mut stream(seed, 1, "test"));
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
    fn a_space_of_one_point_does_not_hang() {
        let space = SearchSpace::new(vec![
            Decision::new("a", Domain::Categorical(vec![Label::Int(1)])),
            Decision::new("b", Domain::Real { low: 1.0, high: 1.0, log: false }),
        ])
        .unwrap();
        let point = space.sample(0, 0);
        assert_eq!(one_decision(&space, &point, &mut stream(0, 0, "test")), point);
    }
}
