//! Operators of evolutionary search: pure functions of points, scores and a generator.

pub mod mutate;
pub mod select;
