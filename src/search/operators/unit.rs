//! The unit scale of integers and reals: 0 is the lowest value, 1 the highest, as in `SearchSpace::encode`.

use crate::space::{Domain, Point, SearchSpace};

/// Whether a decision is an integer or a real.
#[must_use]
pub fn is_numeric(space: &SearchSpace, decision: usize) -> bool {
    matches!(space.decisions()[decision].domain, Domain::Integer { .. } | Domain::Real { .. })
}

/// Where an active numeric decision of a point stands on its unit scale.
#[must_use]
pub fn of(space: &SearchSpace, point: &Point, decision: usize) -> f64 {
    match space.real_slot(decision) {
        Some(slot) => space.decisions()[decision].domain.to_unit(point.reals()[slot]),
        None => f64::from(point.codes()[decision]) / f64::from((space.count(decision) - 1).max(1)),
    }
}

/// Gives a numeric decision the value nearest to `unit`, which is clamped to `[0, 1]`.
pub fn set(space: &SearchSpace, point: &mut Point, decision: usize, unit: f64) {
    let unit = unit.clamp(0.0, 1.0);
    if let Some(slot) = space.real_slot(decision) {
        point.codes[decision] = 0;
        point.reals[slot] = space.decisions()[decision].domain.from_unit(unit) + 0.0;
    } else {
        point.codes[decision] = (unit * f64::from(space.count(decision) - 1)).round() as i32;
    }
}
