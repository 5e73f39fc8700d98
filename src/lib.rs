//! The engine of ModularNAS: neural architecture search for PyTorch models.
//!
//! A search is four operators over three variables (Lin et al., MLSys 2021): which architecture (`space`), what to
//! try next (`search`, Ω), how weights and topology follow (`transform`, δ), how good it is (`evaluate`, η); `study`
//! is the loop and its memory, `trial` what one evaluation leaves behind, `network` the user's model as records.
//! `search`, `transform` and `evaluate` do not know one another; nobody knows `bindings`. The arrows are held by
//! `tests/test_rooms.py`.

pub mod benchmark;
#[cfg(feature = "extension")]
mod bindings;
pub mod cost;
pub mod error;
pub mod evaluate;
pub mod kernel;
pub mod network;
pub mod predict;
pub mod rng;
pub mod search;
pub mod space;
pub mod study;
pub mod transform;
pub mod trial;
