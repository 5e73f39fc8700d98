//! A point: a value for every active decision, stored as codes.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// The code of a decision that is not active.
pub const INACTIVE: i32 = -1;

/// One element of a search space.
///
/// `codes` has one entry a decision: [`INACTIVE`], the code of a discrete value, or 0 for an active real decision.
/// `reals` has one entry a *real* decision, 0.0 where it is inactive. Two points of one space are equal exactly when
/// they give the same values to the same active decisions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Point {
    pub(crate) codes: Box<[i32]>,
    #[serde(default, skip_serializing_if = "<[f64]>::is_empty")]
    pub(crate) reals: Box<[f64]>,
}

impl Point {
    /// A point of these codes and reals. Only a space knows whether it is one of its own (`SearchSpace::check`).
    #[must_use]
    pub fn new(codes: impl Into<Box<[i32]>>, reals: impl Into<Box<[f64]>>) -> Self {
        Point { codes: codes.into(), reals: reals.into() }
    }

    /// One code a decision.
    #[must_use]
    pub fn codes(&self) -> &[i32] {
        &self.codes
    }

    /// Writes other codes over those of a point without reals.
    pub fn set_codes(&mut self, codes: &[i32]) {
        if self.codes.len() == codes.len() {
            self.codes.copy_from_slice(codes);
        } else {
            self.codes = codes.into();
        }
    }

    /// One value a real decision.
    #[must_use]
    pub fn reals(&self) -> &[f64] {
        &self.reals
    }

    /// Whether the decision with this index is active.
    #[must_use]
    pub fn is_active(&self, decision: usize) -> bool {
        self.codes[decision] != INACTIVE
    }
}

impl Clone for Point {
    fn clone(&self) -> Self {
        Point { codes: self.codes.clone(), reals: self.reals.clone() }
    }

    /// Uses the memory of `self` again if both are of one space.
    fn clone_from(&mut self, source: &Self) {
        self.codes.clone_from(&source.codes);
        if !(self.reals.is_empty() && source.reals.is_empty()) {
            self.reals.clone_from(&source.reals);
        }
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.codes == other.codes
            && self.reals.len() == other.reals.len()
            && self.reals.iter().zip(&other.reals).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

impl Eq for Point {}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.codes.hash(state);
        for real in &self.reals {
            real.to_bits().hash(state);
        }
    }
}
