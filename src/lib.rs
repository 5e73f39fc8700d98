//! The engine of ModularNAS: neural architecture search for PyTorch models.
pub mod error;
pub mod rng;
pub mod search;
pub mod space;
pub mod trial;
