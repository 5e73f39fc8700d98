//! Neighbours: the points one small step away, the moves of local search.
//!
//! One active decision changes: a category to any other, an integer or real by one step up or down, a subset by
//! swapping one element. Decisions that the change activates take their first value (the lowest, for a real its
//! middle), so the list is finite, deterministic, and connects the space: other values are a further step away.

use super::{Domain, Point, SearchSpace};

/// The step of a real decision, as a fraction of its (logarithmic) interval.
const REAL_STEP: f64 = 0.1;

impl SearchSpace {
    /// All neighbours of a point, without repetition, in the order of the decisions.
    #[must_use]
    pub fn neighbours(&self, point: &Point) -> Vec<Point> {
        let mut found = Vec::new();
        for i in (0..self.len()).filter(|&i| point.is_active(i)) {
            if let Some(slot) = self.real_slots[i] {
                let domain = &self.decisions[i].domain;
                let unit = domain.to_unit(point.reals[slot]);
                for step in [-REAL_STEP, REAL_STEP] {
                    let value = domain.from_unit((unit + step).clamp(0.0, 1.0)) + 0.0;
                    if value.to_bits() != point.reals[slot].to_bits() {
                        let mut neighbour = point.clone();
                        neighbour.reals[slot] = value;
                        found.push(neighbour);
                    }
                }
            } else {
                found.extend(
                    self.other_codes(i, point.codes[i])
                        .into_iter()
                        .map(|code| self.with_code(point, i, code)),
                );
            }
        }
        found
    }

    fn other_codes(&self, decision: usize, code: i32) -> Vec<i32> {
        let domain = &self.decisions[decision].domain;
        match domain {
            Domain::Integer { .. } => {
                [code - 1, code + 1].into_iter().filter(|c| (0..self.counts[decision]).contains(c)).collect()
            }
            Domain::Subset { from, .. } => {
                let picked = domain.subset(code).unwrap_or_default();
                let mut codes = Vec::new();
                for out in 0..picked.len() {
                    for into in (0..from.len()).filter(|i| !picked.contains(i)) {
                        let mut swapped = picked.clone();
                        swapped[out] = into;
                        let label =
                            super::Label::List(swapped.into_iter().map(|i| from[i].clone()).collect());
                        codes.extend(domain.code(&label));
                    }
                }
                codes
            }
            _ => (0..self.counts[decision]).filter(|&c| c != code).collect(),
        }
    }

    /// The point with one code changed, newly active decisions at their first value.
    #[must_use]
    pub fn with_code(&self, point: &Point, decision: usize, code: i32) -> Point {
        let mut changed = point.clone();
        changed.codes[decision] = code;
        self.settle_with(&mut changed, |point, i| {
            point.codes[i] = 0;
            if let Some(slot) = self.real_slots[i] {
                point.reals[slot] = self.decisions[i].domain.from_unit(0.5) + 0.0;
            }
        });
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::tests::{any_space, mixed};

    proptest! {
        #[test]
        fn neighbours_are_other_points_without_repetition(space in any_space(), seed in any::<u64>()) {
            let point = space.sample(seed, 0);
            let neighbours = space.neighbours(&point);
            for neighbour in &neighbours {
                space.check(neighbour).unwrap();
                prop_assert_ne!(neighbour, &point);
            }
            prop_assert_eq!(neighbours.iter().collect::<HashSet<_>>().len(), neighbours.len());
        }

        #[test]
        fn the_whole_space_is_reached_by_steps(space in any_space()) {
            let size = usize::try_from(space.size().unwrap()).unwrap();
            prop_assume!(size <= 500);
            let start = space.sample(0, 0);
            let mut seen = HashSet::from([start.clone()]);
            let mut open = vec![start];
            while let Some(point) = open.pop() {
                for next in space.neighbours(&point) {
                    if seen.insert(next.clone()) {
                        open.push(next);
                    }
                }
            }
            prop_assert_eq!(seen.len(), size);
        }
    }

    #[test]
    fn the_moves_of_each_kind() {
        let space = mixed();
        let point = space.point_from_json(r#"{"op":"conv","k":5,"n":1,"lr":0.001}"#).unwrap();
        let json: Vec<String> = space.neighbours(&point).iter().map(|p| space.point_to_json(p)).collect();
        assert_eq!(json.len(), 1 + 2 + 1 + 2);
        assert_eq!(json[0], r#"{"op":"pool","n":1,"lr":0.001}"#);
        assert_eq!(json[1], r#"{"op":"conv","k":3,"n":1,"lr":0.001}"#);
        assert_eq!(json[3], r#"{"op":"conv","k":5,"n":2,"lr":0.001}"#);
    }
}
