//! The study (the paper's Algorithm 1): the loop and its memory.
//!
//! A study asks a search algorithm for points, has an evaluator measure them, and tells the algorithm. It decides
//! nothing else: which point is the algorithm's, what a point is worth the evaluator's business. `study.rs` keeps the
//! books, `optimize.rs` is the loop, `store.rs` the file, `history.rs` the packed memory of it, `reports.rs` what running
//! trials say; `stop.rs`, `observer.rs` and `pruner/` are what a caller hands to the loop; `repair.rs` saves what is left of
//! a damaged file. The room arrows to space, trial, search and evaluate.
//!
//! The law everything here serves: the state of an algorithm is the told trials in their order, so a study that is
//! killed anywhere and opened again goes on as if nothing had happened.

mod history;
mod identity;
mod observer;
mod optimize;
mod owner;
pub mod pruner;
mod repair;
mod reports;
mod stop;
mod store;
#[expect(clippy::module_inception, reason = "the room is named after what it holds")]
mod study;

pub use observer::{Observer, Quiet};
pub use optimize::Plan;
pub use repair::{Repaired, repair};
pub use reports::Report;
pub use stop::{Stop, Stopped};
pub use study::{Algorithm, Setup, Study};
